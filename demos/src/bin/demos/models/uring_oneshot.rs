//! Rung 13, `uring-oneshot`: the kernel accepts, receives and sends; each request once.
//!
//! Shows: completion instead of readiness. We say which buffer, the kernel fills it and says so; one system call hands
//! over many requests and waits for the next. The price: a buffer belongs to the kernel as long as its request runs, so
//! each connection that waits needs one of its own, however long it says nothing.
//!
//! See it: `demos models serve uring-oneshot --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`, and
//! `strace -p $(pgrep -n demos)`: io_uring_enter and nothing else.
//!
//! What is next: `uring-multishot`, where connections that wait need no buffer.

use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

use anyhow::Context;
use io_uring::{cqueue, opcode};
use libc::{MSG_NOSIGNAL, POLLIN};
use rustix::net::{Shutdown, shutdown};
use slab::Slab;

use super::hall::{Guest, Hall};
use super::ring::{Ring, fd};
use super::service::{BUFFER, Dialogue, Then};

/// Names of what is no connection. Connections are named by their place in the table.
const STOP: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

pub fn run(hall: &Hall) -> anyhow::Result<()> {
    let server = Server { hall, ring: Ring::new(hall.counters)?, connections: Slab::new(), accepts: true };
    // An error frees nothing that the kernel may still write to.
    let mut server = ManuallyDrop::new(server);
    server.run().context("io_uring failed")?;
    // All requests have completed.
    drop(ManuallyDrop::into_inner(server));
    Ok(())
}

struct Server<'a> {
    hall: &'a Hall,
    ring: Ring,
    connections: Slab<Connection>,
    /// An accept is under way.
    accepts: bool,
}

/// A connection has exactly one request at a time, so the table entry stays until that has completed.
struct Connection {
    stream: TcpStream,
    dialogue: Dialogue,
    /// Belongs to the kernel while the connection receives.
    input: Vec<u8>,
    /// Belongs to the kernel while the connection sends, which it does if this is not empty.
    output: Vec<u8>,
    sent: usize,
    then: Then,
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
                match completion.user_data() {
                    STOP => self.end(),
                    LISTENER => self.accepted(completion)?,
                    name => self.moved(name as usize, completion)?,
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let request = opcode::Accept::new(fd(&self.hall.listener), null_mut(), null_mut()).flags(libc::SOCK_CLOEXEC);
        // SAFETY: it points to nothing, for nobody wants to know the address.
        unsafe { self.ring.push(&request.build().user_data(LISTENER)) }
    }

    fn accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        if completion.result() >= 0 {
            // SAFETY: the kernel just made this descriptor, and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result()) };
            if !self.hall.stop.is_asked()
                && let Guest::Welcome(stream) = self.hall.admit(socket, self.connections.len())
            {
                let (dialogue, input, output) = (Dialogue::default(), vec![0; BUFFER], Vec::new());
                let connection = Connection { stream, dialogue, input, output, sent: 0, then: Then::GoOn };
                let place = self.connections.insert(connection);
                self.request(place)?;
            }
        }
        self.accepts = !self.hall.stop.is_asked();
        if self.accepts { self.accept() } else { Ok(()) }
    }

    /// Asks for what a connection has to do next.
    fn request(&mut self, place: usize) -> io::Result<()> {
        let connection = &mut self.connections[place];
        let request = if connection.output.is_empty() {
            let input = &mut connection.input;
            opcode::Recv::new(fd(&connection.stream), input.as_mut_ptr(), input.len() as u32).build()
        } else {
            let rest = &connection.output[connection.sent..];
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            opcode::Send::new(fd(&connection.stream), rest.as_ptr(), length).flags(MSG_NOSIGNAL).build()
        };
        // SAFETY: the memory is that of `input` or of `output`, which stays where it is, however the table moves. The
        // connection leaves the table, and the two are touched again, only in `moved`, which is called when this request
        // has completed; if that never happens, the table is never dropped.
        unsafe { self.ring.push(&request.user_data(place as u64)) }
    }

    /// The request of a connection has completed.
    fn moved(&mut self, place: usize, completion: &cqueue::Entry) -> io::Result<()> {
        let connection = &mut self.connections[place];
        let count = usize::try_from(completion.result()).unwrap_or(0);
        let is_receiving = connection.output.is_empty();
        if is_receiving && count > 0 {
            let Connection { dialogue, input, output, .. } = connection;
            connection.then = dialogue.answer(self.hall.service, self.hall.name, &input[..count], output);
        } else if count > 0 {
            connection.sent += count;
            if connection.sent == connection.output.len() {
                connection.sent = 0;
                connection.output = Vec::new();
            }
        }
        // 0 is the end of what the peer says, and a negative number an error.
        let is_over = count == 0 || connection.output.is_empty() && connection.then == Then::Close;
        if is_over {
            self.connections.remove(place);
            return Ok(());
        }
        self.request(place)
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
