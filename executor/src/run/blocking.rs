//! Calls that block, on threads of their own, so that the loop goes on meanwhile.
//!
//! ```text
//!   the runtime's thread                            up to max_threads threads named "blocking"
//!     spawn_blocking(job) --> [ waiting jobs ] --+--> run one, deliver, look for the next
//!        |      no thread idle: start one -------+--> idle: sleeps for keep_alive at most, then ends
//!     task waits  <------- wake, as from any other thread --- result or panic
//! ```
//!
//! **Bounds.** At most [`BlockingConfig::max_threads`] threads, at most [`BlockingConfig::max_jobs`] jobs, those
//! included that run. A job waits when all threads are busy, first come, first served. Beyond the most jobs it is
//! *refused* rather than kept waiting: the function that takes it can't wait, and a program that is told at once can
//! choose, to wait for one of its handles, to shed load, or to raise the limit; an endless queue would hide that
//! it can't keep up. A refused job has not begun, so it may be tried again.
//!
//! **Cancellation.** A job that has not begun is dropped, on the runtime's thread, when nobody waits for it any more.
//! One that has begun can't be stopped: it goes on, and its result is dropped where it ends.
//!
//! **Shutdown.** Jobs that have not begun are dropped. Running ones are waited for until
//! [`Config::shutdown_deadline`](crate::Config::shutdown_deadline), which the driver's end counts into; then they are
//! left to themselves, and counted as [`BlockingStats::abandoned`]. So a job that never returns delays the exit, and
//! can't prevent it: threads don't outlive the process.
//!
//! One mutex guards the queue, and every decision is made under it; no job, destructor or waker runs there.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::foreign::{contain, guarded};
use crate::tasks::sync::lock;
use crate::tasks::task::JoinError;
use crate::watch::stats::BlockingStats;

/// The limits of a runtime's threads for blocking calls. They are started when needed.
#[derive(Clone, Copy, Debug)]
pub struct BlockingConfig {
    /// Threads there may be at once; at least one. Default: 64, which is enough to keep a disk busy, and still few where
    /// all of them compute.
    pub max_threads: usize,
    /// Jobs there may be at once, waiting and running; further ones are refused. Default: 65,536.
    pub max_jobs: usize,
    /// How long a thread without work stays. Default: 10 s.
    pub keep_alive: Duration,
}

impl Default for BlockingConfig {
    fn default() -> Self {
        BlockingConfig { max_threads: 64, max_jobs: 1 << 16, keep_alive: Duration::from_secs(10) }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads, and what waits for one.
pub(crate) struct Pool {
    /// The threads' name.
    name: &'static str,
    config: BlockingConfig,
    state: Mutex<State>,
    /// There is work, or there will be none any more.
    work: Condvar,
    /// A thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// By age. A map, because jobs leave from the middle when they are cancelled.
    waiting: BTreeMap<u64, Job>,
    next: u64,
    /// Waiting and running.
    jobs: usize,
    threads: usize,
    /// Threads that sleep, those included that have been woken and didn't get to run yet.
    idle: usize,
    closed: Option<Instant>,
    /// Jobs that still ran when the end had waited for them long enough.
    abandoned: usize,
}

impl Pool {
    pub(crate) fn new(name: &'static str, config: BlockingConfig) -> Arc<Pool> {
        Arc::new(Pool { name, config, state: Mutex::default(), work: Condvar::new(), ended: Condvar::new() })
    }

    /// Queues a job, and sees to it that a thread comes for it. Gives it back if it is refused.
    fn submit(self: &Arc<Self>, job: Job) -> Result<u64, Job> {
        let mut state = lock(&self.state);
        if state.closed.is_some() || state.jobs >= self.config.max_jobs {
            return Err(job);
        }
        // Threads that were woken and have not taken their job yet are idle, and their jobs wait.
        if state.waiting.len() < state.idle {
            self.work.notify_one();
        } else if state.threads < self.config.max_threads.max(1) {
            let pool = Arc::clone(self);
            let started = thread::Builder::new().name(self.name.to_owned()).spawn(move || pool.serve());
            state.threads += usize::from(started.is_ok());
            // Where no more threads can be had, the job waits for one of those that are there.
            if state.threads == 0 {
                return Err(job);
            }
        }
        let ticket = state.next;
        state.next += 1;
        state.jobs += 1;
        state.waiting.insert(ticket, job);
        Ok(ticket)
    }

    /// What a thread does.
    fn serve(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some((_, job)) = state.waiting.pop_first() {
                drop(state);
                // What panics here is a destructor: `job` keeps the panic of what it calls.
                contain(job);
                state = lock(&self.state);
                state.jobs -= 1;
                continue;
            }
            if state.closed.is_some() {
                break;
            }
            state.idle += 1;
            let slept = self.work.wait_timeout(state, self.config.keep_alive).unwrap_or_else(PoisonError::into_inner);
            state = slept.0;
            state.idle -= 1;
            if slept.1.timed_out() && state.waiting.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.ended.notify_all();
    }

    /// Takes back a job that has not begun.
    fn withdraw(&self, ticket: u64) -> Option<Job> {
        let mut state = lock(&self.state);
        let job = state.waiting.remove(&ticket)?;
        state.jobs -= 1;
        Some(job)
    }

    /// From now on jobs are refused, and threads end when they are idle. Returns those that have not begun.
    pub(super) fn close(&self) -> impl Iterator<Item = Job> + use<> {
        let mut state = lock(&self.state);
        state.closed = Some(Instant::now());
        state.jobs -= state.waiting.len();
        self.work.notify_all();
        std::mem::take(&mut state.waiting).into_values()
    }

    /// After `close`: waits until all threads have ended, or so much time has passed since then.
    pub(super) fn wait(&self, most: Duration) {
        let mut state = lock(&self.state);
        let left = |state: &State| most.saturating_sub(state.closed.map_or(Duration::ZERO, |closed| closed.elapsed()));
        while state.threads > 0 && !left(&state).is_zero() {
            let left = left(&state);
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.abandoned = state.jobs;
    }

    pub(super) fn stats(&self) -> BlockingStats {
        let State { threads, jobs, abandoned, .. } = *lock(&self.state);
        BlockingStats { threads_now: threads as u64, jobs_now: jobs as u64, abandoned: abandoned as u64 }
    }
}

/// Where a job's result meets the one who waits for it.
struct Slot<T> {
    outcome: Option<Result<T, JoinError>>,
    waker: Option<Waker>,
}

/// Goes with the job, and wakes the one who waits when it is dropped: after the job, or instead of it.
struct Delivery<T>(Arc<Mutex<Slot<T>>>);

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.outcome.get_or_insert(Err(JoinError::Cancelled));
        let waker = slot.waker.take();
        drop(slot);
        // Perhaps while the panic of a job's destructor unwinds.
        contain(|| waker.into_iter().for_each(Waker::wake));
    }
}

/// Waits for a job. Dropping it withdraws the job, unless that has begun.
pub(crate) struct Blocking<T> {
    pool: Arc<Pool>,
    slot: Arc<Mutex<Slot<T>>>,
    /// `None`: the job was refused.
    ticket: Option<u64>,
}

impl<T: Send + 'static> Blocking<T> {
    pub(crate) fn start(pool: &Arc<Pool>, job: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
        let slot = Arc::new(Mutex::new(Slot { outcome: None, waker: None }));
        let delivery = Delivery(Arc::clone(&slot));
        let submitted = pool.submit(Box::new(move || {
            let result = guarded(job).map_err(JoinError::panicked);
            lock(&delivery.0).outcome = Some(result);
        }));
        // What was refused is dropped here, with nothing locked.
        Blocking { pool: Arc::clone(pool), slot, ticket: submitted.ok() }
    }

    /// Whether the job was refused, and will never run.
    pub(crate) fn is_refused(&self) -> bool {
        self.ticket.is_none()
    }
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.ticket.is_none() {
            return Poll::Ready(Err(JoinError::Refused));
        }
        let waker = cx.waker().clone();
        let mut slot = lock(&self.slot);
        let known = slot.waker.replace(waker);
        let outcome = slot.outcome.take();
        drop(slot);
        contain(|| drop(known));
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Blocking<T> {
    fn drop(&mut self) {
        let job = self.ticket.and_then(|ticket| self.pool.withdraw(ticket));
        let waker = lock(&self.slot).waker.take();
        contain(|| drop(waker));
        drop(job);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pool with threads that are made up: a real one would take its job at a moment of its own choice.
    fn pool(threads: usize, idle: usize) -> Arc<Pool> {
        let pool = Pool::new("blocking", BlockingConfig { keep_alive: Duration::ZERO, ..BlockingConfig::default() });
        *lock(&pool.state) = State { threads, idle, ..State::default() };
        pool
    }

    /// A thread that was woken and did not run yet is idle, and has its job. A job more than there are idle threads
    /// needs a thread of its own.
    #[test]
    fn no_two_jobs_rely_on_the_same_idle_thread() {
        const IDLE: usize = 3;
        let pool = pool(IDLE, IDLE);
        for _ in 0..IDLE {
            assert!(pool.submit(Box::new(|| ())).is_ok());
            assert_eq!(lock(&pool.state).threads, IDLE, "there is an idle one for it");
        }
        // It holds the thread that is started until the count is read.
        let (release, held) = mpsc::channel::<()>();
        assert!(pool.submit(Box::new(move || held.recv().unwrap_or_default())).is_ok());
        assert_eq!(lock(&pool.state).threads, IDLE + 1, "each idle one has a job");
        drop(release);
    }

    /// The time that the driver takes for its end is not added to that of the jobs.
    #[test]
    fn the_deadline_counts_from_the_closing() {
        const DEADLINE: Duration = Duration::from_secs(10);
        let pool = pool(1, 0);
        let start = Instant::now();
        lock(&pool.state).closed = start.checked_sub(DEADLINE);
        pool.wait(DEADLINE);
        assert!(start.elapsed() < DEADLINE / 2, "{:?}", start.elapsed());
    }
}
