//! The type that programs call the runtime.

use std::ops::Deref;
use std::rc::Rc;

use executor::Executor;

use crate::context::Context;
use crate::driver::EpollDriver;

/// The runtime. What [`Builder::build`](crate::Builder::build) returns is its owner, and dropping that ends it; clones are
/// handles, which keep nothing alive. Most of its methods are those of [`Executor`].
#[derive(Clone, Debug)]
pub struct Reactor {
    pub(crate) executor: Executor<EpollDriver>,
    pub(crate) context: Rc<Context>,
}

impl Deref for Reactor {
    type Target = Executor<EpollDriver>;

    fn deref(&self) -> &Self::Target {
        &self.executor
    }
}
