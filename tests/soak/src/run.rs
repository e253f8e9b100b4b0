//! One scenario on one engine: in a process of its own, which reports.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::process::CommandExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use ::tests::scenarios::Scenario;
use ::tests::{CaseProcess, Ended, Until};
use serde_json::{Map, Value, json};

/// How long a run may go on after its time: its last round, and the balance at its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the line begins with by which the child reports.
const REPORT: &str = "report: ";

/// A run that is over.
#[derive(Debug)]
pub struct Run {
    pub scenario: Scenario,
    pub verdict: Verdict,
    /// How long it was to go on.
    pub span: Duration,
    /// How long it took.
    pub took: Duration,
    pub rounds: u64,
    /// What was measured.
    pub figures: Map<String, Value>,
}

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was as it has to be.
    Holds,
    /// Something was not; with what was printed.
    Failed(String),
    /// The engine can't be set up here; with the reason.
    Skipped(String),
    /// The user did not want to wait.
    Interrupted,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Holds => "holds",
            Verdict::Failed(_) => "FAILED",
            Verdict::Skipped(_) => "skipped",
            Verdict::Interrupted => "interrupted",
        })
    }
}

impl Run {
    /// Runs the scenario in a child for that long. `meanwhile` is called all the time, and can break it off.
    pub fn start(
        scenario: Scenario,
        span: Duration,
        seed: u64,
        meanwhile: impl FnMut() -> ControlFlow<()>,
    ) -> io::Result<Run> {
        let begun = Instant::now();
        let mut run =
            Run { scenario, verdict: Verdict::Interrupted, span, took: Duration::ZERO, rounds: 0, figures: Map::new() };
        if let Some(why) = (scenario.unavailable)() {
            run.verdict = Verdict::Skipped(why);
            return Ok(run);
        }
        let child = CaseProcess::start(false, |command| {
            // In a group of its own, so that Ctrl-C reaches the parent alone.
            command.arg("--child").args(arguments(&scenario, span, seed)).process_group(0);
        })?;
        let mut meanwhile = meanwhile;
        let mut broken_off = false;
        let Ended { status, printed } = child.wait(span + PATIENCE, || {
            let flow = meanwhile();
            broken_off |= flow.is_break();
            flow
        })?;
        run.took = begun.elapsed();
        if !broken_off {
            run.judge(status, printed);
        }
        Ok(run)
    }

    fn judge(&mut self, status: Option<ExitStatus>, printed: String) {
        let report = printed.lines().rev().find_map(|line| line.strip_prefix(REPORT));
        let report: Option<Value> = report.and_then(|report| serde_json::from_str(report).ok());
        if let Some(report) = &report {
            self.rounds = report["rounds"].as_u64().unwrap_or_default();
            self.figures = report["figures"].as_object().cloned().unwrap_or_default();
        }
        self.verdict = match status {
            Some(status) if status.success() && report.is_some() => Verdict::Holds,
            Some(status) => Verdict::Failed(format!("{status}\n{printed}")),
            None => Verdict::Failed(format!("killed: it hung, and its own watchdog with it\n{printed}")),
        };
    }

    /// The command that does the same once more.
    pub fn command(&self, seed: u64) -> String {
        let profile = if cfg!(debug_assertions) { "" } else { "--release " };
        format!("cargo run {profile}-p soak -- {}", arguments(&self.scenario, self.span, seed).join(" "))
    }

    /// All that is known about it.
    pub fn to_json(&self, seed: u64) -> Value {
        let output = match &self.verdict {
            Verdict::Failed(text) | Verdict::Skipped(text) => Some(text),
            Verdict::Holds | Verdict::Interrupted => None,
        };
        json!({
            "scenario": self.scenario.id,
            "about": self.scenario.about,
            "engine": self.scenario.engine,
            "verdict": self.verdict.to_string(),
            "rounds": self.rounds,
            "seconds": self.took.as_secs_f64(),
            "figures": self.figures,
            "command": self.command(seed),
            "output": output,
        })
    }
}

fn arguments(scenario: &Scenario, span: Duration, seed: u64) -> [String; 7] {
    // In whole milliseconds, and never none.
    let span = Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1));
    let span = humantime::format_duration(span).to_string().replace(' ', "");
    let words = [scenario.id, "--engine", scenario.engine, "--seed", &seed.to_string(), "--duration", &span];
    words.map(str::to_owned)
}

/// What the child does: the scenario, and a line about it.
pub fn child(scenario: &Scenario, span: Duration, seed: u64) -> anyhow::Result<()> {
    // A run must not outlive the command, however that ends.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let rounds = scenario.run(Until::Elapsed(span), seed, span + PATIENCE);
    let figures: Map<_, _> =
        rounds.figures().iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    println!("{REPORT}{}", json!({ "rounds": rounds.done(), "figures": figures }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::process::ExitStatusExt;

    fn judged(status: Option<i32>, printed: &str) -> Run {
        let scenario = ::tests::scenarios::all()[0];
        let span = Duration::from_millis(1500);
        let mut run = Run { scenario, verdict: Verdict::Interrupted, span, took: span, rounds: 0, figures: Map::new() };
        run.judge(status.map(ExitStatus::from_raw), printed.to_owned());
        run
    }

    #[test]
    fn only_a_good_end_with_a_report_holds() {
        let good = judged(Some(0), "hello\nreport: {\"rounds\":3,\"figures\":{\"hangs\":\"0\"}}\n");
        assert_eq!((good.verdict, good.rounds), (Verdict::Holds, 3));
        assert_eq!(good.figures["hangs"], "0");
        assert!(matches!(judged(Some(0), "hello").verdict, Verdict::Failed(_)));
        assert!(matches!(judged(Some(256), "report: {}").verdict, Verdict::Failed(text) if text.contains("report")));
        assert!(matches!(judged(None, "").verdict, Verdict::Failed(text) if text.contains("hung")));
    }

    #[test]
    fn the_command_names_everything() {
        let run = judged(None, "");
        let command = run.command(7);
        assert!(command.starts_with("cargo run "), "{command}");
        assert!(command.ends_with(&format!("{} --seed 7 --duration 1s500ms", run.scenario.engine)), "{command}");
    }
}
