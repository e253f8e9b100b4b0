//! A send on a stream: the whole of a buffer, or some of it.
//!
//! # Quiet sends
//!
//! A socket mostly has room for what is sent. Such a send is over before `io_uring_enter` begins to wait,
//! and its completion would end that wait: two calls for each message. So a whole buffer is first sent
//! *quietly*: with MSG_DONTWAIT, which the kernel executes while it takes the submission and never keeps, and
//! with SKIP_SUCCESS, so that it completes only if it failed or sent a part (then it is sent again, as usual).
//!
//! Silence is a completion only inside its precondition. It says that the kernel sent all that *this submission* named,
//! so it may stand for the buffer only if the submission named all that was left of it. A gather of more than 1,024
//! parts, or a buffer longer than [`MOST`], is named in pieces, and all but the last piece complete aloud.
//! And it is silence only when the kernel has taken the submission, nothing lies in its overflow list, and all
//! completions posted by then are dealt with: see `Operations::end_quiet` in `submit.rs`. Then, for a quiet send, it is the final
//! completion of the one rule.
//!
//! If a task waits only for the send, the next enter must not sleep, so that the task learns the result at once.
//! `exchange` sends and then receives; its send needs no wake of its own, which saves one system call and one wake for
//! each message.

use std::rc::Rc;

use executor::Fired;
use io_uring::{opcode, squeue};

use crate::buffer::{Buffer, clamp};
use crate::pool::Chunk;
use crate::ring::message::MOST;
use crate::socket::{Sending, Socket};

/// A send, and all that belongs to it.
pub(crate) struct Send {
    /// `None` when it is over.
    pub(super) socket: Option<Rc<Socket<Chunk>>>,
    pub(super) buffer: Buffer,
    /// Bytes that earlier submissions have sent.
    sent: usize,
    /// It goes on until all is sent.
    is_whole: bool,
    /// Silence is success: see the module's text. The submission that is under way then names all that is left.
    is_quiet: bool,
    /// The buffer goes back to the program. Else it is dropped when all is sent.
    is_kept: bool,
}

impl Send {
    pub(crate) fn new(socket: Rc<Socket<Chunk>>, buffer: Buffer, is_whole: bool, is_quiet: bool) -> Send {
        Send { socket: Some(socket), buffer, sent: 0, is_whole, is_quiet, is_kept: true }
    }

    /// The same, with a buffer that is dropped when all is sent.
    pub(crate) fn unkept(self) -> Send {
        Send { is_kept: false, ..self }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// The submission of what is left, as much of it as one can name.
    pub(super) fn entry(&mut self) -> squeue::Entry {
        let Send { socket, buffer, sent, is_whole, is_quiet, .. } = self;
        let socket = socket.as_ref().expect("it is not over");
        let (start, len) = buffer.place();
        let (fd, left) = (socket.entry_fd(), len - *sent);
        if let Buffer::Other { gather: Some(gather), .. } = buffer {
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

    /// Goes on after a completion. `None` if there is more to do, else the result: 0 for the whole, the number of bytes
    /// for some, or a negative errno.
    pub(super) fn advance(&mut self, result: i32) -> Option<i32> {
        let was_quiet = std::mem::take(&mut self.is_quiet);
        if !self.is_whole {
            return Some(result);
        }
        match usize::try_from(result) {
            Err(_) if was_quiet && result == -libc::EAGAIN => None,
            Err(_) => Some(result),
            // Asked to send something, the kernel never takes nothing. If it did, it would do so for ever.
            Ok(0) => Some(-libc::EPIPE),
            Ok(count) => {
                self.sent += count;
                (self.sent >= self.buffer.place().1).then_some(0)
            }
        }
    }

    /// Tells the socket how it went, and lets go of it. Returns whether the program gets anything back: if all is sent
    /// and the buffer is not kept, the slot goes at once, so a connection that waits for its answer holds none.
    ///
    /// A failure stays with the socket's name for it until its future is told, or until it is settled.
    pub(super) fn let_go(&mut self, result: i32, is_awaited: bool, fired: &mut Fired) -> bool {
        if result < 0 {
            if let Some(socket) = self.socket.as_ref().filter(|_| !is_awaited) {
                // An exchange waits only for what is received, and may wait for ever now.
                socket.incoming.wake(fired);
            }
            return true;
        }
        // What stands for "all of it": see `advance`.
        let is_complete =
            if self.is_whole { result == 0 } else { usize::try_from(result) == Ok(self.buffer.place().1) };
        if let Some(socket) = self.socket.take() {
            socket.sending.set(if is_complete { Sending::Whole } else { Sending::Cut });
            if !is_awaited {
                socket.incoming.wake_closer(fired);
            }
        }
        self.is_kept
    }

    /// Its future is told of the failure.
    pub(super) fn told(&self) {
        if let Some(socket) = &self.socket {
            socket.sending.set(Sending::Cut);
        }
    }

    /// No future is told of the failure. It has taken the connection's error, so the next receive tells that: a reset must
    /// not look like an orderly end.
    pub(super) fn settle(self, result: i32, fired: &mut Fired) -> Buffer {
        self.told();
        if let Some(socket) = self.socket {
            if !matches!(-result, libc::ECANCELED | libc::EPIPE | libc::EAGAIN | libc::EINTR) {
                socket.incoming.note_end(result);
            }
            socket.incoming.wake(fired);
        }
        self.buffer
    }
}

/// -1 is the file's own position, the only one that an unseekable file has.
pub(super) const OWN_POSITION: u64 = u64::MAX;

fn flags(is_whole: bool, is_quiet: bool) -> (i32, squeue::Flags) {
    let whole = if is_whole { libc::MSG_WAITALL } else { 0 };
    match is_quiet {
        true => (libc::MSG_NOSIGNAL | whole | libc::MSG_DONTWAIT, squeue::Flags::SKIP_SUCCESS),
        false => (libc::MSG_NOSIGNAL | whole, squeue::Flags::empty()),
    }
}
