//! `demos proxy`: a load balancer.

mod compare;
mod rivals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use demos::http::Limits;
use demos::http::limits::{BODY_RATE, REQUESTS};
use demos::proxy::{Event, Policy, Proxy, Settings, Target};
use executor::{Net, Runtime};

use crate::args::{EngineArgs, ServerArgs, WorkersArgs, seconds, some_seconds};
use crate::log::{self, AccessArgs};
use crate::server::{self, Host};

/// Runs a TCP or HTTP load balancer in front of several servers.
///
/// It prints `listening on ADDR:PORT (ENGINE)` when it accepts, and a line on stderr whenever a server is out or back. It
/// serves until SIGHUP, SIGINT or SIGTERM.
/// Then it accepts no more connections, lets the open ones finish for --grace seconds,
/// and prints a line for each server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos http --listen 127.0.0.1:9001 &  demos http --listen 127.0.0.1:9002 &
  demos proxy --to 127.0.0.1:9001 --to 127.0.0.1:9002
      balance connections
  demos proxy --http --to 127.0.0.1:9001 --to 127.0.0.1:9002   balance requests
  curl -i http://127.0.0.1:8080/
      ask it, then kill one of the two, and ask again
  demos proxy --to 127.0.0.1:9001=3 --to 127.0.0.1:9002
      three for the first, one for the second
  demos proxy --policy hash --to 127.0.0.1:9001 --to 127.0.0.1:9002
  demos proxy --compare
      beside nginx and HAProxy, where they are installed")]
pub struct ProxyCommand {
    /// A server, and its weight compared with the others, 1 to 100. Give one --to per server.
    #[arg(long, value_name = "HOST:PORT[=WEIGHT]", required_unless_present = "compare")]
    pub to: Vec<Target>,

    /// Speak HTTP: choose a server for each request, not for each connection.
    #[arg(long)]
    pub http: bool,

    /// How to choose a server. HTTP: for each request.
    #[arg(long, value_enum, default_value = "round-robin")]
    pub policy: Policy,

    /// Measure this proxy on each engine, nginx and HAProxy in front of the same servers, and print one table.
    #[arg(long, conflicts_with_all = ["to", "ServerArgs", "WorkersArgs", "on", "access_log"])]
    pub compare: bool,

    /// Also write the figures of --compare to FILE.
    #[arg(long, value_name = "FILE", requires = "compare")]
    pub json: Option<PathBuf>,

    /// About how long --compare may take in all.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = some_seconds, requires = "compare")]
    pub seconds: Duration,

    #[command(flatten)]
    pub engine: EngineArgs,

    #[command(flatten)]
    pub server: ServerArgs,

    #[command(flatten)]
    pub workers: WorkersArgs,

    #[command(flatten)]
    pub limits: ProxyLimits,

    #[command(flatten)]
    pub access: AccessArgs,
}

/// How patient the proxy is, and how much it allows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Proxy")]
pub struct ProxyLimits {
    /// Connections to a server at the same time; HTTP: requests. If all servers are full, clients are refused.
    #[arg(long, value_name = "NUMBER", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_server: u32,

    /// Seconds a server may take to accept, or to answer a check.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = some_seconds)]
    pub connect_timeout: Duration,

    /// Seconds a connection may be silent in both directions. HTTP: a client's, between two requests.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = some_seconds)]
    pub idle_timeout: Duration,

    /// HTTP: seconds a server may take to begin an answer.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    pub response_timeout: Duration,

    /// HTTP: seconds a server may pause in the middle of an answer, such as between two events of a stream.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = some_seconds)]
    pub pause_timeout: Duration,

    /// HTTP: seconds a client may take to send the head of a request.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    pub header_timeout: Duration,

    /// HTTP: seconds a client may send nothing of a body, and a client or a server may take nothing.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = some_seconds)]
    pub stall_timeout: Duration,

    /// HTTP: bytes per second that a request's body must bring on average. 0: any number.
    #[arg(long, value_name = "BYTES", default_value_t = BODY_RATE)]
    pub body_rate: u32,

    /// HTTP: seconds before --body-rate counts.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub body_grace: Duration,

    /// HTTP: seconds to wait for more bytes of a client after its last answer.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub linger_idle: Duration,

    /// HTTP: seconds to read such bytes at most.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub linger_time: Duration,

    /// HTTP: the largest body of a request, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    pub max_body: u64,

    /// HTTP: requests on one client's connection before it is closed.
    #[arg(long, value_name = "NUMBER", default_value_t = REQUESTS, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: u64,

    /// HTTP: idle connections kept open to each server.
    #[arg(long, value_name = "NUMBER", default_value = "32")]
    pub keep: u16,

    /// HTTP: seconds to keep such a connection. The servers should keep theirs longer.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub keep_idle: Duration,

    /// Seconds between two checks of a server.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub check_every: Duration,

    /// HTTP: a check asks for this path, instead of only connecting.
    #[arg(long, value_name = "PATH", requires = "http", value_parser = path)]
    pub check_path: Option<String>,

    /// Failed checks in a row, or failed connects, after which a server is out. Failed requests do not count. If all
    /// servers are out, they are tried nevertheless.
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
    pub fall: u32,

    /// Good checks in a row after which a server is back.
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = clap::value_parser!(u32).range(1..))]
    pub rise: u32,
}

/// Parses the path of a check, which goes into a request as it stands.
fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path { Ok(text.to_owned()) } else { Err("give a path, such as /plaintext".to_owned()) }
}

/// Runs it.
pub fn run(args: ProxyCommand) -> anyhow::Result<()> {
    if args.compare {
        return compare::run(args.seconds, args.json.as_deref());
    }
    if args.limits.check_every.is_zero() {
        bail!("--check-every needs some time: without checks a server that was out would never be back");
    }
    if !args.http && args.access.access_log.is_some() {
        bail!("--access-log needs --http: without it the proxy knows of no requests");
    }
    let settings = Settings { access: args.access.open()?, ..args.settings() };
    let balancer = || Ok(Balancer { targets: args.to.clone(), settings: settings.clone() });
    server::run_on_workers(args.engine.on, &args.server, &args.workers, balancer)
}

impl ProxyCommand {
    fn settings(&self) -> Settings {
        let limits = &self.limits;
        let http = Limits {
            body: limits.max_body,
            requests: limits.max_requests,
            idle_timeout: limits.idle_timeout,
            header_timeout: limits.header_timeout,
            stall_timeout: limits.stall_timeout,
            body_rate: limits.body_rate,
            body_grace: limits.body_grace,
            linger_idle: limits.linger_idle,
            linger_time: limits.linger_time,
            ..Limits::default()
        };
        Settings {
            policy: self.policy,
            connect_timeout: limits.connect_timeout,
            idle_timeout: limits.idle_timeout,
            response_timeout: limits.response_timeout,
            pause_timeout: limits.pause_timeout,
            check_every: limits.check_every,
            check_path: limits.check_path.clone(),
            rise: limits.rise,
            fall: limits.fall,
            most_per_server: limits.max_per_server as usize,
            idle_per_server: limits.keep.into(),
            keep_idle: limits.keep_idle,
            http: self.http.then_some(http),
            // Its own, and that of all its workers.
            name: format!("demos-{:016x}", fastrand::u64(..)),
            ..Settings::default()
        }
    }
}

struct Balancer {
    targets: Vec<Target>,
    settings: Settings,
}

impl Host for Balancer {
    type Shared<R: Runtime> = Proxy<R>;
    /// The client's and the server's.
    const DESCRIPTORS: usize = 2;

    fn objection(&self, listening: SocketAddr) -> Option<String> {
        let own = self.targets.iter().find(|target| target.leads_to(listening))?;
        Some(format!(
            "--to {}: this proxy listens there itself, and would connect to itself without end. \
             Give a server's address with --to, or choose another port with --listen ADDR:PORT",
            own.addr
        ))
    }

    fn share<R: Net>(self, rt: &R) -> Rc<Proxy<R>> {
        let proxy = Proxy::new(rt, &self.targets, self.settings, |event: &Event| log::say(event));
        // It works without.
        proxy.prepare.set(|stream| drop(server::watch_over(stream)));
        proxy
    }

    async fn connection<R: Runtime>(proxy: Rc<Proxy<R>>, rt: R, stream: R::Stream) {
        demos::proxy::connection(proxy, rt, stream).await;
    }

    fn summary<R: Runtime>(proxy: &Proxy<R>) -> Option<String> {
        Some(proxy.summary())
    }
}
