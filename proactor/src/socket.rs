//! A socket: what has arrived on it, and what is in flight. The counterpart of the reactor's
//! `source.rs`.
//!
//! An operation holds its socket as long as the kernel holds the operation. So a descriptor number
//! in the submission queue never becomes another file's. The program has a
//! [`Hold`](crate::hold::Hold).
//!
//! At most one operation fills a socket ([`Filler`]), and at most one sends from a stream
//! ([`Sending`]). The socket knows both by name, because a future that waits for one can be leaked.
//! A leaked future must not keep others from what arrives, nor let a second send run beside the
//! first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use executor::{Fired, Key, WaitSlot};
use io_uring::types;

/// The most chunks that may lie undelivered on a stream. At this number, its receive is stopped
/// until they are taken: a client that sends more than the program reads must not take the whole
/// pool.
pub(crate) const CHUNK_CAP: usize = 4;
/// The most connections that may lie unaccepted on a listener, in addition to those the kernel
/// queues.
pub(crate) const ACCEPT_CAP: usize = 64;
/// The most items that a task takes in a row before it goes to the back of the queue. One
/// submission may bring thousands of connections, and one chunk is enough for thousands of small
/// reads.
const DRAIN_CAP: u8 = 16;

/// A slot that no table has.
pub(crate) const NO_SLOT: Key = Key::reserved(4);

/// A socket, and what has arrived on it: chunks on a stream, connections on a listener.
pub(crate) struct Socket<T> {
    fd: OwnedFd,
    pub(crate) incoming: Incoming<T>,
    /// The result of the last send of a stream.
    pub(crate) sending: Cell<Sending>,
    /// The slot of that send. The next send uses it again, under another name.
    pub(crate) send_slot: Cell<Key>,
    /// Not a socket: a pipe's end, a terminal ...
    pub(crate) is_pipe: Cell<bool>,
    /// Whether the close resets the connection.
    pub(crate) resets: Cell<bool>,
}

/// The result of the last send of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// It sent the whole of its buffer.
    Whole,
    /// It is not over. Its future may be gone.
    UnderWay,
    /// The buffer was handed over, and no future waits for it. It is not over, or it has failed.
    Fed,
    /// It failed, or sent only a part.
    Cut,
}

/// The operation that brings what arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filler {
    None,
    /// It belongs to the socket: what it brings stays here until a program asks for it.
    Own(Key),
    /// A read. It belongs to its future as long as that exists.
    Read(Key),
}

/// The answer of a socket to one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Demand {
    /// There is room for more.
    More,
    /// There is enough: stop the operation that brings it. Returned once for each operation.
    Enough,
}

/// The items an operation brought before a program asked for them, and the task that waits for
/// them.
pub(crate) struct Incoming<T> {
    first: Cell<Option<T>>,
    /// Whether there is a first item. (A look into a [`Cell`] would move it out and in.)
    has_first: Cell<bool>,
    /// The items after the first. Few streams ever have more than one at a time, so there is
    /// only room for a pointer here.
    #[allow(clippy::box_collection)]
    rest: RefCell<Option<Box<VecDeque<T>>>>,
    /// The end of the last operation: 0 means end of stream and is reported every time; a negative
    /// errno is reported once; `None` means nothing to report.
    pub(crate) end: Cell<Option<i32>>,
    pub(crate) filler: Cell<Filler>,
    /// Whether the filler is being cancelled because there is enough here.
    is_stopping: Cell<bool>,
    /// Whether the socket is released: no program will ask again, so what still arrives is dropped.
    is_released: Cell<bool>,
    /// Items taken in a row: see [`DRAIN_CAP`].
    in_a_row: Cell<u8>,
    /// The writing half was dropped, and what it fed is under way: the end follows that. (It is here
    /// because there is room for it.)
    pub(crate) ends_when_sent: Cell<bool>,
    pub(crate) waiting: WaitSlot,
}

impl<T> Socket<T> {
    pub(crate) fn new(fd: OwnedFd) -> Rc<Socket<T>> {
        let incoming = Incoming {
            first: Cell::new(None),
            has_first: Cell::default(),
            rest: RefCell::default(),
            end: Cell::default(),
            filler: Cell::new(Filler::None),
            is_stopping: Cell::default(),
            is_released: Cell::default(),
            in_a_row: Cell::default(),
            ends_when_sent: Cell::default(),
            waiting: WaitSlot::default(),
        };
        let (sending, send_slot) = (Cell::new(Sending::Whole), Cell::new(NO_SLOT));
        Rc::new(Socket { fd, incoming, sending, send_slot, is_pipe: Cell::default(), resets: Cell::default() })
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
    /// Takes the next item, or the end.
    pub(crate) fn take(&self) -> Option<io::Result<Option<T>>> {
        if let Some(item) = self.first.take() {
            let next = self.rest.borrow_mut().as_mut().and_then(|rest| rest.pop_front());
            self.set_first(next);
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

    /// Returns whether there is anything to take.
    pub(crate) fn has_arrived(&self) -> bool {
        self.has_first.get() || self.end.get().is_some()
    }

    /// Counts what a task takes in a row. Returns true if other tasks get their turn before it
    /// takes more.
    pub(crate) fn is_turn_over(&self) -> bool {
        let in_a_row = if self.has_arrived() { self.in_a_row.get() + 1 } else { 0 };
        self.in_a_row.set(in_a_row % (DRAIN_CAP + 1));
        in_a_row > DRAIN_CAP
    }

    fn set_first(&self, item: Option<T>) {
        self.has_first.set(item.is_some());
        self.first.set(item);
    }

    /// Releases the socket, because no program will ask again: drops what has arrived, and from now
    /// on what still arrives. Returns false if it was released before.
    pub(crate) fn release(&self) -> bool {
        let is_new = !self.is_released.replace(true);
        self.set_first(None);
        self.rest.take();
        is_new
    }

    /// Puts an item back at the front, because the program took only a part of it.
    pub(crate) fn put_back(&self, item: T) {
        let second = self.first.take();
        self.set_first(Some(item));
        if let Some(second) = second {
            self.rest.borrow_mut().get_or_insert_default().push_front(second);
        }
    }

    pub(crate) fn wake(&self, fired: &mut Fired) {
        if let Some(waker) = self.waiting.take() {
            fired.wake(waker);
        }
    }

    /// Wakes the task that closes the socket. It waits until nothing is in flight.
    pub(crate) fn wake_closer(&self, fired: &mut Fired) {
        if self.is_released.get() {
            self.wake(fired);
        }
    }

    /// Adds an item.
    pub(crate) fn push(&self, item: T, cap: usize, fired: &mut Fired) -> Demand {
        if self.is_released.get() {
            return Demand::More;
        }
        let mut len = 1;
        if self.has_first.get() {
            let mut rest = self.rest.borrow_mut();
            let rest = rest.get_or_insert_default();
            rest.push_back(item);
            len += rest.len();
        } else {
            self.set_first(Some(item));
        }
        self.wake(fired);
        let is_enough = len >= cap && !self.is_stopping.replace(true);
        if is_enough { Demand::Enough } else { Demand::More }
    }

    /// Notes that the operation ended: with 0, with a negative errno, or with nothing to report.
    pub(crate) fn ended(&self, result: Option<i32>, fired: &mut Fired) {
        self.filler.set(Filler::None);
        let was_stopping = self.is_stopping.replace(false);
        match result {
            // We cancelled it ourselves.
            Some(errno) if errno == -libc::ECANCELED && was_stopping => {}
            // The waiting task tries again.
            Some(errno) if errno == -libc::EINTR => {}
            Some(end) => self.note_end(end),
            None => {}
        }
        self.wake(fired);
    }

    /// Remembers how the connection ended. An orderly end does not hide an error that no program
    /// has got yet.
    pub(crate) fn note_end(&self, end: i32) {
        if end < 0 || self.end.get().is_none() {
            self.end.set(Some(end));
        }
    }
}
