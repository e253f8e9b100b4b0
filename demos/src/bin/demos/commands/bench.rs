//! `demos bench`: the client of `demos compare`, against any server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use demos::connect::connect;
use demos::plot::grouped;
use executor::{Files, Net, Stream};
use serde_json::{Value, json};

use crate::args::{self, EngineArgs, some_seconds};
use crate::engine::{self, Program};
use crate::load::client::{self, Dialogue, EchoDialogue, HttpDialogue, Tally, get};
use crate::load::figures::build_note;
use crate::{descriptors, output};

/// How long an attempt to connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The part of the time that goes into warming up.
const WARM_UP: f64 = 0.1;
/// Bytes out of which echo messages are cut. A batch must fit.
const BLOCK: usize = 1 << 20;
/// Open files beside the connections.
const OTHER_FILES: usize = 32;
/// The quantiles that are shown, and their names.
const QUANTILES: [(f64, &str); 5] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];

/// Loads a server, and says how many answers come, and how soon.
///
/// Each connection sends a request, waits for its answer, checks it, and sends the next. The server echoes, or speaks HTTP/1.1
/// (--http): then each answer must have status 200 and the same content length. A server that closes a connection after
/// an answer that says so gets a new one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos echo &  demos bench localhost:8080
  demos http &  demos bench localhost:8080 --http /plaintext --connections 256
  demos bench 127.0.0.1:8080 --payload 16384 --seconds 5 --json bench.json")]
pub struct BenchArgs {
    /// Where the server is.
    #[arg(value_name = "HOST:PORT", value_parser = args::host)]
    server: String,

    /// Speak HTTP, and ask for this path.
    #[arg(long, value_name = "PATH", value_parser = path)]
    http: Option<String>,

    /// Connections at the same time.
    #[arg(long, value_name = "NUMBER", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    connections: u32,

    /// Requests that a connection sends at once.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    depth: u32,

    /// Bytes of an echo message. All that are sent at once may have 1 MiB.
    #[arg(long, value_name = "BYTES", default_value = "128", conflicts_with = "http", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    payload: u32,

    /// How long it may take in all.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    seconds: Duration,

    /// Also write all figures to FILE.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(flatten)]
    engine: EngineArgs,
}

/// A path goes into the request line as it is.
fn path(text: &str) -> Result<String, String> {
    let is_fit = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_fit
        .then(|| text.to_owned())
        .ok_or_else(|| "give a path such as /plaintext; write others bytes as %20".to_owned())
}

/// Loads the server, and prints what came of it.
pub fn run(args: BenchArgs) -> anyhow::Result<()> {
    let batch = args.payload as usize * args.depth as usize;
    ensure!(batch <= BLOCK, "{batch} bytes at once are more than 1 MiB: give a lower --payload or --depth");
    let files = output::Files::open(args.json.as_deref(), None)?;
    descriptors::raise_open_files();
    let (allowed, needed) = (descriptors::open_files(), args.connections as usize + OTHER_FILES);
    ensure!(
        allowed >= needed,
        "it needs {needed} open files, and {allowed} are allowed: `ulimit -n {needed}` or more, or `ulimit -Hn {needed}` as root"
    );
    let addresses = args::find(&args.server)?;
    let on = engine::for_client(args.engine.on)?;
    let (report, _stats) = engine::run(on, Bench { args, addresses })?;
    let report = report?;
    output::print(&report.text())?;
    build_note().map_or(Ok(()), output::prose)?;
    files.write_figures(|| report.json())
}

struct Bench {
    args: BenchArgs,
    addresses: Vec<SocketAddr>,
}

impl Program for Bench {
    type Output = anyhow::Result<Report>;

    async fn main<R: Net + Files>(self, rt: R) -> anyhow::Result<Report> {
        let Bench { args, addresses } = self;
        // The first address at which a server listens.
        let hint = "is a server running there? `demos echo` and `demos http` start one";
        let stream = connect(&rt, &addresses, CONNECT_TIME).await;
        let stream = stream.with_context(|| format!("cannot connect to {} ({hint})", args.server))?;
        let server = stream.peer_addr().context("the connection has no other end")?;
        drop(stream);
        let request = args.http.as_deref().map(|path| get(&args.server, path));
        let length = match &request {
            Some(request) => client::length_of_answer(&rt, server, request).await?,
            None => 0,
        };
        let block: Rc<[u8]> = std::iter::repeat_with(|| fastrand::u8(..)).take(BLOCK).collect();
        let depth = args.depth as usize;
        let dialogue = || match &request {
            Some(request) => (Dialogue::Http(HttpDialogue::checked(request, length, Rc::new(|_| true), depth)), depth),
            None => (Dialogue::Echo(EchoDialogue::new(Rc::clone(&block), args.payload as usize, depth)), depth),
        };
        let progress = output::spinner()?;
        progress.set_message(format!("{} for {:?}", args.server, args.seconds));
        let peers = client::connect(&rt, server, args.connections as usize, dialogue).await?;
        let (peers, _) = client::run(&rt, peers, rt.now() + args.seconds.mul_f64(WARM_UP)).await?;
        let (_, tally) = client::run(&rt, peers, rt.now() + args.seconds.mul_f64(1.0 - WARM_UP)).await?;
        progress.finish_and_clear();
        Ok(Report { engine: rt.engine(), server, args, tally })
    }
}

struct Report {
    /// The client's.
    engine: &'static str,
    server: SocketAddr,
    args: BenchArgs,
    tally: Tally,
}

impl Report {
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.tally.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn microseconds(&self, quantile: f64) -> f64 {
        self.tally.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    fn text(&self) -> String {
        let Report { engine, server, args, tally } = self;
        let (what, checked) = match &args.http {
            Some(path) => (format!("GET {path}"), "status and length checked"),
            None => (format!("echo of {} bytes", grouped(f64::from(args.payload))), "every byte checked"),
        };
        let plural = if args.connections == 1 { "" } else { "s" };
        let depth = if args.depth > 1 { format!(", {} at once", args.depth) } else { String::new() };
        let latency = QUANTILES.map(|(quantile, name)| format!("{name} {}", grouped(self.microseconds(quantile))));
        let mut lines = vec![
            format!("{what} at {server}, {} connection{plural}{depth}, client on {engine}", args.connections),
            format!("  requests/s     {}", grouped(self.per_second(tally.requests))),
            format!("  latency, µs    {}", latency.join("   ")),
            format!("  received       {:.1} MB/s", self.per_second(tally.bytes) / 1e6),
            format!(
                "  answers        {} in {:.1} s, {checked}",
                grouped(tally.requests as f64),
                tally.elapsed.as_secs_f64()
            ),
        ];
        if tally.reconnects > 0 {
            lines.push(format!("  reconnects     {}", grouped(tally.reconnects as f64)));
        }
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let latency =
            QUANTILES.iter().map(|(quantile, name)| ((*name).to_owned(), self.microseconds(*quantile).into()));
        json!({
            "server": self.server.to_string(),
            "client": self.engine,
            "http": self.args.http,
            "connections": self.args.connections,
            "requests_at_once": self.args.depth,
            "seconds": self.tally.elapsed.as_secs_f64(),
            "requests": self.tally.requests,
            "requests_per_second": self.per_second(self.tally.requests),
            "bytes_received": self.tally.bytes,
            "reconnects": self.tally.reconnects,
            "latency_us": latency.collect::<serde_json::Map<_, _>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_path_fits_into_a_request_line() {
        assert!(path("/a?b=%20").is_ok());
        for wrong in ["", "a", "/a b", "/a\r\nX: y", "/ä"] {
            assert!(path(wrong).is_err(), "{wrong:?}");
        }
    }
}
