//! A runtime inside of a loop that isn't its own: that of a graphical surface, or of another runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::driver::Driver;
use super::executor::{Executor, Phase, closed};

impl<D: Driver> Executor<D> {
    /// One step, for a program that has a loop of its own: polls a batch of ready tasks, then gives the
    /// driver a turn that sleeps at most `max` (`None`: until something happens). Returns whether there
    /// is more to do at once.
    ///
    /// The contract: call it with `Some(Duration::ZERO)` until it returns false, then sleep until
    /// [`as_fd`](Self::as_fd) is readable or [`next_deadline`](Self::next_deadline) has come; then begin anew.
    ///
    /// What the program does to the runtime from outside meanwhile ends that sleep, too, if it makes a task ready: a
    /// spawn, an abort, a stop, a wake on this thread (by a channel, say) or on another. What makes no task ready does
    /// not: a future that the program polls outside of the runtime's loop may put a question to the kernel, which the
    /// next `turn` hands over. After that, begin anew.
    ///
    /// # Errors
    /// [`closed`] after the end; those of the driver.
    ///
    /// # Panics
    /// If it is called from inside `block_on` or `turn` of the same runtime. A panic of
    /// [`Config::on_task_panic`](crate::Config::on_task_panic) goes through.
    pub fn turn(&self, max: Option<Duration>) -> io::Result<bool> {
        let shared = &self.shared;
        if shared.phase.get() != Phase::Open {
            return Err(closed());
        }
        let _running = shared.start_running("turn");
        // A waker of an earlier block_on may still name its main future: there is none now.
        shared.run_batch(&mut || false);
        shared.let_hook_panic_go_on();
        shared.turn(max)?;
        shared.let_hook_panic_go_on();
        let has_more = !shared.queue.is_empty() || !shared.inbox.fall_asleep();
        shared.queue.ends_sleep.set(shared.is_guest.get() && !has_more);
        Ok(has_more)
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.shared.timers.next_deadline()
    }

    /// A descriptor that becomes readable when `turn` would find something to do (and now and then once
    /// more, when it was woken from outside). It is a duplicate, so it may be kept; after the end of the
    /// runtime it is never readable again.
    ///
    /// It is for waiting only, by poll(2), epoll and the like. On a reactor it is a duplicate of the epoll instance that
    /// watches the runtime's descriptors: events that are taken from it, and questions that are put to it, are
    /// missing there.
    ///
    /// # Errors
    /// [`closed`] after the end; those of making it.
    pub fn as_fd(&self) -> io::Result<OwnedFd> {
        let shared = &self.shared;
        let fd = self.driver(|driver| driver.as_fd()?.try_clone_to_owned())??;
        shared.is_guest.set(true);
        // The last turn may have said that there is nothing to do before this was asked for.
        shared.queue.ends_sleep.set(!shared.running.get() && shared.queue.is_empty());
        Ok(fd)
    }
}
