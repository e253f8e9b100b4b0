//! A runtime inside a foreign loop: that of a graphical surface, or of another runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::config::closed;
use super::driver::Driver;
use super::event_loop::Phase;
use super::executor::Executor;

impl<D: Driver> Executor<D> {
    /// Does one step, for a program that has a loop of its own: polls a batch of ready tasks, then
    /// gives the driver a turn that sleeps at most `max` (`None`: until something happens). Returns
    /// true if there is more to do at once.
    ///
    /// The contract: call it with `Some(Duration::ZERO)` until it returns false. Then sleep until
    /// [`as_fd`](Self::as_fd) is readable or [`next_deadline`](Self::next_deadline) has come. Then
    /// begin anew.
    ///
    /// The program may use the runtime from outside during that sleep. An action that makes a task
    /// ready ends the sleep, too: a spawn, an abort, a stop, a wake on this thread (by a channel,
    /// say) or on another. An action that makes no task ready does not end it. For example, a
    /// future that the program polls outside of the runtime's loop may make a request to the
    /// kernel, which only the next `turn` hands over. After such an action, begin anew.
    ///
    /// # Errors
    /// [`closed`] after the end; those of the driver.
    ///
    /// # Panics
    /// If it is called from inside `block_on` or `turn` of the same runtime. A panic of
    /// [`Config::on_task_panic`](crate::Config::on_task_panic) goes through.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) -> std::io::Result<()> {
    /// while rt.turn(Some(Duration::ZERO))? {}
    /// // Now sleep until `rt.as_fd()` is readable or `rt.next_deadline()` has come.
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn(&self, max: Option<Duration>) -> io::Result<bool> {
        let event_loop = &self.event_loop;
        if event_loop.phase.get() != Phase::Open {
            return Err(closed());
        }
        let _running = event_loop.start_running("turn");
        // A waker of an earlier `block_on` may still name its main future. There is none now.
        event_loop.run_batch(&mut || false);
        event_loop.let_hook_panic_go_on();
        event_loop.turn(max)?;
        event_loop.let_hook_panic_go_on();
        let has_more = !event_loop.queue.is_empty() || !event_loop.inbox.fall_asleep();
        event_loop.queue.ends_sleep.set(event_loop.is_guest.get() && !has_more);
        Ok(has_more)
    }

    /// Returns the time at which the next timer is due; `None` if there is no timer. If many timers
    /// are close together, it may return a time before them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) -> Option<Duration> {
    /// // `None`: sleep until the descriptor is readable.
    /// let sleep = rt.next_deadline().map(|deadline| deadline.saturating_duration_since(rt.now()));
    /// # sleep
    /// # }
    /// ```
    pub fn next_deadline(&self) -> Option<Instant> {
        self.event_loop.timers.next_deadline()
    }

    /// Returns a descriptor that becomes readable when `turn` would find something to do. (It may
    /// be readable once more now and then, after a wake from outside.) It is a duplicate, so it may
    /// be kept. After the end of the runtime it is never readable again.
    ///
    /// Only wait on it, with poll(2), epoll and the like. On a reactor it is a duplicate of the
    /// epoll instance that watches the runtime's descriptors. If the program takes events from it
    /// or changes its interests, the runtime misses them.
    ///
    /// # Errors
    /// [`closed`] after the end; those of making it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::os::fd::AsRawFd;
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) -> std::io::Result<()> {
    /// let fd = rt.as_fd()?;
    /// println!("wait until descriptor {} is readable, then call turn", fd.as_raw_fd());
    /// # Ok(())
    /// # }
    /// ```
    pub fn as_fd(&self) -> io::Result<OwnedFd> {
        let event_loop = &self.event_loop;
        let fd = event_loop.driver.borrow_mut().as_mut().ok_or_else(closed)?.as_fd()?.try_clone_to_owned()?;
        event_loop.is_guest.set(true);
        // The last turn may have returned false before this was called.
        event_loop.queue.ends_sleep.set(!event_loop.running.get() && event_loop.queue.is_empty());
        Ok(fd)
    }
}
