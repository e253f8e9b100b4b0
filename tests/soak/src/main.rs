//! The soak: every scenario of the tests, each for as long as there is time.
//!
//! The tests run a second's worth of each scenario. What shows only in the long run (a leak of some bytes for each
//! connection, a race that is lost once in a million times) is found here. The bodies are the same
//! (`tests/src/scenarios/`), and so is the way they are run: each in a process of its own, under a watchdog.

#![forbid(unsafe_code)]

mod cli;
mod report;
mod run;

use std::fs::File;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use tests::scenarios::Scenario;

use cli::Cli;
use run::{Run, Verdict};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// As a shell reports a program that was ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    soak(&cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn soak(cli: &Cli) -> anyhow::Result<ExitCode> {
    if !cli.child {
        // Who reads no more has seen enough: `--list | head -1`. Scenarios run with the signal as they find it.
        signal_hook::flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true)))
            .context("cannot watch for signals")?;
    }
    let scenarios = cli.select()?;
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..));
    if cli.list {
        list(&scenarios);
        return Ok(ExitCode::SUCCESS);
    }
    if cli.child {
        run::child(&scenarios[0], cli.duration, seed)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Before anything runs, for it would be a pity to fail at it after a night.
    let json = cli.json.as_deref().map(|path| {
        File::create(path).with_context(|| format!("cannot write to {}: give another --json FILE", path.display()))
    });
    let json = json.transpose()?;
    println!("{} runs, {} in all, --seed {seed}", scenarios.len(), humantime::format_duration(cli.duration));
    if let Some(warning) = cli.warning(scenarios.len()) {
        eprintln!("warning: {warning}");
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch for signals")?;
    }
    let runs = run_all(scenarios, cli.duration, seed, &interrupted)?;
    println!("{}", report::table(&runs));
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &report::json(&runs, seed, cli.duration))
            .context("cannot write the JSON")?;
    }
    Ok(conclude(&runs, seed))
}

/// Prints each scenario with its engines.
fn list(scenarios: &[Scenario]) {
    for group in scenarios.chunk_by(|one, other| one.id == other.id) {
        let engines: Vec<_> = group.iter().map(|scenario| scenario.engine).collect();
        println!("{}: {} ({})", group[0].id, group[0].about, engines.join(", "));
    }
}

/// Runs one after the other. What is left of the time is divided among those that are left, so that one that takes
/// longer than its part costs the others little.
fn run_all(
    scenarios: Vec<Scenario>,
    duration: Duration,
    seed: u64,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<Run>> {
    let begun = Instant::now();
    let bar = progress_bar(duration)?;
    let total = scenarios.len();
    let mut runs = Vec::with_capacity(total);
    for (number, scenario) in scenarios.into_iter().enumerate() {
        bar.set_message(format!("{}/{total}: {} on {}", number + 1, scenario.id, scenario.engine));
        let left = u32::try_from(total - number).context("too many scenarios")?;
        let span = duration.saturating_sub(begun.elapsed()) / left;
        let run = Run::start(scenario, span, seed, || {
            bar.set_position(millis(begun.elapsed().min(duration)));
            if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let run = run.with_context(|| format!("cannot start a process for {} on {}", scenario.id, scenario.engine))?;
        bar.suspend(|| eprintln!("{}", report::line(&run)));
        let is_over = run.verdict == Verdict::Interrupted;
        runs.push(run);
        if is_over {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(runs)
}

fn progress_bar(duration: Duration) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}").context("a template")?;
    Ok(ProgressBar::new(millis(duration)).with_style(style))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Says what failed, and how to see it again.
fn conclude(runs: &[Run], seed: u64) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for run in runs {
        if let Verdict::Failed(output) = &run.verdict {
            println!("\n{} on {} failed: {output}", run.scenario.id, run.scenario.engine);
            println!("again: {}", run.command(seed));
            code = ExitCode::FAILURE;
        }
    }
    let was_interrupted = runs.iter().any(|run| run.verdict == Verdict::Interrupted);
    if was_interrupted && code == ExitCode::SUCCESS { ExitCode::from(INTERRUPTED) } else { code }
}
