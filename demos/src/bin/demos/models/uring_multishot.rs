//! Rung 14, `uring-multishot`: one request receives again and again, into buffers that all connections share.
//!
//! Shows: the kernel picks a buffer when bytes arrive, not before, so connections that wait have none; and a receive is
//! asked for once in a connection's life. What is left per answer is one request to send, and a share of one system call.
//! The price is bookkeeping: buffers have to be given back, a receive may end at any time, bytes arrive whether or not
//! their answers can be sent, so that somebody has to say stop.
//!
//! See it: `demos models serve uring-multishot --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`; and
//! `demos models --only uring-oneshot,uring-multishot`, for the bytes of an idle connection.
//!
//! What is next: a task for each connection instead of this bookkeeping. That is the runtime `proactor`.

use std::io;
use std::mem::{ManuallyDrop, swap};
use std::net::TcpStream;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;
use io_uring::types::BufRingEntry;
use io_uring::{cqueue, opcode, squeue};
use libc::{MSG_NOSIGNAL, POLLIN};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::net::{Shutdown, shutdown};
use slab::Slab;

use super::hall::{Guest, Hall};
use super::ring::{Ring, fd};
use super::service::{BUFFER, Dialogue, Then};

/// Buffers that all connections share.
const BUFFERS: u16 = 256;
/// The group they are registered as.
const GROUP: u16 = 0;
/// Bytes that wait to be sent to one peer; when there are more, nothing is received from it.
const PATIENCE: usize = 64 * 1024;
/// What a request is for: the lower two bits of its name, below the connection's place in the table.
const RECEIVE: u64 = 0;
const SEND: u64 = 1;
const OTHER: u64 = 3;
/// Names of what is no connection.
const STOP: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 4;

pub fn run(hall: &Hall) -> anyhow::Result<()> {
    let ring = Ring::new(hall.counters)?;
    let buffers = Buffers::new(&ring).context("buffers cannot be shared with the kernel (Linux 5.19 can)")?;
    let server = Server { hall, ring, buffers, connections: Slab::new(), accepts: true };
    // An error frees nothing that the kernel may still read.
    let mut server = ManuallyDrop::new(server);
    server.run().context("io_uring failed")?;
    // All requests have completed.
    drop(ManuallyDrop::into_inner(server));
    Ok(())
}

struct Server<'a> {
    hall: &'a Hall,
    ring: Ring,
    buffers: Buffers,
    connections: Slab<Connection>,
    /// An accept is under way.
    accepts: bool,
}

/// A connection. It stays in the table as long as a request of its own is under way.
struct Connection {
    stream: TcpStream,
    dialogue: Dialogue,
    receives: bool,
    /// The receive was asked to end.
    is_cancelled: bool,
    sends: bool,
    /// Belongs to the kernel while the connection sends.
    output: Vec<u8>,
    sent: usize,
    /// Answers that come after it.
    next: Vec<u8>,
    /// Nothing more is to be received.
    is_over: bool,
    /// Nothing more can be sent.
    is_broken: bool,
}

impl Server<'_> {
    fn run(&mut self) -> io::Result<()> {
        self.ring.poll(self.hall.stop.as_fd(), POLLIN, STOP)?;
        self.accept()?;
        self.hall.ready()?;
        let mut completed = Vec::new();
        while self.accepts || !self.connections.is_empty() {
            self.ring.wait(&mut completed)?;
            for completion in &completed {
                let name = completion.user_data();
                let place = (name >> 2) as usize;
                match name {
                    STOP => self.end(),
                    LISTENER => self.accepted(completion)?,
                    name if name & 3 == RECEIVE => self.received(place, completion)?,
                    name if name & 3 == SEND => self.was_sent(place, completion)?,
                    _ => {}
                }
            }
            self.buffers.publish();
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let request = opcode::AcceptMulti::new(fd(&self.hall.listener)).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: it points to nothing.
        unsafe { self.ring.push(&request.user_data(LISTENER)) }
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let is_asked = self.hall.stop.is_asked();
        if completion.result() >= 0 {
            // SAFETY: the kernel just made this descriptor, and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result()) };
            if !is_asked && let Guest::Welcome(stream) = self.hall.admit(socket, self.connections.len()) {
                let place = self.connections.insert(Connection::new(stream));
                self.settle(place)?;
            }
        }
        if !cqueue::more(completion.flags()) {
            self.accepts = !is_asked;
            if self.accepts {
                return self.accept();
            }
        }
        Ok(())
    }

    /// Bytes have come, or the receive has ended, or both.
    fn received(&mut self, place: usize, completion: &cqueue::Entry) -> io::Result<()> {
        let connection = &mut self.connections[place];
        connection.receives = cqueue::more(completion.flags());
        connection.is_cancelled &= connection.receives;
        let count = usize::try_from(completion.result()).unwrap_or(0);
        if let Some(number) = cqueue::buffer_select(completion.flags()) {
            let bytes = &self.buffers.bytes(number)[..count];
            if !connection.is_over {
                let (dialogue, next) = (&mut connection.dialogue, &mut connection.next);
                connection.is_over = dialogue.answer(self.hall.service, self.hall.name, bytes, next) == Then::Close;
            }
            self.buffers.give(number);
        }
        // It also ends if all buffers are taken at the moment, or if it is cancelled: then it is asked for again.
        let will_go_on = [-libc::ENOBUFS, -libc::ECANCELED].contains(&completion.result());
        connection.is_over |= count == 0 && !will_go_on;
        self.settle(place)
    }

    fn was_sent(&mut self, place: usize, completion: &cqueue::Entry) -> io::Result<()> {
        let connection = &mut self.connections[place];
        connection.sends = false;
        match usize::try_from(completion.result()) {
            Ok(count) if count > 0 => connection.sent += count,
            _ => connection.is_broken = true,
        }
        if connection.sent == connection.output.len() {
            connection.output = Vec::new();
            connection.sent = 0;
        }
        self.settle(place)
    }

    /// Asks for what a connection has to do next, if it has. It may be called at any time.
    fn settle(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        if connection.is_broken {
            connection.is_over = true;
            connection.next.clear();
        } else if !connection.sends {
            if connection.output.is_empty() {
                swap(&mut connection.output, &mut connection.next);
            }
            if !connection.output.is_empty() {
                connection.sends = true;
                let request = connection.send();
                // SAFETY: it reads `output`, which stays where it is, however the table moves. The connection leaves the
                // table, and `output` is touched again, only after `was_sent`, when this request has completed; if that
                // never happens, the table is never dropped.
                unsafe { self.ring.push(&request.user_data((place as u64) << 2 | SEND))? };
            }
        }
        let has_enough = connection.is_over || connection.next.len() > PATIENCE;
        if connection.receives && has_enough && !connection.is_cancelled {
            connection.is_cancelled = true;
            let cancel = opcode::AsyncCancel::new((place as u64) << 2 | RECEIVE).build();
            // SAFETY: it points to nothing.
            unsafe { self.ring.push(&cancel.user_data(OTHER))? };
        } else if !connection.receives && !has_enough {
            connection.receives = true;
            let request = opcode::RecvMulti::new(fd(&connection.stream), GROUP).build();
            // SAFETY: it points to nothing; the buffers it takes are never freed, and `Buffers` keeps away from those the
            // kernel has.
            unsafe { self.ring.push(&request.user_data((place as u64) << 2 | RECEIVE))? };
        }
        if connection.is_over && !connection.receives && !connection.sends {
            self.connections.remove(place);
        }
        Ok(())
    }

    /// Has all requests complete, each with an error.
    fn end(&self) {
        let sockets = self.connections.iter().map(|(_, connection)| connection.stream.as_fd());
        for socket in sockets.chain([self.hall.listener.as_fd()]) {
            // It may be over already.
            let _ = shutdown(socket, Shutdown::Both);
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            dialogue: Dialogue::default(),
            receives: false,
            is_cancelled: false,
            sends: false,
            output: Vec::new(),
            sent: 0,
            next: Vec::new(),
            is_over: false,
            is_broken: false,
        }
    }

    /// The request to send what is left of `output`.
    fn send(&self) -> squeue::Entry {
        let rest = &self.output[self.sent..];
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        opcode::Send::new(fd(&self.stream), rest.as_ptr(), length).flags(MSG_NOSIGNAL).build()
    }
}

/// The shared buffers, and the ring that says which of them the kernel has. They are never freed: the kernel may write to
/// them as long as the process lives.
struct Buffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl Buffers {
    /// Registers them, and gives all to the kernel.
    fn new(ring: &Ring) -> io::Result<Buffers> {
        let entries: *mut BufRingEntry = map(usize::from(BUFFERS) * size_of::<BufRingEntry>())?.cast();
        let memory = map(usize::from(BUFFERS) * BUFFER)?;
        let submitter = ring.uring().submitter();
        // SAFETY: the entries begin on a page, are as many as said, and are never freed.
        unsafe { submitter.register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0)? };
        let mut buffers = Buffers { entries, memory, tail: 0 };
        for number in 0..BUFFERS {
            buffers.give(number);
        }
        buffers.publish();
        Ok(buffers)
    }

    fn address(&self, number: u16) -> *mut u8 {
        assert!(number < BUFFERS, "the kernel names a buffer that there is not");
        // SAFETY: the number is less than BUFFERS, so this stays within the mapping.
        unsafe { self.memory.add(usize::from(number) * BUFFER) }
    }

    /// What is in the buffer that a completion names, until it is given back.
    fn bytes(&self, number: u16) -> &[u8] {
        // SAFETY: the mapping was full of zeros, so all bytes have a value. The kernel took this buffer for the completion
        // and does not write there before it gets it back, for which `give` needs `self` alone.
        unsafe { std::slice::from_raw_parts(self.address(number), BUFFER) }
    }

    /// Gives one back. The kernel sees it after [`publish`](Self::publish).
    fn give(&mut self, number: u16) {
        let address = self.address(number) as u64;
        // SAFETY: the place is less than BUFFERS, so this stays within the mapping.
        let entry = unsafe { self.entries.add(usize::from(self.tail % BUFFERS)) };
        // SAFETY: the place is free, for there are as many places as buffers, and this buffer is in none; the kernel looks
        // at it only after the new tail was published, and nobody else knows it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(BUFFER as u32);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: this is the first entry, which begins on a page and is initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is an aligned u16 inside of that entry, which the kernel reads, and nobody else.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries are written before the kernel sees the new tail.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeros that begin on a page, and take memory only where they are touched.
fn map(size: usize) -> io::Result<*mut u8> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: the kernel chooses a place where nothing else is.
    Ok(unsafe { mmap_anonymous(std::ptr::null_mut(), size, protection, flags) }?.cast())
}
