//! Times that were measured, for the figures of a scenario. They decide nothing by themselves.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::rounds::Rounds;

/// The longest time that is told from longer ones: no test waits for so long.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// How long something took, many times over. It takes the same memory however many there are.
#[derive(Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Times(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds that are allowed"))
    }
}

impl Times {
    /// None yet.
    #[must_use]
    pub fn new() -> Times {
        Times::default()
    }

    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS));
    }

    /// Those of another.
    pub fn append(&mut self, other: &Times) {
        self.0 += &other.0;
    }

    /// The time that this part of them, such as 0.99, did not exceed.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(part))
    }

    /// Takes down the median, the 99th and 99.9th percentile, and the longest, in microseconds.
    pub fn report(&self, rounds: &mut Rounds, what: &str) {
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            rounds.figure(&format!("{what}, {name}, us"), self.quantile(part).as_micros());
        }
    }
}
