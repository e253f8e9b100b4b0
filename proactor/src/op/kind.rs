//! The kinds of operations. Each has a file of its own; here is only which one it is.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use executor::{Fired, Key};
use io_uring::{opcode, squeue, types};

use super::connect::{Accept, Connect};
use super::datagram::{Receive, SendMessage};
use super::file::FileRequest;
use super::receive::{Read, RecvMultishot, RecvOnce};
use super::send::Send;
use crate::buffer::Buffer;
use crate::pool::Pool;
use crate::ring::READABLE;
use crate::ring::completion::Completion;
use crate::socket::{Filler, Sending, Stock};

/// What an operation does, and all that belongs to it.
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
    /// One of the others, when it is over: what is left of it.
    Spent(Option<Buffer>),
}

impl Kind {
    /// The submission.
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
            Kind::Send(Send { socket: Some(socket), .. }) => socket.sending.set(Sending::UnderWay(key)),
            _ => {}
        }
    }

    /// The program's buffer again, of an operation that had one.
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

    /// Returns whether its silence is success: see [`Send`].
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self, Kind::Send(send) if send.is_quiet())
    }

    /// Goes on with a ticketed operation after a completion. `None` if there is more to do, else its result.
    pub(super) fn advance(&mut self, result: i32) -> Option<i32> {
        match self {
            // An interrupted connect goes on in the background, and trying again would be an error.
            Kind::Connect(_) => Some(result),
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
            Kind::Read(_) => return true,
            Kind::SendMessage(send) => send.socket.incoming.wake_closer(fired),
            _ => {}
        }
        let rest = std::mem::replace(self, Kind::Spent(None)).into_buffer();
        *self = Kind::Spent(rest);
        true
    }

    /// Puts what an operation without a ticket brought to its socket.
    pub(super) fn fill(&mut self, completion: Completion, pool: &Rc<Pool>, fired: &mut Fired) -> Stock {
        match self {
            Kind::RecvMultishot(receive) => receive.fill(&completion, pool, fired),
            Kind::RecvOnce(receive) => {
                receive.fill(&completion, pool, fired);
                Stock::Short
            }
            Kind::Accept(accept) => accept.fill(completion, fired),
            Kind::Datagrams(receive) => receive.fill(&completion, pool, fired),
            _ => unreachable!("ticketed operations fill nothing"),
        }
    }

    /// Puts the result of an operation no future waits for where it belongs. Returns the buffer that is left.
    pub(super) fn settle(self, result: i32, pool: &Rc<Pool>, fired: &mut Fired) -> Option<Buffer> {
        match self {
            Kind::Read(read) => Some(read.settle(result, pool, fired)),
            Kind::Send(send) => Some(send.settle(result, fired)),
            other => other.into_buffer(),
        }
    }
}
