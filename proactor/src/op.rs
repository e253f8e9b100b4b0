//! Operations: what the kernel was asked to do, and who owns what while it does.
//!
//! # The one rule
//!
//! Memory and descriptors that a submission names belong to its *slot* in the table, from before it is
//! pushed until its **final completion** was reaped. Not until the ring is closed, not until a cancel
//! says Ok, not until an enter fails: on all three the kernel was seen to write afterwards. A future
//! holds a [`Ticket`], which is only the slot's name; dropping, leaking or moving it is harmless.
//!
//! ```text
//!            push                  final CQE
//!  Queued ---------> InFlight -------------------> Done ----- ticket polled ---> result, slot freed
//!    |                  |                            |
//!    |                  | ticket dropped:            +------- ticket dropped --> settled, slot freed
//!    |                  v cancel queued
//!    +------------> Orphaned --- final CQE -------------------------------------> settled, slot freed
//!     ticket dropped       (or never pushed)
//! ```
//!
//! *Settled* means that a result nobody waits for goes where it belongs: received bytes to the stream,
//! for the next `recv`; accepted connections to the listener, for the next `accept`; everything else
//! is dropped.
//!
//! Operations that fill a socket (receive, accept; `Filler`) have no ticket at all: what they bring
//! goes to the socket's [`Incoming`], where `recv` and `accept` find it.
//!
//! # Quiet sends
//!
//! A socket mostly has room for what is sent. Such a send is over before `io_uring_enter` begins to wait,
//! and its completion would end that wait: two calls for each message. So a whole buffer is first sent
//! *quietly*: with MSG_DONTWAIT, which the kernel executes while it takes the submission and never keeps, and
//! with SKIP_SUCCESS, so that it completes only if it failed or sent a part (then it is sent again, as usual).
//! When the kernel has taken all submissions, and all completions that were posted by then are dealt with,
//! those quiet sends that did not complete are over: [`Operations::end_quiet`]. For them this is the final
//! completion of the one rule.
//!
//! Somebody who waits for nothing but the send must be told at once, so then the enter does not wait. Who sends
//! and then receives (`exchange`) need not be told: one call, and one wake, for each message.
//!
//! # What may point where
//!
//! The table's slots move when it grows, so nothing the kernel points at lies in one. The bytes of a
//! `Vec` and of a chunk don't move with it; any other buffer, and every address, is put on the heap
//! first. The pointer is taken after that, once, before the table is borrowed: `bytes()` is the user's
//! code. From then on no user code runs with the buffer until the slot is freed.

#[cfg(feature = "faults")]
mod dump;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

use executor::{BufResult, DriverStats, Fired, IoBuf, IoBufMut, Key, Seam, Table, WaitSlot, allocate, closed};
use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use crate::Context;
use crate::datagram::{Receive, Send};
use crate::fs::FileRequest;
use crate::pool::{Chunk, MISS_SIZE, OWN_SIZE, Pool};
use crate::ring::{BufferRing, Completion, READABLE, Ring, accepted, message::Gather};
use crate::setup::{Feature, Features};

/// Chunks that may lie undelivered on a stream. With as many, its receive is stopped until they are
/// taken: one client that sends more than is read must not take the whole pool.
pub(crate) const CHUNK_CAP: usize = 4;
/// Connections that may lie unaccepted on a listener, beside those the kernel queues.
pub(crate) const ACCEPT_CAP: usize = 64;

/// The user data of what is no operation in the table.
pub(crate) const WAKE: Key = Key::reserved(1);
const CANCEL: Key = Key::reserved(2);

/// A socket, and what has arrived on it: chunks on a stream, connections on a listener.
pub(crate) struct Socket<T> {
    fd: OwnedFd,
    pub(crate) incoming: Incoming<T>,
    /// A send that nobody waits for any more isn't over, or did not send the whole of its buffer.
    pub(crate) is_cut: Cell<bool>,
    /// It is no socket: a pipe's end, a terminal ...
    pub(crate) is_pipe: Cell<bool>,
}

/// What an operation brought and nobody has asked for yet, and who waits for it.
pub(crate) struct Incoming<T> {
    first: Cell<Option<T>>,
    /// What came after the first. Few streams ever have more than one item at a time, so the others have only
    /// room for a pointer here.
    #[allow(clippy::box_collection)]
    rest: RefCell<Option<Box<VecDeque<T>>>>,
    /// How the last operation ended, if that is to be known: 0 for the end of the stream, which stays;
    /// or a negative errno, which is told once.
    pub(crate) end: Cell<Option<i32>>,
    /// The operation that fills this.
    pub(crate) filler: Cell<Option<Key>>,
    /// Its cancel is under way, because there is enough here.
    is_stopping: Cell<bool>,
    /// Nobody will ask again: what still comes is dropped.
    is_released: Cell<bool>,
    pub(crate) waiting: WaitSlot,
}

impl<T> Socket<T> {
    pub(crate) fn new(fd: OwnedFd) -> Rc<Socket<T>> {
        let incoming = Incoming {
            first: Cell::new(None),
            rest: RefCell::default(),
            end: Cell::default(),
            filler: Cell::default(),
            is_stopping: Cell::default(),
            is_released: Cell::default(),
            waiting: WaitSlot::default(),
        };
        Rc::new(Socket { fd, incoming, is_cut: Cell::default(), is_pipe: Cell::default() })
    }

    pub(crate) fn entry_fd(&self) -> types::Fd {
        types::Fd(self.fd.as_raw_fd())
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl<T> AsFd for Socket<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<T> Incoming<T> {
    /// The next item; or the end.
    pub(crate) fn take(&self) -> Option<io::Result<Option<T>>> {
        if let Some(item) = self.first.take() {
            self.first.set(self.rest.borrow_mut().as_mut().and_then(|rest| rest.pop_front()));
            return Some(Ok(Some(item)));
        }
        match self.end.get()? {
            0 => Some(Ok(None)),
            errno => {
                self.end.set(None);
                Some(Err(io::Error::from_raw_os_error(-errno)))
            }
        }
    }

    /// Whether there is anything to take.
    pub(crate) fn has_arrived(&self) -> bool {
        let first = self.first.take();
        let has_first = first.is_some();
        self.first.set(first);
        has_first || self.end.get().is_some()
    }

    /// Puts an item back to the front, of which only a part was wanted.
    pub(crate) fn put_back(&self, item: T) {
        if let Some(second) = self.first.replace(Some(item)) {
            self.rest.borrow_mut().get_or_insert_default().push_front(second);
        }
    }

    fn wake(&self, fired: &mut Fired) {
        if let Some(waker) = self.waiting.take() {
            fired.wake(waker);
        }
    }

    /// One more item came. Returns whether there is enough now.
    pub(crate) fn push(&self, item: T, cap: usize, fired: &mut Fired) -> bool {
        if self.is_released.get() {
            return false;
        }
        let mut len = 1;
        if let Some(first) = self.first.replace(None) {
            let mut rest = self.rest.borrow_mut();
            let rest = rest.get_or_insert_default();
            rest.push_back(item);
            len += rest.len();
            self.first.set(Some(first));
        } else {
            self.first.set(Some(item));
        }
        self.wake(fired);
        len >= cap && !self.is_stopping.replace(true)
    }

    /// The operation ended, with 0, a negative errno, or something that needn't be known.
    pub(crate) fn ended(&self, result: Option<i32>, fired: &mut Fired) {
        self.filler.set(None);
        let was_stopping = self.is_stopping.replace(false);
        match result {
            // We asked for it.
            Some(errno) if errno == -libc::ECANCELED && was_stopping => {}
            // Tried again by whoever waits.
            Some(errno) if errno == -libc::EINTR => {}
            Some(end) => self.end.set(Some(end)),
            None => {}
        }
        self.wake(fired);
    }
}

/// A buffer of the user's, where its bytes will not move until it is unstowed.
pub(crate) enum Buffer {
    Chunk(Chunk),
    Vec(Vec<u8>),
    /// One that is put on the heap; or several, which `gather` knows.
    /// `Rc`, because moving a `Box` would promise the compiler that nobody else uses its memory.
    Other {
        owner: Rc<dyn Any>,
        start: *mut u8,
        len: usize,
        gather: Option<Box<Gather>>,
    },
}

impl Buffer {
    /// Stows a buffer to be sent.
    pub(crate) fn to_send<B: IoBuf>(buffer: B) -> Buffer {
        Buffer::sort(buffer).unwrap_or_else(|other| {
            let owner = Rc::new(other);
            let bytes = owner.bytes();
            let (start, len) = (bytes.as_ptr().cast_mut(), bytes.len());
            Buffer::Other { owner, start, len, gather: None }
        })
    }

    /// Stows a buffer to receive into.
    pub(crate) fn to_receive<B: IoBufMut>(buffer: B) -> Buffer {
        Buffer::sort(buffer).unwrap_or_else(|other| {
            let mut owner = Rc::new(other);
            let bytes = Rc::get_mut(&mut owner).expect("just made").bytes_mut();
            let (start, len) = (bytes.as_mut_ptr(), bytes.len());
            Buffer::Other { owner, start, len, gather: None }
        })
    }

    /// Chunks and vectors, of which the bytes don't move; anything else comes back.
    fn sort<B: IoBuf>(buffer: B) -> Result<Buffer, B> {
        let mut buffer = Some(buffer);
        let any: &mut dyn Any = &mut buffer;
        if let Some(chunk) = any.downcast_mut::<Option<Chunk>>().and_then(Option::take) {
            return Ok(Buffer::Chunk(chunk));
        }
        if let Some(vec) = any.downcast_mut::<Option<Vec<u8>>>().and_then(Option::take) {
            return Ok(Buffer::Vec(vec));
        }
        Err(buffer.expect("not taken"))
    }

    /// Where its bytes are. Only what was stowed to receive may be written to.
    pub(crate) fn place(&mut self) -> (*mut u8, usize) {
        match self {
            Buffer::Chunk(chunk) => (chunk.as_ptr().cast_mut(), chunk.len()),
            Buffer::Vec(vec) => (vec.as_mut_ptr(), vec.len()),
            Buffer::Other { start, len, .. } => (*start, *len),
        }
    }

    /// The user's buffer again.
    fn unstow<B: 'static>(self) -> B {
        let mut buffer: Option<B> = None;
        let any: &mut dyn Any = &mut buffer;
        match self {
            Buffer::Chunk(chunk) => *any.downcast_mut().expect("stowed as the same type") = Some(chunk),
            Buffer::Vec(vec) => *any.downcast_mut().expect("stowed as the same type") = Some(vec),
            Buffer::Other { owner, .. } => {
                buffer = Rc::into_inner(owner.downcast::<B>().expect("stowed as the same type"));
            }
        }
        buffer.expect("the only reference")
    }
}

/// What an operation does, and all that belongs to it.
pub(crate) enum Kind {
    /// Receives again and again, into buffers of the pool.
    RecvMultishot { socket: Rc<Socket<Chunk>> },
    /// Receives once, into memory of its own. `None` when that has been filled.
    RecvOnce { socket: Rc<Socket<Chunk>>, memory: Option<Vec<u8>> },
    /// Accepts again and again, or once.
    Accept { socket: Rc<Socket<OwnedFd>>, is_multishot: bool },
    /// Receives once, into the user's buffer.
    Read { socket: Rc<Socket<Chunk>>, buffer: Buffer },
    /// Sends. If `whole`, goes on until all is sent; see the module's text for `is_quiet`. If not `is_kept`,
    /// the buffer is dropped and the slot freed when all is sent.
    Send { socket: Rc<Socket<Chunk>>, buffer: Buffer, sent: usize, whole: bool, is_quiet: bool, is_kept: bool },
    /// Connects. The address lies on the heap.
    Connect { socket: Rc<Socket<Chunk>>, addr: Box<SockAddr> },
    /// Receives datagrams, again and again or once.
    Datagrams(Receive),
    /// Sends a datagram.
    SendMessage(Send),
    /// Waits until a descriptor is readable.
    Poll(OwnedFd),
    /// Reads from a file, writes to it, or has it brought to the disk.
    File(FileRequest),
}

impl Kind {
    /// The submission.
    fn entry(&mut self) -> squeue::Entry {
        match self {
            Kind::RecvMultishot { socket } => opcode::RecvMulti::new(socket.entry_fd(), BufferRing::GROUP).build(),
            Kind::RecvOnce { socket, memory } => {
                let memory = memory.as_mut().expect("not filled yet");
                socket.receive((memory.as_mut_ptr(), memory.len()))
            }
            Kind::Accept { socket, is_multishot: true } => {
                opcode::AcceptMulti::new(socket.entry_fd()).flags(libc::SOCK_CLOEXEC).build()
            }
            Kind::Accept { socket, is_multishot: false } => {
                let (no_addr, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
                opcode::Accept::new(socket.entry_fd(), no_addr, no_len).flags(libc::SOCK_CLOEXEC).build()
            }
            Kind::Read { socket, buffer } => socket.receive(buffer.place()),
            Kind::Send { socket, buffer, sent, .. } if socket.is_pipe.get() => socket.write(buffer.place(), *sent),
            Kind::Send { socket, buffer, sent, whole, is_quiet, .. } => {
                let (start, len) = buffer.place();
                let whole = if *whole { libc::MSG_WAITALL } else { 0 };
                let (quiet, skip) = match is_quiet {
                    true => (libc::MSG_DONTWAIT, squeue::Flags::SKIP_SUCCESS),
                    false => (0, squeue::Flags::empty()),
                };
                let (fd, flags) = (socket.entry_fd(), libc::MSG_NOSIGNAL | whole | quiet);
                let rest = match buffer {
                    Buffer::Other { gather: Some(gather), .. } => {
                        opcode::SendMsg::new(fd, gather.after(*sent)).flags(flags.unsigned_abs()).build()
                    }
                    _ => opcode::Send::new(fd, start.wrapping_add(*sent), clamp(len - *sent)).flags(flags).build(),
                };
                rest.flags(skip)
            }
            Kind::Connect { socket, addr } => {
                opcode::Connect::new(socket.entry_fd(), addr.as_ptr().cast(), addr.len()).build()
            }
            Kind::Datagrams(receive) => receive.entry(),
            Kind::SendMessage(send) => send.entry(),
            Kind::Poll(fd) => opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), READABLE).build(),
            Kind::File(request) => request.entry(),
        }
    }

    /// The user's buffer again, of an operation that had one.
    pub(crate) fn into_buffer<B: 'static>(self) -> B {
        match self {
            Kind::Read { buffer, .. } | Kind::Send { buffer, .. } => buffer.unstow(),
            Kind::SendMessage(send) => send.buffer.unstow(),
            Kind::File(request) => request.into_buffer().expect("a read or a write").unstow(),
            _ => unreachable!("only reads and sends have a buffer"),
        }
    }

    /// Whether a ticket waits for it. The others fill a socket.
    fn is_ticketed(&self) -> bool {
        !matches!(self, Kind::RecvMultishot { .. } | Kind::RecvOnce { .. } | Kind::Accept { .. } | Kind::Datagrams(_))
    }
}

/// The kernel's lengths have 32 bits, and moves of 2 GiB and more are cut short anyway.
pub(crate) fn clamp(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(i32::MAX.unsigned_abs())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for room in the queues; the kernel hasn't seen it.
    Queued,
    InFlight,
    Orphaned,
    Done(i32),
}

/// A slot of the table.
struct Operation {
    state: State,
    kind: Kind,
    waker: Option<Waker>,
}

/// All operations, and the ring they go through.
pub(crate) struct Operations {
    /// `None` after the end of the runtime.
    pub(crate) ring: Option<Ring>,
    table: Table<Operation>,
    /// Operations that wait for room, first come, first served. Each stream and listener has at most
    /// one per direction, and each future of a file one, which bounds it.
    backlog: VecDeque<Key>,
    /// Operations to cancel when there is room.
    cancels: Vec<Key>,
    /// Quiet sends that were pushed and may not be over.
    quiet: Vec<Key>,
    /// Somebody waits for one of these.
    pub(crate) is_quiet_awaited: bool,
    /// Operations pushed and not finally completed.
    pub(crate) in_kernel: usize,
    /// How many may be: so many that their completions fit the queue.
    limit: usize,
    /// Everything is being cancelled: nothing is started any more, or gone on with.
    is_ending: bool,
    pool: Rc<Pool>,
    features: Features,
    /// What was counted here; the driver adds the rest.
    pub(crate) stats: DriverStats,
}

/// The counters that exist on a proactor.
fn new_stats() -> DriverStats {
    DriverStats {
        operations: Some(0),
        orphans: Some(0),
        ops_leaked: Some(0),
        ops_abandoned: Some(0),
        stray_cqes: Some(0),
        overflow_flushes: Some(0),
        operations_deferred: Some(0),
        pool_misses: Some(0),
        ..DriverStats::default()
    }
}

pub(crate) fn count(counter: &mut Option<u64>) {
    *counter.get_or_insert(0) += 1;
}

/// Places in the completion queue kept for what is no operation: wakes, failed cancels. A quarter of it
/// if it is tiny.
const RESERVE: usize = 64;

impl Operations {
    pub(crate) fn new(ring: Ring, pool: Rc<Pool>, features: Features) -> Operations {
        let entries = ring.completion_entries() as usize;
        Operations {
            ring: Some(ring),
            table: Table::default(),
            backlog: VecDeque::new(),
            cancels: Vec::new(),
            quiet: Vec::new(),
            is_quiet_awaited: false,
            in_kernel: 0,
            limit: entries - RESERVE.min(entries / 4),
            is_ending: false,
            pool,
            features,
            stats: new_stats(),
        }
    }

    pub(crate) fn start(&mut self, seam: &Seam, kind: Kind) -> Key {
        count(&mut self.stats.operations);
        let key = self.table.insert(Operation { state: State::Queued, kind, waker: None });
        self.backlog.push_back(key);
        self.push_backlog(seam);
        if !self.backlog.is_empty() {
            count(&mut self.stats.operations_deferred);
        }
        key
    }

    /// Pushes what waits, as far as there is room.
    #[cfg_attr(not(feature = "faults"), expect(unused_variables, reason = "only tests judge what is pushed"))]
    fn push_backlog(&mut self, seam: &Seam) {
        let Some(ring) = self.ring.as_mut() else { return };
        while self.in_kernel < self.limit && !self.backlog.is_empty() && !ring.is_full() {
            let key = self.backlog.pop_front().expect("checked");
            // Orphaned while it waited: the kernel never sees it.
            let Some(operation) = self.table.get_mut(key) else { continue };
            let entry = operation.kind.entry().user_data(key.to_u64());
            #[cfg(feature = "faults")]
            let entry = ring.judged(seam, entry);
            // SAFETY: all that the entry points to belongs to `operation.kind`, lies where it doesn't
            // move (see the module's text), and stays in the table, untouched, until the final
            // completion: `complete` alone takes operations that are in flight out of it.
            let pushed = unsafe { ring.push(&entry) };
            assert!(pushed, "the queue was not full");
            operation.state = State::InFlight;
            self.in_kernel += 1;
            if matches!(operation.kind, Kind::Send { is_quiet: true, .. }) {
                self.quiet.push(key);
                self.is_quiet_awaited |= operation.waker.is_some();
            }
        }
    }

    /// Pushes cancels, then what waits. When the submission queue is full, has the kernel take it, which
    /// is the one place where that happens.
    pub(crate) fn flush(&mut self, seam: &Seam) -> io::Result<()> {
        loop {
            self.push_cancels();
            self.push_backlog(seam);
            let is_held_up = !self.cancels.is_empty() || (!self.backlog.is_empty() && self.in_kernel < self.limit);
            let Some(ring) = self.ring.as_mut().filter(|_| is_held_up) else { return Ok(()) };
            ring.enter(seam, Some(std::time::Duration::ZERO))?;
            if ring.is_full() {
                // The kernel is short of something: the rest stays for the next turn.
                return Ok(());
            }
        }
    }

    fn push_cancels(&mut self) {
        let Some(ring) = self.ring.as_mut() else { return };
        while let Some(key) = self.cancels.last().copied().filter(|_| !ring.is_full()) {
            self.cancels.pop();
            let is_over =
                self.table.get(key).is_none_or(|operation| matches!(operation.state, State::Queued | State::Done(_)));
            if is_over {
                continue;
            }
            // A cancel that finds its operation says nothing; one that comes too late completes with
            // an error, which nobody needs.
            let pushed = ring.cancel(key.to_u64(), CANCEL.to_u64(), true);
            assert!(pushed, "the queue was not full");
        }
    }

    /// Acts on a completion of an operation.
    pub(crate) fn complete(&mut self, completion: Completion, fired: &mut Fired) {
        self.stats.events += 1;
        let key = Key::from_u64(completion.user_data);
        if key == CANCEL {
            return;
        }
        // A completion of nothing that is under way touches nothing.
        let is_under_way = |operation: &&mut Operation| matches!(operation.state, State::InFlight | State::Orphaned);
        let Some(operation) = self.table.get_mut(key).filter(is_under_way) else {
            count(&mut self.stats.stray_cqes);
            return;
        };
        if !operation.kind.is_ticketed() {
            let is_enough = fill(&mut operation.kind, completion, &self.pool, fired);
            if completion.is_more() {
                if is_enough {
                    self.cancels.push(key);
                }
                return;
            }
            self.in_kernel -= 1;
            drop(self.table.remove(key));
            return;
        }
        self.in_kernel -= 1;
        let result = match advance(&mut operation.kind, completion.result) {
            Some(result) => result,
            // A cancelled send may still report that it sent a part. The rest stays where it is.
            None if self.is_ending => -libc::ECANCELED,
            None if operation.state == State::InFlight => {
                operation.state = State::Queued;
                self.backlog.push_back(key);
                return;
            }
            None => completion.result,
        };
        self.finish(key, result, fired);
    }

    /// The operation is over.
    fn finish(&mut self, key: Key, result: i32, fired: &mut Fired) {
        let Some(operation) = self.table.get_mut(key) else { return };
        if operation.state == State::Orphaned {
            let operation = self.table.remove(key).expect("found above");
            self.settle(operation.kind, result, fired);
            return;
        }
        if result >= 0 && matches!(operation.kind, Kind::Send { is_kept: false, .. }) {
            let operation = self.table.remove(key).expect("found above");
            operation.waker.into_iter().for_each(|waker| fired.wake(waker));
            if let Kind::Send { buffer: Buffer::Other { owner, .. }, .. } = operation.kind {
                fired.discard(Box::new(owner));
            }
            return;
        }
        operation.state = State::Done(result);
        match (operation.waker.take(), &operation.kind) {
            (Some(waker), _) => fired.wake(waker),
            // Who exchanges waits only for what is received, and may wait for ever now.
            (None, Kind::Send { socket, .. }) if result < 0 => socket.incoming.wake(fired),
            _ => {}
        }
    }

    /// The kernel has taken what was submitted, and what completed was dealt with: the quiet sends that did
    /// not complete are over.
    pub(crate) fn end_quiet(&mut self, fired: &mut Fired) {
        if !self.ring.as_mut().is_some_and(Ring::is_through) {
            return;
        }
        self.is_quiet_awaited = false;
        let mut quiet = std::mem::take(&mut self.quiet);
        for key in quiet.drain(..) {
            let Some(Operation { state, kind: Kind::Send { is_quiet: true, .. }, .. }) = self.table.get(key) else {
                continue;
            };
            if matches!(state, State::InFlight | State::Orphaned) {
                self.in_kernel -= 1;
                self.finish(key, 0, fired);
            }
        }
        self.quiet = quiet;
    }

    /// Puts the result of an operation nobody waits for where it belongs.
    fn settle(&self, kind: Kind, result: i32, fired: &mut Fired) {
        let buffer = match kind {
            Kind::Read { socket, buffer } => {
                let (chunk, buffer) = match usize::try_from(result) {
                    Ok(count @ 1..) => self.salvage(buffer, count),
                    _ => (None, Some(buffer)),
                };
                if let Some(chunk) = chunk {
                    socket.incoming.push(chunk, usize::MAX, fired);
                }
                socket.incoming.ended((result == 0).then_some(0), fired);
                buffer
            }
            Kind::Send { socket, mut buffer, whole, .. } => {
                let complete = if whole { 0 } else { buffer.place().1 };
                socket.is_cut.set(usize::try_from(result) != Ok(complete));
                // For `close`, which waits until nothing is in flight.
                socket.incoming.wake(fired);
                Some(buffer)
            }
            Kind::SendMessage(send) => {
                // For `close`, as above.
                send.socket.incoming.wake(fired);
                Some(send.buffer)
            }
            Kind::File(request) => request.into_buffer(),
            _ => None,
        };
        if let Some(Buffer::Other { owner, .. }) = buffer {
            fired.discard(Box::new(owner));
        }
    }

    /// The bytes a receive brought for somebody who is gone; and the buffer, if it isn't used for that.
    fn salvage(&self, buffer: Buffer, count: usize) -> (Option<Chunk>, Option<Buffer>) {
        match buffer {
            Buffer::Vec(vec) => (Some(self.pool.adopt(vec, count)), None),
            mut other => {
                let (start, _) = other.place();
                // SAFETY: the receive is over, and wrote `count` bytes from `start` on, into memory that
                // `other` owns and nobody else refers to.
                let bytes = unsafe { std::slice::from_raw_parts(start, count) };
                (Some(self.pool.adopt(bytes.to_vec(), count)), Some(other))
            }
        }
    }

    /// The ticket was dropped.
    fn orphan(&mut self, key: Key, fired: &mut Fired) -> Option<Waker> {
        let operation = self.table.get_mut(key)?;
        let waker = operation.waker.take();
        let result = match operation.state {
            State::Done(result) => result,
            State::Queued => -libc::ECANCELED,
            State::InFlight => {
                operation.state = State::Orphaned;
                if let Kind::Send { socket, .. } = &operation.kind {
                    socket.is_cut.set(true);
                }
                self.is_quiet_awaited = true;
                count(&mut self.stats.orphans);
                self.cancels.push(key);
                return waker;
            }
            State::Orphaned => unreachable!("an operation has one ticket"),
        };
        let operation = self.table.remove(key).expect("found above");
        self.settle(operation.kind, result, fired);
        waker
    }

    /// The runtime ends: cancels everything. What the kernel hasn't seen is over at once.
    pub(crate) fn cancel_all(&mut self, fired: &mut Fired) {
        self.is_ending = true;
        self.is_quiet_awaited = true;
        for key in std::mem::take(&mut self.backlog) {
            let Some(operation) = self.table.get_mut(key) else { continue };
            if operation.kind.is_ticketed() {
                operation.state = State::Done(-libc::ECANCELED);
                operation.waker.take().into_iter().for_each(|waker| fired.wake(waker));
            } else {
                drop(self.table.remove(key));
            }
        }
        let is_leaked = |operation: &Operation| operation.state == State::InFlight && operation.kind.is_ticketed();
        self.stats.ops_leaked = Some(self.table.iter().filter(|(_, operation)| is_leaked(operation)).count() as u64);
        let under_way = self.table.iter().filter(|(_, operation)| !matches!(operation.state, State::Done(_)));
        self.cancels = under_way.map(|(key, _)| key).collect();
    }

    /// The kernel didn't give everything back in time: what it may still touch must never be freed.
    pub(crate) fn abandon(&mut self) {
        self.stats.ops_abandoned = Some(self.in_kernel as u64);
        std::mem::forget(self.ring.take());
        std::mem::forget(self.pool.retire());
        std::mem::forget(std::mem::take(&mut self.table));
    }
}

/// Goes on with a ticketed operation. `None` if there is more to do, else its result.
fn advance(kind: &mut Kind, result: i32) -> Option<i32> {
    if result == -libc::EINTR && !matches!(kind, Kind::Connect { .. }) {
        return None;
    }
    let Kind::Send { buffer, sent, whole: true, is_quiet, .. } = kind else { return Some(result) };
    let was_quiet = std::mem::take(is_quiet);
    match usize::try_from(result) {
        Err(_) if was_quiet && result == -libc::EAGAIN => None,
        Err(_) => Some(result),
        // Asked to send something, the kernel never takes nothing. If it did, it would do so for ever.
        Ok(0) => Some(-libc::EPIPE),
        Ok(count) => {
            *sent += count;
            (*sent >= buffer.place().1).then_some(0)
        }
    }
}

/// Puts what an operation brought to its socket. Returns whether there is enough for now.
fn fill(kind: &mut Kind, completion: Completion, pool: &Rc<Pool>, fired: &mut Fired) -> bool {
    let result = completion.result;
    let count = usize::try_from(result).ok();
    let is_last = !completion.is_more();
    match kind {
        Kind::RecvMultishot { socket } => {
            // A buffer that was picked comes home, used or not.
            let chunk = completion.buffer().and_then(|number| pool.take(number, count.unwrap_or(0)));
            let chunk = chunk.filter(|chunk| !chunk.is_empty());
            let is_enough = chunk.is_some_and(|chunk| socket.incoming.push(chunk, CHUNK_CAP, fired));
            if is_last {
                // ENOBUFS: tried again by whoever waits, with a bigger pool, or without one.
                socket.incoming.ended((result <= 0 && result != -libc::ENOBUFS).then_some(result), fired);
            }
            is_enough
        }
        Kind::RecvOnce { socket, memory } => {
            if let Some(count @ 1..) = count {
                let memory = memory.take().expect("filled once");
                socket.incoming.push(pool.adopt(memory, count), usize::MAX, fired);
            }
            socket.incoming.ended((result <= 0).then_some(result), fired);
            false
        }
        Kind::Accept { socket, .. } => {
            let is_enough = result >= 0 && {
                // SAFETY: the result of an accept that was just reaped.
                let connection = unsafe { accepted(result) };
                socket.incoming.push(connection, ACCEPT_CAP, fired)
            };
            if is_last {
                socket.incoming.ended((result < 0).then_some(result), fired);
            }
            is_enough
        }
        Kind::Datagrams(receive) => receive.fill(completion, pool, fired),
        _ => unreachable!("ticketed operations fill nothing"),
    }
}

/// A future's hold on an operation: its name, and the promise to say so when nobody waits any more.
pub(crate) struct Ticket {
    context: Rc<Context>,
    key: Option<Key>,
}

impl Context {
    /// Starts an operation somebody waits for.
    ///
    /// # Errors
    /// [`closed`], with the operation, if the runtime is closed.
    pub(crate) fn start(self: &Rc<Self>, kind: Kind) -> Result<Ticket, (io::Error, Kind)> {
        if self.is_closed.get() {
            return Err((closed(), kind));
        }
        let filled = match &kind {
            Kind::Read { socket, .. } => Some(Rc::clone(socket)),
            _ => None,
        };
        let key = self.operations.borrow_mut().start(&self.seam, kind);
        if let Some(socket) = filled {
            socket.incoming.filler.set(Some(key));
        }
        Ok(Ticket { context: Rc::clone(self), key: Some(key) })
    }

    /// Starts the operation that `kind` makes of a buffer, at the first poll, and waits for it.
    pub(crate) fn transfer<B: Unpin + 'static>(
        self: &Rc<Self>,
        buf: B,
        len: impl Fn(&B) -> usize + Unpin,
        kind: impl Fn(B) -> Kind + Unpin,
    ) -> impl Future<Output = BufResult<usize, B>> + Unpin {
        let (mut buf, mut ticket) = (Some(buf), None);
        poll_fn(move |cx| {
            if let Some(buf) = buf.take() {
                if len(&buf) == 0 {
                    return Poll::Ready((Ok(0), buf));
                }
                match self.start(kind(buf)) {
                    Ok(started) => ticket = Some(started),
                    Err((error, kind)) => return Poll::Ready((Err(error), kind.into_buffer())),
                }
            }
            let ticket = ticket.as_mut().expect("polled again after it was ready");
            Pin::new(ticket).poll(cx).map(|(result, kind)| (result, kind.into_buffer()))
        })
    }

    /// Starts to receive on an idle stream: again and again where that is possible and the pool has
    /// something to receive into, else once. For want of memory that has failed when this returns.
    pub(crate) fn fill_stream(&self, socket: &Rc<Socket<Chunk>>) {
        let mut operations = self.operations.borrow_mut();
        let can_repeat = operations.features.has(Feature::MultishotRecv) && !socket.is_pipe.get();
        let again = can_repeat && self.pool.has_room();
        let socket_of_operation = Rc::clone(socket);
        let kind = if again {
            Kind::RecvMultishot { socket: socket_of_operation }
        } else {
            count(&mut operations.stats.pool_misses);
            let size = if can_repeat { MISS_SIZE } else { OWN_SIZE };
            let Ok(memory) = allocate(size) else {
                socket.incoming.end.set(Some(-libc::ENOMEM));
                return;
            };
            Kind::RecvOnce { socket: socket_of_operation, memory: Some(memory) }
        };
        let key = operations.start(&self.seam, kind);
        socket.incoming.filler.set(Some(key));
    }

    /// Starts to accept on an idle listener.
    pub(crate) fn fill_listener(&self, socket: &Rc<Socket<OwnedFd>>) {
        let mut operations = self.operations.borrow_mut();
        let is_multishot = operations.features.has(Feature::MultishotAccept);
        let key = operations.start(&self.seam, Kind::Accept { socket: Rc::clone(socket), is_multishot });
        socket.incoming.filler.set(Some(key));
    }

    /// Nobody will ask again for what arrives on a socket: the operation that brings it is cancelled, what
    /// has arrived is dropped, and nothing more is kept.
    pub(crate) fn release<T>(&self, socket: &Socket<T>) {
        if !socket.incoming.is_released.replace(true) {
            self.stop_filling(socket);
        }
        drop((socket.incoming.first.take(), socket.incoming.rest.take()));
    }

    /// The operation that brings what arrives is cancelled.
    pub(crate) fn stop_filling<T>(&self, socket: &Socket<T>) {
        if let Some(key) = socket.incoming.filler.get() {
            self.operations.borrow_mut().cancel(key);
        }
    }
}

impl Operations {
    /// Cancels an operation that fills a socket.
    fn cancel(&mut self, key: Key) {
        match self.table.get(key).map(|operation| operation.state) {
            Some(State::Queued) => drop(self.table.remove(key)),
            Some(State::InFlight) => self.cancels.push(key),
            _ => {}
        }
    }
}

impl Ticket {
    /// Whether a send that is not kept is over, and went well.
    pub(crate) fn is_sent(&mut self) -> bool {
        let is_gone = self.key.is_some_and(|key| self.context.operations.borrow().table.get(key).is_none());
        if is_gone && !self.context.is_closed.get() {
            self.key = None;
        }
        self.key.is_none()
    }

    /// Whether the operation is over.
    pub(crate) fn is_done(&self) -> bool {
        let operations = self.context.operations.borrow();
        let operation = self.key.and_then(|key| operations.table.get(key));
        operation.is_some_and(|operation| matches!(operation.state, State::Done(_)))
    }
}

impl Future for Ticket {
    /// The result, as the kernel gave it, and what belonged to the operation.
    type Output = (io::Result<usize>, Kind);

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("polled again after it was ready");
        let context = Rc::clone(&self.context);
        let mut operations = context.operations.borrow_mut();
        let operation = operations.table.get_mut(key).expect(
            "the operation was abandoned: the kernel still held its buffer when the runtime ended, so it \
             can't be given back",
        );
        if let State::Done(result) = operation.state {
            self.key = None;
            let kind = operations.table.remove(key).expect("found above").kind;
            if let Kind::Read { socket, .. } = &kind {
                socket.incoming.filler.set(None);
            }
            let result = usize::try_from(result).map_err(|_| match -result {
                // Nobody but the end of the runtime cancels what somebody waits for.
                libc::ECANCELED if context.is_closed.get() => closed(),
                errno => io::Error::from_raw_os_error(errno),
            });
            return Poll::Ready((result, kind));
        }
        let is_quiet = matches!(operation.kind, Kind::Send { is_quiet: true, .. });
        let is_known = operation.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        operations.is_quiet_awaited |= is_quiet;
        if is_known {
            return Poll::Pending;
        }
        drop(operations);
        // Cloned and dropped outside of the borrow: a waker may be foreign code.
        let waker = cx.waker().clone();
        let mut operations = context.operations.borrow_mut();
        let replaced = operations.table.get_mut(key).expect("found above").waker.replace(waker);
        drop(operations);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut fired = Fired::default();
            let waker = self.context.operations.borrow_mut().orphan(key, &mut fired);
            drop(waker);
            fired.run();
        }
    }
}
