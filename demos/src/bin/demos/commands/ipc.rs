//! `demos ipc`: the command line, and the table.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use demos::plot::{Table, grouped};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::args::some_seconds;
use crate::engine::Engine;
use crate::ipc::latency::{self, Place, READY, Watch};
use crate::ipc::{Way, answer, awaited, signal};
use crate::load::figures::build_note;
use crate::{log, output};

/// How often everything is measured: the medians of the passes show how restless the machine is.
const PASSES: usize = 5;

/// Compares seven ways for processes to talk: how long a message of 64 bytes and its answer take.
///
/// Each way is measured between two threads and between two processes. If it has a descriptor to wait for, it is also
/// measured with a task of each engine at the near end. With --answer this process is the far end for a program of
/// yours: it answers each message with the same message, its number (the first eight bytes, lowest first) one higher,
/// until the number is 2^64-1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos ipc                                          all of them
  demos ipc --way pipe --way message-queue --seconds 10
  mkfifo /tmp/a /tmp/b; demos ipc --answer named-pipe --at /tmp/a,/tmp/b
  demos ipc --answer signal --at 4711
      SIGUSR1 here is answered by SIGUSR2 to process 4711, SIGURG ends it")]
pub struct IpcArgs {
    /// Measure only this way. May be given several times.
    #[arg(long, value_name = "WAY", value_enum)]
    pub way: Vec<Way>,

    /// About how long it may take in all.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = some_seconds)]
    pub seconds: Duration,

    /// Also write all figures to FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "answer")]
    pub json: Option<PathBuf>,

    /// Be the far end of this way. Pipes: messages come on stdin and go to stdout. Sockets: stdin is the socket. Shared
    /// memory: stdin and stdout are the eventfds. It prints `ready` on stderr.
    #[arg(long, value_name = "WAY", value_enum, conflicts_with_all = ["way", "seconds"])]
    pub answer: Option<Way>,

    /// What else the far end needs: the paths of two named pipes or the names of two queues (there, back), the name of
    /// the memory, or the number of the process that gets the signals.
    #[arg(long, value_name = "NAMES", requires = "answer", default_value = "", hide_default_value = true)]
    pub at: String,

    /// End when the process that started this one does.
    #[arg(long, hide = true, requires = "answer")]
    pub with_parent: bool,
}

/// Measures, or answers.
pub fn run(args: &IpcArgs) -> anyhow::Result<()> {
    signal::block()?;
    if let Some(way) = args.answer {
        if args.with_parent {
            latency::end_with_parent()?;
        }
        let mut end = way.join_from_outside(&args.at).map_err(|error| unusable(way, &error))?;
        log::say_last(READY);
        return Ok(answer(&mut *end)?);
    }
    let files = output::Files::open(args.json.as_deref(), None)?;
    let ways = if args.way.is_empty() { Way::value_variants() } else { &args.way };
    let engines: Vec<Engine> = Engine::ALL.into_iter().filter(|engine| engine.check().is_ok()).collect();
    let mut rows: Vec<Row> = ways.iter().flat_map(|way| rows(*way, &engines)).collect();
    let time = args.seconds / u32::try_from(PASSES * rows.len())?;
    let watch = Watch::start()?;
    let progress = output::progress_bar((PASSES * rows.len()) as u64)?;
    // Pass by pass, so that a moment in which the machine is busy with other things doesn't hit one row only.
    for _ in 0..PASSES {
        for row in &mut rows {
            let doing = format!("{}, {}", row.way.name(), row.ends());
            progress.set_message(doing.clone());
            watch.sees(doing);
            row.measure(time);
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    output::prose(&format!(
        "A message of 64 bytes there and back, in µs: half of the exchanges took less than p50, and 99 of 100 less than p99. \
         {PASSES} passes over all rows: the further their medians lie apart, the more of a figure is noise.\n"
    ))?;
    output::print(&table(&rows).terminal(output::width()))?;
    output::prose(&format!("\n{LESSON}"))?;
    build_note().map_or(Ok(()), output::prose)?;
    files.write_figures(|| json!({ "rows": rows.iter().map(Row::json).collect::<Vec<_>>() }))
}

fn unusable(way: Way, error: &std::io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot be the far end of a {}: {error}. What it needs: `demos ipc --help`", way.name())
}

/// What is at the near end, and where the far one is.
#[derive(Clone, Copy)]
enum Ends {
    Blocking(Place),
    Task(Engine),
}

struct Row {
    way: Way,
    ends: Ends,
    /// One for each pass; or why there is none.
    passes: Vec<Result<Histogram<u64>, String>>,
}

fn rows(way: Way, engines: &[Engine]) -> Vec<Row> {
    let tasks = engines.iter().filter(|_| awaited::can_await(way)).map(|engine| Ends::Task(*engine));
    let ends = [Place::Thread, Place::Process].map(Ends::Blocking).into_iter().chain(tasks);
    ends.map(|ends| Row { way, ends, passes: Vec::new() }).collect()
}

impl Row {
    fn ends(&self) -> String {
        match self.ends {
            Ends::Blocking(Place::Thread) => "thread, thread".to_owned(),
            Ends::Blocking(Place::Process) => "process, process".to_owned(),
            Ends::Task(engine) => format!("{engine}, process"),
        }
    }

    fn measure(&mut self, time: Duration) {
        let measured = match self.ends {
            Ends::Blocking(place) => latency::measure(self.way, place, time),
            Ends::Task(engine) => awaited::measure(engine, self.way, time),
        };
        self.passes.push(measured.map_err(|error| format!("{error:#}")));
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.way.name().to_owned(), self.ends(), self.way.carries().to_string()];
        let mut medians = Vec::new();
        let mut all: Option<Histogram<u64>> = None;
        for pass in &self.passes {
            match pass {
                Err(error) => {
                    cells.push(error.clone());
                    return cells;
                }
                Ok(times) => {
                    medians.push(times.value_at_quantile(0.5));
                    all = Some(all.map_or_else(|| times.clone(), |all| all + times));
                }
            }
        }
        medians.sort_unstable();
        let (Some(all), Some(least), Some(most)) = (all, medians.first(), medians.last()) else { return cells };
        cells.push(microseconds(all.value_at_quantile(0.5)));
        cells.push(microseconds(all.value_at_quantile(0.99)));
        cells.push(format!("{} to {}", microseconds(*least), microseconds(*most)));
        cells.push(grouped(all.len() as f64));
        cells
    }
}

impl Row {
    fn json(&self) -> Value {
        let passes = self.passes.iter().map(|pass| match pass {
            Err(error) => json!({ "error": error }),
            Ok(times) => json!({
                "p50_ns": times.value_at_quantile(0.5),
                "p99_ns": times.value_at_quantile(0.99),
                "exchanges": times.len(),
            }),
        });
        json!({ "way": self.way.name(), "ends": self.ends(), "passes": passes.collect::<Vec<_>>() })
    }
}

fn microseconds(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1000.0)
}

fn table(rows: &[Row]) -> Table {
    let header = ["way", "near end, far end", "bytes", "p50", "p99", "p50 of the passes", "exchanges"];
    let mut table = Table::new(2, header);
    rows.iter().for_each(|row| table.row(None, row.cells()));
    table
}

/// What the table says, in words.
const LESSON: &str = "\
Look at: threads and processes differ little, because the kernel's scheduler does the same for both: what is paid for is \
two sleeps and two wakes. Shared memory saves the copies, which are nothing at 64 bytes; the wakes remain. A task pays for \
its runtime's turn on top. Signals carry no bytes.
Try next: `demos ipc --way pipe --seconds 10`, or be the other side yourself: `demos ipc --help`.";
