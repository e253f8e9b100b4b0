//! The benchmarks by name, and how much work each does.

use std::fmt;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::figure::Figure;
use super::subjects::Subject;
use super::{tasks, timers, wakes};

/// What is measured. Each runs in a process of its own and yields one figure or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Benchmark {
    /// 1,000 tasks spawned, then all awaited.
    Spawn,
    /// Tasks spawned and awaited one by one.
    SpawnAwait,
    /// One task that yields again and again.
    Yield1,
    /// 1,000 tasks that yield in turn.
    Yield1000,
    /// Two tasks that send each other a value.
    PingPong,
    /// 1,000,000 tasks that wait, each keeping its waker.
    Idle,
    /// 1,000,000 timers set, then dropped in another order.
    TimerCancel,
    /// 1,000,000 tasks that sleep until their time has come.
    TimerFire,
    /// A wake from another thread while the loop sleeps.
    WakeParked,
    /// Wakes from another thread while the loop is busy.
    WakeRunning,
}

impl Benchmark {
    /// Whether it needs wakes from other threads.
    pub fn is_foreign(self) -> bool {
        matches!(self, Benchmark::WakeParked | Benchmark::WakeRunning)
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().expect("no benchmark is skipped").get_name())
    }
}

/// How much work is done for a figure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Idle tasks, and timers.
    pub many: usize,
    /// Samples of a figure that can be taken again and again in one process.
    pub samples: usize,
    /// How long one of them takes at least.
    sample_time: Duration,
    /// Wakes that make one sample of the wake-up latency.
    pub wakes: usize,
    /// Processes for what a process can measure once only, because its heap has grown by then.
    processes: usize,
}

impl Effort {
    pub fn new(is_quick: bool) -> Effort {
        if is_quick {
            return Effort {
                many: 100_000,
                samples: 5,
                sample_time: Duration::from_millis(5),
                wakes: 200,
                processes: 1,
            };
        }
        Effort { many: 1_000_000, samples: 11, sample_time: Duration::from_millis(20), wakes: 1_000, processes: 3 }
    }

    /// Processes that measure this one after another.
    pub fn processes(self, benchmark: Benchmark) -> usize {
        if benchmark == Benchmark::Idle { self.processes } else { 1 }
    }

    /// Repeats `batch` until the sample's time is over, and that for each sample. `batch` does `count`
    /// things; the values are nanoseconds for each. The first batch warms up and does not count.
    pub async fn sample(self, count: usize, mut batch: impl AsyncFnMut()) -> Vec<f64> {
        batch().await;
        let mut values = Vec::with_capacity(self.samples);
        for _ in 0..self.samples {
            let (start, mut batches) = (Instant::now(), 0_usize);
            let elapsed = loop {
                batch().await;
                batches += 1;
                let elapsed = start.elapsed();
                if elapsed >= self.sample_time {
                    break elapsed;
                }
            };
            values.push(elapsed.as_nanos() as f64 / (batches * count) as f64);
        }
        values
    }
}

/// Runs a benchmark on a runtime of this kind, in this process.
///
/// # Errors
/// Those of setting the runtime up, and of the measurement.
pub fn measure<S: Subject>(benchmark: Benchmark, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    match benchmark {
        Benchmark::Spawn => S::run(async move |rt| tasks::spawn(&rt, effort).await),
        Benchmark::SpawnAwait => S::run(async move |rt| tasks::spawn_await(&rt, effort).await),
        Benchmark::Yield1 => S::run(async move |rt| tasks::yields(&rt, effort, 1, "yield-1").await),
        Benchmark::Yield1000 => S::run(async move |rt| tasks::yields(&rt, effort, 1_000, "yield-1000").await),
        Benchmark::PingPong => S::run(async move |rt| tasks::ping_pong(&rt, effort).await),
        Benchmark::Idle => S::run(async move |rt| tasks::idle(&rt, effort).await),
        Benchmark::TimerCancel => S::run(async move |rt| timers::cancel(&rt, effort).await),
        Benchmark::TimerFire => S::run(async move |rt| timers::fire(&rt, effort).await),
        Benchmark::WakeParked => S::run(async move |rt| wakes::parked(&rt, effort).await),
        Benchmark::WakeRunning => S::run(async move |rt| wakes::running(&rt, effort).await),
    }?
}

#[cfg(test)]
mod tests {
    use super::super::subjects;
    use super::*;

    /// As little as can be, to see that it works.
    const LITTLE: Effort = Effort { many: 1_000, samples: 1, sample_time: Duration::ZERO, wakes: 10, processes: 1 };

    #[test]
    fn every_benchmark_works_on_every_runtime_that_has_it() {
        for runtime in subjects::ALL {
            for benchmark in Benchmark::value_variants().iter().filter(|benchmark| runtime.can(**benchmark)) {
                let figures = (runtime.measure)(*benchmark, LITTLE);
                let figures = figures.unwrap_or_else(|error| panic!("{} {benchmark}: {error:#}", runtime.name));
                assert!(!figures.is_empty());
                for Figure { name, values, .. } in figures {
                    // What the process holds may shrink meanwhile: other tests run in it.
                    let is_sound = |value: &f64| value.is_finite() && (*value >= 0.0 || name == "idle-bytes");
                    let is_sound = !values.is_empty() && values.iter().all(is_sound);
                    assert!(is_sound, "{} {name}: {values:?}", runtime.name);
                }
            }
        }
    }
}
