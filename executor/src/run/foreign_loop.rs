//! A runtime inside of a loop that isn't its own: that of a graphical surface, or of another runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::config::closed;
use super::driver::Driver;
use super::event_loop::Phase;
use super::executor::Executor;

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
        let event_loop = &self.event_loop;
        if event_loop.phase.get() != Phase::Open {
            return Err(closed());
        }
        let _running = event_loop.start_running("turn");
        // A waker of an earlier block_on may still name its main future: there is none now.
        event_loop.run_batch(&mut || false);
        event_loop.let_hook_panic_go_on();
        event_loop.turn(max)?;
        event_loop.let_hook_panic_go_on();
        let has_more = !event_loop.queue.is_empty() || !event_loop.inbox.fall_asleep();
        event_loop.queue.ends_sleep.set(event_loop.is_guest.get() && !has_more);
        Ok(has_more)
    }

    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.event_loop.timers.next_deadline()
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
        let event_loop = &self.event_loop;
        let fd = event_loop.driver.borrow_mut().as_mut().ok_or_else(closed)?.as_fd()?.try_clone_to_owned()?;
        event_loop.is_guest.set(true);
        // The last turn may have said that there is nothing to do before this was asked for.
        event_loop.queue.ends_sleep.set(!event_loop.running.get() && event_loop.queue.is_empty());
        Ok(fd)
    }
}
