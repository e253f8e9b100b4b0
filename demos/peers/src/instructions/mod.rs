//! `peers instructions`: what a request executes in user space, counted by callgrind.
//!
//! | file | what it holds |
//! |---|---|
//! | `programs.rs` | the servers, and how to build and start them |
//! | `callgrind.rs` | a server under callgrind |
//! | `profile.rs` | what callgrind writes down |
//! | `drive.rs` | the connections, which ask in lockstep |
//! | `report.rs` | the figures, and the forms of their report |
//! | `record.rs` | recorded figures, and the comparison with them |

mod callgrind;
mod drive;
mod profile;
mod programs;
mod record;
mod report;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use demos::plot::Destination;
use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::machine::Machine;
use crate::bench::plan::{Scenario, check};
use crate::bench::save;
use crate::bench::tables::counted;
use crate::load::raise_open_files;
use callgrind::{Callgrind, Folder};
use drive::Crowd;
use profile::Cost;
use programs::{Programs, Subject, subjects};
use record::Record;
use report::{Figure, LeftOut, Report};

/// What is measured of all that `peers run` has.
const SCENARIOS: &[&str] = &["echo-1", "echo-64", "echo-1000", "http-64", "churn-64"];
/// What is recorded of that, for the servers with binaries of their own.
const RECORDED: &[&str] = &["echo-64", "http-64"];
/// The file that holds it.
const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json");

/// Requests before the count begins. Twice as many are counted.
const REQUESTS: u32 = 3200;
/// Turns before the count begins, if there are so many connections that a few turns would do.
const LEAST_TURNS: u32 = 5;

/// Counts the user-space instructions of a request, of every server.
///
/// It needs valgrind. The figures do not depend on the load of the machine. Everything takes about 10 minutes;
/// --check takes less than one. It builds `demos` and the `echo` examples first, if they are chosen.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  peers instructions                                   everything
  peers instructions --servers epoll-edge,tokio,reactor-echo --scenarios echo-64
  peers instructions --markdown instructions.md --html instructions.html
  peers instructions --check                           fails if a figure has risen by more than 3 %
  peers instructions --record                          writes the figures that --check compares with")]
pub struct InstructionsArgs {
    /// Only these servers: those of `peers serve` that do not spin, reactor-echo, proactor-echo,
    /// demos-reactor-level, demos-reactor-edge, demos-proactor.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    servers: Vec<String>,

    /// Only these scenarios: echo-1, echo-64, echo-1000, http-64, churn-64.
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    scenarios: Vec<String>,

    /// Where all figures go.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Where the tables go, as a section in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Where a page with plots goes.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Compare with the recorded figures, and fail if one has risen by more than 3 %. With another
    /// compiler than that of the record, 10 %. Default: demos/peers/instructions.json.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = RECORD)]
    check: Option<PathBuf>,

    /// Record the figures of the examples and of `demos`, echo-64 and http-64, for --check. The default
    /// is like that of --check.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = RECORD)]
    #[arg(conflicts_with_all = ["check", "servers", "scenarios"])]
    record: Option<PathBuf>,
}

/// A server in a scenario.
struct Case {
    subject: Subject,
    scenario: &'static Scenario,
}

/// `peers instructions`.
pub fn run(args: &InstructionsArgs) -> anyhow::Result<()> {
    let cases = cases(args)?;
    let record = args.check.as_deref().map(Record::read).transpose()?;
    let valgrind = callgrind::version()?;
    let open = |path: &Option<PathBuf>| {
        let open = |path: &PathBuf| Destination::open(path).map(|file| (path.clone(), file));
        path.as_ref().map(open).transpose()
    };
    let [json, markdown, html, new] = [&args.json, &args.markdown, &args.html, &args.record].map(open);
    let (json, markdown, html, new) = (json?, markdown?, html?, new?);
    let report = measure(&cases, valgrind)?;
    print!("{}", report.terminal());
    ensure!(!report.figures.is_empty(), "none of the servers could be measured: the reasons are above");
    if let Some(file) = json {
        save(file, &serde_json::to_string(&report).context("the figures do not fit into JSON")?)?;
    }
    if let Some(file) = markdown {
        save(file, &report.markdown())?;
    }
    if let Some(file) = html {
        save(file, &report.html()?)?;
    }
    if let Some(file) = new {
        let left = counted(report.left_out.len(), "figure");
        ensure!(report.left_out.is_empty(), "{left} could not be measured: nothing is recorded");
        save(file, &Record::new(programs::compiler()?, &report.figures).text()?)?;
    }
    match record {
        Some(record) => compare(record, &cases, &report),
        None => Ok(()),
    }
}

/// Who is measured in what.
fn cases(args: &InstructionsArgs) -> anyhow::Result<Vec<Case>> {
    let subjects = subjects();
    let names: Vec<_> = subjects.iter().map(|subject| subject.name).collect();
    check("server", &args.servers, &names)?;
    check("scenario", &args.scenarios, SCENARIOS)?;
    let is_chosen = |chosen: &[String], name: &str| chosen.is_empty() || chosen.iter().any(|other| other == name);
    let is_recorded = args.check.is_some() || args.record.is_some();
    let scenarios = SCENARIOS.iter().filter_map(|name| Scenario::find(name));
    let mut cases = Vec::new();
    for scenario in scenarios.filter(|scenario| is_chosen(&args.scenarios, scenario.name)) {
        let takes_part = |subject: &&Subject| {
            subject.services.contains(&scenario.service)
                && is_chosen(&args.servers, subject.name)
                && (!is_recorded || subject.is_own() && RECORDED.contains(&scenario.name))
        };
        cases.extend(subjects.iter().filter(takes_part).map(|subject| Case { subject: *subject, scenario }));
    }
    let place = if is_recorded { "the recorded figures" } else { "the chosen scenarios" };
    ensure!(!cases.is_empty(), "none of the chosen servers takes part in {place}");
    Ok(cases)
}

fn measure(cases: &[Case], valgrind: String) -> anyhow::Result<Report> {
    raise_open_files();
    let subjects: Vec<_> = cases.iter().map(|case| case.subject).collect();
    if cfg!(debug_assertions) && !subjects.iter().all(Subject::is_own) {
        eprintln!("This is a debug build, whose servers execute far more than they should: use `cargo run --release`.");
    }
    let programs = Programs::build(&subjects)?;
    let folder = Folder::new()?;
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len}  {msg}")?;
    let progress = ProgressBar::new(cases.len() as u64).with_style(style);
    let (mut figures, mut left_out) = (Vec::new(), Vec::new());
    for Case { subject, scenario } in cases {
        progress.set_message(format!("{}: {}", scenario.name, subject.name));
        match measure_one(&folder, &programs, subject, scenario) {
            Ok(figure) => figures.push(figure),
            Err(reason) => {
                let (server, scenario) = (subject.name.to_owned(), scenario.name.to_owned());
                left_out.push(LeftOut { server, scenario, reason });
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(Report { machine: Machine::new(), valgrind, figures, left_out })
}

/// One figure, or the reason why there is none.
fn measure_one(folder: &Folder, programs: &Programs, subject: &Subject, scenario: &Scenario) -> Result<Figure, String> {
    let launch = programs.launch(subject, scenario.service).map_err(|error| format!("{error:#}"))?;
    let turns = (REQUESTS / scenario.connections).max(LEAST_TURNS);
    let counted = Callgrind::start(folder, &launch).and_then(|mut server| {
        let cost = count(&mut server, scenario, turns);
        cost.map_err(|error| server.explain(error))
    });
    let cost = counted.map_err(|error| match callgrind::runs_without(&launch) {
        Ok(()) => format!("not under valgrind: {error:#}"),
        Err(error) => format!("cannot run here: {error:#}"),
    })?;
    let requests = u64::from(2 * turns * scenario.connections);
    let per_request = |count: u64| count as f64 / requests as f64;
    Ok(Figure {
        server: subject.name.to_owned(),
        scenario: scenario.name.to_owned(),
        requests,
        instructions: per_request(cost.instructions),
        system_calls: per_request(cost.system_calls),
        allocations: per_request(cost.allocations),
    })
}

/// What the turns cost that come after the first third.
fn count(server: &mut Callgrind, scenario: &Scenario, turns: u32) -> anyhow::Result<Cost> {
    let mut crowd = Crowd::new(server.pid(), server.address, scenario)?;
    crowd.ask(turns)?;
    server.cost()?;
    crowd.ask(2 * turns)?;
    server.cost()
}

/// Says what differs from the record. Fails if something is worse.
fn compare(mut record: Record, cases: &[Case], report: &Report) -> anyhow::Result<()> {
    record.retain(|recorded| {
        let is_it = |case: &Case| case.subject.name == recorded.server && case.scenario.name == recorded.scenario;
        cases.iter().any(is_it)
    });
    let verdict = record.compare(&programs::compiler()?, &report.figures);
    for note in &verdict.notes {
        println!("{note}");
    }
    let faults = &verdict.faults;
    ensure!(
        faults.is_empty(),
        "{} worse than recorded:\n  {}\nMake it cheaper again, or accept it with --record",
        counted(faults.len(), "figure"),
        faults.join("\n  ")
    );
    Ok(())
}
