//! A future's hold on an operation, and the futures made from it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use executor::{BufResult, Key, closed};

use crate::buffer::Buffer;
use crate::context::Context;
use crate::op::{Asked, Kind};

/// A future's hold on an operation: its name. Dropping it tells the table that the future is gone.
pub(crate) struct Ticket {
    context: Rc<Context>,
    key: Option<Key>,
}

impl Future for Ticket {
    /// The result, as the kernel returned it, and the buffer, if the program gets it back.
    /// [`closed`] without the buffer: the operation was abandoned, and its memory is the kernel's
    /// forever.
    type Output = (io::Result<usize>, Option<Buffer>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("polled again after it was ready");
        let polled = self.context.poll_operation(key, cx);
        if polled.is_ready() {
            self.key = None;
        }
        polled
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.context.orphan(key);
        }
    }
}

impl Context {
    /// Asks for an operation: see [`Ticket`]. If it is not over, it will wake the task.
    pub(crate) fn poll_operation(&self, key: Key, cx: &TaskContext<'_>) -> Poll<<Ticket as Future>::Output> {
        let mut clone = None;
        loop {
            let mut operations = self.operations.borrow_mut();
            match operations.slots.ask(key, cx.waker()) {
                Asked::Gone => {
                    let is_abandoned = operations.slots.abandoned() > 0;
                    return Poll::Ready((if is_abandoned { Err(closed()) } else { Ok(0) }, None));
                }
                Asked::Over(result, buffer) => {
                    let result = usize::try_from(result).map_err(|_| match -result {
                        // While a future waits for an operation, only the end of the runtime cancels
                        // it.
                        libc::ECANCELED if self.is_closed.get() => closed(),
                        errno => io::Error::from_raw_os_error(errno),
                    });
                    return Poll::Ready((result, buffer));
                }
                Asked::UnderWay { is_quiet, is_known } => {
                    operations.is_quiet_awaited |= is_quiet;
                    if is_known {
                        return Poll::Pending;
                    }
                }
            }
            if let Some(waker) = clone.take() {
                let replaced = operations.slots.set_waker(key, waker);
                drop(operations);
                drop(replaced);
                return Poll::Pending;
            }
            drop(operations);
            // Clone and drop wakers outside of the borrow, because they may be user code. The
            // operation may be over after that.
            clone = Some(cx.waker().clone());
        }
    }

    /// Starts an operation for a future that waits for it.
    ///
    /// # Errors
    /// Returns [`closed`], with the operation, if the runtime is closed.
    pub(crate) fn start(self: &Rc<Self>, kind: Kind) -> Result<Ticket, (io::Error, Kind)> {
        if self.is_closed.get() {
            return Err((closed(), kind));
        }
        let key = self.begin(kind);
        Ok(Ticket { context: Rc::clone(self), key: Some(key) })
    }

    /// Waits for an operation on a buffer. The first poll makes it with `kind`, and starts it.
    ///
    /// # Panics
    /// If it is polled after the runtime ended and abandoned the operation: the buffer can't be
    /// given back.
    pub(crate) fn transfer<B: Unpin + 'static>(
        self: &Rc<Self>,
        buf: B,
        len: impl Fn(&B) -> usize + Unpin,
        kind: impl Fn(B) -> Kind + Unpin,
    ) -> impl Future<Output = BufResult<usize, B>> + Unpin {
        self.transfer_after(|_| Poll::Ready(Ok(())), buf, len, kind)
    }

    /// As [`transfer`](Self::transfer). The operation is started only after `before`.
    pub(crate) fn transfer_after<B: Unpin + 'static>(
        self: &Rc<Self>,
        before: impl Fn(&mut TaskContext<'_>) -> Poll<io::Result<()>> + Unpin,
        buf: B,
        len: impl Fn(&B) -> usize + Unpin,
        kind: impl Fn(B) -> Kind + Unpin,
    ) -> impl Future<Output = BufResult<usize, B>> + Unpin {
        let (mut buf, mut ticket) = (Some(buf), None);
        poll_fn(move |cx| {
            if buf.is_some() {
                let before = ready!(before(cx));
                let buf = buf.take().expect("just seen");
                match before {
                    Err(error) => return Poll::Ready((Err(error), buf)),
                    Ok(()) if len(&buf) == 0 => return Poll::Ready((Ok(0), buf)),
                    Ok(()) => {}
                }
                match self.start(kind(buf)) {
                    Ok(started) => ticket = Some(started),
                    Err((error, kind)) => return Poll::Ready((Err(error), give_back(kind.into_buffer()))),
                }
            }
            let ticket = ticket.as_mut().expect("polled again after it was ready");
            Pin::new(ticket).poll(cx).map(|(result, buffer)| (result, give_back(buffer)))
        })
    }
}

/// Returns the buffer of an operation that was not abandoned.
pub(crate) fn give_back<B: 'static>(buffer: Option<Buffer>) -> B {
    let buffer = buffer.expect(
        "the operation was abandoned: the kernel still held its buffer when the runtime ended, so it can't be given back",
    );
    buffer.unstow()
}
