//! Rung 12, `uring-polls`: io_uring as another epoll.
//!
//! Shows: the cheapest way to put io_uring under a loop that is built on readiness, and how little that brings. Each wait
//! for a socket is a request; requests and waiting share one system call. But the bytes are still moved by a `recv` and a
//! `send` each, so most of the calls are still there.
//!
//! See it: `demos models serve uring-polls --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`, and
//! `strace -p $(pgrep -n demos)`: io_uring_enter, recvfrom, sendto.
//!
//! What is next: `uring-oneshot`, where the kernel moves the bytes, too.

use std::io;
use std::os::fd::AsFd;

use anyhow::Context;
use libc::{POLLIN, POLLOUT};
use rustix::net::SocketFlags;
use slab::Slab;

use super::connection::{Connection, Scratch, Step};
use super::hall::{Guest, Hall};
use super::ring::Ring;

/// Names of what is no connection. Connections are named by their place in the table.
const STOP: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

pub fn run(hall: &Hall) -> anyhow::Result<()> {
    hall.listener.set_nonblocking(true)?;
    serve(hall, Ring::new(hall.counters)?).context("io_uring failed")
}

fn serve(hall: &Hall, mut ring: Ring) -> io::Result<()> {
    ring.poll(hall.stop.as_fd(), POLLIN, STOP)?;
    ring.poll(hall.listener.as_fd(), POLLIN, LISTENER)?;
    hall.ready()?;
    let mut scratch = Scratch::new();
    let mut connections: Slab<Connection> = Slab::new();
    let mut completed = Vec::new();
    loop {
        ring.wait(&mut completed)?;
        for completion in &completed {
            let name = completion.user_data();
            if name == STOP {
                return Ok(());
            }
            if name == LISTENER {
                if let Guest::Welcome(stream) = hall.accept(connections.len(), SocketFlags::NONBLOCK)? {
                    let place = connections.vacant_entry();
                    ring.poll(stream.as_fd(), POLLIN, place.key() as u64)?;
                    place.insert(Connection::new(stream));
                }
                ring.poll(hall.listener.as_fd(), POLLIN, LISTENER)?;
                continue;
            }
            // A connection has one request at a time, so one that is named is there.
            let Some(connection) = connections.get_mut(name as usize) else { continue };
            if connection.step(hall, &mut scratch) == Step::Over {
                connections.remove(name as usize);
            } else {
                let events = if connection.wants_to_send() { POLLOUT } else { POLLIN };
                ring.poll(connection.as_fd(), events, name)?;
            }
        }
    }
}
