//! Runs the plan.
//!
//! Every run has a server process and a client process of its own: nothing that one has left behind is
//! part of another's figures. Servers take turns, A B C, then B C A, so that a machine that slows down
//! meanwhile slows down all of them.

use std::slice;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::cores::Cores;
use super::machine::Machine;
use super::plan::{Entry, MICRO, MICRO_RUNTIMES, MICRO_TIME, Plan, Scenario};
use super::process::{self, Server};
use super::results::{FORMAT, Failure, Measured, Missing, Results, Run, ServerRuns};
use super::tables::counted;
use crate::micro;

/// A run from which others took more than this part of the time is taken again ...
pub const MOST_STOLEN: f64 = 0.02;
/// ... so many times at most. The least disturbed one counts.
const AGAIN: usize = 2;

/// Measures all of it.
pub fn run(mut plan: Plan) -> anyhow::Result<Results> {
    let cores = Cores::new().context("cannot ask for the processors that may be used")?;
    let mut results = Results {
        format: FORMAT,
        machine: Machine::new(),
        rounds: plan.rounds,
        is_pinned: cores.are_two(),
        scenarios: Vec::new(),
        micro: Vec::new(),
        missing: missing(&cores, &mut plan),
        failures: Vec::new(),
    };
    results.machine.processors = cores.count() as usize;
    announce(&plan, &results);
    ensure!(plan.has_micro || plan.runs() > 0, "none of the servers can run here: the reasons are above");
    let progress = progress_bar(&plan)?;
    results.scenarios = plan.entries.iter().map(empty).collect();
    if plan.has_micro {
        measure_micro(&mut results, &progress);
    }
    for round in 0..plan.entries.iter().map(|entry| entry.rounds).max().unwrap_or(0) {
        for (place, entry) in plan.entries.iter().enumerate().filter(|(_, entry)| round < entry.rounds) {
            for turn in 0..entry.servers.len() {
                let number = (round + turn) % entry.servers.len();
                let name = entry.servers[number];
                progress.set_message(format!("{}: {name}", entry.scenario.name));
                match measure(&cores, entry.scenario, name, round) {
                    Ok(run) => results.scenarios[place].servers[number].runs.push(run),
                    Err(error) => results.failures.push(failure(entry.scenario.name, name, round, &error)),
                }
                progress.inc(milliseconds(entry.scenario.time()));
            }
        }
    }
    progress.finish_and_clear();
    Ok(results)
}

/// Runs the microbenchmarks pair by pair: what goes wrong with one says nothing about the others.
fn measure_micro(results: &mut Results, progress: &ProgressBar) {
    let benchmarks = ValueEnum::value_variants();
    let time = MICRO_TIME / (MICRO_RUNTIMES.len() * benchmarks.len()).max(1) as u32;
    for runtime in MICRO_RUNTIMES {
        for benchmark in benchmarks {
            let on_pair = &mut |pair: &str| progress.set_message(format!("{MICRO}: {pair}"));
            match micro::measure(&[String::from(*runtime)], slice::from_ref(benchmark), false, on_pair) {
                Ok(rows) => results.micro.extend(rows),
                Err(error) => results.failures.push(failure(MICRO, runtime, 0, &error)),
            }
            progress.inc(milliseconds(time));
        }
    }
}

/// One run that counts: the least disturbed of up to three.
fn measure(cores: &Cores, scenario: &Scenario, name: &str, round: usize) -> anyhow::Result<Run> {
    let mut best = measure_once(cores, scenario, name, round)?;
    for _ in 0..AGAIN {
        if best.stolen <= MOST_STOLEN {
            break;
        }
        let run = measure_once(cores, scenario, name, round)?;
        if run.stolen < best.stolen {
            best = run;
        }
    }
    Ok(best)
}

fn measure_once(cores: &Cores, scenario: &Scenario, name: &str, round: usize) -> anyhow::Result<Run> {
    let mut server = Server::start(cores, name, scenario.service).context("the server did not start")?;
    let (before, waited, start) = (cores.ticks(), server.waited(), Instant::now());
    let outcome = process::load(cores, scenario, &server).map_err(|error| server.explain(error))?;
    let elapsed = start.elapsed();
    let stolen = cores.ticks().stolen_since(before);
    let waited = server.waited().saturating_sub(waited).as_secs_f64() / elapsed.as_secs_f64();
    server.end()?;
    Ok(Run { round, stolen, waited, outcome })
}

/// Starts every server once. Those that cannot run here are taken out of the plan.
fn missing(cores: &Cores, plan: &mut Plan) -> Vec<Missing> {
    let start = |(name, service)| match Server::start(cores, name, service).and_then(Server::end) {
        Ok(()) => None,
        Err(error) => Some(Missing { server: String::from(name), reason: format!("{error:#}") }),
    };
    let missing: Vec<_> = plan.servers().into_iter().filter_map(start).collect();
    for Missing { server, .. } in &missing {
        plan.remove(server);
    }
    missing
}

fn empty(entry: &Entry) -> Measured {
    let runs = |server: &&'static str| ServerRuns { server: String::from(*server), runs: Vec::new() };
    Measured { scenario: entry.scenario.name.to_owned(), servers: entry.servers.iter().map(runs).collect() }
}

fn failure(scenario: &str, server: &str, round: usize, error: &anyhow::Error) -> Failure {
    Failure { scenario: scenario.to_owned(), server: server.to_owned(), round, reason: format!("{error:#}") }
}

/// Says what is going to happen, on stderr as the progress bar.
fn announce(plan: &Plan, results: &Results) {
    let (scenarios, runs) = (counted(plan.entries.len(), "scenario"), counted(plan.runs(), "run"));
    eprintln!("{scenarios}, {runs}, about {}", HumanDuration(plan.time()));
    if !results.is_pinned {
        eprintln!("there is one processor only: servers and client share it, and only processor time can be compared");
    }
    for missing in &results.missing {
        eprintln!("{} cannot run here: {}", missing.server, missing.reason);
    }
}

/// Its length is the expected time, so that the rest is known although runs differ.
fn progress_bar(plan: &Plan) -> anyhow::Result<ProgressBar> {
    let template = "{bar:30} {percent:>3} %, {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).context("the progress bar's template is wrong")?;
    Ok(ProgressBar::new(milliseconds(plan.time())).with_style(style))
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64
}
