//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use demos::http::HttpArgs;

use crate::commands::blocking::BlockingArgs;
use crate::commands::chat::ChatCommand;
use crate::commands::dht::DhtArgs;
use crate::commands::files::FilesArgs;
use crate::commands::framing::FramingArgs;
use crate::commands::ipc::IpcArgs;
use crate::commands::models::ModelsArgs;
use crate::commands::proxy::ProxyCommand;
use crate::commands::queue::QueueArgs;
use crate::commands::rpc::RpcCommand;
use crate::commands::tasks::TasksArgs;
use crate::commands::udp::UdpArgs;
use crate::commands::web::WebArgs;
use crate::engine::Engine;

/// Two small async runtimes side by side. Servers and demonstrations, each written once, run on epoll
/// (level- or edge-triggered) and on io_uring.
///
/// Without a command it runs `compare`.
#[derive(Debug, Parser)]
#[command(
    name = "demos",
    version,
    after_help = "\
Examples:
  demos                          compare the engines on this machine (about 15 s)
  demos echo                     an echo server on the default engine
  demos http --on reactor-edge   an HTTP server on an edge-triggered reactor
  demos models                   the ladder from one client at a time to the runtimes (about 80 s)
  demos doctor                   which engines can run here, and what to do about those that can't"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Compare(CompareArgs),
    Echo(EchoArgs),
    Http(HttpCommand),
    Models(ModelsArgs),
    Web(WebArgs),
    Udp(UdpArgs),
    Framing(FramingArgs),
    Files(FilesArgs),
    Tasks(TasksArgs),
    Blocking(BlockingArgs),
    Queue(QueueArgs),
    Ipc(IpcArgs),
    Chat(ChatCommand),
    Proxy(ProxyCommand),
    Rpc(RpcCommand),
    Dht(DhtArgs),
    Doctor(DoctorArgs),
}

/// Runs a TCP echo server, or talks to one.
///
/// The server prints `listening on ADDR:PORT (ENGINE)` when it accepts, and serves until SIGINT or
/// SIGTERM. With --client, it sends stdin to a server, and prints what comes back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos echo                                   serve on 127.0.0.1:8080
  demos echo --on reactor-level --listen [::1]:0
  demos echo --listen 0.0.0.0:7000 --allow-remote
  demos echo --workers 4                       serve on four cores
  demos echo --sandbox                         and be able to do little else
  demos echo --client 127.0.0.1:8080           talk to it
  echo hi | demos echo --client localhost:8080")]
pub struct EchoArgs {
    /// Talk to the echo server at HOST:PORT instead of serving.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["ServerArgs", "WorkersArgs"])]
    pub client: Option<String>,

    #[command(flatten)]
    pub engine: EngineArgs,

    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub workers: WorkersArgs,
}

/// Runs an HTTP/1.1 server.
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it accepts, and serves until SIGINT or SIGTERM. It
/// has /, /plaintext, /json, /sleep?ms=NUMBER, /stats and POST /echo. With --root it also has the files
/// below /files/. With several workers, /stats shows the counters of the worker that answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos http                                   serve on 127.0.0.1:8080
  curl http://127.0.0.1:8080/plaintext         ask it
  demos http --on reactor-level --listen [::1]:0
  demos http --workers 4                       serve on four cores
  demos http --sandbox --root ./public         and be able to do little else
  demos http --root ./public                   curl http://127.0.0.1:8080/files/NAME
  demos http --listen 0.0.0.0:8000 --allow-remote --grace 30")]
pub struct HttpCommand {
    #[command(flatten)]
    pub engine: EngineArgs,

    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub workers: WorkersArgs,

    #[command(flatten)]
    pub http: HttpArgs,
}

/// The choice of a runtime.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// The engine to run on. Default: the proactor.
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub on: Option<Engine>,
}

/// The options of every server.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Where to listen. Port 0: the kernel chooses a free port.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    pub listen: SocketAddr,

    /// Allow addresses that other machines can reach. This is a demonstration, not a product.
    #[arg(long)]
    pub allow_remote: bool,

    /// Seconds that connections may take to finish after SIGINT or SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub grace: Duration,

    /// Connections at the same time; further ones wait until one ends. Default: 10,000, or as many as
    /// the limit of open files allows. Several workers share the number in equal parts, rounded up.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,

    /// Connections at the same time from one address; further ones are closed at once. Default: no limit.
    /// Each worker counts its own connections. Do not use it behind a proxy: a proxy is one address.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_address: Option<u32>,

    /// As soon as the server listens, give up for good what it does not need: starting programs, looking
    /// into other processes, new io_uring rings, and sockets other than those of TCP/IP and UNIX. On the
    /// proactor, the ring then accepts requests for sockets only. `demos doctor` says whether this works
    /// here.
    #[arg(long)]
    pub sandbox: bool,

    /// Answer each line on stdin with one line of counters, and stop when stdin ends.
    #[arg(long, hide = true)]
    pub control: bool,
}

/// The options of servers whose connections are independent of each other.
#[derive(Clone, Debug, Args)]
pub struct WorkersArgs {
    /// Threads that serve one port, each with a runtime and a listener of its own, 1,024 at most.
    ///
    /// Several workers are kept on the cores this process may use, in turn; if there are more workers
    /// than cores, they share them. The kernel spreads the connections by a hash of their addresses, so
    /// a few connections spread unevenly. Each connection stays with its worker. At the end each worker
    /// prints one line of counters, and then comes the sum.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = workers)]
    pub workers: NonZeroU16,
}

/// Measures all engines side by side, and prints one table.
///
/// Each engine's servers run in processes of their own. The same client drives all of them in turns,
/// and checks every byte.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos compare
  demos compare --seconds 60 --html report.html --json report.json")]
pub struct CompareArgs {
    /// About how long it may take in all, at least some 2 seconds.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub seconds: Duration,

    /// Also write all figures to FILE.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Also write plots and tables to FILE, an HTML page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Says which engines can run here, what the kernel offers, and how to enable what is disabled.
///
/// The exit code is 0 if all three engines can run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos doctor
  demos doctor --json")]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Parses `ADDR:PORT`, or looks up `NAME:PORT`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().map_err(|error| format!("{error}: give ADDR:PORT, such as 127.0.0.1:8080"));
    found?.next().ok_or_else(|| "the name has no address: give ADDR:PORT, such as 127.0.0.1:8080".to_owned())
}

/// The most workers that can be given: more cores than any machine of today has.
const MOST_WORKERS: u16 = 1024;

/// Parses a number of workers.
fn workers(text: &str) -> Result<NonZeroU16, String> {
    let workers = text.parse().ok().filter(|workers: &NonZeroU16| workers.get() <= MOST_WORKERS);
    workers.ok_or_else(|| format!("give a number from 1 to {MOST_WORKERS}, such as the number of cores"))
}

/// The longest time that can be given: a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses a number of seconds, with a fraction or without.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| *seconds <= LONGEST)
        .ok_or_else(|| "give a number of seconds, such as 5 or 0.5, and a day at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction_and_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert!(seconds("-1").is_err() && seconds("1m").is_err() && seconds("inf").is_err());
    }
}
