//! The runtime.

use std::ops::Deref;
use std::rc::Rc;

use executor::Executor;

use crate::context::Context;
use crate::driver::UringDriver;
use crate::features::Features;

/// The runtime. What [`Builder::build`](crate::Builder::build) returns is its owner, and dropping that ends it; clones are
/// handles, which keep nothing alive. Most of its methods are those of [`Executor`].
#[derive(Clone, Debug)]
pub struct Proactor {
    pub(crate) executor: Executor<UringDriver>,
    pub(crate) context: Rc<Context>,
}

impl Proactor {
    /// What was probed and is used.
    pub fn features(&self) -> Features {
        self.context.features
    }
}

impl Deref for Proactor {
    type Target = Executor<UringDriver>;

    fn deref(&self) -> &Self::Target {
        &self.executor
    }
}
