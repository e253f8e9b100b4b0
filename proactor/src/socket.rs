//! A socket: what has arrived on it, and what is under way. The pair of the reactor's `source.rs`.
//!
//! An operation holds its socket as long as the kernel holds the operation, so a number in the submission queue never
//! becomes another file's. The program has a [`Hold`](crate::hold::Hold).
//!
//! At most one operation fills a socket ([`Filler`]) and at most one sends from a stream ([`Sending`]). Both are known
//! by name here, and not only to the futures that wait for them: a future can be leaked, and must neither keep others
//! from what arrives nor let a second send run beside the first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use executor::{Fired, Key, WaitSlot};
use io_uring::types;

/// Chunks that may lie undelivered on a stream. With as many, its receive is stopped until they are
/// taken: one client that sends more than is read must not take the whole pool.
pub(crate) const CHUNK_CAP: usize = 4;
/// Connections that may lie unaccepted on a listener, beside those the kernel queues.
pub(crate) const ACCEPT_CAP: usize = 64;

/// A socket, and what has arrived on it: chunks on a stream, connections on a listener.
pub(crate) struct Socket<T> {
    fd: OwnedFd,
    pub(crate) incoming: Incoming<T>,
    /// Of a stream: how its last send went.
    pub(crate) sending: Cell<Sending>,
    /// It is no socket: a pipe's end, a terminal ...
    pub(crate) is_pipe: Cell<bool>,
}

/// How the last send of a stream went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// The whole of its buffer was sent.
    Whole,
    /// It is not over, or has failed and its future has not been told; whether that is there or not.
    UnderWay(Key),
    /// It failed, or sent only a part.
    Cut,
}

/// The operation that brings what arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filler {
    None,
    /// It is the socket's: what it brings stays here until a program asks for it.
    Own(Key),
    /// A read, which is its future's as long as that is there.
    Read(Key),
}

/// How much lies undelivered on a socket after one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Stock {
    /// There may be more.
    Short,
    /// There is enough: what brings it is to be stopped. Said once for each operation.
    Enough,
}

/// What an operation brought before a program asked for it, and which task waits for it.
pub(crate) struct Incoming<T> {
    first: Cell<Option<T>>,
    /// What came after the first. Few streams ever have more than one item at a time, so the others have only
    /// room for a pointer here.
    #[allow(clippy::box_collection)]
    rest: RefCell<Option<Box<VecDeque<T>>>>,
    /// How the last operation ended: 0 means end of stream and is reported every time; a negative errno is reported
    /// once; `None` means nothing to report.
    pub(crate) end: Cell<Option<i32>>,
    pub(crate) filler: Cell<Filler>,
    /// Its cancel is under way, because there is enough here.
    is_stopping: Cell<bool>,
    /// No program will ask again: what still comes is dropped.
    is_released: Cell<bool>,
    pub(crate) waiting: WaitSlot,
}

impl<T> Socket<T> {
    pub(crate) fn new(fd: OwnedFd) -> Rc<Socket<T>> {
        let incoming = Incoming {
            first: Cell::new(None),
            rest: RefCell::default(),
            end: Cell::default(),
            filler: Cell::new(Filler::None),
            is_stopping: Cell::default(),
            is_released: Cell::default(),
            waiting: WaitSlot::default(),
        };
        Rc::new(Socket { fd, incoming, sending: Cell::new(Sending::Whole), is_pipe: Cell::default() })
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
    /// Takes the next item; or the end.
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

    /// Returns whether there is anything to take.
    pub(crate) fn has_arrived(&self) -> bool {
        let first = self.first.take();
        let has_first = first.is_some();
        self.first.set(first);
        has_first || self.end.get().is_some()
    }

    /// No program will ask again: drops what has arrived, and what still comes. Returns whether it was not released before.
    pub(crate) fn release(&self) -> bool {
        let is_new = !self.is_released.replace(true);
        drop((self.first.take(), self.rest.take()));
        is_new
    }

    /// Puts an item back to the front, of which only a part was wanted.
    pub(crate) fn put_back(&self, item: T) {
        if let Some(second) = self.first.replace(Some(item)) {
            self.rest.borrow_mut().get_or_insert_default().push_front(second);
        }
    }

    pub(crate) fn wake(&self, fired: &mut Fired) {
        if let Some(waker) = self.waiting.take() {
            fired.wake(waker);
        }
    }

    /// Wakes the task that closes the socket, which waits until nothing is under way.
    pub(crate) fn wake_closer(&self, fired: &mut Fired) {
        if self.is_released.get() {
            self.wake(fired);
        }
    }

    /// Takes one more item.
    pub(crate) fn push(&self, item: T, cap: usize, fired: &mut Fired) -> Stock {
        if self.is_released.get() {
            return Stock::Short;
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
        let is_enough = len >= cap && !self.is_stopping.replace(true);
        if is_enough { Stock::Enough } else { Stock::Short }
    }

    /// The operation ended, with 0, a negative errno, or something that needn't be known.
    pub(crate) fn ended(&self, result: Option<i32>, fired: &mut Fired) {
        self.filler.set(Filler::None);
        let was_stopping = self.is_stopping.replace(false);
        match result {
            // We asked for it.
            Some(errno) if errno == -libc::ECANCELED && was_stopping => {}
            // Tried again by the task that waits.
            Some(errno) if errno == -libc::EINTR => {}
            Some(end) => self.note_end(end),
            None => {}
        }
        self.wake(fired);
    }

    /// Remembers how the connection ended. An error that no program has been told of is not hidden by an orderly end.
    pub(crate) fn note_end(&self, end: i32) {
        if end < 0 || self.end.get().is_none() {
            self.end.set(Some(end));
        }
    }
}
