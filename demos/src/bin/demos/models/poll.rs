//! Rung 7, `poll`: the same question as a list of descriptors, without a limit.
//!
//! Shows: the list is kept from call to call, and the kernel writes its answers beside the questions. But each call still
//! hands over all of them, and the kernel looks at each socket twice: the work grows with the number of connections.
//!
//! See it: `demos models serve poll --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`; and
//! `demos models --only select,poll,epoll-level --long`, which draws the difference.
//!
//! What is next: `epoll-level`, which leaves the list in the kernel.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};

use libc::{POLLIN, POLLOUT, pollfd};
use rustix::net::SocketFlags;

use super::connection::{Connection, Scratch, Step};
use super::counters::Call;
use super::hall::{Guest, Hall};

/// The first entries of the list; behind them come the connections, in their order.
const STOP: usize = 0;
const LISTENER: usize = 1;
const CONNECTIONS: usize = 2;

pub fn run(hall: &Hall) -> io::Result<()> {
    hall.listener.set_nonblocking(true)?;
    hall.ready()?;
    let mut scratch = Scratch::new();
    let mut connections: Vec<Connection> = Vec::new();
    let mut list = vec![question(&*hall.stop), question(&hall.listener)];
    loop {
        if !wait(hall, &mut list)? {
            continue;
        }
        if list[STOP].revents != 0 {
            return Ok(());
        }
        // From the end, because the last one takes the place of one that has ended.
        for place in (0..connections.len()).rev() {
            let entry = &mut list[CONNECTIONS + place];
            if entry.revents == 0 {
                continue;
            }
            if connections[place].step(hall, &mut scratch) == Step::Over {
                connections.swap_remove(place);
                list.swap_remove(CONNECTIONS + place);
            } else {
                entry.events = if connections[place].wants_to_send() { POLLOUT } else { POLLIN };
            }
        }
        if list[LISTENER].revents == 0 {
            continue;
        }
        while let Guest::Welcome(stream) = hall.accept(connections.len(), SocketFlags::NONBLOCK)? {
            list.push(question(&stream));
            connections.push(Connection::new(stream));
        }
    }
}

fn question(socket: &impl AsFd) -> pollfd {
    pollfd { fd: socket.as_fd().as_raw_fd(), events: POLLIN, revents: 0 }
}

/// Sleeps until there is an answer in the list. Returns whether there is.
fn wait(hall: &Hall, list: &mut [pollfd]) -> io::Result<bool> {
    hall.counters.call(Call::Poll);
    // SAFETY: the kernel reads and writes so many entries, and is done with them when it returns.
    let answers = unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, -1) };
    if answers >= 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.kind() == ErrorKind::Interrupted => Ok(false),
        error => Err(error),
    }
}
