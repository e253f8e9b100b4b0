//! The runtime as programs see it: an owner, and handles. What it does is in `event_loop.rs`.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{Location, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::blocking::Blocking;
use super::config::{Config, closed};
use super::driver::{Driver, Fired};
use super::event_loop::{EventLoop, Phase};
use super::wake_all::Stopped;
use crate::tasks::remote::RemoteHandle;
use crate::tasks::task::{JoinError, JoinHandle};
use crate::time::timer::{Elapsed, Interval, Sleep, timeout_at};
use crate::watch::stats::Stats;

/// A runtime over the driver `D`: its owner, or a handle to it.
///
/// [`Executor::new`] returns the *owner*; dropping it ends the runtime. Its clones are *handles*: they
/// can do all the same, keep nothing alive but the wake-up descriptor, and get [`closed`] errors when the owner
/// is gone.
pub struct Executor<D: Driver> {
    pub(super) event_loop: Rc<EventLoop<D>>,
    is_owner: bool,
}

impl<D: Driver> Clone for Executor<D> {
    /// A handle, also from the owner.
    fn clone(&self) -> Self {
        Executor { event_loop: Rc::clone(&self.event_loop), is_owner: false }
    }
}

impl<D: Driver> fmt::Debug for Executor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("is_owner", &self.is_owner).field("stats", &self.stats()).finish()
    }
}

impl<D: Driver> Drop for Executor<D> {
    fn drop(&mut self) {
        if self.is_owner {
            self.event_loop.end();
        }
    }
}

impl<D: Driver> Executor<D> {
    /// A runtime over `driver`; this is its owner.
    pub fn new(driver: D, config: Config) -> Self {
        Executor { event_loop: Rc::new(EventLoop::new(driver, config)), is_owner: true }
    }

    /// Runs `future` to its end, and the runtime's tasks beside it. Tasks that are left when it ends
    /// stay as they are: the next `block_on` or `turn` goes on with them.
    ///
    /// # Panics
    /// If it is called from inside `block_on` or `turn` of the same runtime, which can still be used
    /// afterwards; if the runtime is closed; if the driver fails for good. A panic of `future` goes
    /// through, and so does one of [`Config::on_task_panic`].
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.event_loop.block_on(future)
    }

    /// Runs `future` beside the others. It is polled for the first time when its turn in the queue
    /// comes. If it is refused (the runtime is closing, or has `max_tasks` tasks), it is dropped here,
    /// and the handle yields [`JoinError::Refused`].
    #[track_caller]
    pub fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.event_loop.spawn(future, Location::caller())
    }

    /// Runs `job`, which may block or compute for long, on a thread of the runtime's pool, while the loop goes on. The
    /// handle is as that of [`spawn`](Self::spawn): it yields what `job` returns, or its panic; dropping it detaches
    /// the job; aborting it drops the job if that has not begun, and else leaves it to itself. Each waits in a task
    /// of its own, which counts as one.
    ///
    /// If it is refused ([`JoinError::Refused`]: the runtime is closing, has `max_tasks` tasks or
    /// [`max_jobs`](crate::BlockingConfig::max_jobs) jobs, or no thread can be started), it is dropped here. Jobs wait
    /// while all threads are busy, so a job must not wait for another one. At the end of the runtime jobs that have
    /// not begun are dropped; running ones are waited for until
    /// [`Config::shutdown_deadline`], then left to themselves and counted
    /// ([`BlockingStats::abandoned`](crate::BlockingStats::abandoned)), so that none keeps the program from its exit.
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) -> Result<(), Box<dyn std::error::Error>> {
    /// let sorted = rt.spawn_blocking(|| {
    ///     let mut numbers: Vec<u32> = (0..1_000_000).rev().collect();
    ///     numbers.sort();
    ///     numbers
    /// });
    /// assert_eq!(sorted.await?[0], 0);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_blocking<T, F>(&self, job: F) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let EventLoop { blocking, counts, .. } = &*self.event_loop;
        let waiting = if self.event_loop.is_full() { None } else { Some(Blocking::start(blocking, job)) };
        let Some(waiting) = waiting.filter(|waiting| !waiting.is_refused()) else {
            counts.borrow_mut().tasks_refused += 1;
            return JoinHandle::refused();
        };
        self.spawn(async move {
            match waiting.await {
                Ok(output) => output,
                Err(JoinError::Panicked(payload)) => resume_unwind(payload.into_inner()),
                // The pool is closed, and so this task is about to be dropped.
                Err(_) => std::future::pending().await,
            }
        })
    }

    /// Runs `job` as [`spawn_blocking`](Self::spawn_blocking) does, and waits for it here, without a task of its own. It
    /// begins now, also if the future is never polled.
    ///
    /// # Errors
    /// The panic of `job`; refused, as there; cancelled, when the runtime ends first.
    ///
    /// # Cancel safety
    /// Dropping this future drops the job if it has not begun. Else it goes on, and its result is dropped where it
    /// ends.
    pub fn unblock<T, F>(&self, job: F) -> impl Future<Output = Result<T, JoinError>> + use<T, F, D>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Blocking::start(&self.event_loop.blocking, job)
    }

    /// As [`unblock`](Self::unblock), for a call that reports errors of the system's. It begins when it is polled.
    ///
    /// # Errors
    /// Those of `job`; `ResourceBusy` if it is refused because the pool has as many jobs as it may;
    /// [`closed`](crate::closed).
    ///
    /// # Panics
    /// If `job` does.
    ///
    /// # Cancel safety
    /// As that of [`unblock`](Self::unblock).
    pub async fn unblock_io<T, F>(&self, job: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        match self.unblock(job).await {
            Ok(result) => result,
            Err(JoinError::Panicked(payload)) => resume_unwind(payload.into_inner()),
            Err(_) if self.event_loop.phase.get() != Phase::Open => Err(closed()),
            Err(refused) => Err(io::Error::new(io::ErrorKind::ResourceBusy, refused)),
        }
    }

    /// The time on the driver's clock.
    pub fn now(&self) -> Instant {
        self.event_loop.now()
    }

    /// The time of the last turn, which costs nothing to read: at most a batch of polls behind
    /// [`now`](Self::now).
    pub fn turn_time(&self) -> Instant {
        self.event_loop.turn_time.get()
    }

    /// Completes at `deadline`, never earlier; `None` stands for "never".
    pub fn sleep_until(&self, deadline: impl Into<Option<Instant>>) -> Sleep {
        Sleep::new(Rc::clone(&self.event_loop.timers), deadline.into())
    }

    /// Completes after `duration`, never earlier; a duration too long for the clock never ends.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now().checked_add(duration))
    }

    /// A pause of an accept loop, which is counted.
    pub(crate) fn pause_accepting(&self, duration: Duration) -> Sleep {
        self.event_loop.counts.borrow_mut().accept_pauses += 1;
        self.sleep(duration)
    }

    /// Waits for `future` at most `duration`. If another executor polls this and the runtime ends, the time never comes:
    /// see [`Sleep`].
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over first. `future` is dropped then.
    ///
    /// # Cancel safety
    /// Dropping this future drops `future`, which loses what that loses, and takes the timer away.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        timeout_at(self.sleep(duration), future).await
    }

    /// Ticks now and then every `period`.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn interval(&self, period: Duration) -> Interval {
        Interval::new(self.sleep_until(self.now()), period)
    }

    /// Completes when [`stop`](Self::stop) has been called, here or through a [`RemoteHandle`].
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing: a stop is remembered, and completes the next one.
    pub fn stopped(&self) -> impl Future<Output = ()> + 'static {
        Stopped::new(&self.event_loop.stopped)
    }

    /// Asks the program to end: completes every [`stopped`](Self::stopped), now and later.
    pub fn stop(&self) {
        let mut fired = Fired::default();
        self.event_loop.stopped.stop(&mut fired);
        self.event_loop.act(&mut fired);
    }

    /// A handle for other threads.
    pub fn remote(&self) -> RemoteHandle {
        RemoteHandle::new(Arc::clone(&self.event_loop.inbox))
    }

    /// What the runtime has done so far; also after its end.
    pub fn stats(&self) -> Stats {
        let EventLoop { driver, tasks, queue, inbox, timers, counts, .. } = &*self.event_loop;
        let mut stats = counts.borrow().clone();
        stats.tasks_now = tasks.borrow().len() as u64;
        stats.wakes_local = queue.wakes.get();
        stats.wakes_remote = inbox.wakes.load(Ordering::Relaxed);
        stats.timers_now = timers.len() as u64;
        stats.timers_fired = timers.fired.get();
        stats.blocking = self.event_loop.blocking.stats();
        if let Some(driver) = driver.borrow().as_ref() {
            stats.driver = driver.stats();
        }
        stats
    }
}

/// Lets all other ready tasks have a turn first: to the back of the queue.
///
/// # Cancel safety
/// Dropping this future loses nothing.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
