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
#[derive(Clone, Debug, Default)]
pub struct Builder {
    trigger: Trigger,
    config: Config,
    without_pwait2: bool,
}

impl Builder {
    /// Starts with the defaults: edge-triggered, and the defaults of [`Config`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Chooses level or edge.
    pub fn trigger(mut self, trigger: Trigger) -> Builder {
        self.trigger = trigger;
        self
    }

    /// Sets the limits and hooks that every runtime has.
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Sets for how long the runtime looks for work before it sleeps: see [`Config::spin`].
    pub fn spin(mut self, spin: Duration) -> Builder {
        self.config.spin = spin;
        self
    }

    /// Waits as on a kernel without `epoll_pwait2`: in whole milliseconds.
    pub fn without_pwait2(mut self) -> Builder {
        self.without_pwait2 = true;
        self
    }

    /// Makes the runtime. Call it on the thread that will run it.
    ///
    /// # Errors
    /// The errors of epoll_create1(2) and eventfd(2): no free descriptors, no memory.
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
    pub fn new() -> io::Result<Reactor> {
        Builder::new().build()
    }
}
