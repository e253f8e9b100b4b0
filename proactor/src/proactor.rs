//! The runtime.

use std::ops::Deref;
use std::rc::Rc;

use executor::Executor;

use crate::context::Context;
use crate::driver::UringDriver;
use crate::features::Features;

/// The runtime. [`Builder::build`](crate::Builder::build) returns its owner, and dropping the owner
/// ends the runtime. Clones are handles, and keep nothing alive. Most methods are those of
/// [`Executor`].
#[derive(Clone, Debug)]
pub struct Proactor {
    pub(crate) executor: Executor<UringDriver>,
    pub(crate) context: Rc<Context>,
}

impl Proactor {
    /// Returns the features of the kernel that were probed and are in use.
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
