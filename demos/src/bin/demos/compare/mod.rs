//! `demos compare`: every engine under the same load, on the same machine, at the same time.
//!
//! ```sh
//! demos compare                                 # the table, in 15 seconds
//! demos compare --seconds 60 --html report.html # longer, and as a picture
//! ```
//!
//! For each engine an echo server and an HTTP server run in processes of their own, started from this
//! binary. One client, always on the same engine, loads one server at a time. Machines speed up and
//! slow down from second to second, so the engines take turns in short rounds (A B C, B C A, ...), and
//! the medians are compared. Where there are two processors, the servers share one, and the client has
//! another.
//!
//! Before each run the same connections warm up. The server's counters and its processor time are read
//! before and after, while no request is on its way, so they belong to the counted requests alone.

mod baseline;
mod page;
mod report;
mod scenarios;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use reactor::{Reactor, Trigger};

use crate::args::some_seconds;
use crate::engine::{self, Engine};
use crate::load::child::Server;
use crate::load::client::{self, Dialogue, EchoDialogue, HttpDialogue};
use crate::load::cores::Cores;
use crate::load::figures::Figures;
use crate::server::control;
use crate::{descriptors, output};
use baseline::Baseline;
use report::{Contender, Report};
use scenarios::{Part, SMALL, Scenario, Service, chosen};

/// Rounds in a run of usual length: the least with a median worth the name.
const LEAST_ROUNDS: usize = 3;
/// Longer runs have more rounds rather than longer ones, one for so many seconds ...
const SECONDS_PER_ROUND: f64 = 5.0;
/// ... up to this.
const MOST_ROUNDS: usize = 25;
/// The part of a run's time that goes into warming up.
const WARM_UP: f64 = 0.2;
/// The part of the whole time that goes into starting, connecting and ending.
const OVERHEAD: f64 = 0.12;
/// Connections that are opened to see what an idle one costs, where the limit of open files allows.
const IDLE_CONNECTIONS: usize = 1000;
/// Open files for the usual scenarios.
const FILES: usize = 256;
/// Open files beside the connections.
const OTHER_FILES: usize = 128;
/// They come in groups of so many: a thousand messages at the same moment would show what a burst costs.
const IDLE_GROUP: usize = 50;
/// How long one such group talks before the others come, so that what is allocated once, such as the
/// pool of receive buffers, is there and has been used.
const FIRST_TALK: Duration = Duration::from_millis(50);
/// Bytes out of which echo messages are cut.
const BLOCK: usize = 1 << 20;

/// The servers' commands. An HTTP server closes a connection after a number of requests; this one does
/// so after more than can be sent.
const ECHO: &[&str] = &["echo"];
const HTTP: &[&str] = &["http", "--max-requests", "18446744073709551615"];

/// Measures all engines side by side, and prints one table.
///
/// Each engine's servers run in processes of their own. The same client drives all of them in turns,
/// and checks every byte.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos compare
  demos compare --seconds 60 --html report.html --json report.json
  demos compare --only echo --on reactor-edge,proactor --connections 1,1000
  demos compare --baseline report.json         what has changed since then")]
pub struct CompareArgs {
    /// About how long it may take in all, at least some 2 seconds.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = some_seconds)]
    pub seconds: Duration,

    /// Compare these only: echo, http, idle. Default: all.
    #[arg(long, value_name = "PARTS", value_enum, value_delimiter = ',', hide_possible_values = true)]
    pub only: Vec<Part>,

    /// The engines. The first one is what the others are compared with. Default: all.
    #[arg(long, value_name = "ENGINES", value_enum, value_delimiter = ',')]
    pub on: Vec<Engine>,

    /// Instead of the usual scenarios, one for each of these numbers of connections.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Vec<u32>,

    /// Instead of the usual scenarios, echo messages of so many bytes, 1 MiB at most.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub payload: Option<u32>,

    /// Also show what has changed since an earlier run, which wrote FILE with --json.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Also write all figures to FILE.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also write plots and tables to FILE, an HTML page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Compares, and prints what came of it.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let plan = Plan::new(args)?;
    let baseline = args.baseline.as_deref().map(Baseline::read).transpose()?;
    let files = output::Files::open(args.json.as_deref(), args.html.as_deref())?;
    descriptors::raise_open_files();
    let (allowed, needed) = (descriptors::open_files(), plan.files());
    ensure!(
        allowed >= needed,
        "it needs {needed} open files, and {allowed} are allowed: `ulimit -n {needed}` or more, or `ulimit -Hn {needed}` as root"
    );
    let report = Comparison::new(plan)?.run()?;
    output::print(&report.table(output::width()))?;
    for missing in report.missing() {
        output::prose(&missing)?;
    }
    if let Some(baseline) = baseline {
        output::print(&baseline.text(&report, output::width()))?;
    }
    files.write(|| report.json(), || page::html(&report))
}

/// What was asked for.
struct Plan {
    time: Duration,
    engines: Vec<Engine>,
    scenarios: Vec<Scenario>,
    /// Whether the memory of idle connections is measured, too.
    has_idle: bool,
}

impl Plan {
    fn new(args: &CompareArgs) -> anyhow::Result<Plan> {
        let is_usual = args.connections.is_empty() && args.payload.is_none();
        let mut parts = args.only.clone();
        if parts.is_empty() {
            parts = match (is_usual, args.payload) {
                (true, _) => Part::value_variants().to_vec(),
                (false, None) => vec![Part::Echo, Part::Http],
                (false, Some(_)) => vec![Part::Echo],
            };
        }
        if args.payload.is_some() && !parts.contains(&Part::Echo) {
            bail!("--payload is the length of echo messages: add echo to --only, or leave one of the two out");
        }
        let connections: Vec<_> = args.connections.iter().map(|number| *number as usize).collect();
        let scenarios = chosen(&parts, &connections, args.payload.map(|bytes| bytes as usize));
        ensure!(is_usual || !scenarios.is_empty(), "--connections is for echo and http: add one of them to --only");
        let mut engines = if args.on.is_empty() { Engine::ALL.to_vec() } else { Vec::new() };
        for engine in &args.on {
            ensure!(!engines.contains(engine), "--on has {engine} twice: name each engine once");
            engines.push(*engine);
        }
        Ok(Plan { time: args.seconds, engines, scenarios, has_idle: parts.contains(&Part::Idle) })
    }

    /// Files that have to be open at the same time, in the client as in a server.
    fn files(&self) -> usize {
        let most = self.scenarios.iter().map(|scenario| scenario.connections).max().unwrap_or(0);
        FILES.max(most + OTHER_FILES)
    }

    /// How often each engine is measured in a round.
    fn runs(&self) -> usize {
        self.scenarios.len() + usize::from(self.has_idle)
    }
}

struct Comparison {
    client: Reactor,
    cores: Cores,
    block: Rc<[u8]>,
    rounds: usize,
    /// The time of one run, warm-up included.
    slot: Duration,
    has_idle: bool,
    progress: ProgressBar,
    report: Report,
}

impl Comparison {
    fn new(plan: Plan) -> anyhow::Result<Comparison> {
        let client = engine::reactor(Trigger::Edge).context("the client's reactor cannot be set up")?;
        let mut report = Report { scenarios: plan.scenarios.clone(), ..Report::default() };
        for engine in plan.engines.iter().copied() {
            match engine.check() {
                Ok(()) => report.contenders.push(Contender::new(engine, plan.scenarios.len())),
                Err(reason) => report.missing.push((engine, reason)),
            }
        }
        let wished = (plan.time.as_secs_f64() / SECONDS_PER_ROUND) as usize;
        let rounds = wished.clamp(LEAST_ROUNDS, MOST_ROUNDS);
        let runs = rounds * report.contenders.len();
        let slot = plan.time.mul_f64(1.0 - OVERHEAD) / u32::try_from((runs * plan.scenarios.len()).max(1))?;
        let block = std::iter::repeat_with(|| fastrand::u8(..)).take(BLOCK).collect();
        let progress = output::progress_bar((runs * plan.runs()) as u64)?;
        report.rounds = rounds;
        let cores = Cores::new();
        report.is_pinned = cores.are_two();
        Ok(Comparison { client, cores, block, rounds, slot, has_idle: plan.has_idle, progress, report })
    }

    fn run(mut self) -> anyhow::Result<Report> {
        let engines: Vec<_> = self.report.contenders.iter().map(|contender| contender.engine).collect();
        let start = |command| -> anyhow::Result<Vec<Server>> {
            engines.iter().map(|engine| self.cores.start(&on(*engine, command))).collect()
        };
        let (mut echo, mut http) = (start(ECHO)?, start(HTTP)?);
        for round in 0..self.rounds {
            if self.has_idle {
                for turn in 0..engines.len() {
                    self.measure_idle((round + turn) % engines.len())?;
                }
            }
            for (number, scenario) in self.report.scenarios.clone().iter().enumerate() {
                for turn in 0..engines.len() {
                    let place = (round + turn) % engines.len();
                    let server = match scenario.service {
                        Service::Echo { .. } => &mut echo[place],
                        Service::Http { .. } => &mut http[place],
                    };
                    let figures = self
                        .measure(scenario, server, engines[place])
                        .with_context(|| format!("{} on {}", scenario.name, engines[place]))?;
                    self.report.contenders[place].runs[number].push(figures);
                }
            }
        }
        self.progress.finish_and_clear();
        for server in echo.into_iter().chain(http) {
            server.end()?;
        }
        Ok(self.report)
    }

    /// Loads the server, and takes the figures.
    fn measure(&mut self, scenario: &Scenario, server: &mut Server, engine: Engine) -> anyhow::Result<Figures> {
        self.progress.set_message(format!("{engine}: {}", scenario.name));
        let peers = self.connect(server.address(), scenario)?;
        let rt = &self.client;
        let run = |peers, part| rt.block_on(async { client::run(rt, peers, rt.now() + self.slot.mul_f64(part)).await });
        let (peers, warm_up) = run(peers, WARM_UP)?;
        let before = server.snapshot()?;
        let waited_before = control::waited_ns();
        let (peers, tally) = run(peers, 1.0 - WARM_UP)?;
        let waited_after = control::waited_ns();
        let after = server.snapshot()?;
        drop(peers);
        let report = &mut self.report;
        report.answers += warm_up.requests + tally.requests;
        report.measured += tally.elapsed;
        for (before, after) in [(before.waited_ns, after.waited_ns), (waited_before, waited_after)] {
            let waited = after.zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
            report.waited += Duration::from_nanos(waited);
        }
        self.progress.inc(1);
        Figures::new(&tally, &before, &after)
    }

    fn connect(
        &self,
        server: SocketAddr,
        scenario: &Scenario,
    ) -> anyhow::Result<Vec<client::Peer<reactor::TcpStream>>> {
        let depth = scenario.depth;
        let dialogue = || match scenario.service {
            Service::Echo { message } => {
                (Dialogue::Echo(EchoDialogue::new(Rc::clone(&self.block), message, depth)), depth)
            }
            Service::Http { path, body } => (Dialogue::Http(HttpDialogue::new(path, body, depth)), depth),
        };
        self.client.block_on(client::connect(&self.client, server, scenario.connections, dialogue))
    }

    /// What an idle connection costs, seen on a server of its own: memory that many earlier connections
    /// have left behind would hide it.
    fn measure_idle(&mut self, place: usize) -> anyhow::Result<()> {
        let engine = self.report.contenders[place].engine;
        self.progress.set_message(format!("{engine}: idle connections"));
        let mut server = self.cores.start(&on(engine, ECHO))?;
        let number = IDLE_CONNECTIONS.min(descriptors::connections(1) / 2).next_multiple_of(IDLE_GROUP);
        let first = self.open_idle(&server, FIRST_TALK)?;
        let before = server.snapshot()?;
        let groups = (0..number / IDLE_GROUP).map(|_| self.open_idle(&server, Duration::ZERO));
        let peers = groups.collect::<anyhow::Result<Vec<_>>>()?;
        let after = server.snapshot()?;
        drop((first, peers));
        if let (Some(before), Some(after)) = (before.rss, after.rss) {
            let bytes = after.saturating_sub(before) as f64 / number as f64;
            self.report.contenders[place].idle_bytes.push(bytes);
        }
        self.progress.inc(1);
        server.end()
    }

    /// A group of connections that have exchanged a message each, or as many as they could in `time`.
    fn open_idle(&self, server: &Server, time: Duration) -> anyhow::Result<Vec<client::Peer<reactor::TcpStream>>> {
        let service = Service::Echo { message: SMALL };
        let scenario = Scenario::new(service, IDLE_GROUP, 1);
        let peers = self.connect(server.address(), &scenario)?;
        let rt = &self.client;
        let (peers, _) = rt.block_on(async { client::run(rt, peers, rt.now() + time).await })?;
        Ok(peers)
    }
}

/// The command of a server on an engine.
fn on<'a>(engine: Engine, command: &[&'a str]) -> Vec<&'a str> {
    command.iter().copied().chain(["--on", engine.name()]).collect()
}
