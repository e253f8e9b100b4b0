//! Sets a runtime up.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use executor::{Config, Executor};

use crate::context::{Context, Sources};
use crate::driver::EpollDriver;
use crate::epoll::Epoll;
use crate::reactor::Reactor;
use crate::source::Trigger;
use crate::sys::Sys;

/// Sets a runtime up.
///
/// # Examples
///
/// ```
/// use reactor::{Builder, Config};
///
/// # fn main() -> std::io::Result<()> {
/// let config = Config { max_tasks: 1000, ..Config::default() };
/// let rt = Builder::new().config(config).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    trigger: Trigger,
    config: Config,
    without_pwait2: bool,
}

impl Builder {
    /// Starts with the defaults: edge-triggered, and the defaults of [`Config`].
    ///
    /// # Examples
    ///
    /// ```
    /// let builder = reactor::Builder::new();
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Chooses level or edge.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{Builder, Runtime, Trigger};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = Builder::new().trigger(Trigger::Edge).build()?;
    /// assert_eq!(rt.engine(), "reactor-edge");
    /// # Ok(())
    /// # }
    /// ```
    pub fn trigger(mut self, trigger: Trigger) -> Builder {
        self.trigger = trigger;
        self
    }

    /// Sets the limits and hooks that every runtime has.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use reactor::{Builder, Config};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let config = Config { shutdown_deadline: Duration::from_secs(1), ..Config::default() };
    /// let rt = Builder::new().config(config).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Sets for how long the runtime looks for work before it sleeps: see [`Config::spin`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = reactor::Builder::new().spin(Duration::from_micros(50)).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn spin(mut self, spin: Duration) -> Builder {
        self.config.spin = spin;
        self
    }

    /// Waits as on a kernel without `epoll_pwait2`: in whole milliseconds.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let rt = reactor::Builder::new().without_pwait2().build()?;
    /// rt.block_on(rt.sleep(std::time::Duration::from_micros(100))); // takes a millisecond
    /// # Ok(())
    /// # }
    /// ```
    pub fn without_pwait2(mut self) -> Builder {
        self.without_pwait2 = true;
        self
    }

    /// Makes the runtime. Call it on the thread that will run it.
    ///
    /// # Errors
    /// The errors of epoll_create1(2) and eventfd(2): no free descriptors, no memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let rt = reactor::Builder::new().build()?;
    /// assert_eq!(rt.block_on(async { 1 + 1 }), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(self) -> io::Result<Reactor> {
        let sys = Sys::new();
        let sources = Sources::new(Epoll::new(&sys, !self.without_pwait2)?);
        let context = Rc::new(Context {
            sys,
            pool: Rc::default(),
            trigger: self.trigger,
            closed: Cell::new(false),
            sources: RefCell::new(Some(sources)),
        });
        let driver = EpollDriver::new(Rc::clone(&context))?;
        Ok(Reactor { executor: Executor::new(driver, self.config), context })
    }
}

impl Reactor {
    /// Makes a runtime with the defaults: edge-triggered.
    ///
    /// # Errors
    /// The errors of [`Builder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::Reactor;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = Reactor::new()?;
    /// rt.block_on(async { println!("hello") });
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> io::Result<Reactor> {
        Builder::new().build()
    }
}
