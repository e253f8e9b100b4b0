//! Echo and HTTP as a loop written by hand on epoll: as little as a server can do.
//!
//! This is what `reactor` is measured against, and what it would look like without tasks. The state of
//! a connection that waits, which a task keeps in its future, is a [`Connection`] here: its socket, and
//! whatever came of a read or a write that stopped in the middle. Programs that do more than this have
//! more such states, and that is why one wants tasks.
//!
//! Per request there is a `recv`, a `send`, and a share of an `epoll_wait`. What keeps it at that:
//!
//! - A read that fills less than the buffer has emptied the socket. There is no second one to be told so.
//! - Interest changes only when a peer does not take what we send, so `epoll_ctl` is called once per
//!   connection.
//! - While a peer does not read we do not read from it either, so what is kept for it is one buffer at most.
//! - All connections share one buffer to read into. Idle ones have none.
//!
//! Level- and edge-triggered differ in what [`Trigger`] says, and nowhere else:
//!
//! | moment | level | edge |
//! |---|---|---|
//! | after a read | done: what is left is reported again | go on until a read is short |
//! | a short read, the peer has ended its side | the end is reported again | go on: it was reported already |
//! | a socket is full | wait for output *instead*: input would be reported all the time | the same |
//! | output flushed | wait for input again | the same, and the change reports what is there |

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use libc::c_int;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use slab::Slab;

use super::http::Requests;
use super::{Service, announce};

/// Events taken at a time.
const EVENTS: usize = 1024;
/// Bytes of the buffer that all connections share. A message of 16 KiB doesn't fill it, which would cost
/// a second read.
const BUFFER: usize = 64 * 1024;
/// Reads in a row from one connection; then others get their turn.
const READS: usize = 16;
/// How long accepting rests when there are no descriptors left, if no connection ends before.
const PAUSE: c_int = 100;
/// How long a spinning server looks for events before it sleeps: several round trips over the loopback.
const SPIN: Duration = Duration::from_micros(50);
const AT_ONCE: c_int = 0;
/// However long it takes.
const FOREVER: c_int = -1;
/// The name of the listener among the connections, which are named by their place in the table.
const LISTENER: u64 = u64::MAX;

/// Level-triggered.
pub fn level(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    Server::new(service, listener, Trigger::Level, Duration::ZERO)?.run()
}

/// Edge-triggered.
pub fn edge(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    Server::new(service, listener, Trigger::Edge, Duration::ZERO)?.run()
}

/// Edge-triggered, and looks for events a while before it sleeps.
pub fn edge_spin(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    Server::new(service, listener, Trigger::Edge, SPIN)?.run()
}

/// When epoll reports a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// As long as it is ready.
    Level,
    /// When it becomes ready.
    Edge,
}

impl Trigger {
    fn input(self) -> EventFlags {
        match self {
            Trigger::Level => EventFlags::IN,
            // Only with RDHUP can we tell that the end came together with the last bytes.
            Trigger::Edge => EventFlags::IN | EventFlags::RDHUP | EventFlags::ET,
        }
    }

    fn output(self) -> EventFlags {
        match self {
            Trigger::Level => EventFlags::OUT,
            Trigger::Edge => EventFlags::OUT | EventFlags::ET,
        }
    }
}

struct Server {
    epoll: OwnedFd,
    trigger: Trigger,
    spin: Duration,
    listener: TcpListener,
    /// False while there are no descriptors left.
    is_accepting: bool,
    connections: Slab<Connection>,
    worker: Worker,
}

/// What connections use while they have their turn.
struct Worker {
    service: Service,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Server {
    fn new(service: Service, listener: TcpListener, trigger: Trigger, spin: Duration) -> anyhow::Result<Server> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), trigger.input())?;
        announce(listener.local_addr())?;
        let worker = Worker { service, input: vec![0; BUFFER], output: Vec::new() };
        Ok(Server { epoll, trigger, spin, listener, is_accepting: true, connections: Slab::new(), worker })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            self.wait(&mut events)?;
            let before = self.connections.len();
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    name => self.serve(usize::try_from(name)?, event.flags),
                }
            }
            if !self.is_accepting && (events.is_empty() || self.connections.len() < before) {
                epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), self.trigger.input())?;
                self.is_accepting = true;
            }
        }
    }

    /// Waits for events. Spinning spares a sleep and a wake, which together cost more than a request.
    fn wait(&self, events: &mut Vec<Event>) -> io::Result<()> {
        if !self.spin.is_zero() {
            let give_up = Instant::now() + self.spin;
            while Instant::now() < give_up {
                self.poll(events, AT_ONCE)?;
                if !events.is_empty() {
                    return Ok(());
                }
            }
        }
        self.poll(events, if self.is_accepting { FOREVER } else { PAUSE })
    }

    /// Waits for so many milliseconds. It is the older call, as in `reactor`: valgrind does not know the one that
    /// rustix makes.
    fn poll(&self, events: &mut Vec<Event>, milliseconds: c_int) -> io::Result<()> {
        events.clear();
        let room = c_int::try_from(events.capacity()).unwrap_or(c_int::MAX);
        let memory = events.as_mut_ptr().cast::<libc::epoll_event>();
        // SAFETY: rustix's `Event` has the layout of the kernel's, and there is room for so many.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), memory, room, milliseconds) };
        match usize::try_from(count) {
            // SAFETY: the kernel has filled so many.
            Ok(count) => unsafe { events.set_len(count) },
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Accepts all who wait.
    fn accept(&mut self) -> io::Result<()> {
        loop {
            match accept_nonblocking(&self.listener) {
                Ok(socket) => {
                    let place = self.connections.vacant_entry();
                    let name = EventData::new_u64(place.key() as u64);
                    // It fails for want of memory, or of watches: then this one can't be served.
                    if epoll::add(&self.epoll, &socket, name, self.trigger.input()).is_ok() {
                        place.insert(Connection { socket, unsent: None, requests: Requests::default() });
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    // Those who wait would be reported again and again, and can't be let in. An empty
                    // interest keeps the listener silent.
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.is_accepting = false;
                        let name = EventData::new_u64(LISTENER);
                        return Ok(epoll::modify(&self.epoll, &self.listener, name, EventFlags::empty())?);
                    }
                    Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => return Err(error),
                    // The connection was gone before we took it.
                    _ => {}
                },
            }
        }
    }

    /// Does what can be done for a connection. Those that end are closed, and epoll forgets them then.
    fn serve(&mut self, name: usize, event: EventFlags) {
        let connection = &mut self.connections[name];
        let interest = match connection.turn(&mut self.worker, self.trigger, event) {
            Next::Wait => return,
            Next::Change(interest) => interest,
            Next::Close => {
                drop(self.connections.remove(name));
                return;
            }
        };
        if epoll::modify(&self.epoll, &connection.socket, EventData::new_u64(name as u64), interest).is_err() {
            drop(self.connections.remove(name));
        }
    }
}

/// What a connection wants after its turn.
enum Next {
    /// The events it is watched for.
    Wait,
    /// Other events, or, edge-triggered, the same ones reported anew if they are due.
    Change(EventFlags),
    /// An end.
    Close,
}

/// A connection. One that is idle costs these 40 bytes.
struct Connection {
    socket: TcpStream,
    /// What the socket would not take yet. As long as there is some, nothing is read.
    unsent: Option<Box<Unsent>>,
    requests: Requests,
}

struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

/// How a read went.
#[derive(PartialEq, Eq)]
enum Read {
    /// There was nothing.
    Empty,
    /// There was less than there is room for, so nothing is left.
    Short,
    /// There may be more.
    Full,
    /// The peer has said all.
    End,
}

impl Connection {
    fn turn(&mut self, worker: &mut Worker, trigger: Trigger, event: EventFlags) -> Next {
        if self.unsent.is_some() {
            return match self.flush() {
                Ok(true) => Next::Change(trigger.input()),
                Ok(false) => Next::Wait,
                Err(_) => Next::Close,
            };
        }
        let is_ending = event.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        for _ in 0..READS {
            let Ok(read) = self.exchange(worker) else { return Next::Close };
            if self.unsent.is_some() {
                return Next::Change(trigger.output());
            }
            match read {
                Read::End => return Next::Close,
                Read::Empty => return Next::Wait,
                Read::Short if !is_ending => return Next::Wait,
                Read::Short | Read::Full if trigger == Trigger::Level => return Next::Wait,
                Read::Short | Read::Full => {}
            }
        }
        // There may be more, and no edge would say so.
        Next::Change(trigger.input())
    }

    /// Reads once, and sends what is to be said to that.
    fn exchange(&mut self, worker: &mut Worker) -> io::Result<Read> {
        let count = match self.socket.read(&mut worker.input) {
            Ok(0) => return Ok(Read::End),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Read::Empty),
            Err(error) => return Err(error),
        };
        let received = &worker.input[..count];
        let answer = match worker.service {
            Service::Echo => received,
            Service::Http => {
                worker.output.clear();
                self.requests.answer(received, &mut worker.output)?;
                &worker.output
            }
        };
        if !answer.is_empty() {
            let sent = self.send(answer)?;
            if sent < answer.len() {
                self.unsent = Some(Box::new(Unsent { bytes: answer[sent..].to_vec(), sent: 0 }));
            }
        }
        Ok(if count < worker.input.len() { Read::Short } else { Read::Full })
    }

    /// Sends some more of what is left; whether that was all.
    fn flush(&mut self) -> io::Result<bool> {
        if let Some(mut unsent) = self.unsent.take() {
            unsent.sent += self.send(&unsent.bytes[unsent.sent..])?;
            self.unsent = Some(unsent).filter(|unsent| unsent.sent < unsent.bytes.len());
        }
        Ok(self.unsent.is_none())
    }

    /// Sends what the socket takes now, which may be nothing.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.socket).write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }
}

/// accept4(2), which std calls without the flag that spares one call per connection.
fn accept_nonblocking(listener: &TcpListener) -> io::Result<TcpStream> {
    let (fd, flags) = (listener.as_raw_fd(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    // SAFETY: null stands for "I don't want to know the address", and no other memory is passed.
    let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    if accepted < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { TcpStream::from_raw_fd(accepted) })
}
