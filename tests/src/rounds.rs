//! How long a scenario goes on: a number of rounds in the tests, a span of time in the soak.

use std::time::{Duration, Instant};

/// What stops a scenario.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// This many rounds are done.
    Rounds(u64),
    /// This time is over; one round is always done.
    Elapsed(Duration),
}

/// The rounds of one run of a scenario: an iterator over their numbers, which also takes down what was measured.
///
/// A body does the same thing in every round and ends with the iterator, so that one body serves as a test
/// of a second and as a soak of hours.
#[derive(Debug)]
pub struct Rounds {
    until: Until,
    begun: Instant,
    done: u64,
    seed: u64,
    figures: Vec<(String, String)>,
}

impl Rounds {
    /// Rounds until then. All chance in the body is to come from `seed`.
    #[must_use]
    pub fn new(until: Until, seed: u64) -> Rounds {
        Rounds { until, begun: Instant::now(), done: 0, seed, figures: Vec::new() }
    }

    /// Where the body's random numbers begin.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Rounds begun so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Takes a figure down for the report: a name with its unit, and a value. It decides nothing.
    pub fn figure(&mut self, name: &str, value: impl ToString) {
        self.figures.push((name.to_owned(), value.to_string()));
    }

    /// What was taken down.
    #[must_use]
    pub fn figures(&self) -> &[(String, String)] {
        &self.figures
    }
}

impl Iterator for Rounds {
    /// The round's number, from 0.
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let goes_on = match self.until {
            Until::Rounds(count) => self.done < count,
            Until::Elapsed(duration) => self.done == 0 || self.begun.elapsed() < duration,
        };
        goes_on.then(|| {
            self.done += 1;
            self.done - 1
        })
    }
}
