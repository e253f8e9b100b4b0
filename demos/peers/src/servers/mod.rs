//! The same two servers, echo and a tiny HTTP, many times over.
//!
//! | file | what it holds |
//! |---|---|
//! | `epoll.rs` | a hand-written loop on epoll, level- and edge-triggered: the limit of `reactor` |
//! | `uring.rs` | a hand-written loop on io_uring: the limit of `proactor` |
//! | `uring/ring.rs`, `uring/buffers.rs` | its queues and its memory |
//! | `ours.rs` | this project's runtimes, and its `demos` servers |
//! | `http.rs` | the HTTP that all of them speak, but for `hyper` and `demos` |
//! | `futures_io.rs` | the connections of `smol` and `glommio` |
//! | `stdin.rs` | how a server ends |
//! | all others | one peer each, named as the file |
//!
//! A server runs in a process of its own, `peers serve NAME`, on one thread (but for `threads`). They
//! all get the same listening socket, and differ in nothing but what the benchmark is about.

mod compio;
mod epoll;
mod futures_io;
mod glommio;
mod http;
mod hyper;
mod monoio;
mod ours;
mod smol;
mod stdin;
mod threads;
mod tokio;
mod uring;

use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// What a server does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// What comes in goes out.
    Echo,
    /// Every request is answered with `Hello, World!`.
    Http,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Echo => "echo",
            Service::Http => "http",
        })
    }
}

/// A server that can be started by its name.
pub struct Server {
    /// As on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// What it can do.
    pub services: &'static [Service],
    /// Serves until the process ends. Says where it listens, with [`announce`], once it is set up.
    pub run: fn(Service, TcpListener) -> anyhow::Result<()>,
}

const BOTH: &[Service] = &[Service::Echo, Service::Http];

/// All servers: the hand-written loops, ours, the peers.
pub const ALL: &[Server] = &[
    server("epoll-level", "a loop by hand on epoll, level-triggered", BOTH, epoll::level),
    server("epoll-edge", "a loop by hand on epoll, edge-triggered", BOTH, epoll::edge),
    server("epoll-edge-spin", "the same, but it polls a while before it sleeps", BOTH, epoll::edge_spin),
    server("uring", "a loop by hand on io_uring, plain descriptors", BOTH, uring::plain),
    server("uring-direct", "a loop by hand on io_uring, direct descriptors", BOTH, uring::direct),
    server("uring-spin", "as uring, but it polls a while before it sleeps", BOTH, uring::plain_spin),
    server("reactor-level", "this project's reactor, level-triggered", BOTH, ours::reactor_level),
    server("reactor-edge", "this project's reactor, edge-triggered", BOTH, ours::reactor_edge),
    server("proactor", "this project's proactor", BOTH, ours::proactor),
    server("reactor-edge-spin", "reactor-edge with Builder::spin", BOTH, ours::reactor_edge_spin),
    server("proactor-spin", "proactor with Builder::spin", BOTH, ours::proactor_spin),
    server("demo-reactor-level", "this project's demo servers on reactor-level", BOTH, ours::demo_reactor_level),
    server("demo-reactor-edge", "this project's demo servers on reactor-edge", BOTH, ours::demo_reactor_edge),
    server("demo-proactor", "this project's demo servers on proactor", BOTH, ours::demo_proactor),
    server("tokio", "tokio, current_thread", BOTH, tokio::run),
    server("smol", "smol, LocalExecutor", BOTH, smol::run),
    server("monoio", "monoio on io_uring, as documented", BOTH, monoio::run),
    server("monoio-defer", "the same with SINGLE_ISSUER and DEFER_TASKRUN", BOTH, monoio::run_defer),
    server("compio", "compio on io_uring, with DEFER_TASKRUN", BOTH, compio::run),
    server("glommio", "glommio, LocalExecutor", BOTH, glommio::run),
    server("hyper", "hyper on tokio, current_thread", &[Service::Http], hyper::run),
    server("threads", "a thread per connection", BOTH, threads::run),
];

const fn server(
    name: &'static str,
    about: &'static str,
    services: &'static [Service],
    run: fn(Service, TcpListener) -> anyhow::Result<()>,
) -> Server {
    Server { name, about, services, run }
}

/// Serves on a free port of 127.0.0.1 until stdin ends.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which server; see --list
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub server: Option<String>,

    /// What it does with its connections
    #[arg(long, value_enum, default_value_t = Service::Echo)]
    pub service: Service,

    /// List the servers, and what each can do
    #[arg(long)]
    pub list: bool,
}

/// Runs `peers serve`.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let Some(name) = args.server.as_deref().filter(|_| !args.list) else { return list() };
    let Some(server) = ALL.iter().find(|server| server.name == name) else {
        let names: Vec<_> = ALL.iter().map(|server| server.name).collect();
        bail!("there is no server `{name}`: choose one of {}", names.join(", "));
    };
    if !server.services.contains(&args.service) {
        bail!("{name} has no {} service: `peers serve --list` shows what each server can do", args.service);
    }
    raise_open_files();
    stdin::exit_at_end().context("cannot watch stdin")?;
    let listener = listen().context("cannot listen on 127.0.0.1")?;
    (server.run)(args.service, listener).with_context(|| format!("{name} cannot serve"))
}

fn list() -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for server in ALL {
        let services: Vec<_> = server.services.iter().map(Service::to_string).collect();
        writeln!(out, "{:<20}{:<11}{}", server.name, services.join(","), server.about)?;
    }
    Ok(())
}

/// As many as the kernel lets wait to be accepted, unless `net.core.somaxconn` says less.
const BACKLOG: i32 = 4096;

/// The socket every server gets. Accepted connections inherit TCP_NODELAY from it, so no server has to
/// spend a system call on that.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Prints the line that says where the server listens.
fn announce(address: io::Result<SocketAddr>) -> anyhow::Result<()> {
    let address = address.context("the listener has no address")?;
    writeln!(io::stdout(), "listening on {address}").context("cannot write to stdout")
}

/// Bytes of the buffer that a connection has on runtimes which want one of each.
const BUFFER: usize = 16 * 1024;

/// How long accepting rests when there are no descriptors left.
const REST: Duration = Duration::from_millis(1);

/// What to do about an accept that failed: go on, after a rest if need be, or give up, if it won't pass.
/// The rest is one for all connections: not all runtimes come with timers, and it is an emergency.
/// Tasks have to yield after it, or nobody else gets a turn: the next accept fails at once.
fn rest_or_fail(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN) => {
            thread::sleep(REST);
            Ok(())
        }
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) | None => Err(error),
        // The connection was gone before it was accepted.
        Some(_) => Ok(()),
    }
}

/// Raises the soft limit of open files to the hard one. Where that is not allowed, the old limit stays.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
