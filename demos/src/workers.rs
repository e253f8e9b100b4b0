//! `--workers NUMBER`: the same server on several cores.
//!
//! Each worker has a thread, a runtime, a listener and a service of its own; they share nothing but the
//! port, over which the kernel spreads the connections (`SO_REUSEPORT`). They start and stop as one.
//!
//! **The port.** `SO_REUSEPORT` would let a second server of the same user join in without a word, and
//! each would get a part of the other's connections. So the address is *reserved* first, without that
//! option: this fails if anybody listens there, and chooses the port if 0 was asked for. The reservation
//! then opens for the workers, and is given up when all of them listen. What it cannot keep out is a
//! program that asks for `SO_REUSEPORT` without such a look.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};
use demos::serve::Served;
use executor::Stats;
use socket2::{Domain, Protocol, Socket, Type};

use crate::cli::ServerArgs;
use crate::engine::{self, Ended, Engine};
use crate::server::{Host, Server, TAKEDOWN, TAKEDOWN_STEP, refusal};
use crate::signals;

/// Runs a server on several workers until it is told to stop. Returns what they did: one line for each,
/// and one for all.
pub fn run<S, M>(engine: Option<Engine>, args: &ServerArgs, workers: NonZeroU16, service: M) -> anyhow::Result<String>
where
    S: Host,
    M: Fn() -> anyhow::Result<S> + Sync,
{
    if args.control {
        bail!("--control tells of one runtime: it needs --workers 1");
    }
    let team = Team::new(args, workers)?;
    let ended = engine::run_on_each_core(engine, workers.into(), |worker| {
        if worker.number() == 0 {
            let stop = worker.stop_handle();
            signals::stop_on_signals(move || stop.stop()).context("cannot watch for signals")?;
        }
        Ok(Server { args, service: service()?, workers: workers.get().into(), team: Some(&team) })
    })?;
    Ok(summary(&ended))
}

/// What the workers of one server share.
pub struct Team {
    address: SocketAddr,
    /// Workers that do not listen yet.
    missing: AtomicUsize,
    reservation: Mutex<Option<Socket>>,
}

impl Team {
    fn new(args: &ServerArgs, workers: NonZeroU16) -> anyhow::Result<Team> {
        let (reservation, address) = reserve(args.listen).map_err(|error| refusal(args.listen, &error))?;
        let missing = AtomicUsize::new(workers.get().into());
        Ok(Team { address, missing, reservation: Mutex::new(Some(reservation)) })
    }

    /// Where all of them listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Called by each worker when it listens; true for the last one.
    pub fn is_complete(&self) -> bool {
        let is_last = self.missing.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last {
            drop(self.reservation.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
        is_last
    }
}

/// Takes the address for the workers, and for nobody else. An address in use is tried again for a moment,
/// see `server::listen`.
fn reserve(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let give_up = Instant::now() + TAKEDOWN;
    loop {
        match try_to_reserve(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < give_up => {
                thread::sleep(TAKEDOWN_STEP);
            }
            result => return result,
        }
    }
}

fn try_to_reserve(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // As the listeners will be: what lingers of earlier connections is no obstacle.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // Several may get here with one address, but only one may listen. (A port the kernel has chosen nobody
    // else asks for; and it would not survive the shutdown.)
    let is_chosen = address.port() != 0;
    if is_chosen {
        socket.listen(1)?;
    }
    // The kernel compares both when the next socket is bound: those that share ports may, others not.
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(false)?;
    if is_chosen {
        // Bound it stays, but connections are for the workers.
        socket.shutdown(Shutdown::Both)?;
    }
    let address = socket.local_addr()?.as_socket().ok_or(ErrorKind::AddrNotAvailable)?;
    Ok((socket, address))
}

/// One line for each worker, and one for all.
fn summary(workers: &[Ended<Served>]) -> String {
    let mut all = Vec::new();
    let mut lines = Vec::new();
    for (number, Ended { core, output, stats }) in workers.iter().enumerate() {
        let counters = counters(*output, stats);
        lines.push(format!("worker={number} core={core} {}", words(&counters)));
        for (name, value) in counters {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => all.push((name, value)),
            }
        }
    }
    lines.push(format!("served {}", words(&all)));
    lines.join("\n")
}

fn counters(served: Served, stats: &Stats) -> Vec<(String, u64)> {
    let own = served.fields().into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain(stats.fields().into_iter().filter(|(_, value)| *value != 0)).collect()
}

/// `name=value` of each.
pub fn words(counters: &[(impl Display, u64)]) -> String {
    let words: Vec<_> = counters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}
