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
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use proactor::Proactor;
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let handle = rt.clone();
/// let task = rt.spawn(async move { handle.sleep(Duration::from_millis(1)).await });
/// assert!(rt.block_on(task).is_ok());
/// drop(rt); // ends the runtime
/// # Ok(())
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Proactor {
    pub(crate) executor: Executor<UringDriver>,
    pub(crate) context: Rc<Context>,
}

impl Proactor {
    /// Returns the features of the kernel that were probed and are in use.
    ///
    /// # Examples
    ///
    /// ```
    /// use proactor::Proactor;
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let rt = Proactor::new()?;
    /// println!("this kernel has {:?}", rt.features());
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
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
