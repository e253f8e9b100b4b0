//! `--workers NUMBER`: what the workers of one server share.
//!
//! Each worker has a thread, a runtime, a listener and a service of its own; they share nothing but the
//! port, over which the kernel spreads the connections (`SO_REUSEPORT`). They start and stop as one.
//!
//! **The port.** `SO_REUSEPORT` would let a second server of the same user join in without a word, and
//! each would get a part of the other's connections. So the address is *reserved* first, without that
//! option: this fails if anybody listens there, and chooses the port if 0 was asked for. The reservation
//! then opens for the workers, and is given up when all of them listen. What it cannot keep out is a
//! program that asks for `SO_REUSEPORT` without such a look.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

use super::addresses::{Addresses, Refused};
use super::listen::{TAKEDOWN, TAKEDOWN_STEP, refusal};
use crate::args::ServerArgs;

/// What the workers of one server share.
pub struct Team {
    addresses: Addresses,
    /// Workers that do not listen yet.
    missing: AtomicUsize,
    reservations: Mutex<Vec<Socket>>,
}

impl Team {
    /// Reserves the addresses.
    pub fn new(args: &ServerArgs, workers: NonZeroU16) -> anyhow::Result<Team> {
        let reserved = reserve(&args.listen).map_err(|refused| refusal(refused.address, &refused.error))?;
        let (addresses, reservations): (Vec<_>, Vec<_>) = reserved.into_iter().unzip();
        let addresses = Addresses::new(addresses).context("there is no address to listen on")?;
        let missing = AtomicUsize::new(workers.get().into());
        Ok(Team { addresses, missing, reservations: Mutex::new(reservations) })
    }

    /// Where all of them listen.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Called by each worker when it listens; true for the last one.
    pub fn is_complete(&self) -> bool {
        let is_last = self.missing.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last {
            self.reservations.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        is_last
    }
}

/// Takes the addresses for the workers only. An address in use is tried again for a moment, see `listen.rs`.
fn reserve(addresses: &Addresses) -> Result<Vec<(SocketAddr, Socket)>, Refused> {
    let give_up = Instant::now() + TAKEDOWN;
    let open = |address| try_to_reserve(address).map(|(socket, address)| (address, (address, socket)));
    loop {
        match addresses.open(open) {
            Err(refused) if refused.error.kind() == ErrorKind::AddrInUse && Instant::now() < give_up => {
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
