//! What was measured, as it is saved, and the figures that come of it: medians, spreads, ratios.

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::{load, micro};

/// The form of the saved figures. It grows when files of before can no longer be read.
pub const FORMAT: u32 = 1;

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub format: u32,
    pub machine: Machine,
    pub rounds: usize,
    /// Whether servers and client had a processor each.
    pub is_pinned: bool,
    pub scenarios: Vec<Measured>,
    pub micro: Vec<micro::Row>,
    /// Servers that cannot run here.
    pub missing: Vec<Missing>,
    /// Runs that went wrong.
    pub failures: Vec<Failure>,
}

/// A scenario's runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub scenario: String,
    pub servers: Vec<ServerRuns>,
}

/// A server's runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerRuns {
    pub server: String,
    pub runs: Vec<Run>,
}

/// One run: one server process, one client process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub round: usize,
    /// The part of the processors' time that the hypervisor gave to others meanwhile.
    pub stolen: f64,
    /// The part of the time in which the server could have run, but others had its processor.
    pub waited: f64,
    pub outcome: load::Outcome,
}

/// A server that cannot run here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Missing {
    pub server: String,
    pub reason: String,
}

/// A run that went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    pub scenario: String,
    pub server: String,
    pub round: usize,
    pub reason: String,
}

/// The median of several rounds, and the extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub greatest: f64,
    /// Of how many.
    pub count: usize,
}

/// A figure of a run, if the run has it.
pub type Figure = fn(&Run) -> Option<f64>;

/// From this part of the time on, the server is busy all the time: then requests/s are its own limit, and
/// not the client's or the network's.
pub const SATURATED: f64 = 0.98;

impl Summary {
    /// Of all numbers among the values; `None` if there is none.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Option<Summary> {
        let mut values: Vec<_> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let median = values[(values.len() - 1) / 2].midpoint(values[values.len() / 2]);
        Some(Summary { median, least, greatest, count: values.len() })
    }

    /// Half of the way from the least to the greatest, as a part of the median; 0 of a single value.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.greatest - self.least) / 2.0 / self.median.abs() }
    }
}

impl From<&micro::Row> for Summary {
    fn from(row: &micro::Row) -> Summary {
        Summary { median: row.median, least: row.min, greatest: row.max, count: row.samples }
    }
}

impl Run {
    /// Processor time of the server for each request, in ns.
    pub fn cpu(&self) -> Option<f64> {
        let requests = (self.outcome.requests > 0).then_some(self.outcome.requests as f64)?;
        Some(self.outcome.server_cpu_ns? as f64 / requests)
    }

    pub fn requests_per_second(&self) -> Option<f64> {
        (self.outcome.elapsed_ns > 0).then(|| self.outcome.requests as f64 * 1e9 / self.outcome.elapsed_ns as f64)
    }

    /// The part of the time in which the server had a processor.
    pub fn utilisation(&self) -> Option<f64> {
        let elapsed = (self.outcome.elapsed_ns > 0).then_some(self.outcome.elapsed_ns as f64)?;
        Some(self.outcome.server_cpu_ns? as f64 / elapsed)
    }

    /// Median latency in µs.
    pub fn p50(&self) -> Option<f64> {
        Some(self.outcome.latency_ns.p50 as f64 / 1e3)
    }

    /// In µs.
    pub fn p99(&self) -> Option<f64> {
        Some(self.outcome.latency_ns.p99 as f64 / 1e3)
    }

    /// In µs.
    pub fn p99_9(&self) -> Option<f64> {
        Some(self.outcome.latency_ns.p99_9 as f64 / 1e3)
    }

    /// Memory of the server in MiB, while all connections are open.
    pub fn memory(&self) -> Option<f64> {
        Some(self.outcome.server_rss_bytes? as f64 / f64::from(1 << 20))
    }

    /// Memory of one idle connection in bytes.
    pub fn idle_bytes(&self) -> Option<f64> {
        self.outcome.idle_bytes_per_connection
    }

    /// How often the server went to sleep, for each request.
    pub fn sleeps(&self) -> Option<f64> {
        let requests = (self.outcome.requests > 0).then_some(self.outcome.requests as f64)?;
        Some(self.outcome.server_voluntary_switches? as f64 / requests)
    }
}

impl Results {
    pub fn scenario(&self, name: &str) -> Option<&Measured> {
        self.scenarios.iter().find(|measured| measured.scenario == name)
    }

    /// The runs of a server in a scenario, if there are any.
    pub fn runs(&self, scenario: &str, server: &str) -> &[Run] {
        self.scenario(scenario).map_or(&[], |measured| measured.runs(server))
    }

    /// A figure over all rounds.
    pub fn summary(&self, scenario: &str, server: &str, figure: Figure) -> Option<Summary> {
        Summary::new(self.runs(scenario, server).iter().filter_map(figure))
    }

    /// A figure of one server and scenario over that of another, in the same round: machines change their
    /// speed from minute to minute, and what is measured one after the other shares it.
    pub fn ratio(&self, over: (&str, &str), under: (&str, &str), figure: Figure) -> Option<Summary> {
        let under = self.runs(under.0, under.1);
        let ratio = |run: &Run| {
            let partner = under.iter().find(|partner| partner.round == run.round)?;
            Some(figure(run)? / figure(partner)?)
        };
        Summary::new(self.runs(over.0, over.1).iter().filter_map(ratio))
    }

    /// The same of the least figures of both, each from the round in which it was least disturbed: what
    /// disturbs a machine only ever adds to processor time.
    pub fn ratio_of_least(&self, over: (&str, &str), under: (&str, &str), figure: Figure) -> Option<f64> {
        let least = |(scenario, server)| Some(self.summary(scenario, server, figure)?.least);
        Some(least(over)? / least(under)?)
    }

    /// Whether the server had no time left in the middle round.
    pub fn is_saturated(&self, scenario: &str, server: &str) -> bool {
        let utilisation = self.summary(scenario, server, Run::utilisation);
        utilisation.is_some_and(|utilisation| utilisation.median >= SATURATED)
    }

    pub fn micro(&self, runtime: &str, benchmark: &str) -> Option<Summary> {
        let is_it = |figure: &&micro::Row| figure.runtime == runtime && figure.benchmark == benchmark;
        self.micro.iter().find(is_it).map(Summary::from)
    }

    /// How long servers waited for their processors, as a part of the time.
    pub fn waited(&self) -> Option<Summary> {
        let runs = self.scenarios.iter().flat_map(|measured| &measured.servers).flat_map(|server| &server.runs);
        Summary::new(runs.map(|run| run.waited))
    }

    /// The greatest part of a run that was taken by others, and in how many runs it was too much.
    pub fn stolen(&self, limit: f64) -> (f64, usize) {
        let runs = self.scenarios.iter().flat_map(|measured| &measured.servers).flat_map(|server| &server.runs);
        let worst = runs.clone().map(|run| run.stolen).fold(0.0, f64::max);
        (worst, runs.filter(|run| run.stolen > limit).count())
    }
}

impl Measured {
    pub fn runs(&self, server: &str) -> &[Run] {
        self.servers.iter().find(|runs| runs.server == server).map_or(&[], |runs| &runs.runs)
    }

    /// The latency at each quantile, as the median of the rounds. All rounds have the same quantiles.
    pub fn distribution(&self, server: &str) -> Vec<(f64, f64)> {
        let runs = self.runs(server);
        let Some(first) = runs.first() else { return Vec::new() };
        let at = |quantile: f64| {
            let known =
                |run: &Run| Some(run.outcome.distribution.iter().find(|(other, _)| *other == quantile)?.1 as f64);
            Summary::new(runs.iter().filter_map(known)).map(|latency| (quantile, latency.median))
        };
        first.outcome.distribution.iter().filter_map(|(quantile, _)| at(*quantile)).collect()
    }

    /// Those with figures, least processor time first.
    pub fn by_cpu(&self) -> Vec<(&str, Summary)> {
        let cpu = |runs: &'_ ServerRuns| Summary::new(runs.runs.iter().filter_map(Run::cpu));
        let servers = self.servers.iter().filter_map(|runs| Some((runs.server.as_str(), cpu(runs)?)));
        let mut servers: Vec<_> = servers.collect();
        servers.sort_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
        servers
    }
}
