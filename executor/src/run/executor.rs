//! The runtime as programs see it: an owner, and handles. `event_loop.rs` does the work.

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
/// [`Executor::new`] returns the *owner*. Dropping the owner ends the runtime. Its clones are
/// *handles*. A handle can do everything the owner can, and keeps only the wake-up descriptor
/// alive. When the owner is gone, calls through a handle fail with [`closed`].
pub struct Executor<D: Driver> {
    pub(super) event_loop: Rc<EventLoop<D>>,
    is_owner: bool,
}

impl<D: Driver> Clone for Executor<D> {
    /// Makes a handle, also from the owner.
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
    /// Makes a runtime over `driver` and returns its owner.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Config, Driver, Executor};
    /// # fn example<D: Driver>(driver: D) {
    /// let rt = Executor::new(driver, Config { max_tasks: 1000, ..Config::default() });
    /// assert_eq!(rt.block_on(async { 1 + 1 }), 2);
    /// drop(rt); // ends the runtime
    /// # }
    /// ```
    pub fn new(driver: D, config: Config) -> Self {
        Executor { event_loop: Rc::new(EventLoop::new(driver, config)), is_owner: true }
    }

    /// Runs `future` to its end, and the runtime's tasks beside it. Tasks that are left when it
    /// ends stay as they are: the next `block_on` or `turn` goes on with them.
    ///
    /// # Panics
    /// If it is called from inside `block_on` or `turn` of the same runtime (the runtime can still
    /// be used afterwards); if the runtime is closed; if the driver fails for good. A panic of
    /// `future` goes through, and so does a panic of [`Config::on_task_panic`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let answer = rt.block_on(async {
    ///     rt.sleep(Duration::from_millis(10)).await;
    ///     42
    /// });
    /// assert_eq!(answer, 42);
    /// # }
    /// ```
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.event_loop.block_on(future)
    }

    /// Runs `future` as a task, beside the others. The first poll comes when the task's turn in the
    /// queue comes. If the spawn is refused (the runtime is closing, or has `max_tasks` tasks),
    /// `future` is dropped here and the handle returns [`JoinError::Refused`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor, JoinError};
    /// # async fn example<D: Driver>(rt: &Executor<D>) -> Result<(), JoinError> {
    /// let (one, two) = (rt.spawn(async { 1 }), rt.spawn(async { 2 }));
    /// assert_eq!(one.await? + two.await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.event_loop.spawn(future, Location::caller())
    }

    /// Runs `job` on a thread of the runtime's pool, while the loop goes on. `job` may block or
    /// compute for long. The handle is like that of [`spawn`](Self::spawn). It returns the output
    /// of `job`, or its panic. Dropping it detaches the job. Aborting it drops the job if that has
    /// not begun, and otherwise leaves it alone. A task waits for each job. This task counts as one
    /// of the runtime's tasks.
    ///
    /// `job` is refused if the runtime is closing, if it has `max_tasks` tasks or
    /// [`max_jobs`](crate::BlockingConfig::max_jobs) jobs, or if no thread can be started. It is
    /// then dropped here, and the handle returns [`JoinError::Refused`]. Jobs wait while all
    /// threads are busy, so a job must not wait for another job. At the end of the runtime, jobs
    /// that have not begun are dropped. The runtime waits for running jobs until
    /// [`Config::shutdown_deadline`], then leaves them alone and counts them
    /// ([`BlockingStats::abandoned`](crate::BlockingStats::abandoned)). So no job keeps the program
    /// from its exit.
    ///
    /// # Examples
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
                // The pool is closed, so this task is about to be dropped.
                Err(_) => std::future::pending().await,
            }
        })
    }

    /// Runs `job` as [`spawn_blocking`](Self::spawn_blocking) does, and waits for it here, without
    /// a task of its own. `job` begins now, even if the future is never polled.
    ///
    /// # Errors
    /// [`JoinError::Panicked`] if `job` panics; [`JoinError::Refused`] as for `spawn_blocking`;
    /// [`JoinError::Cancelled`] if the runtime ends first.
    ///
    /// # Cancel safety
    /// Dropping this future drops the job if it has not begun. Otherwise the job goes on, and its
    /// result is dropped on its thread.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor, JoinError};
    /// # async fn example<D: Driver>(rt: &Executor<D>) -> Result<(), JoinError> {
    /// let sum = rt.unblock(|| (1..=1_000_000_u64).sum::<u64>()).await?;
    /// assert_eq!(sum, 500_000_500_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn unblock<T, F>(&self, job: F) -> impl Future<Output = Result<T, JoinError>> + use<T, F, D>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Blocking::start(&self.event_loop.blocking, job)
    }

    /// Does what [`unblock`](Self::unblock) does, for a call that returns an [`io::Error`]. `job`
    /// begins when the future is first polled.
    ///
    /// # Errors
    /// Those of `job`; `ResourceBusy` if `job` is refused because the pool has its maximum number
    /// of jobs or can start no thread; [`closed`](crate::closed).
    ///
    /// # Panics
    /// If `job` panics.
    ///
    /// # Cancel safety
    /// As that of [`unblock`](Self::unblock).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) -> std::io::Result<()> {
    /// let entries = rt.unblock_io(|| Ok(std::fs::read_dir(".")?.count())).await?;
    /// println!("{entries} entries");
    /// # Ok(())
    /// # }
    /// ```
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

    /// Returns the time on the driver's clock.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let start = rt.now();
    /// executor::yield_now().await;
    /// println!("the others took {:?}", rt.now() - start);
    /// # }
    /// ```
    pub fn now(&self) -> Instant {
        self.event_loop.now()
    }

    /// Returns the time of the last turn, at almost no cost. It is at most a batch of polls behind
    /// [`now`](Self::now).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// assert!(rt.turn_time() <= rt.now());
    /// # }
    /// ```
    pub fn turn_time(&self) -> Instant {
        self.event_loop.turn_time.get()
    }

    /// Returns a future that completes at `deadline`, never earlier. `None` means never.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let deadline = rt.now() + Duration::from_millis(10);
    /// rt.sleep_until(deadline).await;
    /// assert!(rt.now() >= deadline);
    /// # }
    /// ```
    pub fn sleep_until(&self, deadline: impl Into<Option<Instant>>) -> Sleep {
        Sleep::new(Rc::clone(&self.event_loop.timers), deadline.into())
    }

    /// Returns a future that completes after `duration`, never earlier. If `duration` is too long
    /// for the clock, it never completes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// rt.sleep(Duration::from_secs(1)).await;
    /// println!("a second later");
    /// # }
    /// ```
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now().checked_add(duration))
    }

    /// Returns a pause for an accept loop, and counts it.
    pub(crate) fn pause_accepting(&self, duration: Duration) -> Sleep {
        self.event_loop.counts.borrow_mut().accept_pauses += 1;
        self.sleep(duration)
    }

    /// Waits for `future`, at most for `duration`. If another executor polls this and the runtime
    /// ends, the time never comes: see [`Sleep`].
    ///
    /// # Errors
    /// [`Elapsed`] if `duration` is over first. `future` is dropped then.
    ///
    /// # Cancel safety
    /// Dropping this future drops `future`, which loses what that loses. It also cancels the timer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Elapsed, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let endless = std::future::pending::<()>();
    /// assert_eq!(rt.timeout(Duration::from_millis(10), endless).await, Err(Elapsed));
    /// # }
    /// ```
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        timeout_at(self.sleep(duration), future).await
    }

    /// Returns an interval that ticks now, and then every `period`.
    ///
    /// # Panics
    /// If `period` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let mut interval = rt.interval(Duration::from_secs(1));
    /// for number in 0..3 {
    ///     interval.tick().await;
    ///     println!("tick {number}");
    /// }
    /// # }
    /// ```
    pub fn interval(&self, period: Duration) -> Interval {
        Interval::new(self.sleep_until(self.now()), period)
    }

    /// Returns a future that completes when [`stop`](Self::stop) has been called, here or through a
    /// [`RemoteHandle`].
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing. The runtime remembers a stop, which also completes later
    /// calls.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let handle = rt.clone();
    /// rt.spawn(async move {
    ///     handle.sleep(Duration::from_secs(1)).await;
    ///     handle.stop();
    /// }).detach();
    /// rt.block_on(rt.stopped());
    /// # }
    /// ```
    pub fn stopped(&self) -> impl Future<Output = ()> + 'static {
        Stopped::new(&self.event_loop.stopped)
    }

    /// Asks the program to end: completes every [`stopped`](Self::stopped), now and later.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// rt.stop();
    /// rt.stopped().await; // completes at once
    /// # }
    /// ```
    pub fn stop(&self) {
        let mut fired = Fired::default();
        self.event_loop.stopped.stop(&mut fired);
        self.event_loop.act(&mut fired);
    }

    /// Returns a handle for other threads.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let remote = rt.remote();
    /// std::thread::spawn(move || remote.stop());
    /// rt.block_on(rt.stopped());
    /// # }
    /// ```
    pub fn remote(&self) -> RemoteHandle {
        RemoteHandle::new(Arc::clone(&self.event_loop.inbox))
    }

    /// Returns the runtime's counters so far. It also works after the runtime's end.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let stats = rt.stats();
    /// println!("{} of {} tasks are left", stats.tasks_now, stats.tasks_spawned);
    /// println!("{stats}");
    /// # }
    /// ```
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

/// Lets all other ready tasks have a turn first: goes to the back of the queue.
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
