//! The kinds of operations: what each asks of the kernel, and what its completion means.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use executor::{Fired, Key};
use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::Send;
use super::send::OWN_POSITION;
use crate::buffer::{Buffer, clamp};
use crate::datagram;
use crate::fs::FileRequest;
use crate::pool::{Chunk, Pool};
use crate::ring::buffers::Group;
use crate::ring::{Completion, READABLE};
use crate::socket::{ACCEPT_CAP, CHUNK_CAP, Filler, Sending, Socket};

/// What an operation does, and all that belongs to it.
pub(crate) enum Kind {
    /// Receives again and again, into buffers of the pool.
    RecvMultishot { socket: Rc<Socket<Chunk>> },
    /// Receives once, into memory of its own. `None` when that has been filled.
    RecvOnce { socket: Rc<Socket<Chunk>>, memory: Option<Vec<u8>> },
    /// Accepts again and again, or once.
    Accept { socket: Rc<Socket<OwnedFd>>, is_multishot: bool },
    /// Receives once, into the program's buffer.
    Read { socket: Rc<Socket<Chunk>>, buffer: Buffer },
    /// Sends on a stream.
    Send(Send),
    /// Connects. The address lies on the heap.
    Connect { socket: Rc<Socket<Chunk>>, addr: Box<SockAddr> },
    /// Receives datagrams, again and again or once.
    Datagrams(datagram::Receive),
    /// Sends a datagram.
    SendMessage(datagram::Send),
    /// Waits until a descriptor is readable.
    Poll(Rc<OwnedFd>),
    /// Reads from a file, writes to it, or has it brought to the disk.
    File(FileRequest),
    /// One of the others, when it is over: what is left of it.
    Spent(Option<Buffer>),
}

impl Kind {
    /// The submission.
    pub(super) fn entry(&mut self) -> squeue::Entry {
        match self {
            Kind::RecvMultishot { socket } => opcode::RecvMulti::new(socket.entry_fd(), Group::Streams as u16).build(),
            Kind::RecvOnce { socket, memory } => {
                let memory = memory.as_mut().expect("not filled yet");
                receive(socket, (memory.as_mut_ptr(), memory.len()))
            }
            Kind::Accept { socket, is_multishot: true } => {
                opcode::AcceptMulti::new(socket.entry_fd()).flags(libc::SOCK_CLOEXEC).build()
            }
            Kind::Accept { socket, is_multishot: false } => {
                let (no_addr, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
                opcode::Accept::new(socket.entry_fd(), no_addr, no_len).flags(libc::SOCK_CLOEXEC).build()
            }
            Kind::Read { socket, buffer } => receive(socket, buffer.place()),
            Kind::Send(send) => send.entry(),
            Kind::Connect { socket, addr } => {
                opcode::Connect::new(socket.entry_fd(), addr.as_ptr().cast(), addr.len()).build()
            }
            Kind::Datagrams(receive) => receive.entry(),
            Kind::SendMessage(send) => send.entry(),
            Kind::Poll(fd) => opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), READABLE).build(),
            Kind::File(request) => request.entry(),
            Kind::Spent(_) => unreachable!("it is over"),
        }
    }

    /// Tells the socket which operation fills it or sends from it.
    pub(super) fn tell_its_name(&self, key: Key) {
        match self {
            Kind::RecvMultishot { socket } | Kind::RecvOnce { socket, .. } => {
                socket.incoming.filler.set(Filler::Own(key));
            }
            Kind::Accept { socket, .. } => socket.incoming.filler.set(Filler::Own(key)),
            Kind::Datagrams(receive) => receive.socket.incoming.filler.set(Filler::Own(key)),
            Kind::Read { socket, .. } => socket.incoming.filler.set(Filler::Read(key)),
            Kind::Send(Send { socket: Some(socket), .. }) => socket.sending.set(Sending::UnderWay(key)),
            _ => {}
        }
    }

    /// The program's buffer again, of an operation that had one.
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        match self {
            Kind::Read { buffer, .. } | Kind::Send(Send { buffer, .. }) => Some(buffer),
            Kind::SendMessage(send) => Some(send.buffer),
            Kind::File(request) => request.into_buffer(),
            Kind::Spent(buffer) => buffer,
            _ => None,
        }
    }

    /// Returns whether a ticket waits for it. The others fill a socket.
    pub(super) fn is_ticketed(&self) -> bool {
        match self {
            Kind::RecvMultishot { .. } | Kind::RecvOnce { .. } | Kind::Accept { .. } | Kind::Datagrams(_) => false,
            Kind::Read { .. } | Kind::Send(_) | Kind::Connect { .. } => true,
            Kind::SendMessage(_) | Kind::Poll(_) | Kind::File(_) | Kind::Spent(_) => true,
        }
    }

    /// Returns whether its silence is success: see [`Send`].
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Kind::Send(send) if send.is_quiet())
    }

    /// Goes on with a ticketed operation after a completion. `None` if there is more to do, else its result.
    pub(super) fn advance(&mut self, result: i32) -> Option<i32> {
        match self {
            // An interrupted connect goes on in the background, and trying again would be an error.
            Kind::Connect { .. } => Some(result),
            _ if result == -libc::EINTR => None,
            Kind::Send(send) => send.advance(result),
            _ => Some(result),
        }
    }

    /// The operation is over: tells its socket, and lets go of everything but what its future gets. Returns whether that
    /// is anything.
    pub(super) fn let_go(&mut self, result: i32, is_awaited: bool, fired: &mut Fired) -> bool {
        match self {
            Kind::Send(send) => return send.let_go(result, is_awaited, fired),
            // It may have to give its bytes to the stream.
            Kind::Read { .. } => return true,
            Kind::SendMessage(send) => send.socket.incoming.wake_closer(fired),
            _ => {}
        }
        let rest = std::mem::replace(self, Kind::Spent(None)).into_buffer();
        *self = Kind::Spent(rest);
        true
    }

    /// Puts what an operation without a ticket brought to its socket. Returns whether there is enough for now.
    pub(super) fn fill(&mut self, completion: Completion, pool: &Rc<Pool>, fired: &mut Fired) -> bool {
        let (result, is_final) = (completion.result, !completion.is_more());
        let count = usize::try_from(result).ok();
        match self {
            Kind::RecvMultishot { socket } => {
                // A buffer that was picked comes home, used or not.
                let chunk =
                    completion.buffer().and_then(|number| pool.take(Group::Streams, number, count.unwrap_or(0)));
                let chunk = chunk.filter(|chunk| !chunk.is_empty());
                let is_enough = chunk.is_some_and(|chunk| socket.incoming.push(chunk, CHUNK_CAP, fired));
                if is_final {
                    // ENOBUFS: tried again by the task that waits, with a bigger pool, or without one.
                    socket.incoming.ended((result <= 0 && result != -libc::ENOBUFS).then_some(result), fired);
                }
                is_enough
            }
            // It does not repeat itself: before its final completion the memory is the kernel's.
            Kind::RecvOnce { .. } if !is_final => false,
            Kind::RecvOnce { socket, memory } => {
                if let Some((count @ 1.., memory)) = count.zip(memory.take()) {
                    socket.incoming.push(pool.adopt(memory, count), usize::MAX, fired);
                }
                socket.incoming.ended((result <= 0).then_some(result), fired);
                false
            }
            Kind::Accept { socket, .. } => {
                // SAFETY: it is a completion of this accept, which completes once for each connection.
                let connection = unsafe { completion.into_descriptor() };
                let is_enough = connection.is_some_and(|it| socket.incoming.push(it, ACCEPT_CAP, fired));
                if is_final {
                    socket.incoming.ended((result < 0).then_some(result), fired);
                }
                is_enough
            }
            Kind::Datagrams(receive) => receive.fill(completion, pool, fired),
            _ => unreachable!("ticketed operations fill nothing"),
        }
    }
}

/// The submission that receives: recv(2), or read(2) where there is no socket.
fn receive(socket: &Socket<Chunk>, (start, len): (*mut u8, usize)) -> squeue::Entry {
    match socket.is_pipe.get() {
        true => opcode::Read::new(socket.entry_fd(), start, clamp(len)).offset(OWN_POSITION).build(),
        false => opcode::Recv::new(socket.entry_fd(), start, clamp(len)).build(),
    }
}
