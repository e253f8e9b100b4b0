//! The kinds of operations. Each kind has its own file; this one only chooses among them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use executor::{Fired, Key};
use io_uring::{opcode, squeue, types};

use super::connect::{Accept, Connect};
use super::datagram::{Receive, SendMessage};
use super::file::FileRequest;
use super::receive::{Read, RecvMultishot, RecvOnce};
use super::send::{Left, Send};
use crate::buffer::Buffer;
use crate::pool::Pool;
use crate::ring::READABLE;
use crate::ring::completion::Completion;
use crate::socket::{Demand, Filler};

/// The work of an operation, and everything that belongs to it.
pub(crate) enum Kind {
    RecvMultishot(RecvMultishot),
    RecvOnce(RecvOnce),
    Accept(Accept),
    Datagrams(Receive),
    Read(Read),
    Send(Send),
    Connect(Connect),
    SendMessage(SendMessage),
    /// Waits until a descriptor is readable.
    Poll(Rc<OwnedFd>),
    File(FileRequest),
    /// What is left of an operation that is over.
    Spent(Option<Buffer>),
}

impl Kind {
    /// Makes the submission.
    pub(super) fn entry(&mut self) -> squeue::Entry {
        match self {
            Kind::RecvMultishot(receive) => receive.entry(),
            Kind::RecvOnce(receive) => receive.entry(),
            Kind::Accept(accept) => accept.entry(),
            Kind::Datagrams(receive) => receive.entry(),
            Kind::Read(read) => read.entry(),
            Kind::Send(send) => send.entry(),
            Kind::Connect(connect) => connect.entry(),
            Kind::SendMessage(send) => send.entry(),
            Kind::Poll(fd) => opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), READABLE).build(),
            Kind::File(request) => request.entry(),
            Kind::Spent(_) => unreachable!("it is over"),
        }
    }

    /// Tells the socket which operation fills it or sends from it.
    pub(super) fn tell_its_name(&self, key: Key) {
        match self {
            Kind::RecvMultishot(RecvMultishot { socket }) => socket.incoming.filler.set(Filler::Own(key)),
            Kind::RecvOnce(RecvOnce { socket, .. }) => socket.incoming.filler.set(Filler::Own(key)),
            Kind::Accept(Accept { socket, .. }) => socket.incoming.filler.set(Filler::Own(key)),
            Kind::Datagrams(receive) => receive.socket.incoming.filler.set(Filler::Own(key)),
            Kind::Read(Read { socket, .. }) => socket.incoming.filler.set(Filler::Read(key)),
            Kind::Send(send) => send.tell_its_name(key),
            _ => {}
        }
    }

    /// Returns the program's buffer, if the operation had one.
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        match self {
            Kind::Read(Read { buffer, .. }) | Kind::Send(Send { buffer, .. }) => Some(buffer),
            Kind::SendMessage(send) => Some(send.buffer),
            Kind::File(request) => request.into_buffer(),
            Kind::Spent(buffer) => buffer,
            _ => None,
        }
    }

    /// Returns whether a ticket waits for it. The others fill a socket.
    pub(super) fn is_ticketed(&self) -> bool {
        match self {
            Kind::RecvMultishot(_) | Kind::RecvOnce(_) | Kind::Accept(_) | Kind::Datagrams(_) => false,
            Kind::Read(_) | Kind::Send(_) | Kind::Connect(_) => true,
            Kind::SendMessage(_) | Kind::Poll(_) | Kind::File(_) | Kind::Spent(_) => true,
        }
    }

    /// Returns whether a future waits for it, unless that is gone.
    pub(super) fn has_future(&self) -> bool {
        self.is_ticketed() && !matches!(self, Kind::Send(send) if send.is_fed())
    }

    /// Returns whether silence means success: see [`Send`].
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Kind::Send(send) if send.is_quiet())
    }

    /// Returns whether something is to be done at its end.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Kind::Send(send) if send.is_watched())
    }

    /// Handles a completion of a ticketed operation. Returns `None` if there is more to do,
    /// otherwise its result.
    pub(super) fn advance(&mut self, result: i32) -> Option<i32> {
        match self {
            // An interrupted connect continues in the background, and a second try would be an
            // error.
            Kind::Connect(_) => Some(result),
            _ if result == -libc::EINTR => None,
            Kind::Send(send) => send.advance(result),
            _ => Some(result),
        }
    }

    /// Reports the end of the operation to its socket, and drops everything except what its future
    /// gets.
    pub(super) fn let_go(&mut self, result: i32, is_awaited: bool, fired: &mut Fired) -> Left {
        match self {
            Kind::Send(send) => return send.let_go(result, is_awaited, fired),
            // A read may still have to give its bytes to the stream.
            Kind::Read(_) => return Left::Result,
            Kind::SendMessage(send) => send.socket.incoming.wake_closer(fired),
            _ => {}
        }
        let rest = std::mem::replace(self, Kind::Spent(None)).into_buffer();
        *self = Kind::Spent(rest);
        Left::Result
    }

    /// Gives what an operation without a ticket brought to its socket.
    pub(super) fn fill(&mut self, completion: Completion, pool: &Rc<Pool>, fired: &mut Fired) -> Demand {
        match self {
            Kind::RecvMultishot(receive) => receive.fill(&completion, pool, fired),
            Kind::RecvOnce(receive) => {
                receive.fill(&completion, pool, fired);
                Demand::More
            }
            Kind::Accept(accept) => accept.fill(completion, fired),
            Kind::Datagrams(receive) => receive.fill(&completion, pool, fired),
            _ => unreachable!("ticketed operations fill nothing"),
        }
    }

    /// Settles a result: puts it where it belongs, because no future waits for it. Returns the
    /// buffer that is left.
    pub(super) fn settle(self, result: i32, pool: &Rc<Pool>, fired: &mut Fired) -> Option<Buffer> {
        match self {
            Kind::Read(read) => Some(read.settle(result, pool, fired)),
            Kind::Send(send) => Some(send.settle(result, fired)),
            other => other.into_buffer(),
        }
    }
}
