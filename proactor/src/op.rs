//! Operations: what we asked the kernel to do, and the owner of the memory while it does it. There
//! is no ring in this file.
//!
//! # The one rule
//!
//! Memory and descriptors that a submission names belong to its *slot* in the table, from before
//! the push until its **final completion** is reaped. Closing the ring does not end this, nor does
//! a successful cancel, nor a failed enter: after each of the three, the kernel was seen to write.
//! A future holds a [`Ticket`](crate::ticket::Ticket), which is only the slot's name; dropping,
//! leaking or moving it is harmless.
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
//! The sends of a stream use one slot, one after the other: instead of being freed it is *idle*, and
//! the next send takes it under a new name. It is freed when the stream is dropped.
//!
//! # Words for endings
//!
//! * *Final*: the last completion of an operation. After it, the kernel touches none of its memory.
//! * *Settled*: a result that no future waits for has gone where it belongs: received bytes to the
//!   stream, for the next `recv`; accepted connections to the listener, for the next `accept`.
//!   Everything else is dropped.
//! * *Orphaned*: the future is gone, but the kernel still has the operation.
//! * *Cancelled*: we asked the kernel to end the operation. It stays in flight until its final
//!   completion.
//! * *Released*: the program asks nothing more of a socket. What arrived, and what still arrives,
//!   is dropped.
//! * *Drained*: at the end of the runtime, all operations were cancelled, and all have had their
//!   final completion.
//! * *Abandoned*: the runtime ended without that. All slots are leaked, with their memory, and the
//!   operations are counted.
//!
//! # Operations without a ticket
//!
//! Operations that fill a socket (receive, accept; [`Filler`](crate::socket::Filler)) have no
//! ticket. What they bring goes to the socket's [`Incoming`](crate::socket::Incoming), where `recv`
//! and `accept` find it. Sends of `exchange` and `feed` have none either: the socket knows their
//! slot.
//!
//! # The barrier
//!
//! The rule must hold whatever happens elsewhere: a hook panics, the end of a runtime unwinds, a
//! future leaks. So it does not rely on an orderly end, but on the [`Drop`] in this file: if
//! [`Slots`] are dropped while the kernel holds any operation, they leak every slot and the receive
//! buffers, and count the operations. Only [`Slots::complete`] and [`Slots::end_quietly`] take an
//! operation out of the kernel's hands. `complete` believes only a [`Completion`], and only the
//! ring can make one, once for each report of the kernel.
//!
//! # What a leaked future costs
//!
//! It costs memory: its slot and its buffer. It never keeps a descriptor for longer than its stream
//! lives: an operation that is over drops its reference to the file, or is settled when the stream
//! is dropped. It never changes the order of bytes: the socket knows whether its last send is over
//! ([`Sending`](crate::socket::Sending)).

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
use crate::socket::{Demand, Filler};

pub(crate) use self::connect::{Accept, Connect};
pub(crate) use self::datagram::{Arrived, HEAD, LENGTHS, Receive, SendMessage};
pub(crate) use self::file::{FileRequest, Work};
pub(crate) use self::kind::Kind;
pub(crate) use self::receive::{Read, RecvMultishot, RecvOnce};
use self::send::Left;
pub(crate) use self::send::{Purpose, Send};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for room in the queues. The kernel has not seen it.
    Queued,
    InFlight,
    /// Still in flight, but its future is gone.
    Orphaned,
    /// Ended with this result; its future has not asked for it yet. The operation has dropped its
    /// reference to the file, unless it is a read or a failed send: these must report to their
    /// stream if the future never asks.
    Over(i32),
    /// Ended, with nothing left. The slot waits for the next send of its stream.
    Idle,
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
    /// Ends the operation; the kernel no longer holds it. Returns whether to keep the slot: for its
    /// future, or for the next send.
    fn end(&mut self, result: i32, fired: &mut Fired) -> bool {
        let waker = self.waker.take();
        let is_awaited = waker.is_some();
        if let Some(waker) = waker {
            fired.wake(waker);
        }
        let left = self.kind.let_go(result, is_awaited, fired);
        if self.state == State::Orphaned {
            return false;
        }
        self.state = match left {
            Left::Result => State::Over(result),
            Left::Nothing => State::Idle,
        };
        true
    }
}

/// What to do next after a completion or a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    Nothing,
    /// Cancel the operation.
    Cancel,
    /// Launch the operation again, with the part that is left.
    Again,
    /// The completion names no operation in flight. It has changed nothing.
    Stray,
}

/// The answer to a future that asks for its operation.
pub(crate) enum Asked {
    /// The result, as the kernel returned it, and the buffer, if the program gets it back.
    Over(i32, Option<Buffer>),
    /// The operation has left its slot. A send whose buffer is not kept leaves when everything is
    /// sent. All others leave only when their future asks for the result, or when the runtime
    /// abandons everything.
    Gone,
    UnderWay {
        is_quiet: bool,
        /// The operation already has this waker.
        is_known: bool,
    },
}

/// A submission, and how it completes.
pub(crate) struct Launched {
    pub(crate) entry: squeue::Entry,
    /// It completes only if it does not send everything it names.
    pub(crate) is_quiet: bool,
    /// A task waits only for this operation, or something is to be done at its end.
    pub(crate) is_awaited: bool,
}

/// All operations.
pub(crate) struct Slots {
    table: Table<Operation>,
    /// Operations that were launched and have had no final completion yet.
    in_kernel: usize,
    /// Operations that were abandoned: the kernel held their memory when the runtime ended.
    abandoned: usize,
    /// The runtime is cancelling everything, so no operation continues.
    is_ending: bool,
    pool: Rc<Pool>,
    /// How multishot receives ended.
    pub(crate) endings: Endings,
}

/// Counts how multishot receives ended.
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

    /// Adds an operation that the kernel is to do.
    pub(crate) fn insert(&mut self, kind: Kind) -> Key {
        match kind {
            Kind::Send(send) => self.insert_send(send),
            kind => self.insert_new(kind),
        }
    }

    /// Adds a send. It takes the slot of its stream's last send, if that is idle.
    pub(crate) fn insert_send(&mut self, send: Send) -> Key {
        let is_idle = |operation: &Operation| operation.state == State::Idle;
        let idle = self.table.renew(send.last_slot(), is_idle);
        if let Some((key, Operation { state, kind: Kind::Send(slot), .. })) = idle {
            send.tell_its_name(key);
            (*state, *slot) = (State::Queued, send);
            return key;
        }
        self.insert_new(Kind::Send(send))
    }

    fn insert_new(&mut self, kind: Kind) -> Key {
        self.table.insert_with(|key| {
            kind.tell_its_name(key);
            Operation { state: State::Queued, kind, waker: None }
        })
    }

    /// Makes the submission of a queued operation. From here on, the kernel may hold pointers into
    /// what the submission names. This memory belongs to the slot, does not move, and stays in the
    /// table untouched until the final completion, even if the submission is never pushed. Returns
    /// `None` if the operation was cancelled or dropped in the meantime.
    pub(crate) fn launch(&mut self, key: Key) -> Option<Launched> {
        let operation = self.table.get_mut(key).filter(|operation| operation.state == State::Queued)?;
        operation.state = State::InFlight;
        let entry = operation.kind.entry().user_data(key.to_u64());
        self.in_kernel += 1;
        let is_awaited = operation.waker.is_some() || operation.kind.is_watched();
        Some(Launched { entry, is_quiet: operation.kind.is_quiet(), is_awaited })
    }

    /// Handles a completion of the operation that it names.
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
            let demand = operation.kind.fill(completion, &self.pool, fired);
            if is_final {
                self.in_kernel -= 1;
                drop(self.table.remove(key));
                return Next::Nothing;
            }
            return if demand == Demand::Enough { Next::Cancel } else { Next::Nothing };
        }
        if !is_final {
            // None of these is multishot. If one were, its memory would still be the kernel's.
            return Next::Nothing;
        }
        self.in_kernel -= 1;
        let result = match operation.kind.advance(completion.result) {
            Some(result) => result,
            // A cancelled send may still report that it sent a part. The rest is not sent.
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

    /// Ends a quiet send that did not complete. Its silence says that the kernel sent everything it
    /// named, and it named everything that was left: see [`Send`].
    ///
    /// The caller must know that the kernel took the submission, and must have handled all
    /// completions posted by the time that call returned: `Operations::end_quiet` in `submit.rs`.
    pub(crate) fn end_quietly(&mut self, key: Key, fired: &mut Fired) {
        let Some(operation) = self.table.get_mut(key) else { return };
        if operation.state.is_in_kernel() && operation.kind.is_quiet() {
            self.in_kernel -= 1;
            if !operation.end(0, fired) {
                self.free(key, 0, fired);
            }
        }
    }

    /// Ends an operation that the kernel has not seen.
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

    /// Settles a result: puts it where it belongs, because no future waits for it.
    fn settle(&self, kind: Kind, result: i32, fired: &mut Fired) {
        if let Some(mut buffer) = kind.settle(result, &self.pool, fired) {
            buffer.discard(fired);
        }
    }

    /// Orphans an operation: its ticket was dropped, or it was leaked and another future needs its
    /// place. Does nothing the second time.
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
            State::Idle => {}
        }
        Next::Nothing
    }

    /// Frees the slot of a stream's sends, because the stream is dropped. A send that is left there
    /// was leaked.
    pub(crate) fn retire(&mut self, slot: Key, fired: &mut Fired) -> Next {
        if self.is_idle(slot) {
            self.table.remove(slot);
        }
        self.orphan(slot, fired)
    }

    fn is_idle(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(|operation| operation.state == State::Idle)
    }

    /// Answers a future that asks for its operation. If that is over, it leaves the table.
    pub(crate) fn ask(&mut self, key: Key, waker: &Waker) -> Asked {
        let Some(operation) = self.table.get(key) else { return Asked::Gone };
        match operation.state {
            State::Over(result) => return Asked::Over(result, self.take(key)),
            State::Idle => return Asked::Gone,
            _ => {}
        }
        let is_known = operation.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        Asked::UnderWay { is_quiet: operation.kind.is_quiet(), is_known }
    }

    /// Sets the waker of an operation in flight. Returns the previous one.
    pub(crate) fn set_waker(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        self.table.get_mut(key).expect("it is under way").waker.replace(waker)
    }

    /// Takes an operation that is over out of its slot. Returns its buffer, for its future.
    fn take(&mut self, key: Key) -> Option<Buffer> {
        let operation = self.table.get_mut(key)?;
        if let Kind::Send(send) = &mut operation.kind {
            operation.state = State::Idle;
            send.told();
            return Some(send.buffer.take());
        }
        let kind = self.table.remove(key)?.kind;
        if let Kind::Read(read) = &kind {
            read.socket.incoming.filler.set(Filler::None);
        }
        kind.into_buffer()
    }

    /// Cancels an operation that fills a socket. One that the kernel has not seen is removed at
    /// once.
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

    /// Returns whether the kernel has the operation, so that a cancel has an effect.
    pub(crate) fn is_in_kernel(&self, key: Key) -> bool {
        self.table.get(key).is_some_and(|operation| operation.state.is_in_kernel())
    }

    /// Starts the end of the runtime: no operation continues. Ends what the kernel has not seen.
    /// Returns what it has, for the caller to cancel. All tasks are gone by now, so a ticket that
    /// is left was leaked, or belongs to another runtime.
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
            let is_wanted = !matches!(state, State::Orphaned | State::Idle);
            ending.leaked += u64::from(is_wanted && kind.has_future());
        }
        ending
    }

    /// Abandons everything: leaks all memory that the kernel may still touch, because it must never
    /// be freed.
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
    /// The barrier: see the module's text. If the kernel holds nothing, the receive buffers go with
    /// the table: they refer to their pool, so the pool and they would keep each other.
    fn drop(&mut self) {
        if self.in_kernel > 0 {
            self.abandon();
        } else {
            drop(self.pool.retire());
        }
    }
}
