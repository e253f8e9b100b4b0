//! The runtime.

use std::ops::Deref;
use std::rc::Rc;

use executor::Executor;

use crate::context::Context;
use crate::driver::EpollDriver;

/// The runtime. [`Builder::build`](crate::Builder::build) returns its owner, and dropping the owner
/// ends the runtime. Clones are handles, and keep nothing alive. Most methods are those of
/// [`Executor`].
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
