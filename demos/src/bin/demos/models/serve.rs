//! One rung as a server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

use super::counters::Counters;
use super::hall::Hall;
use super::runtimes;
use super::service::Service;
use super::stop::Stop;
use super::{MOST, Model, Rung};
use crate::args::ServerArgs;
use crate::server::{self, control};
use crate::{descriptors, log, output, signals};

/// Connections the kernel keeps for a rung that does not accept at the moment.
const BACKLOG: i32 = 1024;

/// Serves until SIGHUP, SIGINT or SIGTERM, and prints what it did.
pub fn run(rung: &'static Rung, service: Service, args: &ServerArgs) -> anyhow::Result<()> {
    match rung.model {
        Model::Runtime(engine) => server::run(Some(engine), args, runtimes::Rung { name: rung.name, service }),
        Model::Loop(run) => run_alone(rung, service, args, |hall| Ok(run(hall)?)),
        Model::Uring(run) => run_alone(rung, service, args, run),
    }
}

/// Serves without a runtime.
fn run_alone(
    rung: &'static Rung,
    service: Service,
    args: &ServerArgs,
    run: impl Fn(&Hall) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    server::check_reach(args.listen.iter(), args.allow_remote)?;
    descriptors::raise_open_files();
    rung.check()?;
    let hall = open(rung, service, args)?;
    if args.control {
        answer(&hall)?;
    }
    run(&hall)?;
    let words = hall.counters.all().into_iter().map(|(name, count)| format!("{name}={count}"));
    log::tell_patiently(format_args!("served {}", words.collect::<Vec<_>>().join(" ")));
    Ok(())
}

fn open(rung: &'static Rung, service: Service, args: &ServerArgs) -> anyhow::Result<Hall> {
    let stop = Arc::new(Stop::new().context("cannot make a pair of sockets")?);
    let asked = Arc::clone(&stop);
    signals::stop_on_signals(move || asked.ask()).context("cannot watch for signals")?;
    let listener = listen(args.listen.first()).map_err(|error| server::refusal(args.listen.first(), &error))?;
    let wished = args.max_connections.map_or(usize::MAX, |most| most as usize);
    // What select can't see, it refuses itself.
    let most = if rung.name == "select" { MOST } else { rung.most };
    let limit = wished.min(most).min(descriptors::open_files().saturating_sub(descriptors::RESERVED)).max(1);
    let counters = Counters::new()?;
    Ok(Hall { name: rung.name, service, listener: Arc::new(listener.into()), limit, counters, stop })
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // The sockets that it accepts inherit this.
    socket.set_tcp_nodelay(true)?;
    server::watch_over(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Answers each line on stdin with the counters, in a thread, and ends the server with the end of stdin.
fn answer(hall: &Hall) -> anyhow::Result<()> {
    let (counters, stop) = (hall.counters, Arc::clone(&hall.stop));
    let answer = move || {
        for _question in io::stdin().lines().map_while(Result::ok) {
            if output::print(&control::figures(counters.all()).to_string()).is_err() {
                break;
            }
        }
        stop.ask();
    };
    thread::Builder::new().name("control".to_owned()).spawn(answer).context("cannot read stdin")?;
    Ok(())
}

/// Connections a rung can hold here.
pub fn capacity(rung: &Rung) -> usize {
    rung.most.min(descriptors::open_files().saturating_sub(descriptors::RESERVED))
}
