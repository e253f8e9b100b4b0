//! What `demos compare` has found, as a table and as JSON.

use std::collections::BTreeSet;
use std::time::Duration;

use demos::plot::{Table, grouped};
use demos::text::filled;
use serde_json::{Value, json};

use super::scenarios::Scenario;
use crate::engine::Engine;
use crate::load::figures::{Figures, build_note, median};

/// A machine on which others take less than this part of the time counts as quiet.
const QUIET: f64 = 0.05;
/// A system call that is rarer than this, per request, gets no row of its own.
const RARE: f64 = 0.0005;

/// What to try after this.
const NEXT: &str = "Next: `demos compare --seconds 60 --html compare.html` draws it; `demos models` shows what comes before \
                    these engines.";

/// All figures.
#[derive(Debug, Default)]
pub struct Report {
    pub scenarios: Vec<Scenario>,
    pub contenders: Vec<Contender>,
    /// Engines that cannot run here, and why.
    pub missing: Vec<(Engine, String)>,
    pub rounds: usize,
    /// Answers that were checked, all of them right.
    pub answers: u64,
    /// Whether servers and client had a processor each.
    pub is_pinned: bool,
    /// The length of all runs.
    pub measured: Duration,
    /// How long server and client waited for their processors meanwhile.
    pub waited: Duration,
}

/// The figures of one engine.
#[derive(Debug)]
pub struct Contender {
    pub engine: Engine,
    /// For each scenario, the figures of each round.
    pub runs: Vec<Vec<Figures>>,
    /// For each round, the memory of an idle connection. Empty if that is not measured.
    pub idle_bytes: Vec<f64>,
}

impl Contender {
    pub fn new(engine: Engine, scenarios: usize) -> Contender {
        Contender { engine, runs: vec![Vec::new(); scenarios], idle_bytes: Vec::new() }
    }
}

/// How a row's numbers look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Whole numbers, with the ratio to the first engine.
    Compared,
    /// Three decimals, with the ratio.
    Counted,
    /// Three decimals. It is a part of the row above.
    Part,
}

/// One row of a scenario.
pub struct Row {
    pub name: String,
    /// One for each engine.
    pub cells: Vec<String>,
}

impl Report {
    /// The table: for each scenario the medians, engines side by side; and what it means.
    pub fn table(&self, width: usize) -> String {
        let engines = self.contenders.iter().map(|contender| contender.engine.name());
        let header = [""].into_iter().chain(engines).map(str::to_owned).collect();
        let mut table = Table { header, words: 1, rows: Vec::new() };
        let mut sections = Vec::new();
        for (name, rows) in self.sections() {
            sections.push((name, rows.len()));
            for row in rows {
                table.row(None, [format!("  {}", row.name)].into_iter().chain(row.cells));
            }
        }
        // The name of a scenario is a line across all columns.
        let text = table.plain(width);
        let mut lines = text.lines();
        let mut shown: Vec<&str> = lines.by_ref().take(1).collect();
        for (name, rows) in &sections {
            shown.push(name);
            shown.extend(lines.by_ref().take(*rows));
        }
        format!("{}\n\n{}", shown.join("\n"), filled(&format!("{}\n{NEXT}", self.note()), width))
    }

    /// Each scenario's name and rows.
    pub fn sections(&self) -> Vec<(String, Vec<Row>)> {
        let scenarios = self.scenarios.iter().enumerate().map(|(number, scenario)| {
            let runs: Vec<_> = self.contenders.iter().map(|contender| &contender.runs[number][..]).collect();
            (scenario.name.clone(), rows(&runs))
        });
        let idle: Vec<_> = self.contenders.iter().map(|contender| contender.idle_bytes.clone()).collect();
        let is_measured = idle.iter().any(|rounds| !rounds.is_empty());
        let idle =
            is_measured.then(|| ("echo, idle connections".to_owned(), vec![row("bytes each", Style::Compared, &idle)]));
        scenarios.chain(idle).collect()
    }

    /// How it was measured, and what that means.
    pub fn note(&self) -> String {
        let cores = if self.is_pinned {
            "servers on one processor, the client on another"
        } else {
            "servers and client share the processors"
        };
        let disturbed = match self.disturbed() {
            Some(part) if part > QUIET => format!(
                " Other programs took the processors away for {:.0} % of the time: compare system calls and server CPU, \
                 which suffer less, rather than requests/s and latency.",
                part * 100.0
            ),
            _ => String::new(),
        };
        let build = build_note().map_or_else(String::new, |note| format!(" {note}"));
        format!(
            "{} answers, every byte checked. Medians of {} rounds; {cores}. System calls, polls, wakes and server CPU \
             are per request: how often its task runs, and is called to run. p50 and p99: half of the answers came within p50, 99 \
             of 100 within p99. Depth is the number of requests a connection sends at once. Behind a figure is its ratio \
             to the first column, the median of the rounds' ratios, ± half their range. Connections wait for their \
             answers, so requests/s show the slower of server and client, and server CPU the server alone.\
             {disturbed}{build}",
            grouped(self.answers as f64),
            self.rounds
        )
    }

    /// Engines that did not take part, each with the reason.
    pub fn missing(&self) -> impl Iterator<Item = String> {
        let text = |(engine, reason)| format!("{engine} did not take part: {reason}. `demos doctor` tells more.");
        self.missing.iter().map(|(engine, reason)| (*engine, reason)).map(text)
    }

    /// The part of the time in which other programs had the processors, where server and client have one
    /// each. If they share one, they take it from each other.
    fn disturbed(&self) -> Option<f64> {
        let is_known = self.is_pinned && !self.measured.is_zero();
        is_known.then(|| (self.waited.as_secs_f64() / self.measured.as_secs_f64()).min(1.0))
    }

    /// Everything, each round included.
    pub fn json(&self) -> Value {
        let scenarios = self.scenarios.iter().enumerate().map(|(number, scenario)| {
            let engines = self.contenders.iter().map(|contender| {
                let runs = &contender.runs[number];
                json!({
                    "engine": contender.engine.name(),
                    "median": Figures::median(runs).json(),
                    "rounds": runs.iter().map(Figures::json).collect::<Vec<_>>(),
                })
            });
            json!({
                "name": scenario.name,
                "connections": scenario.connections,
                "requests_at_once": scenario.depth,
                "engines": engines.collect::<Vec<_>>(),
            })
        });
        let idle = self.contenders.iter().map(|contender| {
            json!({
                "engine": contender.engine.name(),
                "bytes_per_connection": median(contender.idle_bytes.clone()),
                "rounds": contender.idle_bytes,
            })
        });
        let missing = self.missing.iter();
        let missing = missing.map(|(engine, reason)| json!({ "engine": engine.name(), "reason": reason }));
        json!({
            "rounds": self.rounds,
            "answers_checked": self.answers,
            "pinned": self.is_pinned,
            "disturbed": self.disturbed(),
            "scenarios": scenarios.collect::<Vec<_>>(),
            "idle": idle.collect::<Vec<_>>(),
            "missing": missing.collect::<Vec<_>>(),
        })
    }
}

/// The rows of a scenario, from the rounds of each engine: first what repeats, then what depends on the moment.
fn rows(engines: &[&[Figures]]) -> Vec<Row> {
    let of = |figure: &dyn Fn(&Figures) -> f64| -> Vec<Vec<f64>> {
        engines.iter().map(|rounds| rounds.iter().map(figure).collect()).collect()
    };
    let mut rows = vec![row("system calls", Style::Counted, &of(&Figures::calls_in_all))];
    let calls: BTreeSet<_> = engines.iter().copied().flatten().flat_map(|figures| figures.calls.keys()).collect();
    for call in calls {
        let counts = of(&|figures| figures.calls.get(call).copied().unwrap_or(0.0));
        if counts.iter().any(|rounds| median(rounds.clone()) >= RARE) {
            rows.push(row(&format!("  {call}"), Style::Part, &counts));
        }
    }
    rows.push(row("polls", Style::Counted, &of(&|figures| figures.polls)));
    rows.push(row("wakes", Style::Counted, &of(&|figures| figures.wakes)));
    rows.push(row("server CPU, ns", Style::Compared, &of(&|figures| figures.cpu_ns)));
    rows.push(row("requests/s", Style::Compared, &of(&|figures| figures.requests_per_second)));
    rows.push(row("latency p50, µs", Style::Compared, &of(&|figures| figures.p50_us)));
    rows.push(row("latency p99, µs", Style::Compared, &of(&|figures| figures.p99_us)));
    rows
}

/// A row, from the rounds of each engine.
fn row(name: &str, style: Style, engines: &[Vec<f64>]) -> Row {
    let cell = |(place, rounds): (usize, &Vec<f64>)| {
        let value = median(rounds.clone());
        let text = match style {
            Style::Compared => grouped(value),
            Style::Counted | Style::Part if value == 0.0 => "-".to_owned(),
            Style::Counted | Style::Part => format!("{value:.3}"),
        };
        let ratio = (style != Style::Part && place > 0).then(|| ratio(rounds, &engines[0])).flatten();
        ratio.map_or(text.clone(), |(ratio, spread)| format!("{text} {ratio:>4.2} ±{spread:.2}"))
    };
    Row { name: name.to_owned(), cells: engines.iter().enumerate().map(cell).collect() }
}

/// The median of the rounds' ratios, and half their range; `None` if a round of the first has nothing to divide by.
fn ratio(rounds: &[f64], first: &[f64]) -> Option<(f64, f64)> {
    let ratios: Vec<f64> = rounds.iter().zip(first).map(|(value, first)| value / first).collect();
    let (least, most) =
        ratios.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
    most.is_finite().then(|| (median(ratios), (most - least) / 2.0)).filter(|_| first.iter().all(|value| *value > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_ratios_and_how_far_they_spread() {
        let engines = [vec![100.0, 200.0, 100.0], vec![50.0, 200.0, 100.0], vec![0.0, 0.0, 0.0]];
        assert_eq!(row("a", Style::Compared, &engines).cells, ["100", "100 1.00 ±0.25", "0 0.00 ±0.00"]);
        assert_eq!(row("a", Style::Part, &engines).cells, ["100.000", "100.000", "-"]);
        let nothing = [vec![0.0], vec![1.0]];
        assert_eq!(row("a", Style::Counted, &nothing).cells, ["-", "1.000"]);
    }

    #[test]
    fn the_table_fits_a_terminal_of_eighty_columns() {
        let calls = ["epoll_pwait2", "io_uring_enter", "recvfrom"].map(|call| (call.to_owned(), 1.0)).into();
        let large = Figures {
            requests_per_second: 9_876_543.0,
            p50_us: 123_456.0,
            p99_us: 1_234_567.0,
            cpu_ns: 987_654.0,
            calls,
            polls: 12.345,
            wakes: 12.345,
        };
        let scenarios = vec![Scenario::new(super::super::scenarios::Service::Echo { message: 16384 }, 1000, 16)];
        let contender = |engine| Contender { engine, runs: vec![vec![large.clone()]], idle_bytes: vec![12_345.0] };
        let report = Report { scenarios, contenders: Engine::ALL.map(contender).into(), ..Report::default() };
        let table = report.table(80);
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(
            table.contains("\necho, 1000 connections, 16 KiB, depth 16\n") && table.contains("9,876,543 1.00 ±0.00"),
            "{table}"
        );
    }
}
