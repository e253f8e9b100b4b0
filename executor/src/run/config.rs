//! What every runtime can be told when it is built, and what one says that has ended.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::blocking::BlockingConfig;
use super::foreign::dispose;
use super::stall::StallWatch;

/// Receives the payload of a panic that no `JoinHandle` will deliver.
pub type PanicHook = Rc<dyn Fn(Box<dyn std::any::Any + Send>)>;

/// What every runtime can be told when it is built.
#[derive(Clone)]
pub struct Config {
    /// Tasks that may exist at once; further spawns are refused. Default: 2^20.
    pub max_tasks: usize,
    /// How long the end of the runtime may wait for the kernel, and for blocking jobs that run. Default: 5 s.
    pub shutdown_deadline: Duration,
    /// Threads and jobs of [`spawn_blocking`](crate::Executor::spawn_blocking).
    pub blocking: BlockingConfig,
    /// How long the loop keeps looking for work before it sleeps. What comes in this time is served without
    /// the cost of falling asleep and being woken, which is most of what a single slow conversation costs; the
    /// price is a processor that is busy for so long after each thing that happened. Default: zero.
    pub spin: Duration,
    /// Who is told of tasks that hold the loop for long. Default: `None`, which costs nothing.
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
    /// Called with the payload when a task nobody awaits panics. The others run on. The default does
    /// nothing more, because the panic has been reported by then: std's panic hook, which the program
    /// can replace, prints to stderr.
    ///
    /// To make such a panic the end of the program, go on with it: `Rc::new(|payload| std::panic::resume_unwind(payload))`.
    /// A panic of this function leaves `block_on` or `turn` as soon as what the loop is about to do is done: the batch
    /// of polls, or all wakes of a turn. So a program that catches it loses no wake, and may call `block_on` again;
    /// what the main future returned in that same batch is lost. Of several panics the first goes on. At the end of the
    /// runtime none does: it happens in a drop, perhaps while another panic unwinds.
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

/// The error of everything that is asked of a runtime whose owner is gone.
pub fn closed() -> io::Error {
    io::Error::other(Closed)
}

/// Inside the [`io::Error`] that [`closed`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime is closed")
    }
}

impl std::error::Error for Closed {}
