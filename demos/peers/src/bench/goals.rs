//! The goals, and whether they are met.
//!
//! A ratio of processor time is the other's over ours, in the same round: above 1 we take less.

use std::fmt;

use demos::plot::grouped;

use super::results::{Results, Run, Summary};

/// Goals of one kind.
#[derive(Debug)]
pub struct Family {
    /// What is wanted, and why it can be had.
    pub about: &'static str,
    pub measure: Measure,
    pub bound: Bound,
    /// Whose goals these are, and over whom. Where there is nobody to compare with, the second is empty.
    pub pairs: &'static [(&'static str, &'static str)],
    /// Scenarios, or names of microbenchmarks.
    pub places: &'static [&'static str],
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// The other's processor time per request over ours, same round.
    Cpu,
    /// Our requests/s over the other's, same round.
    Speed,
    /// Median latency, µs.
    Latency,
    /// Memory of an idle connection, bytes.
    IdleBytes,
    /// Processor time per request over that in the named scenario, same round.
    Growth { from: &'static str },
    /// A figure of the microbenchmarks.
    Micro { unit: &'static str },
}

/// What the median has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Above(f64),
    /// At least this, or less by no more than the spread.
    NotBelow(f64),
}

/// One goal with what was measured.
#[derive(Debug)]
pub struct Outcome {
    pub server: &'static str,
    pub other: &'static str,
    pub place: &'static str,
    /// `None` if it was not measured.
    pub summary: Option<Summary>,
    pub is_met: Option<bool>,
}

const ECHO_HTTP: &[&str] = &["echo-64", "echo-1000", "http-64", "http-1000"];
const SATURATING: &[&str] =
    &["echo-64", "echo-1000", "http-64", "http-1000", "echo-64-16k", "echo-64-p16", "http-64-p16"];
const EVERYWHERE: &[&str] = &[
    "echo-1",
    "echo-64",
    "echo-1000",
    "echo-64-16k",
    "echo-64-p16",
    "http-64",
    "http-64-p16",
    "http-1000",
    "churn-64",
    "open-50k",
    "idle-10k",
    "active-10k",
];
const ENGINES: &[(&str, &str)] = &[("reactor-level", ""), ("reactor-edge", ""), ("proactor", "")];
const RUNTIMES: &[(&str, &str)] = &[("reactor", ""), ("proactor", "")];

/// All goals, in the order of the report.
pub const GOALS: &[Family] = &[
    Family {
        about: "The reactor is to cost little more than a hand-written epoll loop.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(0.98),
        pairs: &[("reactor-edge", "epoll-edge")],
        places: ECHO_HTTP,
    },
    Family {
        about: "Level-triggered as well.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(0.97),
        pairs: &[("reactor-level", "epoll-level")],
        places: ECHO_HTTP,
    },
    Family {
        about: "The proactor is to cost little more than a hand-written io_uring loop.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(0.97),
        pairs: &[("proactor", "uring")],
        places: SATURATING,
    },
    Family {
        about: "With plain descriptors it is not to be far from a loop with direct ones.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(0.93),
        pairs: &[("proactor", "uring-direct")],
        places: ECHO_HTTP,
    },
    Family {
        about: "The proactor is to beat a hand-written epoll loop.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(1.04),
        pairs: &[("proactor", "epoll-edge")],
        places: ECHO_HTTP,
    },
    Family {
        about: "At partial load and with short connections it is to cost less than half of a ring without flags.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(2.3),
        pairs: &[("proactor", "monoio")],
        places: &["open-50k", "churn-64"],
    },
    Family {
        about: "At partial load it is to cost what an epoll loop costs.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(0.98),
        pairs: &[("proactor", "epoll-edge")],
        places: &["open-50k"],
    },
    Family {
        about: "With short connections it is to cost less.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(1.05),
        pairs: &[("proactor", "epoll-edge")],
        places: &["churn-64"],
    },
    Family {
        about: "Less processor time than tokio is wanted everywhere.",
        measure: Measure::Cpu,
        bound: Bound::Above(1.0),
        pairs: &[("reactor-edge", "tokio"), ("proactor", "tokio")],
        places: EVERYWHERE,
    },
    Family {
        about: "Level-triggered, not to be behind tokio by more than the spread.",
        measure: Measure::Cpu,
        bound: Bound::NotBelow(1.0),
        pairs: &[("reactor-level", "tokio")],
        places: EVERYWHERE,
    },
    Family {
        about: "With one connection, who polls a while before sleeping is to be three times as fast.",
        measure: Measure::Speed,
        bound: Bound::AtLeast(3.0),
        pairs: &[("reactor-edge-spin", "epoll-edge"), ("proactor-spin", "epoll-edge")],
        places: &["echo-1"],
    },
    Family {
        about: "And to answer within 8 µs.",
        measure: Measure::Latency,
        bound: Bound::AtMost(8.0),
        pairs: &[("reactor-edge-spin", ""), ("proactor-spin", "")],
        places: &["echo-1"],
    },
    Family {
        about: "An idle connection is to take 600 bytes at most, its task included.",
        measure: Measure::IdleBytes,
        bound: Bound::AtMost(600.0),
        pairs: ENGINES,
        places: &["idle-10k"],
    },
    Family {
        about: "A request is to cost little more with 10,000 connections, a tenth of them active, than with 64.",
        measure: Measure::Growth { from: "echo-64" },
        bound: Bound::AtMost(1.15),
        pairs: ENGINES,
        places: &["active-10k"],
    },
    Family {
        about: "Spawning a task and completing it.",
        measure: Measure::Micro { unit: "ns" },
        bound: Bound::AtMost(75.0),
        pairs: RUNTIMES,
        places: &["spawn"],
    },
    Family {
        about: "A task that yields, one of 1,000.",
        measure: Measure::Micro { unit: "ns" },
        bound: Bound::AtMost(18.0),
        pairs: RUNTIMES,
        places: &["yield-1000"],
    },
    Family {
        about: "Two tasks that hand a value to and fro, each way.",
        measure: Measure::Micro { unit: "ns" },
        bound: Bound::AtMost(32.0),
        pairs: RUNTIMES,
        places: &["ping-pong"],
    },
    Family {
        about: "Memory of an idle task.",
        measure: Measure::Micro { unit: "bytes" },
        bound: Bound::AtMost(176.0),
        pairs: RUNTIMES,
        places: &["idle-bytes"],
    },
    Family {
        about: "Processor time of a timer, from setting it until it has fired, one of 1,000,000.",
        measure: Measure::Micro { unit: "ns" },
        bound: Bound::AtMost(700.0),
        pairs: RUNTIMES,
        places: &["timer-total"],
    },
    Family {
        about: "Cancelling a timer.",
        measure: Measure::Micro { unit: "ns" },
        bound: Bound::AtMost(150.0),
        pairs: RUNTIMES,
        places: &["timer-cancel"],
    },
    Family {
        about: "The demo servers, with all their limits on, are not to be far behind loops without any.",
        measure: Measure::Cpu,
        bound: Bound::AtLeast(0.93),
        pairs: &[
            ("demo-reactor-level", "epoll-level"),
            ("demo-reactor-edge", "epoll-edge"),
            ("demo-proactor", "uring"),
        ],
        places: &["http-64", "http-64-p16"],
    },
];

impl Family {
    /// Every goal of the family, with what was measured.
    pub fn outcomes(&self, results: &Results) -> Vec<Outcome> {
        let outcome = |(server, other): (&'static str, &'static str), place: &'static str| {
            let summary = self.measure.of(results, server, other, place);
            let is_met = summary.map(|summary| self.bound.holds(&summary));
            Outcome { server, other, place, summary, is_met }
        };
        let pairs = self.pairs.iter();
        pairs.flat_map(|pair| self.places.iter().map(move |place| outcome(*pair, place))).collect()
    }

    /// A figure of this family in writing.
    pub fn text(&self, value: f64) -> String {
        match self.measure {
            Measure::Cpu | Measure::Speed | Measure::Growth { .. } => format!("{value:.3}"),
            Measure::Latency | Measure::Micro { .. } => format!("{value:.1}"),
            Measure::IdleBytes => grouped(value),
        }
    }
}

impl Measure {
    /// What the figures of this kind are.
    pub fn about(&self) -> &'static str {
        match self {
            Measure::Cpu => "processor time per request: the other's over ours",
            Measure::Speed => "requests/s: ours over the other's",
            Measure::Latency => "latency p50, µs",
            Measure::IdleBytes => "memory of an idle connection, bytes",
            Measure::Growth { .. } => "processor time per request, over that with 64 connections",
            Measure::Micro { unit } => unit,
        }
    }

    fn of(self, results: &Results, server: &str, other: &str, place: &str) -> Option<Summary> {
        match self {
            Measure::Cpu => results.ratio((place, other), (place, server), Run::cpu),
            Measure::Speed => results.ratio((place, server), (place, other), Run::requests_per_second),
            Measure::Latency => results.summary(place, server, Run::p50),
            Measure::IdleBytes => results.summary(place, server, Run::idle_bytes),
            Measure::Growth { from } => results.ratio((place, server), (from, server), Run::cpu),
            Measure::Micro { .. } => results.micro(server, place),
        }
    }
}

impl Bound {
    fn holds(self, summary: &Summary) -> bool {
        match self {
            Bound::AtLeast(bound) => summary.median >= bound,
            Bound::AtMost(bound) => summary.median <= bound,
            Bound::Above(bound) => summary.median > bound,
            Bound::NotBelow(bound) => summary.median * (1.0 + summary.spread()) >= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtLeast(bound) => write!(f, "≥ {bound}"),
            Bound::AtMost(bound) => write!(f, "≤ {bound}"),
            Bound::Above(bound) => write!(f, "> {bound}"),
            Bound::NotBelow(bound) => write!(f, "≥ {bound} − spread"),
        }
    }
}

/// How many goals are met, how many are not, and how many were not measured.
pub fn count(results: &Results) -> (usize, usize, usize) {
    let outcomes: Vec<_> = GOALS.iter().flat_map(|family| family.outcomes(results)).collect();
    let of = |is_met| outcomes.iter().filter(|outcome| outcome.is_met == is_met).count();
    (of(Some(true)), of(Some(false)), of(None))
}
