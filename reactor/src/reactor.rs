//! The runtime.

use std::ops::Deref;
use std::rc::Rc;

use executor::Executor;

use crate::context::Context;
use crate::driver::EpollDriver;

/// The runtime. [`Builder::build`](crate::Builder::build) returns its owner, and dropping the owner
/// ends the runtime. Clones are handles, and keep nothing alive. Most methods are those of
/// [`Executor`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use reactor::Reactor;
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let handle = rt.clone();
/// let task = rt.spawn(async move { handle.sleep(Duration::from_millis(1)).await });
/// assert!(rt.block_on(task).is_ok());
/// drop(rt); // ends the runtime
/// # Ok(())
/// # }
/// ```
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
