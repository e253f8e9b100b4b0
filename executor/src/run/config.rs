//! The settings of a runtime, and the error of a runtime that has ended.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::blocking::BlockingConfig;
use super::foreign::dispose;
use super::stall::StallWatch;

/// Receives the payload of a panic that no `JoinHandle` delivers.
pub type PanicHook = Rc<dyn Fn(Box<dyn std::any::Any + Send>)>;

/// The settings of a runtime, for every engine.
#[derive(Clone)]
pub struct Config {
    /// The maximum number of tasks at once. Further spawns are refused. Default: 2^20.
    pub max_tasks: usize,
    /// The longest time that the end of the runtime waits for the kernel, and for blocking jobs
    /// that run. Default: 5 s.
    pub shutdown_deadline: Duration,
    /// The limits of [`spawn_blocking`](crate::Executor::spawn_blocking).
    pub blocking: BlockingConfig,
    /// The time for which the loop looks for work before it sleeps. An event in this time is served
    /// without the cost of falling asleep and waking up. That is most of the cost of a single slow
    /// conversation. The price: after each event, a processor is busy for this long. Default: zero.
    pub spin: Duration,
    /// Reports tasks that hold the loop for long. Default: `None`, which costs nothing.
    ///
    /// ```
    /// # use std::{rc::Rc, time::Duration};
    /// use executor::{Config, StallWatch};
    ///
    /// let on_stall = Rc::new(|stall: &_| eprintln!("{stall}"));
    /// let stall_watch = Some(StallWatch { limit: Duration::from_millis(50), on_stall });
    /// let config = Config { stall_watch, ..Config::default() };
    /// ```
    pub stall_watch: Option<StallWatch>,
    /// Called with the payload when a task without a `JoinHandle` panics. The other tasks run on.
    /// The default does nothing more, because by then std's panic hook has printed the panic to
    /// stderr. (The program can replace that hook.)
    ///
    /// To make such a panic end the program, resume it: `Rc::new(|payload|
    /// std::panic::resume_unwind(payload))`. A panic of this function leaves `block_on` or `turn`,
    /// but only after the loop has finished its current step: the batch of polls, or all wakes of a
    /// turn. So a program that catches the panic loses no wake and may call `block_on` again. It
    /// does lose the output of the main future if that completed in the same batch. If there are
    /// several panics, the first one is resumed. At the end of the runtime none is: that runs in a
    /// drop, perhaps while another panic unwinds.
    pub on_task_panic: PanicHook,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_tasks: 1 << 20,
            shutdown_deadline: Duration::from_secs(5),
            blocking: BlockingConfig::default(),
            spin: Duration::ZERO,
            stall_watch: None,
            on_task_panic: Rc::new(dispose),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("max_tasks", &self.max_tasks)
            .field("shutdown_deadline", &self.shutdown_deadline)
            .field("spin", &self.spin)
            .finish_non_exhaustive()
    }
}

/// Makes the error of every request to a runtime whose owner is gone.
pub fn closed() -> io::Error {
    io::Error::other(Closed)
}

/// The error inside the [`io::Error`] that [`closed`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime is closed")
    }
}

impl std::error::Error for Closed {}
