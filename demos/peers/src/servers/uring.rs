//! Echo and HTTP as a loop written by hand on io_uring: as little as a server can do.
//!
//! This is what `proactor` is measured against. Once a connection is accepted, all it costs is: the
//! kernel picks a buffer, fills it, and tells us so in a completion; we queue a send out of that same
//! buffer; one `io_uring_enter` submits the sends of a batch and waits for the next.
//!
//! # Sends that say nothing
//!
//! A send completes silently if it sends everything (SKIP_SUCCESS), and that is not only to save a
//! completion: a send on a socket with room is over before `io_uring_enter` begins to wait, so its
//! completion would end that wait, and each batch would cost a second enter: with one connection two
//! per request instead of one.
//!
//! When is the buffer ours again, then? Sends are submitted with MSG_DONTWAIT. The kernel executes such
//! a request while it takes it from the queue, and never keeps it: it has sent all, or completes with
//! what went wrong (with MSG_WAITALL, sending a part is wrong, too). So after an enter took all that was
//! queued, whoever has looked at all completions knows:
//!
//! ```text
//!   pass N: chunk received, send queued     the buffer is the send's
//!   enter:  all sends executed; failures complete; only then are new bytes received
//!   pass N+1: a failure: the rest is copied out, and sent by a request that waits for the peer
//!   end of pass N+1: the buffer goes back to the kernel
//! ```
//!
//! The unsound short-cut is to give the buffer back as soon as its send is queued. It works as long as
//! all peers read: sends are executed before anything is received into the buffer. The first peer that
//! doesn't gets somebody else's bytes.
//!
//! The order on a connection is kept by one rule: while a send isn't known to be over, or a rest is
//! waiting, what arrives is appended to the rest. In a pass, failures come before the chunks that arrived
//! after them, because completions are in order, so this costs nothing where one request follows the
//! other.
//!
//! # Plain and direct descriptors
//!
//! Direct ones are known to the ring alone, and spare the look-up in the process's table: about 5 % of
//! the CPU. They can't be used by any other system call.

mod buffers;
mod ring;

use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use io_uring::{cqueue, opcode, squeue, types};
use rustix::process::{Resource, getrlimit};
use slab::Slab;

use self::buffers::{Buffers, Lent};
use self::ring::{Ring, Wait};
use super::http::Requests;
use super::{Service, announce};

/// Bytes that wait for a peer to read; when there are more, we stop to receive from it.
const PATIENCE: usize = 64 * 1024;
/// How long accepting rests when there are no descriptors left, if no connection ends before.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a spinning server looks for completions before it sleeps: several round trips over the
/// loopback.
const SPIN: Duration = Duration::from_micros(50);
/// Looks at the completions between two at the clock, which costs more.
const LOOKS: usize = 64;
/// The most direct descriptors the kernel lets a ring have.
const MOST_DIRECT: u64 = 1 << 20;

/// Plain descriptors.
pub fn plain(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    serve(service, listener, false, Duration::ZERO)
}

/// Direct descriptors.
pub fn direct(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    serve(service, listener, true, Duration::ZERO)
}

/// Plain descriptors, and looks for completions a while before it sleeps.
pub fn plain_spin(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    serve(service, listener, false, SPIN)
}

fn serve(service: Service, listener: TcpListener, is_direct: bool, spin: Duration) -> anyhow::Result<()> {
    let server = Server::new(service, listener, is_direct, spin)
        .context("io_uring can't be set up (see kernel.io_uring_disabled, and `demos doctor`)")?;
    announce(server.listener.local_addr())?;
    // Not even an error frees what the kernel may still write to.
    ManuallyDrop::new(server).run().context("io_uring failed")
}

struct Server {
    ring: Ring,
    buffers: Buffers,
    service: Service,
    listener: TcpListener,
    is_direct: bool,
    spin: Duration,
    connections: Slab<Connection>,
    /// How often all completions were looked at.
    pass: u64,
    /// Sends queued in this pass, and those of the pass before, which were executed since.
    queued: Vec<Sent>,
    executed: Vec<Sent>,
    /// Connections that have something to do when the sends of this pass are over.
    later: Vec<u32>,
    /// False while there are no descriptors left.
    is_accepting: bool,
    output: Vec<u8>,
}

/// A buffer out of which `len` bytes are sent.
struct Sent {
    buffer: Lent,
    len: usize,
}

/// A connection.
struct Connection {
    /// The plain descriptor, or the place in the table of direct ones.
    fd: u32,
    /// A receive is under way, and this one was asked to end.
    is_receiving: bool,
    is_cancelled: bool,
    /// The rest is being sent.
    is_sending: bool,
    /// The peer has said all.
    has_ended: bool,
    /// There is nobody to send to.
    is_broken: bool,
    /// The pass in which the last send was queued.
    sent_in: u64,
    rest: Option<Box<Rest>>,
    requests: Requests,
}

/// What the peer has not taken yet.
#[derive(Default)]
struct Rest {
    /// With the kernel, if the connection is sending.
    sending: Vec<u8>,
    next: Vec<u8>,
}

impl Connection {
    fn new(fd: u32) -> Connection {
        Connection {
            fd,
            is_receiving: false,
            is_cancelled: false,
            is_sending: false,
            has_ended: false,
            is_broken: false,
            sent_in: 0,
            rest: None,
            requests: Requests::default(),
        }
    }
}

// What a completion is of.
const ACCEPT: u8 = 0;
const RECEIVE: u8 = 1;
/// A send out of a buffer. It completes only if it fails.
const SEND: u8 = 2;
/// A send of a rest.
const SEND_REST: u8 = 3;
/// Cancels and closes complete only if they fail, and nobody cares.
const OTHER: u8 = 4;

/// The name of a request: its kind, its buffer, its connection.
fn name(kind: u8, buffer: u16, connection: u32) -> u64 {
    u64::from(kind) << 48 | u64::from(buffer) << 32 | u64::from(connection)
}

impl Server {
    fn new(service: Service, listener: TcpListener, is_direct: bool, spin: Duration) -> io::Result<Server> {
        let ring = Ring::new()?;
        let buffers = Buffers::new(&ring)?;
        if is_direct {
            let files = getrlimit(Resource::Nofile).current.unwrap_or(MOST_DIRECT).min(MOST_DIRECT);
            ring.register_files(u32::try_from(files).expect("cut above"))?;
        }
        Ok(Server {
            ring,
            buffers,
            service,
            listener,
            is_direct,
            spin,
            connections: Slab::new(),
            pass: 1,
            queued: Vec::new(),
            executed: Vec::new(),
            later: Vec::new(),
            is_accepting: false,
            output: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        self.accept()?;
        loop {
            self.wait()?;
            self.pass += 1;
            // After the enter that brought these, so a send of this pass is not among them.
            let later = mem::take(&mut self.later);
            while let Some(completion) = self.ring.pop() {
                self.complete(&completion)?;
            }
            for Sent { buffer, .. } in self.executed.drain(..) {
                self.buffers.give(buffer);
            }
            self.buffers.publish();
            mem::swap(&mut self.executed, &mut self.queued);
            for connection in later {
                self.settle(connection)?;
            }
        }
    }

    /// Submits what is queued, and waits for completions.
    fn wait(&mut self) -> io::Result<()> {
        if !self.later.is_empty() {
            return self.ring.enter(Wait::Look);
        }
        if !self.spin.is_zero() {
            self.ring.enter(Wait::Submit)?;
            let give_up = Instant::now() + self.spin;
            while Instant::now() < give_up {
                for _ in 0..LOOKS {
                    if self.ring.is_ready() {
                        return self.ring.enter(Wait::Look);
                    }
                    std::hint::spin_loop();
                }
            }
        }
        if self.is_accepting {
            return self.ring.enter(Wait::Sleep);
        }
        self.ring.enter(Wait::AtMost(PAUSE))?;
        if self.ring.is_ready() { Ok(()) } else { self.accept() }
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let name = completion.user_data();
        let connection = name as u32;
        match (name >> 48) as u8 {
            ACCEPT => self.accepted(completion),
            RECEIVE => self.received(connection, completion),
            SEND => self.not_sent(connection, (name >> 32) as u16, completion.result()),
            SEND_REST => self.rest_sent(connection, completion.result()),
            _ => Ok(()),
        }
    }

    /// Accepts again and again.
    fn accept(&mut self) -> io::Result<()> {
        self.is_accepting = true;
        // Direct descriptors are not passed on to other programs in any case.
        let flags = if self.is_direct { 0 } else { libc::SOCK_CLOEXEC };
        let accept = opcode::AcceptMulti::new(types::Fd(self.listener.as_raw_fd()));
        let accept = accept.flags(flags).allocate_file_index(self.is_direct).build();
        // SAFETY: it points to nothing.
        unsafe { self.ring.push(&accept.user_data(name(ACCEPT, 0, 0))) }
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let is_over = !cqueue::more(completion.flags());
        self.is_accepting &= !is_over;
        match u32::try_from(completion.result()) {
            Ok(fd) => {
                let connection = self.connections.insert(Connection::new(fd));
                self.receive(u32::try_from(connection).expect("fewer than descriptors"))?;
            }
            Err(_) => match -completion.result() {
                // Until a connection ends, or for a while.
                libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => return Ok(()),
                error @ (libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                    return Err(io::Error::from_raw_os_error(error));
                }
                // The connection was gone before it was accepted.
                _ => {}
            },
        }
        if is_over { self.accept() } else { Ok(()) }
    }

    /// Receives again and again, into whatever buffers there are.
    fn receive(&mut self, connection: u32) -> io::Result<()> {
        let state = &mut self.connections[connection as usize];
        state.is_receiving = true;
        let receive = match self.is_direct {
            true => opcode::RecvMulti::new(types::Fixed(state.fd), buffers::GROUP).build(),
            false => opcode::RecvMulti::new(types::Fd(state.fd.cast_signed()), buffers::GROUP).build(),
        };
        // SAFETY: it points to nothing; the buffers it will use were registered.
        unsafe { self.ring.push(&receive.user_data(name(RECEIVE, 0, connection))) }
    }

    fn received(&mut self, connection: u32, completion: &cqueue::Entry) -> io::Result<()> {
        let is_over = !cqueue::more(completion.flags());
        let state = &mut self.connections[connection as usize];
        if is_over {
            (state.is_receiving, state.is_cancelled) = (false, false);
        }
        match completion.result() {
            0 => state.has_ended = true,
            // The end of the receive, not of the connection: it is cancelled, or there are no buffers.
            1.. => {}
            error if [libc::ECANCELED, libc::ENOBUFS, libc::EINTR, libc::EAGAIN].contains(&-error) => {}
            _ => (state.has_ended, state.is_broken) = (true, true),
        }
        if let Some(number) = cqueue::buffer_select(completion.flags()) {
            // SAFETY: it is our ring's completion, and we are here once for it.
            let buffer = unsafe { self.buffers.take(number) };
            let len = usize::try_from(completion.result()).unwrap_or(0);
            self.answer(connection, buffer, len)?;
        }
        if is_over { self.settle(connection) } else { Ok(()) }
    }

    /// Sends what is to be said to the `len` bytes that are in the buffer.
    fn answer(&mut self, connection: u32, buffer: Lent, len: usize) -> io::Result<()> {
        let state = &mut self.connections[connection as usize];
        let memory = self.buffers.bytes(&buffer);
        let mut answer = &memory[..len];
        if self.service == Service::Http {
            self.output.clear();
            if state.requests.answer(answer, &mut self.output).is_err() {
                state.is_broken = true;
            }
            // The requests are not needed any more, so the answers can lie where they lay.
            if let Some(place) = memory.get_mut(..self.output.len()) {
                place.copy_from_slice(&self.output);
            }
            answer = &self.output;
        }
        let is_free = state.rest.is_none() && state.sent_in != self.pass;
        if !answer.is_empty() && !state.is_broken && is_free && answer.len() <= buffers::SIZE {
            let len = answer.len();
            return self.send(connection, buffer, len);
        }
        if !answer.is_empty() && !state.is_broken {
            state.rest.get_or_insert_default().next.extend_from_slice(answer);
        }
        self.buffers.give(buffer);
        if state.rest.is_some() || state.is_broken { self.settle(connection) } else { Ok(()) }
    }

    /// Sends out of a buffer, without waiting for the peer.
    fn send(&mut self, connection: u32, buffer: Lent, len: usize) -> io::Result<()> {
        let state = &mut self.connections[connection as usize];
        state.sent_in = self.pass;
        let send = send_entry(self.is_direct, state.fd, self.buffers.address(&buffer), len, libc::MSG_DONTWAIT);
        let send = send.flags(squeue::Flags::SKIP_SUCCESS).user_data(name(SEND, buffer.number(), connection));
        self.queued.push(Sent { buffer, len });
        // SAFETY: the buffer is in `queued` now, from where it goes back when the send was executed.
        unsafe { self.ring.push(&send) }
    }

    /// A send failed, or sent a part. What it left is sent by one that waits.
    fn not_sent(&mut self, connection: u32, number: u16, result: i32) -> io::Result<()> {
        let state = &mut self.connections[connection as usize];
        match result {
            0.. => {}
            error if [libc::EAGAIN, libc::EINTR].contains(&-error) => {}
            _ => state.is_broken = true,
        }
        // If the queue was full, the send was executed in the pass it was queued in.
        let mut sent = self.executed.iter().chain(&self.queued);
        let Sent { buffer, len } = sent.find(|sent| sent.buffer.number() == number).expect("it is given back later");
        let rest = state.rest.get_or_insert_default();
        let count = usize::try_from(result).unwrap_or(0);
        rest.next.splice(..0, self.buffers.bytes(buffer)[count..*len].iter().copied());
        self.settle(connection)
    }

    fn rest_sent(&mut self, connection: u32, result: i32) -> io::Result<()> {
        let state = &mut self.connections[connection as usize];
        state.is_sending = false;
        let rest = state.rest.as_mut().expect("it was being sent");
        // With MSG_WAITALL, the kernel sends all, unless the connection breaks.
        state.is_broken |= usize::try_from(result) != Ok(rest.sending.len());
        rest.sending.clear();
        self.settle(connection)
    }

    /// Does what is next for a connection, if anything is. It may be called at any time.
    fn settle(&mut self, connection: u32) -> io::Result<()> {
        let Some(state) = self.connections.get_mut(connection as usize) else { return Ok(()) };
        let waiting = state.rest.as_ref().map_or(0, |rest| rest.next.len());
        let is_enough = state.is_broken || waiting > PATIENCE;
        if state.is_receiving && !state.is_cancelled && is_enough {
            state.is_cancelled = true;
            let cancel = opcode::AsyncCancel::new(name(RECEIVE, 0, connection)).build();
            // SAFETY: it points to nothing.
            unsafe { self.ring.push(&cancel.flags(squeue::Flags::SKIP_SUCCESS).user_data(name(OTHER, 0, 0)))? };
        }
        if state.is_sending {
            return Ok(());
        }
        if state.sent_in == self.pass {
            self.later.push(connection);
            return Ok(());
        }
        if waiting > 0 && !state.is_broken {
            return self.send_rest(connection);
        }
        state.rest = None;
        if state.is_receiving {
            Ok(())
        } else if state.has_ended || state.is_broken {
            self.close(connection)
        } else {
            self.receive(connection)
        }
    }

    /// Sends what has to wait for the peer.
    fn send_rest(&mut self, connection: u32) -> io::Result<()> {
        let state = &mut self.connections[connection as usize];
        let rest = state.rest.as_mut().expect("something is waiting");
        mem::swap(&mut rest.sending, &mut rest.next);
        state.is_sending = true;
        let send = send_entry(self.is_direct, state.fd, rest.sending.as_ptr(), rest.sending.len(), 0);
        // SAFETY: as long as the connection is sending, it isn't removed, and `sending` isn't touched.
        unsafe { self.ring.push(&send.user_data(name(SEND_REST, 0, connection))) }
    }

    /// Closes through the ring, too: then it comes after all that was queued before.
    fn close(&mut self, connection: u32) -> io::Result<()> {
        let fd = self.connections.remove(connection as usize).fd;
        let close = match self.is_direct {
            true => opcode::Close::new(types::Fixed(fd)).build(),
            false => opcode::Close::new(types::Fd(fd.cast_signed())).build(),
        };
        // SAFETY: it points to nothing.
        unsafe { self.ring.push(&close.flags(squeue::Flags::SKIP_SUCCESS).user_data(name(OTHER, 0, 0)))? };
        if self.is_accepting { Ok(()) } else { self.accept() }
    }
}

/// A send of all `len` bytes or none, with further flags.
fn send_entry(is_direct: bool, fd: u32, bytes: *const u8, len: usize, flags: i32) -> squeue::Entry {
    let len = u32::try_from(len).expect("a buffer, or what a peer is allowed to leave");
    let flags = flags | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    match is_direct {
        true => opcode::Send::new(types::Fixed(fd), bytes, len).flags(flags).build(),
        false => opcode::Send::new(types::Fd(fd.cast_signed()), bytes, len).flags(flags).build(),
    }
}
