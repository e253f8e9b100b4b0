//! A future's hold on an operation, and the futures made from it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use executor::{BufResult, Key, closed};

use crate::buffer::Buffer;
use crate::context::Context;
use crate::op::{Asked, Kind};

/// A future's hold on an operation: its name. Dropping it tells the table that the future is gone.
pub(crate) struct Ticket {
    context: Rc<Context>,
    key: Option<Key>,
}

impl Ticket {
    /// Returns whether there is nothing to wait for: the operation is over, or has left the table.
    pub(crate) fn is_over(&self) -> bool {
        let operations = self.context.operations.borrow();
        self.key.is_none_or(|key| operations.slots.is_over(key))
    }
}

impl Future for Ticket {
    /// The result, as the kernel returned it, and the buffer, if the program gets it back.
    /// [`closed`] without the buffer: the operation was abandoned, and its memory is the kernel's
    /// forever.
    type Output = (io::Result<usize>, Option<Buffer>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Ticket { context, key: name } = &mut *self;
        let key = name.expect("polled again after it was ready");
        let mut operations = context.operations.borrow_mut();
        match operations.slots.ask(key, cx.waker()) {
            Asked::Gone => {
                let is_abandoned = operations.slots.abandoned() > 0;
                *name = None;
                return Poll::Ready((if is_abandoned { Err(closed()) } else { Ok(0) }, None));
            }
            Asked::Over(result, buffer) => {
                *name = None;
                let result = usize::try_from(result).map_err(|_| match -result {
                    // While a future waits for an operation, only the end of the runtime cancels
                    // it.
                    libc::ECANCELED if context.is_closed.get() => closed(),
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
        drop(operations);
        // Clone and drop wakers outside of the borrow, because they may be user code.
        let waker = cx.waker().clone();
        let mut operations = context.operations.borrow_mut();
        let replaced = operations.slots.set_waker(key, waker);
        drop(operations);
        drop(replaced);
        Poll::Pending
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
        let (mut buf, mut ticket) = (Some(buf), None);
        poll_fn(move |cx| {
            if let Some(buf) = buf.take() {
                if len(&buf) == 0 {
                    return Poll::Ready((Ok(0), buf));
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
