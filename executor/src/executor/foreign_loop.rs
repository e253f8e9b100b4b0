//! A runtime inside of a loop that isn't its own: that of a graphical surface, or of another runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::{Executor, Phase, closed};
use crate::driver::Driver;

impl<D: Driver> Executor<D> {
    /// One step, for a program that has a loop of its own: polls a batch of ready tasks, then gives the
    /// driver a turn that sleeps at most `max` (`None`: until something happens). Returns whether there
    /// is more to do at once.
    ///
    /// The contract: call it with `Some(Duration::ZERO)` until it returns false, then sleep until
    /// [`as_fd`](Self::as_fd) is readable or [`next_deadline`](Self::next_deadline) has come. After
    /// touching the runtime from outside (a spawn, an abort, a wake on this thread) begin anew.
    ///
    /// # Errors
    /// [`closed`] after the end; those of the driver.
    ///
    /// # Panics
    /// If it is called from inside `block_on` or `turn` of the same runtime.
    pub fn turn(&self, max: Option<Duration>) -> io::Result<bool> {
        let shared = &self.shared;
        if shared.phase.get() != Phase::Open {
            return Err(closed());
        }
        let _running = shared.start_running("turn");
        // A waker of an earlier block_on may still name its main future: there is none now.
        shared.run_batch(&mut || false);
        shared.turn(max)?;
        Ok(!shared.queue.is_empty() || !shared.inbox.fall_asleep())
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.shared.timers.next_deadline()
    }

    /// A descriptor that becomes readable when `turn` would find something to do (and now and then once
    /// more, when another thread woke it). It is a duplicate, so it may be kept; after the end of the
    /// runtime it is never readable again.
    ///
    /// # Errors
    /// [`closed`] after the end; those of making it.
    pub fn as_fd(&self) -> io::Result<OwnedFd> {
        self.driver(|driver| driver.as_fd()?.try_clone_to_owned())?
    }
}
