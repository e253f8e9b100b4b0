//! What `demos compare` has found, as a table and as JSON.

use std::collections::BTreeSet;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use demos::plot::grouped;
use serde_json::{Value, json};

use super::scenarios::SCENARIOS;
use crate::engine::Engine;
use crate::load::figures::{Figures, build_note, median};

/// A machine on which others take less than this part of the time counts as quiet.
const QUIET: f64 = 0.05;

/// What to try after this.
const NEXT: &str = "Next: `demos compare --seconds 60 --html compare.html` draws it; `demos models` shows what comes before \
                    these engines.";

/// All figures.
#[derive(Debug, Default)]
pub struct Report {
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
    /// For each round, the memory of an idle connection.
    pub idle_bytes: Vec<f64>,
}

impl Contender {
    pub fn new(engine: Engine) -> Contender {
        Contender { engine, runs: vec![Vec::new(); SCENARIOS.len()], idle_bytes: Vec::new() }
    }
}

/// How many digits a row shows, and whether it is worth a ratio.
#[derive(Clone, Copy)]
pub enum Style {
    /// Whole numbers, and the ratio to the first engine.
    Compared,
    /// Three decimals.
    Counted,
}

impl Report {
    /// The table: for each scenario the medians, engines side by side.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        let engines = self.contenders.iter().map(|contender| contender.engine.name());
        table.set_header([""].into_iter().chain(engines));
        for (number, scenario) in SCENARIOS.iter().enumerate() {
            table.add_row([scenario.name]);
            let medians: Vec<_> =
                self.contenders.iter().map(|contender| Figures::median(&contender.runs[number])).collect();
            for (name, style, values) in rows(&medians) {
                table.add_row(row(&name, style, &values));
            }
        }
        table.add_row(["echo, idle connections"]);
        let idle: Vec<_> = self.contenders.iter().map(|contender| median(contender.idle_bytes.clone())).collect();
        table.add_row(row("memory, bytes each", Style::Compared, &idle));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{table}\n{}\n{NEXT}", self.note())
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
                " Other programs took the processors away for {:.0} % of the time: compare server CPU and polls, \
                 which suffer less, rather than requests/s and latency.",
                part * 100.0
            ),
            _ => String::new(),
        };
        let build = build_note().map_or_else(String::new, |note| format!(" {note}"));
        format!(
            "{} answers, every byte checked. Medians of {} rounds; {cores}. Server CPU, calls, polls \
             and wakes are per request, ratios to the first column; depth is the number of requests a \
             connection sends at once. Connections wait for their answers, so requests/s show the slower of \
             server and client, and server CPU the server alone.{disturbed}{build}",
            grouped(self.answers as f64),
            self.rounds
        )
    }

    /// Engines that did not take part, each with the reason.
    pub fn missing(&self) -> impl Iterator<Item = String> {
        let text = |(engine, reason)| format!("{engine} did not take part: {reason}. `demos doctor` tells more.");
        self.missing.iter().map(|(engine, reason)| (*engine, reason)).map(text)
    }

    /// The part of the time in which somebody else had the processors, where server and client have one
    /// each. If they share one, they take it from each other.
    fn disturbed(&self) -> Option<f64> {
        let is_known = self.is_pinned && !self.measured.is_zero();
        is_known.then(|| (self.waited.as_secs_f64() / self.measured.as_secs_f64()).min(1.0))
    }

    /// Everything, each round included.
    pub fn json(&self) -> Value {
        let scenarios = SCENARIOS.iter().enumerate().map(|(number, scenario)| {
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
            "debug_build": cfg!(debug_assertions),
            "scenarios": scenarios.collect::<Vec<_>>(),
            "idle": idle.collect::<Vec<_>>(),
            "missing": missing.collect::<Vec<_>>(),
        })
    }
}

/// Name, style and values of the rows of a scenario.
pub fn rows(engines: &[Figures]) -> Vec<(String, Style, Vec<f64>)> {
    let of = |figure: &dyn Fn(&Figures) -> f64| engines.iter().map(figure).collect::<Vec<_>>();
    let mut rows = vec![
        ("requests/s".to_owned(), Style::Compared, of(&|figures| figures.requests_per_second)),
        ("latency p50, µs".to_owned(), Style::Compared, of(&|figures| figures.p50_us)),
        ("latency p99, µs".to_owned(), Style::Compared, of(&|figures| figures.p99_us)),
        ("server CPU, ns".to_owned(), Style::Compared, of(&|figures| figures.cpu_ns)),
    ];
    let calls: BTreeSet<_> = engines.iter().flat_map(|figures| figures.calls.keys()).collect();
    for call in calls {
        let count = of(&|figures| figures.calls.get(call).copied().unwrap_or(0.0));
        if count.iter().any(|count| *count >= 0.0005) {
            rows.push((format!("calls of {call}"), Style::Counted, count));
        }
    }
    rows.push(("polls".to_owned(), Style::Counted, of(&|figures| figures.polls)));
    rows.push(("wakes".to_owned(), Style::Counted, of(&|figures| figures.wakes)));
    rows
}

pub fn row(name: &str, style: Style, values: &[f64]) -> Vec<String> {
    let first = values.first().copied().unwrap_or_default();
    let cell = |(place, value): (usize, &f64)| match style {
        Style::Counted if *value == 0.0 => "-".to_owned(),
        Style::Counted => format!("{value:.3}"),
        Style::Compared if place == 0 || first == 0.0 => format!("{}       ", grouped(*value)),
        Style::Compared => format!("{} {:>5.2}×", grouped(*value), value / first),
    };
    [format!("  {name}")].into_iter().chain(values.iter().enumerate().map(cell)).collect()
}
