//! How two looks at a server become figures per request.

use std::collections::BTreeMap;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::load::child::Snapshot;
use crate::load::client::Tally;

/// What has to be said of figures if this is a debug build.
pub fn build_note() -> Option<&'static str> {
    let note = "This is a debug build, in which our own code takes several times as long as it should: measure with \
                `cargo run --release`.";
    cfg!(debug_assertions).then_some(note)
}

/// The figures of a run, or the medians of several.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub requests_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of the server, in ns; all others below are per request, too.
    pub cpu_ns: f64,
    pub calls: BTreeMap<String, f64>,
    pub polls: f64,
    pub wakes: f64,
}

impl Figures {
    /// From what the client saw, and the server before and after.
    pub fn new(tally: &Tally, before: &Snapshot, after: &Snapshot) -> anyhow::Result<Figures> {
        ensure!(tally.requests > 0 && !tally.elapsed.is_zero(), "no request was answered");
        let requests = tally.requests as f64;
        let change = |name: &str| {
            let count = |snapshot: &Snapshot| snapshot.counters.get(name).copied().unwrap_or(0);
            count(after).saturating_sub(count(before)) as f64 / requests
        };
        let calls = after.counters.keys().filter_map(|name| Some((name.strip_prefix("call.")?, change(name))));
        let microseconds = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Figures {
            requests_per_second: requests / tally.elapsed.as_secs_f64(),
            p50_us: microseconds(0.5),
            p99_us: microseconds(0.99),
            cpu_ns: after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / requests,
            calls: calls.map(|(name, count)| (name.to_owned(), count)).collect(),
            polls: change("polls"),
            wakes: change("wakes_local") + change("wakes_remote"),
        })
    }

    /// System calls per request, of all kinds.
    pub fn calls_in_all(&self) -> f64 {
        self.calls.values().sum()
    }

    /// Each figure's median on its own.
    pub fn median(rounds: &[Figures]) -> Figures {
        let of = |figure: &dyn Fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
        let names = rounds.iter().flat_map(|round| round.calls.keys().cloned());
        let call = |name: String| {
            let count = of(&|figures| figures.calls.get(&name).copied().unwrap_or(0.0));
            (name, count)
        };
        Figures {
            requests_per_second: of(&|figures| figures.requests_per_second),
            p50_us: of(&|figures| figures.p50_us),
            p99_us: of(&|figures| figures.p99_us),
            cpu_ns: of(&|figures| figures.cpu_ns),
            polls: of(&|figures| figures.polls),
            wakes: of(&|figures| figures.wakes),
            calls: names.map(call).collect(),
        }
    }

    /// As an object for the JSON report.
    pub fn json(&self) -> Value {
        json!({
            "requests_per_second": self.requests_per_second,
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "server_cpu_ns_per_request": self.cpu_ns,
            "system_calls_in_all_per_request": self.calls_in_all(),
            "system_calls_per_request": self.calls,
            "polls_per_request": self.polls,
            "wakes_per_request": self.wakes,
        })
    }
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => values[middle - 1].midpoint(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
        assert_eq!(median(vec![]), 0.0);
    }
}
