//! The program's hold on a socket, and the future that waits for what arrives there. The
//! counterpart of the reactor's `registration.rs`. Dropping a hold cancels everything in flight.

use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use executor::closed;
use socket2::SockRef;

use crate::context::Context;
use crate::socket::{Filler, Sending, Socket};
use crate::sys;

/// Starts the operation that fills a socket.
pub(crate) type Fill<T> = fn(&Context, &Rc<Socket<T>>);

/// The program's hold on a socket. Operations hold it too.
pub(crate) struct Hold<T> {
    /// `None` only while this is dropped or closed.
    socket: Option<Rc<Socket<T>>>,
    pub(crate) context: Rc<Context>,
}

impl<T> Hold<T> {
    pub(crate) fn new(context: &Rc<Context>, fd: OwnedFd) -> io::Result<Hold<T>> {
        if context.is_closed.get() {
            return Err(closed());
        }
        Ok(Hold { socket: Some(Socket::new(fd)), context: Rc::clone(context) })
    }

    /// Registers the task to be woken by the next arrival, and starts a receive if none is in
    /// flight. Returns false if there is nothing to wait for: something has arrived, or the runtime
    /// is closed.
    pub(crate) fn await_arrival(&self, fill: Fill<T>, cx: &mut TaskContext<'_>) -> bool {
        let incoming = &self.socket().incoming;
        if self.context.is_closed.get() || incoming.has_arrived() {
            return false;
        }
        if !matches!(incoming.filler.get(), Filler::Own(_)) {
            if !self.is_filling() {
                fill(&self.context, self.socket());
            }
            // A leaked read may have brought something, and a new receive may have failed at once.
            if incoming.has_arrived() {
                return false;
            }
        }
        incoming.waiting.set(cx.waker());
        true
    }

    /// Returns whether an operation in flight brings what arrives next. If that is a read, its
    /// future was leaked; otherwise the borrow rules forbid this call. So the read is orphaned, and
    /// what it brings goes to the socket.
    fn is_filling(&self) -> bool {
        if let Filler::Read(key) = self.socket().incoming.filler.get() {
            self.context.orphan(key);
        }
        self.socket().incoming.filler.get() != Filler::None
    }

    pub(crate) fn socket(&self) -> &Rc<Socket<T>> {
        self.socket.as_ref().expect("taken only at the end")
    }

    /// Waits until the last send is over. Returns its error, if that has not been told.
    pub(crate) fn poll_sent(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.context.poll_operation(self.socket().send_slot.get(), cx).map(|(result, _)| result.map(drop))
    }

    /// If something that was handed over is not sent yet, gives it up, and makes the close reset the
    /// connection: a message that was cut must not look whole. Returns whether it did.
    pub(crate) fn reset_if_fed(&self) -> bool {
        let socket = self.socket();
        let is_fed = socket.sending.get() == Sending::Fed;
        if is_fed {
            // This fails only for what has no reset: pipes and Unix sockets.
            let _ = self.set_zero_linger();
            self.context.give_up_sending(socket);
        }
        is_fed
    }

    /// Makes the close reset the connection.
    pub(crate) fn set_zero_linger(&self) -> io::Result<()> {
        SockRef::from(self.socket()).set_linger(Some(Duration::ZERO))?;
        self.socket().resets.set(true);
        Ok(())
    }

    /// Waits for what arrives next. If nothing in flight brings it, starts an operation with
    /// `fill`; without `fill`, returns `None`.
    pub(crate) fn arrival(&self, fill: Option<Fill<T>>) -> Arrival<'_, T> {
        Arrival { hold: self, fill, is_waiting: false }
    }

    /// Releases the socket: cancels what is in flight, drops what has arrived, and waits until the
    /// kernel holds none of it.
    pub(crate) async fn release(mut self) -> io::Result<Socket<T>> {
        self.reset_if_fed();
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
    /// Closes the socket, or shuts it down if an operation is in flight: then the kernel holds the
    /// file, and closing the number would not tell the peer. The shutdown sends it the end of
    /// stream.
    fn drop(&mut self) {
        if self.socket.is_none() {
            return;
        }
        let is_reset = self.reset_if_fed() || self.socket().resets.get();
        let Some(socket) = self.socket.take() else { return };
        self.context.release(&socket);
        self.context.give_up_sending(&socket);
        match Rc::try_unwrap(socket) {
            Ok(socket) => drop(sys::close(&self.context.seam, socket.into_fd())),
            // A shutdown would tell the peer of an orderly end. What was abandoned is never closed.
            Err(busy) if is_reset && sys::reset(busy.as_fd()).is_ok() => {}
            Err(busy) => {
                let _ = sys::shutdown(&self.context.seam, busy.as_fd(), Shutdown::Both);
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
    /// An item or the end. `None` if nothing is in flight and nothing was to be started.
    type Output = Option<io::Result<Option<T>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Hold { context, .. } = self.hold;
        let socket = self.hold.socket();
        // Check this first: at the end of the runtime, the operation in flight ends with
        // "cancelled".
        if context.is_closed.get() {
            return Poll::Ready(Some(Err(closed())));
        }
        if socket.incoming.is_turn_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
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
            // The new operation may have failed at once.
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
    /// Leaves the operation in flight: the next call finds what it brings.
    fn drop(&mut self) {
        if self.is_waiting {
            self.hold.socket().incoming.waiting.clear();
        }
    }
}
