//! Runs calls that block on threads of their own, so that the loop goes on meanwhile.
//!
//! ```text
//!   the runtime's thread                            up to max_threads threads named "blocking"
//!     spawn_blocking(job) --> [ waiting jobs ] --+--> run one, deliver, look for the next
//!        |      no thread idle: start one -------+--> idle: sleeps for keep_alive at most, then ends
//!     task waits  <------- wake, as from any other thread --- result or panic
//! ```
//!
//! **Bounds.** There are at most [`BlockingConfig::max_threads`] threads and at most
//! [`BlockingConfig::max_jobs`] jobs, running ones included. While all threads are busy, jobs wait,
//! first come, first served. Above the maximum number of jobs, a job is *refused* and does not
//! wait: the function that takes it cannot wait. A program that learns of it at once can choose: it
//! can wait for one of its handles, reject work, or raise the limit. An endless queue would hide
//! that the program cannot keep up. A refused job has not begun, so the program may try it again.
//!
//! **Cancellation.** If a job has not begun and its future is dropped, the job is dropped on the
//! runtime's thread. A job that has begun cannot be stopped. It goes on, and its result is dropped
//! on its own thread.
//!
//! **Shutdown.** Jobs that have not begun are dropped. The runtime waits for running jobs until
//! [`Config::shutdown_deadline`](crate::Config::shutdown_deadline). This time includes the end of
//! the driver. Jobs that still run then are left alone and counted as [`BlockingStats::abandoned`].
//! So a job that never returns delays the exit but cannot prevent it: threads end with the process.
//!
//! One mutex guards the queue, and every decision is made under it. No job, destructor or waker
//! runs under it.

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

/// The limits of a runtime's threads for blocking calls. Threads are started when needed.
#[derive(Clone, Copy, Debug)]
pub struct BlockingConfig {
    /// The maximum number of threads at once; 0 counts as 1. Default: 64. That is enough to keep a
    /// disk busy, and still few if all of them compute.
    pub max_threads: usize,
    /// The maximum number of jobs at once, waiting and running. Further jobs are refused. Default:
    /// 65,536.
    pub max_jobs: usize,
    /// The time that a thread without work stays. Default: 10 s.
    pub keep_alive: Duration,
}

impl Default for BlockingConfig {
    fn default() -> Self {
        BlockingConfig { max_threads: 64, max_jobs: 1 << 16, keep_alive: Duration::from_secs(10) }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads, and the jobs that wait for one.
pub(crate) struct Pool {
    /// The threads' name.
    name: &'static str,
    config: BlockingConfig,
    state: Mutex<State>,
    /// Notified when there is work, or when there will be no more work.
    work: Condvar,
    /// Notified when a thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The waiting jobs by age. It is a map because cancelled jobs leave from the middle.
    waiting: BTreeMap<u64, Job>,
    next: u64,
    /// The number of jobs, waiting and running.
    jobs: usize,
    threads: usize,
    /// The number of threads that sleep. A thread that was woken but has not run yet counts, too.
    idle: usize,
    closed: Option<Instant>,
    /// The number of jobs that were still running when the wait at the end was over.
    abandoned: usize,
}

impl Pool {
    pub(crate) fn new(name: &'static str, config: BlockingConfig) -> Arc<Pool> {
        Arc::new(Pool { name, config, state: Mutex::default(), work: Condvar::new(), ended: Condvar::new() })
    }

    /// Queues a job, and makes sure that a thread takes it. Returns the job if it is refused.
    fn submit(self: &Arc<Self>, job: Job) -> Result<u64, Job> {
        let mut state = lock(&self.state);
        if state.closed.is_some() || state.jobs >= self.config.max_jobs {
            return Err(job);
        }
        // A thread that was woken but has not taken its job yet counts as idle, and its job still
        // waits.
        if state.waiting.len() < state.idle {
            self.work.notify_one();
        } else if state.threads < self.config.max_threads.max(1) {
            let pool = Arc::clone(self);
            let started = thread::Builder::new().name(self.name.to_owned()).spawn(move || pool.serve());
            state.threads += usize::from(started.is_ok());
            // If no more threads can be started, the job waits for an existing one.
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

    /// Runs jobs. It is the whole life of a thread.
    fn serve(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some((_, job)) = state.waiting.pop_first() {
                drop(state);
                // Only a destructor can panic here: `job` catches a panic of the function it calls.
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

    /// Takes a job out of the queue if it has not begun, and returns it.
    fn withdraw(&self, ticket: u64) -> Option<Job> {
        let mut state = lock(&self.state);
        let job = state.waiting.remove(&ticket)?;
        state.jobs -= 1;
        Some(job)
    }

    /// Closes the pool: from now on it refuses jobs, and its threads end when they are idle.
    /// Returns the jobs that have not begun.
    pub(super) fn close(&self) -> impl Iterator<Item = Job> + use<> {
        let mut state = lock(&self.state);
        state.closed = Some(Instant::now());
        state.jobs -= state.waiting.len();
        self.work.notify_all();
        std::mem::take(&mut state.waiting).into_values()
    }

    /// Waits, after `close`, until all threads have ended or until `most` has passed since `close`.
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

/// The place where a job leaves its result and the future finds it.
struct Slot<T> {
    outcome: Option<Result<T, JoinError>>,
    waker: Option<Waker>,
}

/// Goes with the job. It is dropped after the job, or without the job having run. Then it wakes the
/// task that waits.
struct Delivery<T>(Arc<Mutex<Slot<T>>>);

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.outcome.get_or_insert(Err(JoinError::Cancelled));
        let waker = slot.waker.take();
        drop(slot);
        // This may run while a panic of a job's destructor unwinds.
        contain(|| waker.into_iter().for_each(Waker::wake));
    }
}

/// Waits for a job. Dropping this withdraws the job, unless the job has begun.
pub(crate) struct Blocking<T> {
    pool: Arc<Pool>,
    slot: Arc<Mutex<Slot<T>>>,
    /// `None` if the job was refused.
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
        // A refused job is dropped here, with nothing locked.
        Blocking { pool: Arc::clone(pool), slot, ticket: submitted.ok() }
    }

    /// Returns true if the job was refused. It never runs then.
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

    /// Makes a pool that only claims to have threads. A real thread would take its job at a moment
    /// of its own choice.
    fn pool(threads: usize, idle: usize) -> Arc<Pool> {
        let pool = Pool::new("blocking", BlockingConfig { keep_alive: Duration::ZERO, ..BlockingConfig::default() });
        *lock(&pool.state) = State { threads, idle, ..State::default() };
        pool
    }

    /// A thread that was woken but has not run yet counts as idle, and has its job. One job more
    /// than there are idle threads needs a new thread.
    #[test]
    fn no_two_jobs_rely_on_the_same_idle_thread() {
        const IDLE: usize = 3;
        let pool = pool(IDLE, IDLE);
        for _ in 0..IDLE {
            assert!(pool.submit(Box::new(|| ())).is_ok());
            assert_eq!(lock(&pool.state).threads, IDLE, "there is an idle one for it");
        }
        // The job keeps the new thread busy until the count has been read.
        let (release, held) = mpsc::channel::<()>();
        assert!(pool.submit(Box::new(move || held.recv().unwrap_or_default())).is_ok());
        assert_eq!(lock(&pool.state).threads, IDLE + 1, "each idle one has a job");
        drop(release);
    }

    /// The time that the driver needs for its end is not added to the time for the jobs.
    #[test]
    fn the_deadline_counts_from_the_closing() {
        const DEADLINE: Duration = Duration::from_secs(60);
        let pool = pool(1, 0);
        let start = Instant::now();
        lock(&pool.state).closed = start.checked_sub(DEADLINE);
        pool.wait(DEADLINE);
        assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    }
}
