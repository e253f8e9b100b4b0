//! An earlier report, to see what has changed since.

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use demos::plot::Table;
use demos::text::filled;
use serde_json::Value;

use super::report::{Contender, Report};
use crate::load::figures::Figures;
use crate::origin;

/// What is compared with it: a title, its name in the report, and how to get at it.
type Compared = (&'static str, &'static str, fn(&Figures) -> f64);

const COMPARED: [Compared; 3] = [
    ("system calls", "system_calls_in_all_per_request", Figures::calls_in_all),
    ("server CPU", "server_cpu_ns_per_request", |figures| figures.cpu_ns),
    ("requests/s", "requests_per_second", |figures| figures.requests_per_second),
];

/// A report of `demos compare --json FILE`.
pub struct Baseline {
    name: String,
    report: Value,
}

impl Baseline {
    /// Reads it.
    ///
    /// # Errors
    /// Those of reading; if it is no such report.
    pub fn read(path: &Path) -> anyhow::Result<Baseline> {
        let remedy = "give a file that `demos compare --json FILE` has written";
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {name}, which is given with --baseline: {remedy}"))?;
        let report: Value = serde_json::from_str(&text)
            .map_err(|error| anyhow!("{name}, which is given with --baseline, is not JSON ({error}): {remedy}"))?;
        ensure!(report["scenarios"].is_array(), "{name}, which is given with --baseline, is no such report: {remedy}");
        Ok(Baseline { name, report })
    }

    /// What has changed, as text.
    pub fn text(&self, now: &Report, width: usize) -> String {
        let header = [""].into_iter().chain(COMPARED.map(|(title, ..)| title)).map(str::to_owned).collect();
        let mut table = Table { header, words: 1, rows: Vec::new() };
        for (number, scenario) in now.scenarios.iter().enumerate() {
            let known = |contender| Some((contender, self.rounds(&scenario.name, contender)?));
            let found: Vec<_> = now.contenders.iter().filter_map(known).collect();
            if !found.is_empty() {
                table.row(None, [&scenario.name]);
            }
            for (contender, then) in found {
                let cells = COMPARED.iter().map(|(_, name, figure)| {
                    let now: Vec<f64> = contender.runs[number].iter().map(figure).collect();
                    let then: Vec<f64> = then.iter().filter_map(|round| round[name].as_f64()).collect();
                    change(&then, &now)
                });
                table.row(None, [format!("  {}", contender.engine)].into_iter().chain(cells));
            }
        }
        let head = format!("\nCompared with {}{}", self.name, self.differences());
        if table.rows.is_empty() {
            return filled(&format!("{head}\nIt has none of these scenarios on these engines."), width);
        }
        let note = "Each figure is now divided by then. In brackets is what the rounds allow: from the least of now over \
                    the greatest of then to the reverse. A range around 1 shows no change.";
        format!("{}\n{}\n{}", filled(&head, width), table.plain(width), filled(note, width))
    }

    /// The rounds of a scenario on an engine.
    fn rounds(&self, scenario: &str, contender: &Contender) -> Option<&Vec<Value>> {
        let named = |list: &'_ Value, key: &str, name: &str| {
            list.as_array().and_then(|list| list.iter().position(|entry| entry[key] == name))
        };
        let scenarios = &self.report["scenarios"];
        let engines = &scenarios[named(scenarios, "name", scenario)?]["engines"];
        engines[named(engines, "engine", contender.engine.name())?]["rounds"].as_array()
    }

    /// What it says of itself, and what is different now.
    fn differences(&self) -> String {
        let (then, now) = (&self.report["origin"], origin::json());
        let word = |key: &str| then[key].as_str().unwrap_or("unknown").to_owned();
        let mut text = format!(", made on {}, commit {}.", word("date"), word("commit"));
        for key in ["kernel", "processor", "cores", "debug_build"] {
            if then[key] != now[key] {
                text += &format!(" Its {} is {}, now it is {}.", key.replace('_', " "), then[key], now[key]);
            }
        }
        text
    }
}

/// The ratio of the medians, and the least and the greatest that the rounds allow.
fn change(then: &[f64], now: &[f64]) -> String {
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let median = |values: &[f64]| crate::load::figures::median(values.to_vec());
    if then.is_empty() || now.is_empty() || least(then) <= 0.0 {
        return "-".to_owned();
    }
    format!("{:.2} ({:.2}-{:.2})", median(now) / median(then), least(now) / most(then), most(now) / least(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_with_what_the_rounds_allow() {
        assert_eq!(change(&[10.0, 20.0, 15.0], &[30.0, 30.0, 40.0]), "2.00 (1.50-4.00)");
        assert_eq!(change(&[], &[1.0]), "-");
        assert_eq!(change(&[0.0], &[1.0]), "-");
    }
}
