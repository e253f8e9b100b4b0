//! Executor microbenchmarks: what a task, a switch, a timer and a wake cost, without any I/O.
//!
//! Each (runtime, benchmark) pair runs in a fresh process of its own, because what one leaves behind (a
//! grown heap, helper threads, a warm branch predictor) would be part of the next one's figures. The
//! process runs itself again with the hidden `--only`, and reads one JSON line back.

mod benchmark;
mod figure;
mod process;
mod subjects;
mod tasks;
mod threads;
mod timers;
mod wakes;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use benchmark::{Benchmark, Effort};
use figure::Figure;

pub use figure::Row;

/// A process that takes longer hangs. The slowest pair takes some 10 s on a quiet machine.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Measures what tasks, switches, timers and wakes cost on each runtime.
#[derive(Debug, Args)]
pub struct MicroArgs {
    /// The runtimes to measure; all if none is named.
    names: Vec<String>,
    /// Takes fewer samples, and 100,000 timers and idle tasks in place of 1,000,000.
    #[arg(long)]
    quick: bool,
    /// Prints JSON in place of a table.
    #[arg(long)]
    json: bool,
    /// Leaves all other benchmarks out.
    #[arg(long, value_enum, value_name = "BENCHMARK")]
    benchmark: Vec<Benchmark>,
    /// Measures one pair in this process: what the runner starts.
    #[arg(long, hide = true, num_args = 2, value_names = ["RUNTIME", "BENCHMARK"])]
    only: Option<Vec<String>>,
}

/// What `--json` prints.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub micro: Vec<Row>,
}

/// `peers micro`.
pub fn run(args: &MicroArgs) -> anyhow::Result<()> {
    if let Some([runtime, benchmark]) = args.only.as_deref() {
        return run_one(runtime, benchmark, Effort::new(args.quick));
    }
    let bar = indicatif::ProgressBar::new_spinner();
    let rows = measure(&args.names, &args.benchmark, args.quick, &mut |pair| {
        bar.set_message(pair.to_owned());
        bar.tick();
    })?;
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&Report { micro: rows })?);
    } else {
        println!("{}", table(&rows));
    }
    Ok(())
}

/// Measures the named runtimes (all if none is named) with the chosen benchmarks (all if none is chosen),
/// one pair after another. `on_pair` hears what comes next.
///
/// # Errors
/// An unknown name, and a benchmark that failed.
pub fn measure(
    names: &[String],
    chosen: &[Benchmark],
    quick: bool,
    on_pair: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<Row>> {
    for name in names {
        subjects::find(name)?;
    }
    let mut rows = Vec::new();
    for runtime in subjects::ALL.iter().filter(|runtime| names.is_empty() || names.iter().any(|n| n == runtime.name)) {
        for benchmark in Benchmark::value_variants() {
            let is_chosen = chosen.is_empty() || chosen.contains(benchmark);
            if !is_chosen || !runtime.can(*benchmark) {
                continue;
            }
            let pair = format!("{} {benchmark}", runtime.name);
            on_pair(&pair);
            let mut figures = Vec::<Figure>::new();
            for _ in 0..Effort::new(quick).processes(*benchmark) {
                let found = in_a_process(runtime.name, *benchmark, quick).with_context(|| pair.clone())?;
                figure::merge(&mut figures, found);
            }
            rows.extend(figures.into_iter().map(|figure| figure.summary(runtime.name)));
        }
    }
    Ok(rows)
}

/// What the process started by [`in_a_process`] does.
fn run_one(runtime: &str, benchmark: &str, effort: Effort) -> anyhow::Result<()> {
    let runtime = subjects::find(runtime)?;
    let benchmark = Benchmark::from_str(benchmark, false).map_err(anyhow::Error::msg)?;
    ensure!(runtime.can(benchmark), "{} has no benchmark {benchmark}", runtime.name);
    process::pin(0)?;
    let figures = (runtime.measure)(benchmark, effort)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// Measures one pair in a process of its own.
fn in_a_process(runtime: &str, benchmark: Benchmark, quick: bool) -> anyhow::Result<Vec<Figure>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["micro", "--only", runtime, &benchmark.to_string()]);
    if quick {
        command.arg("--quick");
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("the child's output")?;
    let text = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    end_in_time(&mut child)?;
    let text = text.join().map_err(|_| anyhow::anyhow!("reading the child's output panicked"))??;
    serde_json::from_str(&text).with_context(|| format!("the child printed {text:?}"))
}

fn end_in_time(child: &mut Child) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("the benchmark's process ended with {status}"),
            None if start.elapsed() < TIME_LIMIT => thread::sleep(Duration::from_millis(2)),
            None => {
                child.kill()?;
                child.wait()?;
                bail!("the benchmark's process took more than {TIME_LIMIT:?} and was killed");
            }
        }
    }
}

/// Figures down, runtimes across; in each cell the median above the extremes.
fn table(rows: &[Row]) -> Table {
    let mut runtimes = Vec::<&str>::new();
    let mut figures = Vec::<(&str, figure::Unit)>::new();
    for row in rows {
        if !runtimes.contains(&row.runtime.as_str()) {
            runtimes.push(&row.runtime);
        }
        if !figures.iter().any(|(name, _)| *name == row.benchmark) {
            figures.push((&row.benchmark, row.unit));
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(std::iter::once("median, min–max").chain(runtimes.iter().copied()));
    for (name, unit) in figures {
        let mut cells = vec![Cell::new(format!("{name}, {unit}"))];
        cells.extend(runtimes.iter().map(|runtime| {
            let row = rows.iter().find(|row| row.benchmark == name && row.runtime == *runtime);
            Cell::new(row.map_or_else(|| "–".to_owned(), Row::to_string)).set_alignment(CellAlignment::Right)
        }));
        table.add_row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused_with_the_list_of_known_ones() {
        let error = measure(&["tokoi".to_owned()], &[], true, &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains("tokoi") && error.contains("reactor, proactor, tokio"), "{error}");
    }

    #[test]
    fn the_table_has_a_gap_where_nothing_was_measured() {
        let row = |runtime: &str, name: &str, values| {
            Figure { name: name.to_owned(), unit: figure::Unit::Nanoseconds, values }.summary(runtime)
        };
        let text = table(&[row("a", "spawn", vec![1.0, 3.0, 2.0]), row("b", "yield-1", vec![50.0])]).to_string();
        assert!(text.contains("spawn, ns") && text.contains("1.0–3.0"), "{text}");
        assert_eq!(text.matches(" – ").count() + text.matches(" –\n").count(), 2, "{text}");
    }
}
