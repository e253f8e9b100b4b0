//! Operations: what the kernel was asked to do, and what owns the memory while it does. There is no ring in this file.
//!
//! # The one rule
//!
//! Memory and descriptors that a submission names belong to its *slot* in the table, from before it is
//! pushed until its **final completion** was reaped. Not until the ring is closed, not until a cancel
//! says Ok, not until an enter fails: on all three the kernel was seen to write afterwards. A future
//! holds a [`Ticket`](crate::ticket::Ticket), which is only the slot's name; dropping, leaking or moving it is harmless.
//!
//! ```text
//!            launch                final CQE
//!  Queued ---------> InFlight -------------------> Over ----- ticket polled ---> result, slot freed
//!    |                  |                            |
//!    |                  | ticket dropped:            +------- ticket dropped --> settled, slot freed
//!    |                  v cancel queued
//!    +------------> Orphaned --- final CQE -------------------------------------> settled, slot freed
//!     ticket dropped       (or never pushed)
//! ```
//!
//! *Settled* means that a result no future waits for goes where it belongs: received bytes to the stream,
//! for the next `recv`; accepted connections to the listener, for the next `accept`; everything else
//! is dropped.
//!
//! Operations that fill a socket (receive, accept; [`Filler`](crate::socket::Filler)) have no ticket at all: what they
//! bring goes to the socket's [`Incoming`](crate::socket::Incoming), where `recv` and `accept` find it.
//!
//! # The barrier
//!
//! The rule must hold whatever happens elsewhere: a hook that panics, a runtime's end that unwinds, a future that is
//! leaked. So it does not rest on an orderly end, but on this file's [`Drop`]: [`Slots`] that go while the kernel holds
//! any of them leak them all, with the receive buffers, and count them. Only [`Slots::complete`] and
//! [`Slots::end_quietly`] take an operation out of the kernel's hands, and the first believes nothing but a
//! [`Completion`], which only the ring can make, once for each report of the kernel's.
//!
//! # What a leaked future costs
//!
//! Memory: its slot, and its buffer. Never a descriptor for longer than its stream lives, since an operation that is over
//! lets go of its file, or is settled when the stream goes; and never the order of bytes, since a send that is not over
//! is known to its socket ([`Sending`](crate::socket::Sending)).

mod connect;
mod datagram;
#[cfg(feature = "faults")]
mod dump;
mod file;
mod kind;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::task::Waker;

use executor::{Fired, Key, Table};
use io_uring::squeue;

use crate::buffer::Buffer;
use crate::pool::Pool;
use crate::ring::completion::Completion;
use crate::socket::{Filler, Stock};

pub(crate) use self::connect::{Accept, Connect};
pub(crate) use self::datagram::{Arrived, HEAD, LENGTHS, Receive, SendMessage};
pub(crate) use self::file::{FileRequest, Work};
pub(crate) use self::kind::Kind;
pub(crate) use self::receive::{Read, RecvMultishot, RecvOnce};
pub(crate) use self::send::Send;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for room in the queues; the kernel has not seen it.
    Queued,
    InFlight,
    /// In flight, and its future is gone.
    Orphaned,
    /// Ended with this result, for which its future has not come. It has let go of its file, unless it is a read or a
    /// failed send: these have something to tell their stream if the future never comes.
    Over(i32),
}

impl State {
    fn is_in_kernel(self) -> bool {
        matches!(self, State::InFlight | State::Orphaned)
    }
}

/// A slot of the table.
struct Operation {
    state: State,
    kind: Kind,
    waker: Option<Waker>,
}

impl Operation {
    /// The operation is over, and out of the kernel's hands. Returns whether its future comes for the result.
    fn end(&mut self, result: i32, fired: &mut Fired) -> bool {
        let waker = self.waker.take();
        let is_awaited = waker.is_some();
        if let Some(waker) = waker {
            fired.wake(waker);
        }
        let is_kept = self.kind.let_go(result, is_awaited, fired) && self.state != State::Orphaned;
        if is_kept {
            self.state = State::Over(result);
        }
        is_kept
    }
}

/// What is left to do after a completion or a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    Nothing,
    /// The operation is to be cancelled.
    Cancel,
    /// The operation is to be launched again, with what is left of it.
    Again,
    /// The completion names nothing that is under way. It has touched nothing.
    Stray,
}

/// What a future finds that asks for its operation.
pub(crate) enum Asked {
    /// The result, as the kernel gave it, and the buffer, if it goes back.
    Over(i32, Option<Buffer>),
    /// It has left the table. A send whose buffer is not kept does when all is sent; nothing else does before its future
    /// has come, unless everything was abandoned.
    Gone,
    UnderWay {
        is_quiet: bool,
        /// The waker is the one that it has.
        is_known: bool,
    },
}

/// A submission, and how it completes.
pub(crate) struct Launched {
    pub(crate) entry: squeue::Entry,
    /// It completes only if it does not send the whole of what it names.
    pub(crate) is_quiet: bool,
    /// A task waits for it alone.
    pub(crate) is_awaited: bool,
}

/// All operations.
pub(crate) struct Slots {
    table: Table<Operation>,
    /// Operations that were launched and whose final completion has not come.
    in_kernel: usize,
    /// Operations that were given up with their memory, because the kernel held them to the end.
    abandoned: usize,
    /// Everything is being cancelled: nothing is gone on with.
    is_ending: bool,
    pool: Rc<Pool>,
    /// How receives that repeat themselves ended.
    pub(crate) endings: Endings,
}

/// Counts how receives that repeat themselves ended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Endings {
    /// The kernel had no buffer.
    pub(crate) dry: u64,
    /// We stopped it.
    pub(crate) stopped: u64,
    /// The stream ended or failed, or the kernel gave no reason.
    pub(crate) other: u64,
}

impl Endings {
    fn count(&mut self, result: i32) {
        let counter = match -result {
            libc::ENOBUFS => &mut self.dry,
            libc::ECANCELED => &mut self.stopped,
            _ => &mut self.other,
        };
        *counter += 1;
    }
}

impl Slots {
    pub(crate) fn new(pool: Rc<Pool>) -> Slots {
        Slots {
            table: Table::default(),
            in_kernel: 0,
            abandoned: 0,
            is_ending: false,
            pool,
            endings: Endings::default(),
        }
    }

    pub(crate) fn in_kernel(&self) -> usize {
        self.in_kernel
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Takes an operation that the kernel is to be asked for.
    pub(crate) fn insert(&mut self, kind: Kind) -> Key {
        self.table.insert_with(|key| {
            kind.tell_its_name(key);
            Operation { state: State::Queued, kind, waker: None }
        })
    }

    /// Makes the submission of an operation that waits for room. From here on the kernel may hold what the submission
    /// points to: that belongs to the slot, lies where it does not move, and stays in the table, untouched, until the
    /// final completion; also if the submission is never pushed. `None` if the operation was given up meanwhile.
    pub(crate) fn launch(&mut self, key: Key) -> Option<Launched> {
        let operation = self.table.get_mut(key).filter(|operation| operation.state == State::Queued)?;
        operation.state = State::InFlight;
        let entry = operation.kind.entry().user_data(key.to_u64());
        self.in_kernel += 1;
        Some(Launched { entry, is_quiet: operation.kind.is_quiet(), is_awaited: operation.waker.is_some() })
    }

    /// Acts on a completion of the operation it names.
    pub(crate) fn complete(&mut self, completion: Completion, fired: &mut Fired) -> Next {
        let key = Key::from_u64(completion.user_data);
        let is_final = !completion.is_more();
        let Some(operation) = self.table.get_mut(key) else { return Next::Stray };
        if !operation.state.is_in_kernel() {
            return Next::Stray;
        }
        if !operation.kind.is_ticketed() {
            if is_final && matches!(operation.kind, Kind::RecvMultishot(_)) {
                self.endings.count(completion.result);
            }
            let stock = operation.kind.fill(completion, &self.pool, fired);
            if is_final {
                self.in_kernel -= 1;
                drop(self.table.remove(key));
                return Next::Nothing;
            }
            return if stock == Stock::Enough { Next::Cancel } else { Next::Nothing };
        }
        if !is_final {
            // None of these repeats itself. If one did, its memory would still be the kernel's.
            return Next::Nothing;
        }
        self.in_kernel -= 1;
        let result = match operation.kind.advance(completion.result) {
            Some(result) => result,
            // A cancelled send may still report that it sent a part. The rest stays where it is.
            None if self.is_ending => -libc::ECANCELED,
            None if operation.state == State::InFlight => {
                operation.state = State::Queued;
                return Next::Again;
            }
            None => completion.result,
        };
        if !operation.end(result, fired) {
            self.free(key, result, fired);
        }
        Next::Nothing
    }

    /// Ends a quiet send that did not complete. Its silence says that all it named was sent, and it named all that was
    /// left: see [`Send`].
    ///
    /// The caller has seen that the kernel took the submission, and has dealt with all completions that it posted by
    /// the time that call returned: `Operations::end_quiet` in `submit.rs`.
    pub(crate) fn end_quietly(&mut self, key: Key, fired: &mut Fired) {
        let Some(operation) = self.table.get_mut(key) else { return };
        if operation.state.is_in_kernel() && operation.kind.is_quiet() {
            self.in_kernel -= 1;
            if !operation.end(0, fired) {
                self.free(key, 0, fired);
            }
        }
    }

    /// An operation that the kernel has not seen is over.
    fn finish(&mut self, key: Key, result: i32, fired: &mut Fired) {
        if self.table.get_mut(key).is_some_and(|operation| !operation.end(result, fired)) {
            self.free(key, result, fired);
        }
    }

    /// Frees the slot of an operation that is over, and settles its result.
    fn free(&mut self, key: Key, result: i32, fired: &mut Fired) {
        if let Some(operation) = self.table.remove(key) {
            self.settle(operation.kind, result, fired);
        }
    }

    /// Puts the result of an operation no future waits for where it belongs.
    fn settle(&self, kind: Kind, result: i32, fired: &mut Fired) {
        let buffer = kind.settle(result, &self.pool, fired);
        // Anything else has no destructor of the program's.
        if let Some(Buffer::Other { owner, .. }) = buffer {
            fired.discard(Box::new(owner));
        }
    }

    /// The future of an operation is gone: its ticket was dropped; or it was leaked, and another one needs its place.
    /// Does nothing the second time.
    pub(crate) fn orphan(&mut self, key: Key, fired: &mut Fired) -> Next {
        let Some(operation) = self.table.get_mut(key) else { return Next::Nothing };
        if let Some(waker) = operation.waker.take() {
            fired.discard_waker(waker);
        }
        match operation.state {
            State::InFlight => {
                operation.state = State::Orphaned;
                if let Kind::Read(read) = &operation.kind {
                    read.socket.incoming.filler.set(Filler::Own(key));
                }
                return Next::Cancel;
            }
            State::Orphaned => {}
            State::Queued => {
                operation.state = State::Orphaned;
                self.finish(key, -libc::ECANCELED, fired);
            }
            State::Over(result) => self.free(key, result, fired),
        }
        Next::Nothing
    }

    /// What a future finds that asks for its operation. If that is over, it leaves the table.
    pub(crate) fn ask(&mut self, key: Key, waker: &Waker) -> Asked {
        let Some(operation) = self.table.get(key) else { return Asked::Gone };
        if let State::Over(result) = operation.state {
            return Asked::Over(result, self.take(key));
        }
        let is_known = operation.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        Asked::UnderWay { is_quiet: operation.kind.is_quiet(), is_known }
    }

    /// The waker of the future of an operation that is under way. Returns the one before.
    pub(crate) fn set_waker(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        self.table.get_mut(key).expect("it is under way").waker.replace(waker)
    }

    /// Returns whether the operation has nothing to wait for: it is over, or out of the table.
    pub(crate) fn is_over(&self, key: Key) -> bool {
        self.table.get(key).is_none_or(|operation| matches!(operation.state, State::Over(_)))
    }

    /// Gives the future of an operation that is over what it gets.
    fn take(&mut self, key: Key) -> Option<Buffer> {
        let kind = self.table.remove(key)?.kind;
        match &kind {
            Kind::Read(read) => read.socket.incoming.filler.set(Filler::None),
            Kind::Send(send) => send.told(),
            _ => {}
        }
        kind.into_buffer()
    }

    /// Gives up an operation that fills a socket: one that the kernel has not seen is gone at once.
    pub(crate) fn cancel(&mut self, key: Key) -> Next {
        match self.table.get(key).map(|operation| operation.state) {
            Some(State::Queued) => {
                drop(self.table.remove(key));
                Next::Nothing
            }
            Some(State::InFlight) => Next::Cancel,
            _ => Next::Nothing,
        }
    }

    /// Returns whether the kernel has the operation, so that a cancel has something to do.
    pub(crate) fn is_in_kernel(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(|operation| operation.state.is_in_kernel())
    }

    /// The runtime ends: nothing is gone on with. What the kernel has not seen is over at once; what it has is
    /// returned, to be cancelled. The tasks are gone by now, so a ticket that is left was leaked, or is another
    /// runtime's.
    pub(crate) fn end(&mut self, queued: impl Iterator<Item = Key>, fired: &mut Fired) -> Ending {
        self.is_ending = true;
        for key in queued {
            match self.table.get(key).map(|operation| operation.kind.is_ticketed()) {
                Some(true) => self.finish(key, -libc::ECANCELED, fired),
                Some(false) => drop(self.table.remove(key)),
                None => {}
            }
        }
        let mut ending = Ending { under_way: Vec::new(), leaked: 0 };
        for (key, Operation { state, kind, .. }) in self.table.iter() {
            if state.is_in_kernel() {
                ending.under_way.push(key);
            }
            ending.leaked += u64::from(*state != State::Orphaned && kind.is_ticketed());
        }
        ending
    }

    /// Leaks everything that the kernel may still touch: it must never be freed.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = self.in_kernel;
        std::mem::forget(std::mem::take(&mut self.table));
        std::mem::forget(self.pool.retire());
    }
}

/// What is left when a runtime ends.
pub(crate) struct Ending {
    pub(crate) under_way: Vec<Key>,
    pub(crate) leaked: u64,
}

impl Drop for Slots {
    /// The barrier: see the module's text.
    fn drop(&mut self) {
        if self.in_kernel > 0 {
            self.abandon();
        }
    }
}
