//! Rung 8, `epoll-level`: the list stays in the kernel, and the answer holds only who is ready.
//!
//! Shows: a socket is named once, when it comes. Each call returns a few events however many sockets there are, so the
//! work grows with what happens, not with the number of connections. Level-triggered: what is still ready is reported
//! again, so one read per event is enough, and nothing can be forgotten.
//!
//! See it: `demos models serve epoll-level --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`, and
//! `strace -p $(pgrep -n demos)`: epoll_pwait, recvfrom, sendto.
//!
//! What is next: `epoll-edge`, which reports changes only. With tasks on top, this is the runtime `reactor-level`.

use std::io;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use slab::Slab;

use super::connection::{Connection, Scratch, Step};
use super::counters::Call;
use super::hall::{Guest, Hall};

/// Events taken at a time.
const EVENTS: usize = 256;
/// Names of what is no connection. Connections are named by their place in the table.
const STOP: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

pub fn run(hall: &Hall) -> io::Result<()> {
    hall.listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &*hall.stop, EventData::new_u64(STOP), EventFlags::IN)?;
    epoll::add(&epoll, &*hall.listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    hall.ready()?;
    let mut scratch = Scratch::new();
    let mut connections: Slab<Connection> = Slab::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        hall.counters.call(Call::EpollWait);
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let name = event.data.u64();
            if name == STOP {
                return Ok(());
            }
            if name == LISTENER {
                if let Guest::Welcome(stream) = hall.accept(connections.len(), SocketFlags::NONBLOCK)? {
                    let place = connections.vacant_entry();
                    hall.counters.call(Call::EpollCtl);
                    epoll::add(&epoll, &stream, EventData::new_u64(place.key() as u64), EventFlags::IN)?;
                    place.insert(Connection::new(stream));
                }
                continue;
            }
            let Some(connection) = connections.get_mut(name as usize) else { continue };
            let before = connection.wants_to_send();
            if connection.step(hall, &mut scratch) == Step::Over {
                // Closing it takes it out of the kernel's list.
                connections.remove(name as usize);
            } else if connection.wants_to_send() != before {
                // Input that is not read now would be reported all the time.
                let interest = if before { EventFlags::IN } else { EventFlags::OUT };
                hall.counters.call(Call::EpollCtl);
                epoll::modify(&epoll, &*connection, EventData::new_u64(name), interest)?;
            }
        }
    }
}
