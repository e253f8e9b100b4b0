//! A future's hold on an operation, and the futures that are made of one.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use executor::{BufResult, Key, closed};

use crate::buffer::Buffer;
use crate::context::Context;
use crate::op::{Asked, Kind};

/// A future's hold on an operation: its name, and the promise to tell the table when the future is dropped.
pub(crate) struct Ticket {
    context: Rc<Context>,
    key: Option<Key>,
}

impl Ticket {
    /// Returns whether there is nothing to wait for: the operation is over, or out of the table.
    pub(crate) fn is_over(&self) -> bool {
        let operations = self.context.operations.borrow();
        self.key.is_none_or(|key| operations.slots.is_over(key))
    }
}

impl Future for Ticket {
    /// The result, as the kernel gave it, and the buffer, if it goes back. [`closed`] without the buffer: the
    /// operation was abandoned, and its memory is the kernel's for ever.
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
                    // Only the end of the runtime cancels what a future waits for.
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
        // Cloned and dropped outside of the borrow: a waker may be foreign code.
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
    /// Starts an operation that a future waits for.
    ///
    /// # Errors
    /// [`closed`], with the operation, if the runtime is closed.
    pub(crate) fn start(self: &Rc<Self>, kind: Kind) -> Result<Ticket, (io::Error, Kind)> {
        if self.is_closed.get() {
            return Err((closed(), kind));
        }
        let key = self.begin(kind);
        Ok(Ticket { context: Rc::clone(self), key: Some(key) })
    }

    /// Starts the operation that `kind` makes of a buffer, at the first poll, and waits for it.
    ///
    /// # Panics
    /// When it is polled after the end of the runtime, which had to abandon the operation: the buffer can't be given
    /// back.
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

/// The buffer of an operation that has not been abandoned.
pub(crate) fn give_back<B: 'static>(buffer: Option<Buffer>) -> B {
    let buffer = buffer.expect(
        "the operation was abandoned: the kernel still held its buffer when the runtime ended, so it can't be given back",
    );
    buffer.unstow()
}
