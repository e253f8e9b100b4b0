//! A send on a stream: the whole of a buffer, or some of it.
//!
//! # Quiet sends
//!
//! A socket mostly has room for what we send. Then the send is over before `io_uring_enter` begins
//! to wait, and its completion ends that wait: two system calls for each message. So a whole buffer
//! is first sent *quietly*, with two flags. MSG_DONTWAIT: the kernel sends while it takes the
//! submission, and never keeps it. SKIP_SUCCESS: it completes only if it failed or sent a part.
//! Then we send again, without these flags.
//!
//! Silence counts as a completion only under two conditions. First, silence says that the kernel
//! sent everything that *this submission* named, so the submission must name everything left of the
//! buffer. A gather of more than 1,024 parts, or a buffer longer than [`MOST`], is sent in pieces,
//! and all but the last piece complete visibly. Second, the kernel must have taken the submission,
//! its overflow list must be empty, and we must have handled all completions posted by then: see
//! `Operations::end_quiet` in `submit.rs`. If both hold, silence is the final completion of a quiet
//! send, in the sense of the one rule.
//!
//! If a task waits only for the send, the next enter must not sleep, so that the task learns the
//! result at once. `exchange` sends and then receives; its send needs no wake of its own, which
//! saves one system call and one wake per message.

use std::net::Shutdown;
use std::rc::Rc;

use executor::{Fired, Key};
use io_uring::{opcode, squeue};
use socket2::SockRef;

use crate::buffer::{Buffer, clamp};
use crate::pool::Chunk;
use crate::ring::message::MOST;
use crate::socket::{Sending, Socket};

/// A send, and everything that belongs to it.
pub(crate) struct Send {
    /// `None` when the send is over.
    pub(super) socket: Option<Rc<Socket<Chunk>>>,
    /// Empty when the program has it back, or when it is dropped.
    pub(super) buffer: Buffer,
    /// Bytes that earlier submissions sent.
    sent: usize,
    /// Continues until everything is sent.
    is_whole: bool,
    /// Silence means success: see the module's text. The submission in flight then names everything
    /// that is left.
    is_quiet: bool,
    purpose: Purpose,
}

/// What becomes of a buffer when it is sent, and of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The future gets both back.
    Write,
    /// The future gets the result. The buffer is dropped.
    Exchange,
    /// There is no future. The buffer is dropped. Only a failure is kept, for the next write.
    Feed,
}

/// What an operation leaves when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// A result, for its future.
    Result,
    /// Nothing: its slot is idle.
    Nothing,
}

impl Send {
    pub(crate) fn new(socket: Rc<Socket<Chunk>>, buffer: Buffer, is_whole: bool, is_quiet: bool) -> Send {
        Send { socket: Some(socket), buffer, sent: 0, is_whole, is_quiet, purpose: Purpose::Write }
    }

    /// Changes the purpose of the send.
    pub(crate) fn to(self, purpose: Purpose) -> Send {
        Send { purpose, ..self }
    }

    /// Returns the slot of the stream's last send, which this one may use again.
    pub(super) fn last_slot(&self) -> Key {
        self.socket.as_ref().expect("it is not over").send_slot.get()
    }

    /// Tells the socket that this send is under way from now on, under this name.
    pub(super) fn tell_its_name(&self, key: Key) {
        if let Some(socket) = &self.socket {
            socket.sending.set(if self.is_fed() { Sending::Fed } else { Sending::UnderWay });
            socket.send_slot.set(key);
        }
    }

    pub(super) fn is_fed(&self) -> bool {
        self.purpose == Purpose::Feed
    }

    /// Returns whether something is to be done at its end, so that the loop must not sleep: the
    /// program may wait for the drop of its buffer, and the peer for the end.
    pub(super) fn is_watched(&self) -> bool {
        self.buffer.has_destructor() || self.socket.as_ref().is_some_and(|socket| socket.incoming.ends_when_sent.get())
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Makes the submission of what is left, or of as much as one submission can name.
    pub(super) fn entry(&mut self) -> squeue::Entry {
        let Send { socket, buffer, sent, is_whole, is_quiet, .. } = self;
        let socket = socket.as_ref().expect("it is not over");
        let (start, len) = buffer.place();
        let (fd, left) = (socket.entry_fd(), len - *sent);
        if let Some(gather) = buffer.gather() {
            let part = gather.after(*sent);
            if socket.is_pipe.get() {
                return opcode::Writev::new(fd, part.vector, part.count).offset(OWN_POSITION).build();
            }
            *is_quiet &= part.bytes == left;
            let (flags, quiet) = flags(*is_whole, *is_quiet);
            return opcode::SendMsg::new(fd, part.header).flags(flags.unsigned_abs()).build().flags(quiet);
        }
        let start = start.wrapping_add(*sent);
        if socket.is_pipe.get() {
            return opcode::Write::new(fd, start, clamp(left)).offset(OWN_POSITION).build();
        }
        *is_quiet &= left <= MOST;
        let (flags, quiet) = flags(*is_whole, *is_quiet);
        opcode::Send::new(fd, start, clamp(left)).flags(flags).build().flags(quiet)
    }

    /// Handles a completion. Returns `None` if there is more to do. Otherwise returns the result: 0
    /// for a whole buffer, the number of bytes for a part, or a negative errno.
    pub(super) fn advance(&mut self, result: i32) -> Option<i32> {
        let was_quiet = std::mem::take(&mut self.is_quiet);
        if !self.is_whole {
            return Some(result);
        }
        match usize::try_from(result) {
            Err(_) if was_quiet && result == -libc::EAGAIN => None,
            Err(_) => Some(result),
            // The kernel never sends 0 bytes of a non-empty buffer. If it did, we would try again
            // forever.
            Ok(0) => Some(-libc::EPIPE),
            Ok(count) => {
                self.sent += count;
                (self.sent >= self.buffer.place().1).then_some(0)
            }
        }
    }

    /// Reports the result to the socket, and drops the reference to it. If everything is sent and
    /// the buffer is not kept, nothing is left: the buffer is dropped.
    ///
    /// A failed send keeps its reference until its future gets the error, or until it is settled: it
    /// may have to report to the socket.
    pub(super) fn let_go(&mut self, result: i32, is_awaited: bool, fired: &mut Fired) -> Left {
        if result < 0 {
            if let Some(socket) = &self.socket {
                if self.is_fed() {
                    note_error(socket, result);
                } else {
                    socket.sending.set(Sending::Cut);
                }
                if !is_awaited {
                    // An exchange waits only for the receive, and might now wait forever.
                    socket.incoming.wake(fired);
                }
            }
            return Left::Result;
        }
        // The results that mean "everything": see `advance`.
        let is_complete =
            if self.is_whole { result == 0 } else { usize::try_from(result) == Ok(self.buffer.place().1) };
        if let Some(socket) = self.socket.take() {
            match (is_complete, self.purpose) {
                (true, _) => {
                    socket.sending.set(Sending::Whole);
                    if socket.incoming.ends_when_sent.get() {
                        let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
                    }
                }
                (false, Purpose::Feed) => {}
                (false, _) => socket.sending.set(Sending::Cut),
            }
            if !is_awaited {
                socket.incoming.wake_closer(fired);
            }
        }
        if self.purpose == Purpose::Write {
            return Left::Result;
        }
        self.buffer.discard(fired);
        Left::Nothing
    }

    /// Notes that the program has got the result, if that is a failure. Drops the reference to the
    /// socket. What was fed stays so: unless something is sent after it, the close must reset.
    pub(super) fn told(&mut self) {
        let is_fed = self.is_fed();
        if let Some(socket) = self.socket.take().filter(|_| !is_fed) {
            socket.sending.set(Sending::Cut);
        }
    }

    /// Settles a failure that no future gets.
    pub(super) fn settle(self, result: i32, fired: &mut Fired) -> Buffer {
        if let Some(socket) = self.socket {
            note_error(&socket, result);
            socket.incoming.wake(fired);
        }
        self.buffer
    }
}

/// Lets the next receive report the error of a send. The send has taken it from the connection, and
/// a reset must not look like an orderly end.
fn note_error(socket: &Socket<Chunk>, result: i32) {
    if !matches!(-result, libc::ECANCELED | libc::EPIPE | libc::EAGAIN | libc::EINTR) {
        socket.incoming.note_end(result);
    }
}

/// Offset -1 means "at the current position", the only one an unseekable file has.
pub(super) const OWN_POSITION: u64 = u64::MAX;

fn flags(is_whole: bool, is_quiet: bool) -> (i32, squeue::Flags) {
    let whole = if is_whole { libc::MSG_WAITALL } else { 0 };
    match is_quiet {
        true => (libc::MSG_NOSIGNAL | whole | libc::MSG_DONTWAIT, squeue::Flags::SKIP_SUCCESS),
        false => (libc::MSG_NOSIGNAL | whole, squeue::Flags::empty()),
    }
}
