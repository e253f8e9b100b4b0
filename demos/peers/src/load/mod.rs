//! The load generator: one process, one thread, one core, which it spins on.
//!
//! It has to cost far less than the servers, and to cost them nothing. So it is a loop over io_uring
//! written by hand, with no runtime: [`ring`] has the system's side, [`client`] the connections and the
//! loop, [`shapes`] what drives them, [`dialogue`] what is said and checked, [`window`] when it counts,
//! and [`clock`] what the server spent.
//!
//! | shape | what happens | what a request is |
//! |---|---|---|
//! | closed | each connection sends a batch, waits for all of it, and sends the next | a message and its answer |
//! | open | batches are due at a fixed rate; latency counts from when they were due | a message and its answer |
//! | churn | connect, one message and its answer, close with a reset | the whole cycle |
//! | idle | many connections are open, a part of them is used as in `closed` | a message and its answer |
//!
//! Every byte of every answer is checked. A wrong one, a connection that ends, and a server that is silent
//! for too long end the run with an error, so figures are of right answers only.

mod client;
mod clock;
mod dialogue;
mod ring;
mod shapes;
mod table;
#[cfg(test)]
mod tests;
mod window;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::servers::Service;
use client::Client;
use clock::ServerProcess;
use shapes::{Churn, Closed, Open, Opening};
use window::Window;

/// Connections at most: 127.0.0.1 has some 28,000 ports for them.
const MOST_CONNECTIONS: usize = 20_000;
/// Requests in a batch at most.
const DEEPEST: i64 = 65_536;
/// Bytes in a batch at most, as much as the kernel buffers for a connection without asking twice.
const LARGEST_BATCH: usize = 4 * 1024 * 1024;
/// Requests per second at most that can be asked for.
const FASTEST: f64 = 1e8;
/// Warm-up and measured window at most.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// Points of the latency distribution per factor of ten, and such factors: up to the quantile 0.99999.
const POINTS_PER_NINE: u32 = 12;
const NINES: u32 = 5;

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Each connection sends a batch, waits for all answers, and sends the next
    Closed,
    /// Batches are sent at a fixed rate, and latency counts from when they were due
    Open,
    /// Connect, exchange one message, close with a reset, and again
    Churn,
    /// Many connections are open; a part of them exchanges messages
    Idle,
}

/// What a server is loaded with.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// Where the server listens.
    #[arg(value_name = "ADDR:PORT")]
    pub server: SocketAddr,

    /// What the server does.
    #[arg(long, value_enum, default_value_t = Service::Echo)]
    pub service: Service,

    /// What HTTP requests ask for. The answer must be `Hello, World!`.
    #[arg(long, default_value = "/plaintext")]
    pub path: String,

    /// How connections are used.
    #[arg(long, value_enum, default_value = "closed")]
    pub shape: Shape,

    /// Connections; with churn, cycles at the same time.
    #[arg(long, value_name = "NUMBER", default_value = "64")]
    pub connections: usize,

    /// How many of the connections exchange messages (only for idle).
    #[arg(long, value_name = "NUMBER")]
    pub active: Option<usize>,

    /// Bytes of an echo message.
    #[arg(long, value_name = "BYTES", default_value = "64")]
    pub message: usize,

    /// Requests that are sent together on a connection.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=DEEPEST))]
    pub depth: u32,

    /// Requests per second in all (only for open).
    #[arg(long, value_name = "NUMBER")]
    pub rate: Option<f64>,

    /// Seconds of load before anything is counted.
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    pub warm_up: Duration,

    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub seconds: Duration,

    /// Seconds that the server may leave everybody without an answer.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub patience: Duration,

    /// The server's process, to report its processor time, its memory and its sleeps.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// Sleep when there is nothing to do, instead of spinning. The server then pays for waking the client.
    #[arg(long)]
    pub block: bool,
}

/// Loads a server, checks every byte it answers, and reports what it did.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  peers load 127.0.0.1:7000                          64 connections, 64 bytes there and back
  peers load 127.0.0.1:7000 --service http --depth 16
  peers load 127.0.0.1:7000 --shape open --rate 50000 --seconds 5
  peers load 127.0.0.1:7000 --shape churn --connections 64
  peers load 127.0.0.1:7000 --shape idle --connections 10000 --active 64 --server-pid 4242 --json")]
pub struct LoadArgs {
    #[command(flatten)]
    load: Load,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What came of a run. All answers were right.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Requests answered in the measured window.
    pub requests: u64,
    /// The length of the window.
    pub elapsed_ns: u64,
    pub connections: u64,
    pub latency_ns: Latency,
    /// Quantiles and latencies in ns, evenly spaced in nines: 0, ... 0.9, ... 0.99, ... as far as there are
    /// enough requests.
    pub distribution: Vec<(f64, u64)>,
    /// The server's processor time in the window.
    pub server_cpu_ns: Option<u64>,
    /// The server's memory after the window, with all connections open.
    pub server_rss_bytes: Option<u64>,
    /// How often the server's threads went to sleep in the window.
    pub server_voluntary_switches: Option<u64>,
    /// Of the server's memory, what each idle connection takes (only for idle).
    pub idle_bytes_per_connection: Option<f64>,
    pub client_cpu_ns: u64,
    /// Requests that were due in the window but not sent by its end, since all connections were waiting
    /// for answers (only for open). If there are any, server or client could not keep up.
    pub overload: u64,
    /// Always 0: a run with an error has no outcome.
    pub errors: u64,
}

/// Latencies in ns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latency {
    pub min: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
    pub mean: f64,
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Latency {
        let quantile = |quantile| histogram.value_at_quantile(quantile);
        Latency {
            min: histogram.min(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: histogram.max(),
            mean: histogram.mean(),
        }
    }
}

/// Runs the command.
pub fn run(args: &LoadArgs) -> anyhow::Result<()> {
    let outcome = measure(&args.load)?;
    let text = if args.json {
        serde_json::to_string(&outcome).context("the outcome is no JSON")?
    } else {
        table::table(&args.load, &outcome)
    };
    table::print(&text)
}

/// Loads the server once.
///
/// # Errors
/// Where the options don't fit together, io_uring is not allowed, the server can't be reached, answers
/// wrongly or not at all.
pub fn measure(load: &Load) -> anyhow::Result<Outcome> {
    check(load)?;
    raise_open_files();
    let server = load.server_pid.map(ServerProcess::new).transpose()?;
    let memory = || server.as_ref().map(ServerProcess::rss_bytes).transpose();
    let window = Window::new(load, server)?;
    let client = &mut Client::new(load)?;
    let connections = load.connections;
    let (mut overload, mut idle_bytes) = (0, None);
    let tally = match load.shape {
        Shape::Closed => {
            client.drive(&mut Opening::new(0..connections))?;
            closed(client, window, connections)?
        }
        Shape::Idle => {
            let active = load.active.unwrap_or(1);
            client.drive(&mut Opening::new(0..active))?;
            let before = memory()?;
            client.drive(&mut Opening::new(active..connections))?;
            let grown = |(before, after)| (after as f64 - before as f64) / (connections - active) as f64;
            idle_bytes = before.zip(memory()?).map(grown);
            closed(client, window, active)?
        }
        Shape::Open => {
            client.drive(&mut Opening::new(0..connections))?;
            let rate = load.rate.context("--shape open needs a --rate")?;
            let mut open = Open::new(window, connections, rate, load.depth);
            client.drive(&mut open)?;
            let (tally, unsent) = open.finish()?;
            overload = unsent;
            tally
        }
        Shape::Churn => {
            let mut churn = Churn::new(window, connections);
            client.drive(&mut churn)?;
            churn.finish()?
        }
    };
    Ok(Outcome {
        requests: tally.requests,
        elapsed_ns: tally.elapsed_ns,
        connections: connections as u64,
        latency_ns: Latency::new(&tally.latency),
        distribution: distribution(&tally.latency),
        server_cpu_ns: tally.server_cpu_ns,
        server_rss_bytes: memory()?,
        server_voluntary_switches: tally.server_voluntary_switches,
        idle_bytes_per_connection: idle_bytes,
        client_cpu_ns: tally.client_cpu_ns,
        overload,
        errors: 0,
    })
}

fn closed(client: &mut Client, window: Window, active: usize) -> anyhow::Result<window::Tally> {
    let mut closed = Closed::new(window, active);
    client.drive(&mut closed)?;
    closed.finish()
}

/// Whether the options make sense, together too.
fn check(load: &Load) -> anyhow::Result<()> {
    let connections = load.connections;
    ensure!(
        (1..=MOST_CONNECTIONS).contains(&connections),
        "--connections {connections}: give a number from 1 to {MOST_CONNECTIONS}"
    );
    ensure!(load.message > 0, "--message 0: give one byte at least");
    let batch = load.message.checked_mul(load.depth as usize).filter(|batch| *batch <= LARGEST_BATCH);
    ensure!(
        batch.is_some(),
        "--message {} times --depth {}: a batch has {LARGEST_BATCH} bytes at most",
        load.message,
        load.depth
    );
    let is_path = load.path.starts_with('/') && load.path.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(is_path && load.path.len() <= 1024, "--path {:?}: give one such as /plaintext", load.path);
    ensure!(!load.seconds.is_zero(), "--seconds 0: give a time to measure, such as 0.5");
    ensure!(!load.patience.is_zero(), "--patience 0: give the server some time, such as 5");
    match (load.shape, load.rate) {
        (Shape::Open, Some(rate)) => {
            ensure!((1.0..=FASTEST).contains(&rate), "--rate {rate}: give requests per second, from 1 to {FASTEST}");
        }
        (Shape::Open, None) => anyhow::bail!("--shape open needs a --rate, such as --rate 50000"),
        (_, Some(_)) => anyhow::bail!("--rate is for --shape open: other shapes send as fast as they are answered"),
        (_, None) => {}
    }
    match (load.shape, load.active) {
        (Shape::Idle, Some(active)) => ensure!(
            active > 0 && active < connections,
            "--active {active}: give at least 1, and fewer than the {connections} --connections"
        ),
        (Shape::Idle, None) => anyhow::bail!("--shape idle needs to know how many are --active, such as --active 64"),
        (_, Some(_)) => anyhow::bail!("--active is for --shape idle: in other shapes all connections are"),
        (_, None) => {}
    }
    ensure!(load.shape != Shape::Churn || load.depth == 1, "--shape churn exchanges one message: leave --depth out");
    Ok(())
}

/// Raises the soft limit of open files to the hard one. Where it is not allowed, the old limit stays.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Quantiles evenly spaced in nines. A quantile that less than one request lies above says nothing.
fn distribution(latency: &Histogram<u64>) -> Vec<(f64, u64)> {
    let above = |point: u32| 10f64.powf(-f64::from(point) / f64::from(POINTS_PER_NINE));
    (0..=POINTS_PER_NINE * NINES)
        .map(above)
        .take_while(|above| above * latency.len() as f64 >= 1.0)
        .map(|above| (1.0 - above, latency.value_at_quantile(1.0 - above)))
        .collect()
}

/// Parses a number of seconds, with a fraction or without.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| *seconds <= LONGEST)
        .ok_or_else(|| "give a number of seconds, such as 5 or 0.5, and an hour at most".to_owned())
}
