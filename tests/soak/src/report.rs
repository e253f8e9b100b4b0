//! What all runs came to: a table, and JSON.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::run::{Run, Verdict};

/// A table of all runs.
pub fn table(runs: &[Run]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["scenario", "engine", "time", "rounds", "figures", "verdict"]);
    for run in runs {
        let figures: Vec<_> = run.figures.iter().map(|(name, value)| format!("{name} {}", text(value))).collect();
        table.add_row([
            Cell::new(run.scenario.id),
            Cell::new(run.scenario.engine),
            Cell::new(format!("{:.1} s", run.took.as_secs_f64())).set_alignment(CellAlignment::Right),
            Cell::new(run.rounds).set_alignment(CellAlignment::Right),
            Cell::new(figures.join("\n")),
            Cell::new(&run.verdict),
        ]);
    }
    table.to_string()
}

/// One line about a run that has just ended.
pub fn line(run: &Run) -> String {
    let Run { scenario, verdict, rounds, took, .. } = run;
    let mut line =
        format!("{verdict}: {} on {}, {rounds} rounds in {:.1} s", scenario.id, scenario.engine, took.as_secs_f64());
    if let Verdict::Skipped(why) = verdict {
        line += &format!(" (cannot be set up here: {why})");
    }
    line
}

/// Everything.
pub fn json(runs: &[Run], seed: u64, duration: Duration) -> Value {
    let runs: Vec<_> = runs.iter().map(|run| run.to_json(seed)).collect();
    json!({ "seed": seed, "duration_seconds": duration.as_secs_f64(), "runs": runs })
}

/// A string without its quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
