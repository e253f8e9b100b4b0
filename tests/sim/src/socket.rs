//! Sockets and listeners, as the world knows them.
//!
//! A transfer is *tried* or *submitted*. Tried, it is done at once as far as it can be, or its task waits
//! until the socket is ready and tries again: readiness. Submitted, it becomes an operation, which completes
//! some time after it can, whether or not anybody still waits for it: completion. What a receive or an accept
//! brings that nobody waits for any more is kept for the next who asks.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::pipe::Pipe;
use crate::world::Id;

/// What is received or accepted before it is asked for.
pub(crate) const UNDELIVERED: usize = 4;

/// What one end of a connection has done and is doing; it can be asked also when the end is gone.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) received: Cell<u64>,
    pub(crate) sent: Cell<u64>,
    pub(crate) writes: Cell<u64>,
    pub(crate) refused_writes: Cell<u64>,
    pub(crate) lent: Cell<u64>,
    pub(crate) was_reset: Cell<bool>,
    pub(crate) shut_down: Cell<Option<Duration>>,
    pub(crate) closed: Cell<Option<Duration>>,
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// The other end, once there is one.
    pub(crate) other: Option<Id>,
    /// What came of the attempt to connect: 0, or an error's number.
    pub(crate) decided: Option<i32>,
    pub(crate) incoming: Pipe,
    /// The receive that is under way.
    pub(crate) receive: Option<u64>,
    pub(crate) receive_is_due: bool,
    /// What it brought.
    pub(crate) received: VecDeque<Vec<u8>>,
    pub(crate) send: Option<Sending>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) is_shut_down: bool,
    pub(crate) is_reset: bool,
    /// To be reported once, by whatever is asked next.
    pub(crate) error: Option<i32>,
    pub(crate) resets_on_close: bool,
    pub(crate) is_held: bool,
    /// A send was dropped, and not all of it went out.
    pub(crate) is_cut: bool,
    pub(crate) figures: Rc<Figures>,
}

/// A send that is under way: it owns its bytes.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) operation: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: usize,
    pub(crate) whole: bool,
    pub(crate) is_due: bool,
    pub(crate) is_orphan: bool,
    pub(crate) result: Option<Result<usize, i32>>,
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) addr: SocketAddr,
    pub(crate) limit: usize,
    pub(crate) backlog: VecDeque<Id>,
    /// The accept that is under way.
    pub(crate) accept: Option<u64>,
    pub(crate) accept_is_due: bool,
    /// What it brought.
    pub(crate) accepted: VecDeque<Result<Id, i32>>,
    pub(crate) waiter: Option<Waker>,
}

impl Socket {
    pub(crate) fn new(local: SocketAddr, peer: SocketAddr, capacity: usize) -> Socket {
        Socket {
            local,
            peer,
            other: None,
            decided: None,
            incoming: Pipe::new(capacity),
            receive: None,
            receive_is_due: false,
            received: VecDeque::new(),
            send: None,
            reader: None,
            writer: None,
            is_shut_down: false,
            is_reset: false,
            error: None,
            resets_on_close: false,
            is_held: false,
            is_cut: false,
            figures: Rc::default(),
        }
    }

    /// How many operations are under way.
    pub(crate) fn operations(&self) -> u64 {
        u64::from(self.receive.is_some()) + u64::from(self.send.is_some())
    }

    /// Whether a receive would bring something: bytes, the end, or an error.
    pub(crate) fn is_readable(&self) -> bool {
        !self.incoming.unread.is_empty() || self.incoming.has_ended || self.is_reset
    }

    /// Why nothing can be written, if so.
    pub(crate) fn write_error(&mut self) -> Option<i32> {
        let is_broken = self.is_reset || self.is_shut_down;
        self.error.take().or(is_broken.then_some(libc::EPIPE))
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Socket { local, peer, incoming, is_shut_down, is_reset, .. } = self;
        write!(f, "{local} from {peer}: {} bytes unread", incoming.unread.len())?;
        for (is_so, what) in [
            (incoming.has_ended, "the end arrived"),
            (*is_reset, "reset"),
            (*is_shut_down, "shut down"),
            (self.reader.is_some(), "somebody waits to read"),
            (self.writer.is_some(), "somebody waits to write"),
            (self.receive.is_some(), "a receive is under way"),
            (self.send.is_some(), "a send is under way"),
        ] {
            if is_so {
                write!(f, ", {what}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = if self.waiter.is_some() { "somebody waits to accept" } else { "nobody accepts" };
        write!(f, "{} listens, {} in the backlog, {waits}", self.addr, self.backlog.len())
    }
}
