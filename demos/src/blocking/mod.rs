//! A call that blocks inside a task stops all tasks: seen, and cured in two ways.
//!
//! ```sh
//! demos blocking                                # three timelines: the mistake, and its two cures
//! demos blocking --work 1000 --tasks 8
//! ```
//!
//! All tasks of a runtime share one thread. A task gives it back at each `.await` that has to wait, and nowhere else:
//! nobody takes it away. So a task that calls `std::thread::sleep`, reads a file from a slow disk, looks up a name by
//! the C library, or computes for long holds up every other task, every timer and every connection. The cures:
//!
//! - *wait the runtime's way*, if there is one: `rt.sleep(...).await` in place of `thread::sleep`;
//! - *hand it to another thread* if there is none: `rt.spawn_blocking(...)` runs it on a pool of threads, and the task
//!   awaits the answer.
//!
//! Here some tasks tick at short intervals, and one works in the middle of that. [`run`] writes down when each tick
//! came. On one thread no tick can come while that thread is blocked: not few, none.
//!
//! Files: this one (the program), `timeline.rs` (its record as a picture).

mod timeline;

use std::thread;
use std::time::{Duration, Instant};

use executor::{JoinError, Runtime};

pub use timeline::timeline;

/// How the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `std::thread::sleep` in the task: the mistake.
    Blocking,
    /// The runtime's sleep.
    Awaiting,
    /// `std::thread::sleep` on a thread of the runtime's pool.
    OnThePool,
}

impl Way {
    /// All of them, the mistake first.
    pub const ALL: [Way; 3] = [Way::Blocking, Way::Awaiting, Way::OnThePool];

    /// The line of code that makes the difference.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Way::Blocking => "std::thread::sleep(work)",
            Way::Awaiting => "rt.sleep(work).await",
            Way::OnThePool => "rt.spawn_blocking(|| std::thread::sleep(work)).await",
        }
    }
}

/// What is to happen.
#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    /// Tasks that tick, 16 at most
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub tasks: u16,

    /// Milliseconds between two ticks of a task, 1,000 at most
    #[arg(long, value_name = "MS", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub tick: u64,

    /// Milliseconds the work takes, 10,000 at most; the tasks tick half as long before and after it
    #[arg(long, value_name = "MS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub work: u64,
}

impl Plan {
    fn work(&self) -> Duration {
        Duration::from_millis(self.work)
    }
}

/// All that happened. Times count from the beginning.
#[derive(Clone, Debug)]
pub struct Record {
    /// When each task ticked.
    pub ticks: Vec<Vec<Duration>>,
    /// When the work began and when it was over.
    pub work: (Duration, Duration),
    /// When all was over.
    pub ended: Duration,
}

impl Record {
    /// How many ticks there were while the work was done.
    #[must_use]
    pub fn during_work(&self) -> usize {
        let (from, to) = self.work;
        self.ticks.iter().flatten().filter(|tick| from < **tick && **tick < to).count()
    }

    /// The longest time from one tick of a task to its next.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.ticks.iter().flat_map(|ticks| ticks.windows(2).map(|pair| pair[1] - pair[0]));
        gaps.max().unwrap_or_default()
    }
}

/// Has the tasks tick, and the work done in this way.
///
/// # Errors
/// A task that could not run to its end, or work that the pool has refused.
pub async fn run<R: Runtime>(rt: &R, way: Way, plan: &Plan) -> Result<Record, JoinError> {
    let start = rt.now();
    let end = start + plan.work() * 2;
    let ticking: Vec<_> =
        (0..plan.tasks).map(|_| rt.spawn(tick(rt.clone(), start, end, Duration::from_millis(plan.tick)))).collect();
    let working = rt.spawn(work(rt.clone(), start, way, plan.work()));
    let mut ticks = Vec::new();
    for task in ticking {
        ticks.push(task.await?);
    }
    let work = working.await??;
    Ok(Record { ticks, work, ended: rt.now() - start })
}

/// Ticks until the end.
async fn tick<R: Runtime>(rt: R, start: Instant, end: Instant, period: Duration) -> Vec<Duration> {
    let mut ticks = Vec::new();
    while rt.now() < end {
        ticks.push(rt.now() - start);
        rt.sleep(period).await;
    }
    ticks
}

/// Works when a quarter of the time is over; returns from when until when.
async fn work<R: Runtime>(rt: R, start: Instant, way: Way, work: Duration) -> Result<(Duration, Duration), JoinError> {
    rt.sleep_until(start + work / 2).await;
    let from = rt.now() - start;
    match way {
        Way::Blocking => thread::sleep(work),
        Way::Awaiting => rt.sleep(work).await,
        Way::OnThePool => rt.spawn_blocking(move || thread::sleep(work)).await?,
    }
    Ok((from, rt.now() - start))
}
