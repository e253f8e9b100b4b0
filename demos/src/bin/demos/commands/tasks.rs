//! `demos tasks`.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use demos::plot::{Axis, Bar, Bars, Kind, Page, Plot, Table, grouped, short};
use demos::tasks::{self, Figures};
use executor::Runtime;
use serde_json::{Value, json};

use crate::args::EngineArgs;
use crate::engine::{self, Engine, Program};
use crate::load::cores;
use crate::load::figures::build_note;
use crate::{descriptors, origin, output};

/// Compares tasks (coroutines) with threads and processes: the cost to make one, keep one, and switch.
///
/// Each kind is measured in a process of its own, on one processor. The table shows the figures that
/// courses like to quote, and next to them those measured here.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos tasks                                  all engines, a million tasks
  demos tasks --on proactor --threads 10000
  demos tasks --html tasks.html                the same as a picture")]
pub struct TasksArgs {
    #[command(flatten)]
    engine: EngineArgs,

    /// Tasks at the same time, 1,000,000 at most.
    #[arg(long, value_name = "NUMBER", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tasks: u32,

    /// Threads at the same time, 20,000 at most. If the system allows fewer, the output says so.
    #[arg(long, value_name = "NUMBER", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    threads: u32,

    /// Processes at the same time, 1,000 at most. If the system allows fewer, the output says so.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1000))]
    processes: u32,

    /// Also write all figures to FILE.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Also write plots and the table to FILE, an HTML page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Measure this in this very process, and print JSON: what the command starts for each kind.
    #[arg(long, hide = true, value_enum)]
    measure: Option<Measured>,
}

/// What a process of its own does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measured {
    Tasks,
    Threads,
    Processes,
    /// Be one of the processes.
    Process,
}

/// What is claimed in courses: nanoseconds for a switch, bytes for one of them.
const CLAIMED_TASK: (f64, f64) = (120.0, 2048.0);
const CLAIMED_THREAD: (f64, f64) = (3500.0, 1024.0 * 1024.0);
/// How long a measuring process may take; a million tasks take a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// A line of the table.
struct Subject {
    name: String,
    kind: Kind,
    figures: Figures,
}

/// Measures everything, or the one thing this process was started for.
pub fn run(args: &TasksArgs) -> anyhow::Result<()> {
    let figures = match args.measure {
        None => return compare(args),
        Some(Measured::Process) => return tasks::processes::answer().context("the starting process is gone"),
        Some(Measured::Tasks) => engine::run(args.engine.on, Crowd(args.tasks))?.0,
        Some(Measured::Threads) => tasks::threads::measure(args.threads).context("the system gives no thread")?,
        Some(Measured::Processes) => {
            descriptors::raise_open_files();
            let binary = std::env::current_exe().context("cannot find this program's own file")?;
            let command = || {
                let mut command = Command::new(&binary);
                command.args(["tasks", "--measure", "process"]);
                command
            };
            tasks::processes::measure(args.processes, command).context("a process ended early")?
        }
    };
    output::print(&to_json(&figures).to_string())
}

struct Crowd(u32);

impl Program for Crowd {
    type Output = Figures;

    async fn main<R: Runtime>(self, rt: R) -> Figures {
        tasks::measure(&rt, self.0).await
    }
}

fn compare(args: &TasksArgs) -> anyhow::Result<()> {
    let files = output::Files::open(args.json.as_deref(), args.html.as_deref())?;
    // A switch from one processor to another would cost what waking a sleeping processor costs. The processes that are
    // started inherit it.
    cores::keep_to_last();
    let mut subjects = Vec::new();
    let (mut engines, mut notes) = (args.engine.on.map_or(Engine::ALL.to_vec(), |engine| vec![engine]), Vec::new());
    engines.retain(|engine| match engine.check() {
        Ok(()) => true,
        Err(reason) => {
            notes.push(format!("{engine} does not run here: {reason}"));
            false
        }
    });
    for engine in engines {
        let figures = in_a_process(&["--measure", "tasks", "--on", engine.name(), "--tasks", &args.tasks.to_string()])?;
        subjects.push(Subject { name: format!("task, {engine}"), kind: Kind::Ours, figures });
    }
    let threads = in_a_process(&["--measure", "threads", "--threads", &args.threads.to_string()])?;
    subjects.push(Subject { name: "thread".to_owned(), kind: Kind::Peer, figures: threads });
    let processes = in_a_process(&["--measure", "processes", "--processes", &args.processes.to_string()])?;
    subjects.push(Subject { name: "process".to_owned(), kind: Kind::Peer, figures: processes });
    notes.extend(subjects.iter().filter_map(|subject| subject.figures.shortage.clone()));
    notes.extend(build_note().map(|note| note.trim_end_matches('.').to_owned()));
    let (table, lesson) = (table(&subjects), lesson(&subjects));
    output::print(&format!("{}\n", table.terminal(output::width())))?;
    output::prose(&lesson)?;
    notes.iter().try_for_each(|note| output::prose(&format!("Note: {note}.")))?;
    let rows =
        || subjects.iter().map(|Subject { name, figures, .. }| json!({ "name": name, "figures": to_json(figures) }));
    files.write(
        || json!({ "rows": rows().collect::<Vec<_>>(), "notes": notes }),
        || Ok(page(&subjects, &table, &lesson, &notes)?.html()),
    )
}

/// Measures in a process that has done nothing else.
fn in_a_process(arguments: &[&str]) -> anyhow::Result<Figures> {
    let binary = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(binary);
    command.arg("tasks").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = command.spawn().context("cannot start a process to measure in")?;
    let ended = wait(&mut process);
    if ended.is_err() {
        // Both fail only if it has ended already.
        let _ = process.kill();
        let _ = process.wait();
    }
    ended?;
    let mut text = String::new();
    process
        .stdout
        .take()
        .context("it has no stdout")?
        .read_to_string(&mut text)
        .context("its figures cannot be read")?;
    let json: Value = serde_json::from_str(&text).context("its figures make no sense")?;
    from_json(&json).with_context(|| format!("figures are missing in {json}"))
}

fn wait(process: &mut Child) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match process.try_wait().context("cannot wait for the process that measures")? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("the process that measures ended with {status}; what it said on stderr says why"),
            None if start.elapsed() > PATIENCE => bail!("measuring took more than {PATIENCE:?}: ask for fewer"),
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn to_json(figures: &Figures) -> Value {
    json!({
        "number": figures.number,
        "create_ns": figures.create_ns,
        "bytes": figures.bytes,
        "address_space": figures.address_space,
        "switch_ns": figures.switch_ns,
        "crowd_switch_ns": figures.crowd_switch_ns,
        "shortage": figures.shortage,
    })
}

fn from_json(json: &Value) -> Option<Figures> {
    Some(Figures {
        number: json["number"].as_u64()?,
        create_ns: json["create_ns"].as_f64()?,
        bytes: json["bytes"].as_f64()?,
        address_space: json["address_space"].as_f64(),
        switch_ns: json["switch_ns"].as_f64()?,
        crowd_switch_ns: json["crowd_switch_ns"].as_f64(),
        shortage: json["shortage"].as_str().map(str::to_owned),
    })
}

fn table(subjects: &[Subject]) -> Table {
    let header = ["", "at once", "to make, ns", "memory, B", "addresses, B", "switch, ns", "among all, ns"];
    let mut table = Table::new(1, header);
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), grouped);
    for Subject { name, kind, figures } in subjects {
        let cells = [
            name.clone(),
            grouped(figures.number as f64),
            grouped(figures.create_ns),
            grouped(figures.bytes),
            optional(figures.address_space),
            grouped(figures.switch_ns),
            optional(figures.crowd_switch_ns),
        ];
        table.row(Some(*kind), cells);
    }
    for (name, (switch, bytes)) in [("task, claimed", CLAIMED_TASK), ("thread, claimed", CLAIMED_THREAD)] {
        let memory = if name.starts_with("thread") { "megabytes".to_owned() } else { grouped(bytes) };
        table.row(None, [name, "-", "-", &memory, "-", &grouped(switch), "-"]);
    }
    table
}

/// What the table says, in words.
fn lesson(subjects: &[Subject]) -> String {
    let tasks = subjects.iter().filter(|subject| subject.kind == Kind::Ours);
    let Some(task) = tasks.min_by(|a, b| a.figures.switch_ns.total_cmp(&b.figures.switch_ns)) else {
        return "No engine runs here; demos doctor says why.".to_owned();
    };
    let find = |name: &str| subjects.iter().find(|subject| subject.name == name).map(|subject| &subject.figures);
    let (Some(thread), Some(process)) = (find("thread"), find("process")) else { return String::new() };
    let task = &task.figures;
    format!(
        "A switch: {} ns from task to task, {} ns from thread to thread, {:.0} times that, and {} ns from process to \
         process. The claim: 120 ns against 3,500, {:.0} times.\n\
         Memory: {} bytes for a task that waits with nothing in its hands; what it holds over an .await comes on top. \
         {} bytes for a thread that waits, {:.0} times that. Its megabytes ({}) are address space. \
         The claim: 2 KiB against megabytes.\n\
         Claimed: what courses like to quote.\n\
         Look at: `among all`, the switch when all are woken: a crowd no longer fits into the caches. What a task does costs what it costs anywhere.\n\
         Next: `demos tasks --threads 10000`, `demos tasks --html tasks.html`; the code is in demos/src/tasks/.",
        grouped(task.switch_ns),
        grouped(thread.switch_ns),
        thread.switch_ns / task.switch_ns,
        grouped(process.switch_ns),
        CLAIMED_THREAD.0 / CLAIMED_TASK.0,
        grouped(task.bytes),
        grouped(thread.bytes),
        thread.bytes / task.bytes.max(1.0),
        thread.address_space.map_or_else(|| "unknown".to_owned(), short),
    )
}

fn page(subjects: &[Subject], table: &Table, lesson: &str, notes: &[String]) -> anyhow::Result<Page> {
    let mut page = Page::new("Tasks, threads, processes");
    page.text("What one costs to make, to keep and to switch to. The axes are logarithmic: each step is ten times the one before.");
    page.text(&origin::sentence());
    page.list(notes);
    page.section("Measured here, beside what is often claimed");
    let claims = |figure: fn((f64, f64)) -> f64| {
        Some([("task, claimed", figure(CLAIMED_TASK)), ("thread, claimed", figure(CLAIMED_THREAD))])
    };
    let plots = [
        plot("a switch, ns", subjects, |figures| figures.switch_ns, claims(|claim| claim.0))?,
        plot("memory of one that waits, bytes", subjects, |figures| figures.bytes, claims(|claim| claim.1))?,
        plot("to make one, ns", subjects, |figures| figures.create_ns, None)?,
    ];
    page.plots(&plots);
    page.table(table);
    lesson.lines().for_each(|line| page.text(line.trim()));
    Ok(page)
}

fn plot(
    title: &str,
    subjects: &[Subject],
    figure: fn(&Figures) -> f64,
    claims: Option<[(&str, f64); 2]>,
) -> anyhow::Result<Plot> {
    let bar = |name: &str, kind: Kind, value: f64| Bar {
        name: name.to_owned(),
        kind,
        value,
        spread: (value, value),
        text: grouped(value),
    };
    let measured = subjects.iter().map(|subject| bar(&subject.name, subject.kind, figure(&subject.figures)));
    let claimed = claims.into_iter().flatten().map(|(name, value)| bar(name, Kind::Loop, value));
    let bars = measured.chain(claimed).collect();
    let bars = Bars { title: title.to_owned(), axis: Axis::Log(title.to_owned()), reference: None, bars };
    bars.plot().map_err(anyhow::Error::from_boxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_survive_the_way_between_two_processes() {
        let figures = Figures {
            number: 3,
            create_ns: 1.5,
            bytes: 2.5,
            address_space: Some(4.0),
            switch_ns: 5.5,
            crowd_switch_ns: None,
            shortage: Some("fewer".to_owned()),
        };
        assert_eq!(from_json(&to_json(&figures)), Some(figures));
        assert_eq!(from_json(&json!({})), None);
    }
}
