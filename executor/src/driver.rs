//! What the executor asks of a driver, and what a driver hands back.
//!
//! The executor knows no kernel. It owns a [`Driver`], lets it have a *turn* whenever it has run a
//! batch of tasks or has nothing to do, and acts on what the turn [`Fired`].

use std::any::Any;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::stats::DriverStats;

/// The part of a runtime that talks to the kernel: epoll, io_uring, or a simulation.
pub trait Driver: 'static {
    /// Publishes pending requests, sleeps at most `timeout` (`None`: until something happens), and
    /// reports what fired. A signal ends it early with nothing fired; that is no error.
    ///
    /// # Errors
    /// Those of the kernel that leave the driver unusable. The executor gives up on them.
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()>;

    /// From now on new requests are refused. Called once, before the tasks are dropped.
    fn close(&mut self);

    /// Cancels everything, and returns only when the kernel holds nothing of ours; or when the
    /// deadline has passed, and then it leaks what the kernel may still touch, and counts it.
    ///
    /// # Errors
    /// Those of the kernel that kept it from waiting; the rest was then leaked, too.
    fn drain(&mut self, deadline: Instant, fired: &mut Fired) -> io::Result<()>;

    /// The clock the timers run on: the real one, or a virtual one under simulation.
    fn now(&self) -> Instant;

    /// Ends a `turn` from any thread. It keeps the descriptor it writes to alive, so a waker that
    /// outlives the runtime never writes to a number that has been given to somebody else.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// A descriptor that becomes readable when a turn would find something, for foreign loops.
    ///
    /// # Errors
    /// Those of setting it up, where it isn't there from the start.
    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>>;

    /// The driver's own counters.
    fn stats(&self) -> DriverStats;
}

/// Ends a [`Driver::turn`] from another thread.
pub trait Unpark: Send + Sync + 'static {
    /// Makes the current or the next turn return soon. Never blocks, never fails visibly.
    fn unpark(&self);
}

/// What came out of a turn: tasks to wake, and things to drop.
///
/// Both are foreign code. They are collected while the driver is borrowed, and run when it no longer
/// is, so a destructor that starts I/O finds the driver free.
#[derive(Default)]
pub struct Fired {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) garbage: Vec<Box<dyn Any>>,
}

impl Fired {
    /// Wakes this later in the turn.
    pub fn wake(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Drops this later in the turn. Plain memory needn't come here, only what has a destructor that
    /// the driver doesn't know.
    pub fn discard(&mut self, garbage: Box<dyn Any>) {
        self.garbage.push(garbage);
    }

    /// Does it all now. For drivers, outside of their turn, with nothing borrowed.
    pub fn run(self) {
        let Fired { wakers, garbage } = self;
        wakers.into_iter().for_each(Waker::wake);
        drop(garbage);
    }

    /// Whether there is nothing to wake or drop.
    pub fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.garbage.is_empty()
    }
}

impl std::fmt::Debug for Fired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fired {{ wakers: {}, garbage: {} }}", self.wakers.len(), self.garbage.len())
    }
}
