//! The tables of the reports, the same for every form of them.

use demos::plot::{Table, grouped};

use super::goals::{Family, GOALS, Measure, Outcome};
use super::plan::{BASE, CURVE, CURVE_SERVERS, Scenario, kind};
use super::results::{Figure, Measured, Results, Run, Summary};

/// What stands where there is no figure.
pub const NONE: &str = "–";

/// Goals, as a table for each family.
pub fn goals(results: &Results) -> Vec<(&'static Family, Table)> {
    let table = |family: &'static Family| {
        let mut table = Table::new(3, ["whose", "where", "verdict", "median", "goal", "spread", "of least", "over"]);
        for outcome in family.outcomes(results) {
            let Outcome { server, other, place, summary, .. } = outcome;
            let median = summary.map_or(NONE.to_owned(), |summary| family.text(summary.median));
            let spread = summary.map_or(NONE.to_owned(), |summary| spread(&summary));
            let of_least = match family.measure {
                Measure::Cpu => results.ratio_of_least((place, other), (place, server), Run::cpu),
                _ => None,
            };
            let of_least = of_least.map_or(NONE.to_owned(), |ratio| family.text(ratio));
            let other = if other.is_empty() { NONE } else { other };
            let cells = [server, place, verdict(&outcome)].map(str::to_owned);
            table.row(
                Some(kind(server)),
                cells.into_iter().chain([median, family.bound.to_string(), spread, of_least, other.to_owned()]),
            );
        }
        (family, table)
    };
    GOALS.iter().map(table).collect()
}

fn verdict(outcome: &Outcome) -> &'static str {
    match outcome.is_met {
        Some(true) => "✓ met",
        Some(false) => "✗ not met",
        None => "not measured",
    }
}

/// A ratio to the base for each server in each scenario. More than 1 is better.
pub fn overview(results: &Results, ratio: fn(&Results, &str, &str) -> Option<f64>) -> Table {
    let scenarios: Vec<_> = results.scenarios.iter().filter(|measured| !is_curve_only(&measured.scenario)).collect();
    let mut servers: Vec<&str> = Vec::new();
    for runs in scenarios.iter().flat_map(|measured| &measured.servers) {
        if !servers.contains(&runs.server.as_str()) {
            servers.push(&runs.server);
        }
    }
    let titles = scenarios.iter().map(|measured| measured.scenario.clone());
    let header = ["server".to_owned()].into_iter().chain(titles).collect();
    let mut table = Table { header, words: 1, rows: Vec::new() };
    for server in servers {
        let cells = scenarios.iter().map(|measured| {
            let ratio = ratio(results, &measured.scenario, server);
            ratio.map_or(NONE.to_owned(), |ratio| format!("{ratio:.2}"))
        });
        table.row(Some(kind(server)), [server.to_owned()].into_iter().chain(cells));
    }
    table
}

/// The base's processor time over the server's, same round.
pub fn cpu_ratio(results: &Results, scenario: &str, server: &str) -> Option<Summary> {
    results.ratio((scenario, BASE), (scenario, server), Run::cpu)
}

/// The median of that.
pub fn median_ratio(results: &Results, scenario: &str, server: &str) -> Option<f64> {
    Some(cpu_ratio(results, scenario, server)?.median)
}

/// The base's least processor time over the server's least.
pub fn least_ratio(results: &Results, scenario: &str, server: &str) -> Option<f64> {
    results.ratio_of_least((scenario, BASE), (scenario, server), Run::cpu)
}

/// The server's requests/s over the base's, same round; the median.
pub fn speed_ratio(results: &Results, scenario: &str, server: &str) -> Option<f64> {
    Some(results.ratio((scenario, server), (scenario, BASE), Run::requests_per_second)?.median)
}

/// All figures of a scenario, least processor time first. The ratio is the base's processor time over the
/// server's.
pub fn scenario(results: &Results, measured: &Measured) -> Table {
    let mut table = Table::new(
        1,
        [
            "server",
            "CPU, ns",
            "spread",
            "least",
            "ratio",
            "spread",
            "of least",
            "requests/s",
            "spread",
            "busy",
            "p50, µs",
            "p99, µs",
            "p99.9, µs",
            "memory, MiB",
            "sleeps",
        ],
    );
    for (server, cpu) in measured.by_cpu() {
        let name = &measured.scenario;
        let text = |figure: Figure, text: fn(f64) -> String| {
            results.summary(name, server, figure).map_or(NONE.to_owned(), |summary| text(summary.median))
        };
        let (ratio, ratio_spread) = match cpu_ratio(results, name, server) {
            Some(ratio) => (format!("{:.3}", ratio.median), spread(&ratio)),
            None => (NONE.to_owned(), NONE.to_owned()),
        };
        let of_least = results.ratio_of_least((name, BASE), (name, server), Run::cpu);
        let speed = results.summary(name, server, Run::requests_per_second);
        let cells = [
            server.to_owned(),
            grouped(cpu.median),
            spread(&cpu),
            grouped(cpu.least),
            ratio,
            ratio_spread,
            of_least.map_or(NONE.to_owned(), |ratio| format!("{ratio:.3}")),
            requests_per_second(results, name, server),
            speed.map_or(NONE.to_owned(), |speed| spread(&speed)),
            text(Run::utilisation, |value| format!("{value:.2}")),
            text(Run::p50, grouped),
            text(Run::p99, grouped),
            text(Run::p99_9, grouped),
            text(Run::memory, |value| format!("{value:.1}")),
            text(Run::sleeps, |value| format!("{value:.3}")),
        ];
        table.row(Some(kind(server)), cells);
    }
    table
}

/// Requests/s in writing: in brackets where they are not the server's own limit.
pub fn requests_per_second(results: &Results, scenario: &str, server: &str) -> String {
    match results.summary(scenario, server, Run::requests_per_second) {
        None => NONE.to_owned(),
        Some(speed) if results.is_saturated(scenario, server) => grouped(speed.median),
        Some(speed) => format!("({})", grouped(speed.median)),
    }
}

/// A figure over the number of connections, a line for each server.
pub fn curve(results: &Results, figure: Figure) -> Table {
    let points: Vec<_> = curve_points(results).collect();
    let titles = points.iter().map(|scenario| grouped(f64::from(scenario.connections)));
    let header = ["connections".to_owned()].into_iter().chain(titles).collect();
    let mut table = Table { header, words: 1, rows: Vec::new() };
    for server in CURVE_SERVERS {
        let summaries = points.iter().map(|scenario| results.summary(scenario.name, server, figure));
        let cells: Vec<_> =
            summaries.map(|value| value.map_or(NONE.to_owned(), |value| grouped(value.median))).collect();
        if cells.iter().any(|cell| cell != NONE) {
            table.row(Some(kind(server)), [(*server).to_owned()].into_iter().chain(cells));
        }
    }
    table
}

/// The points of the curve that were measured.
pub fn curve_points(results: &Results) -> impl Iterator<Item = &'static Scenario> {
    let scenarios = CURVE.iter().filter_map(|name| Scenario::find(name));
    scenarios.filter(|scenario| results.scenario(scenario.name).is_some())
}

/// Servers with the memory of an idle connection, least first.
pub fn idle(results: &Results) -> Vec<(&str, Summary)> {
    let servers = results.scenario(IDLE).map_or(&[][..], |measured| &measured.servers);
    let servers = servers.iter().filter_map(|runs| {
        let bytes = results.summary(IDLE, &runs.server, Run::idle_bytes)?;
        Some((runs.server.as_str(), bytes))
    });
    let mut servers: Vec<_> = servers.collect();
    servers.sort_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
    servers
}

/// Where the memory of idle connections is measured.
const IDLE: &str = "idle-10k";

/// The memory of an idle connection.
pub fn idle_table(results: &Results) -> Table {
    let mut table = Table::new(1, ["server", "bytes", "least", "greatest"]);
    for (server, bytes) in idle(results) {
        let cells = [bytes.median, bytes.least, bytes.greatest].map(grouped);
        table.row(Some(kind(server)), [server.to_owned()].into_iter().chain(cells));
    }
    table
}

/// The microbenchmarks: a line for each, a column for each runtime.
pub fn micro(results: &Results) -> Table {
    let mut runtimes: Vec<&str> = Vec::new();
    for figure in &results.micro {
        if !runtimes.contains(&figure.runtime.as_str()) {
            runtimes.push(&figure.runtime);
        }
    }
    let header = ["benchmark", "unit"].into_iter().chain(runtimes.iter().copied()).map(str::to_owned).collect();
    let mut table = Table { header, words: 2, rows: Vec::new() };
    for (benchmark, unit) in benchmarks(results) {
        let cells = runtimes.iter().map(|runtime| match results.micro(runtime, benchmark) {
            Some(figure) if figure.count < 2 => decimal(figure.median),
            Some(figure) => format!("{} ±{}", decimal(figure.median), spread(&figure)),
            None => NONE.to_owned(),
        });
        table.row(None, [benchmark.to_owned(), unit].into_iter().chain(cells));
    }
    table
}

/// Names and units of the microbenchmarks, in the order in which they were measured.
pub fn benchmarks(results: &Results) -> Vec<(&str, String)> {
    let mut benchmarks: Vec<(&str, String)> = Vec::new();
    for figure in &results.micro {
        let benchmark = (figure.benchmark.as_str(), figure.unit.to_string());
        if !benchmarks.contains(&benchmark) {
            benchmarks.push(benchmark);
        }
    }
    benchmarks
}

/// A title for the scenario, also if it is one of a program of another version.
pub fn title(scenario: &str) -> &str {
    Scenario::find(scenario).map_or(scenario, |known| known.title)
}

/// Whether it is only a point of the curve.
pub fn is_curve_only(scenario: &str) -> bool {
    Scenario::find(scenario).is_some_and(Scenario::is_curve_only)
}

/// Servers and runs that are not in the figures, and why.
pub fn problems(results: &Results) -> Vec<String> {
    let missing =
        results.missing.iter().map(|missing| format!("{} cannot run here: {}", missing.server, missing.reason));
    let failures = results.failures.iter().map(|failure| {
        let super::results::Failure { scenario, server, round, reason } = failure;
        format!("{scenario}, {server}, round {}: {reason}", round + 1)
    });
    let late = results.scenarios.iter().flat_map(|measured| {
        measured.servers.iter().filter_map(|runs| {
            let late = runs.runs.iter().map(|run| run.outcome.overload).max().filter(|late| *late > 0)?;
            let late = grouped(late as f64);
            Some(format!(
                "{}, {}: up to {late} requests of a run were due and never sent",
                measured.scenario, runs.server
            ))
        })
    });
    missing.chain(failures).chain(late).collect()
}

/// With one decimal where it tells something.
pub fn decimal(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { grouped(value) }
}

/// A number of things, in the singular or the plural.
pub fn counted(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number as f64), if number == 1 { "" } else { "s" })
}

/// The spread, which a single round does not have.
fn spread(summary: &Summary) -> String {
    if summary.count < 2 { NONE.to_owned() } else { format!("{:.1} %", summary.spread() * 100.0) }
}
