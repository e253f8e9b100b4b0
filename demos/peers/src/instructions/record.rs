//! Recorded figures, and whether new ones are worse.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::report::Figure;

/// The form of the file. It grows when older files can no longer be read.
const FORMAT: u32 = 1;

/// How much a figure may rise.
const TOLERANCE: f64 = 0.03;
/// The same for figures of another compiler.
const TOLERANCE_ELSEWHERE: f64 = 0.10;

/// Figures to compare with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// What built the servers.
    compiler: String,
    figures: Vec<Recorded>,
}

/// What one request has cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    pub server: String,
    pub scenario: String,
    instructions: u64,
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What has to be said.
    pub notes: Vec<String>,
    /// Figures that are missing, or too high.
    pub faults: Vec<String>,
}

impl Record {
    pub fn new(compiler: String, figures: &[Figure]) -> Record {
        let recorded = |figure: &Figure| Recorded {
            server: figure.server.clone(),
            scenario: figure.scenario.clone(),
            instructions: figure.instructions.round() as u64,
        };
        Record { format: FORMAT, compiler, figures: figures.iter().map(recorded).collect() }
    }

    pub fn read(file: &Path) -> anyhow::Result<Record> {
        let name = file.display();
        let remedy = "write it with `peers instructions --record`";
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}: {remedy}"))?;
        let record: Record = serde_json::from_str(&text).with_context(|| format!("{name} is no record: {remedy}"))?;
        let format = record.format;
        ensure!(format == FORMAT, "{name} has format {format}, and this program reads format {FORMAT}: {remedy}");
        Ok(record)
    }

    /// As it stands in the file.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self).context("the record does not fit into JSON")? + "\n")
    }

    /// Keeps what `is_chosen` wants.
    pub fn retain(&mut self, is_chosen: impl Fn(&Recorded) -> bool) {
        self.figures.retain(is_chosen);
    }

    /// Every recorded figure against what was found.
    pub fn compare(&self, compiler: &str, found: &[Figure]) -> Verdict {
        let mut verdict = Verdict::default();
        let mut tolerance = TOLERANCE;
        if self.compiler != compiler {
            tolerance = TOLERANCE_ELSEWHERE;
            verdict.notes.push(format!(
                "The record is of another compiler ({}, and this is {compiler}): figures may rise by {:.0} % instead \
                 of {:.0} %.",
                self.compiler,
                tolerance * 100.0,
                TOLERANCE * 100.0
            ));
        }
        for Recorded { server, scenario, instructions } in &self.figures {
            let found = found.iter().find(|figure| figure.server == *server && figure.scenario == *scenario);
            let Some(found) = found.map(|figure| figure.instructions.round()) else {
                verdict.faults.push(format!("{server}, {scenario}: recorded {instructions}, found nothing"));
                continue;
            };
            let change = found / *instructions as f64 - 1.0;
            let line =
                format!("{server}, {scenario}: recorded {instructions}, found {found} ({:+.1} %)", change * 100.0);
            if change > tolerance {
                verdict.faults.push(line);
            } else if change < -tolerance {
                verdict.notes.push(format!("{line}: it is better, so record it"));
            } else {
                verdict.notes.push(line);
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(server: &str, instructions: f64) -> Figure {
        let (server, scenario) = (server.to_owned(), "echo-64".to_owned());
        Figure { server, scenario, requests: 6400, instructions, system_calls: 2.0, allocations: 0.0 }
    }

    fn faults(recorded: f64, found: f64, compiler: &str) -> usize {
        let record = Record::new("rustc 1".to_owned(), &[figure("reactor-echo", recorded)]);
        record.compare(compiler, &[figure("reactor-echo", found)]).faults.len()
    }

    #[test]
    fn a_rise_by_more_than_three_percent_is_a_fault() {
        assert_eq!(faults(1000.0, 1029.0, "rustc 1"), 0);
        assert_eq!(faults(1000.0, 1031.0, "rustc 1"), 1);
        assert_eq!(faults(1000.0, 500.0, "rustc 1"), 0);
    }

    #[test]
    fn another_compiler_may_cost_ten() {
        assert_eq!(faults(1000.0, 1099.0, "rustc 2"), 0);
        assert_eq!(faults(1000.0, 1101.0, "rustc 2"), 1);
        let record = Record::new("rustc 1".to_owned(), &[]);
        let notes = record.compare("rustc 2", &[]).notes.concat();
        assert!(notes.contains("rustc 1") && notes.contains("rustc 2") && notes.contains("10 %"), "{notes}");
    }

    #[test]
    fn a_fault_names_all_there_is_to_know() {
        let record = Record::new("rustc 1".to_owned(), &[figure("reactor-echo", 1000.4), figure("gone", 7.0)]);
        let verdict = record.compare("rustc 1", &[figure("reactor-echo", 2000.0)]);
        let expected =
            ["reactor-echo, echo-64: recorded 1000, found 2000 (+100.0 %)", "gone, echo-64: recorded 7, found nothing"];
        assert_eq!(verdict.faults, expected);
    }

    #[test]
    fn what_is_better_is_worth_recording() {
        let record = Record::new("rustc 1".to_owned(), &[figure("reactor-echo", 1000.0)]);
        let verdict = record.compare("rustc 1", &[figure("reactor-echo", 900.0)]);
        assert!(verdict.faults.is_empty() && verdict.notes.concat().contains("record it"), "{verdict:?}");
    }

    #[test]
    fn a_record_survives_its_file() {
        let record = Record::new("rustc 1".to_owned(), &[figure("reactor-echo", 1000.0)]);
        assert_eq!(serde_json::from_str::<Record>(&record.text().unwrap()).unwrap(), record);
    }
}
