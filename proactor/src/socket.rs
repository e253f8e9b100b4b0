//! A socket: what has arrived on it, what is under way, and the program's hold on it. The pair of the reactor's
//! `source.rs`.
//!
//! An operation holds its socket as long as the kernel holds the operation, so a number in the submission queue never
//! becomes another file's. The program has a [`Hold`]; when that is dropped, whatever is under way is given up.
//!
//! At most one operation fills a socket ([`Filler`]) and at most one sends from a stream ([`Sending`]). Both are known
//! by name here, and not only to the futures that wait for them: a future can be leaked, and must neither keep others
//! from what arrives nor let a second send run beside the first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use executor::{Fired, Key, WaitSlot, closed};
use io_uring::types;

use crate::ring;
use crate::{Context, Proactor};

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

    /// Takes one more item. Returns whether there is enough now.
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

/// Starts the operation that fills a socket.
pub(crate) type Fill<T> = fn(&Context, &Rc<Socket<T>>);

/// The program's hold on a socket; operations have others.
pub(crate) struct Hold<T> {
    /// `None` only while it is dropped or closed.
    socket: Option<Rc<Socket<T>>>,
    pub(crate) context: Rc<Context>,
}

impl<T> Hold<T> {
    pub(crate) fn new(proactor: &Proactor, fd: OwnedFd) -> io::Result<Hold<T>> {
        if proactor.context.is_closed.get() {
            return Err(closed());
        }
        Ok(Hold { socket: Some(Socket::new(fd)), context: Rc::clone(&proactor.context) })
    }

    /// Registers the task to be woken by the next arrival, and starts a receive if none is in flight. Returns false
    /// if there is nothing to wait for: something has arrived, or the runtime is closed.
    pub(crate) fn await_arrival(&self, fill: Fill<T>, cx: &mut TaskContext<'_>) -> bool {
        let incoming = &self.socket().incoming;
        if self.context.is_closed.get() || incoming.has_arrived() {
            return false;
        }
        if !self.is_filling() {
            fill(&self.context, self.socket());
        }
        // A leaked read may have brought something, and a new receive may have failed at once.
        if incoming.has_arrived() {
            return false;
        }
        incoming.waiting.set(cx.waker());
        true
    }

    /// Returns whether an operation is under way to bring what arrives next. A read that is found here has no future
    /// any more, or this one could not have been made: it was leaked, and what it brings is the socket's.
    fn is_filling(&self) -> bool {
        if let Filler::Read(key) = self.socket().incoming.filler.get() {
            self.context.orphan(key);
        }
        self.socket().incoming.filler.get() != Filler::None
    }

    pub(crate) fn socket(&self) -> &Rc<Socket<T>> {
        self.socket.as_ref().expect("taken only at the end")
    }

    /// Waits for what arrives next. If nothing is under way to bring it, starts it with `fill`; without
    /// one, says `None`.
    pub(crate) fn arrival(&self, fill: Option<Fill<T>>) -> Arrival<'_, T> {
        Arrival { hold: self, fill, is_waiting: false }
    }

    /// Cancels what is in flight, drops what has arrived, and waits until the kernel has let go.
    pub(crate) async fn release(mut self) -> io::Result<Socket<T>> {
        self.context.release(self.socket());
        self.context.give_up_sending(self.socket());
        poll_fn(|cx| {
            let is_busy = Rc::strong_count(self.socket()) > 1;
            if !is_busy || self.context.is_closed.get() {
                return Poll::Ready(());
            }
            self.socket().incoming.waiting.set(cx.waker());
            Poll::Pending
        })
        .await;
        let socket = self.socket.take().expect("taken only at the end");
        Rc::into_inner(socket).ok_or_else(closed)
    }
}

impl<T> std::fmt::Debug for Hold<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.as_fd()).finish()
    }
}

impl<T> AsFd for Hold<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl<T> Drop for Hold<T> {
    /// The kernel holds the file as long as an operation does, so closing the number would tell the peer
    /// nothing: its end of stream is sent first.
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        self.context.release(&socket);
        self.context.give_up_sending(&socket);
        match Rc::try_unwrap(socket) {
            Ok(socket) => drop(ring::close(&self.context.seam, socket.into_fd())),
            Err(busy) => {
                let _ = self.context.shutdown(busy.as_fd(), Shutdown::Both);
            }
        }
    }
}

/// The future of [`Hold::arrival`].
pub(crate) struct Arrival<'a, T> {
    hold: &'a Hold<T>,
    fill: Option<Fill<T>>,
    is_waiting: bool,
}

impl<T> Future for Arrival<'_, T> {
    /// `None`: nothing is under way, and nothing was to be started. Else an item, or the end.
    type Output = Option<io::Result<Option<T>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Hold { context, .. } = self.hold;
        let socket = self.hold.socket();
        // Before what has arrived: at the end of the runtime that is "cancelled".
        if context.is_closed.get() {
            return Poll::Ready(Some(Err(closed())));
        }
        if let Some(arrived) = socket.incoming.take() {
            return Poll::Ready(Some(arrived));
        }
        if !matches!(socket.incoming.filler.get(), Filler::Own(_)) {
            // A leaked read may have brought something.
            if !self.hold.is_filling() && !socket.incoming.has_arrived() {
                let Some(fill) = self.fill else { return Poll::Ready(None) };
                fill(context, socket);
            }
            // It may have failed at once.
            if let Some(arrived) = socket.incoming.take() {
                return Poll::Ready(Some(arrived));
            }
        }
        socket.incoming.waiting.set(cx.waker());
        self.is_waiting = true;
        Poll::Pending
    }
}

impl<T> Drop for Arrival<'_, T> {
    /// What is under way stays so: the next one who asks finds what it brings.
    fn drop(&mut self) {
        if self.is_waiting {
            self.hold.socket().incoming.waiting.clear();
        }
    }
}

impl Context {
    /// Drops what has arrived on a socket, cancels the operation that brings more, and keeps nothing that still comes:
    /// no program will ask for it.
    pub(crate) fn release<T>(&self, socket: &Socket<T>) {
        if !socket.incoming.is_released.replace(true) {
            self.stop_filling(socket);
        }
        drop((socket.incoming.first.take(), socket.incoming.rest.take()));
    }

    /// Cancels the operation that brings what arrives.
    pub(crate) fn stop_filling<T>(&self, socket: &Socket<T>) {
        match socket.incoming.filler.get() {
            Filler::None => {}
            Filler::Own(key) => {
                if !self.operations.borrow_mut().cancel(key) {
                    socket.incoming.filler.set(Filler::None);
                }
            }
            Filler::Read(key) => self.orphan(key),
        }
    }

    /// Gives up a send whose future was leaked. There is no other one left when the socket goes.
    fn give_up_sending<T>(&self, socket: &Socket<T>) {
        if let Sending::UnderWay(key) = socket.sending.get() {
            self.orphan(key);
        }
    }
}
