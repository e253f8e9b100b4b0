//! Rung 9, `epoll-edge`: events say what has changed, and only once.
//!
//! Shows: one registration for both directions serves for life; `epoll_ctl` is never called again. The price is care:
//! who stops before the socket says "would block" is not told again. So each connection is served until it is stuck, and
//! if that takes too long for the others, it waits in a list of our own.
//!
//! See it: `demos models serve epoll-edge --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`, and
//! `strace -p $(pgrep -n demos)`: each recvfrom with data is followed by one that says EAGAIN.
//!
//! What is next: `epoll-oneshot`, for several threads. With tasks on top, this is the runtime `reactor-edge`.

use std::io;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use slab::Slab;

use super::connection::{Connection, Scratch, Step};
use super::counters::Call;
use super::hall::{Guest, Hall};

/// Events taken at a time.
const EVENTS: usize = 256;
/// Steps of one connection in a row.
const STEPS: usize = 16;
/// Names of what is no connection. Connections are named by their place in the table.
const STOP: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

pub fn run(hall: &Hall) -> io::Result<()> {
    hall.listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let both = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    epoll::add(&epoll, &*hall.stop, EventData::new_u64(STOP), EventFlags::IN)?;
    epoll::add(&epoll, &*hall.listener, EventData::new_u64(LISTENER), EventFlags::IN | EventFlags::ET)?;
    hall.ready()?;
    let mut scratch = Scratch::new();
    let mut connections: Slab<Connection> = Slab::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    // Connections that have more to do, each at most once. No event will name them.
    let mut unfinished: Vec<u64> = Vec::new();
    loop {
        events.clear();
        let patience = if unfinished.is_empty() { None } else { Some(&AT_ONCE) };
        hall.counters.call(Call::EpollWait);
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), patience) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut due = std::mem::take(&mut unfinished);
        due.extend(events.iter().map(|event| event.data.u64()));
        due.sort_unstable();
        due.dedup();
        for name in due {
            if name == STOP {
                return Ok(());
            }
            if name == LISTENER {
                // All who wait, for the next one is announced only when it comes.
                loop {
                    let stream = match hall.accept(connections.len(), SocketFlags::NONBLOCK)? {
                        Guest::Welcome(stream) => stream,
                        Guest::Refused => continue,
                        Guest::Nobody => break,
                    };
                    let place = connections.vacant_entry();
                    hall.counters.call(Call::EpollCtl);
                    epoll::add(&epoll, &stream, EventData::new_u64(place.key() as u64), both)?;
                    place.insert(Connection::new(stream));
                }
                continue;
            }
            let Some(connection) = connections.get_mut(name as usize) else { continue };
            let mut steps = std::iter::repeat_with(|| connection.step(hall, &mut scratch)).take(STEPS);
            match steps.find(|step| *step != Step::Moved) {
                Some(Step::Over) => drop(connections.remove(name as usize)),
                Some(_) => {}
                None => unfinished.push(name),
            }
        }
    }
}
