//! A future's hold on an operation, and the futures that are made of one.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use executor::{BufResult, Fired, Key, allocate, closed};

use super::{Kind, State};
use crate::buffer::Buffer;
use crate::pool::{Chunk, MISS_SIZE, OWN_SIZE};
use crate::ring::buffers::Group;
use crate::socket::Socket;
use crate::submit::count;
use crate::{Context, Feature};

/// A future's hold on an operation: its name, and the promise to tell the table when the future is dropped.
pub(crate) struct Ticket {
    context: Rc<Context>,
    key: Option<Key>,
}

impl Ticket {
    /// Returns whether there is nothing to wait for: the operation is over, or out of the table.
    pub(crate) fn is_over(&self) -> bool {
        let operations = self.context.operations.borrow();
        let operation = self.key.and_then(|key| operations.slots.table.get(key));
        operation.is_none_or(|operation| matches!(operation.state, State::Over(_)))
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
        let Some(operation) = operations.slots.table.get_mut(key) else {
            // A send whose buffer is not kept leaves the table when all is sent. Nothing else leaves it before its
            // ticket, unless everything was abandoned.
            let is_abandoned = operations.slots.abandoned() > 0;
            *name = None;
            return Poll::Ready((if is_abandoned { Err(closed()) } else { Ok(0) }, None));
        };
        if let State::Over(result) = operation.state {
            *name = None;
            let buffer = operations.slots.take(key);
            let result = usize::try_from(result).map_err(|_| match -result {
                // Only the end of the runtime cancels what a future waits for.
                libc::ECANCELED if context.is_closed.get() => closed(),
                errno => io::Error::from_raw_os_error(errno),
            });
            return Poll::Ready((result, buffer));
        }
        let is_quiet = operation.kind.is_quiet();
        let is_known = operation.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        operations.is_quiet_awaited |= is_quiet;
        if is_known {
            return Poll::Pending;
        }
        drop(operations);
        // Cloned and dropped outside of the borrow: a waker may be foreign code.
        let waker = cx.waker().clone();
        let mut operations = context.operations.borrow_mut();
        let replaced = operations.slots.table.get_mut(key).expect("found above").waker.replace(waker);
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
        let key = self.operations.borrow_mut().start(&self.seam, kind);
        Ok(Ticket { context: Rc::clone(self), key: Some(key) })
    }

    /// The future of an operation is gone, or can't be polled any more.
    pub(crate) fn orphan(&self, key: Key) {
        let mut fired = Fired::default();
        self.operations.borrow_mut().orphan(key, &mut fired);
        fired.run();
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

    /// Starts to receive on an idle stream: again and again where that is possible and the pool has
    /// something to receive into, else once. For want of memory that has failed when this returns.
    pub(crate) fn fill_stream(&self, socket: &Rc<Socket<Chunk>>) {
        let mut operations = self.operations.borrow_mut();
        let can_repeat = self.features.has(Feature::MultishotRecv) && !socket.is_pipe.get();
        let again = can_repeat && self.pool.has_room(Group::Streams);
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
        operations.start(&self.seam, kind);
    }

    /// Starts to accept on an idle listener: one connection.
    pub(crate) fn accept_once(&self, socket: &Rc<Socket<OwnedFd>>) {
        self.accept(socket, false);
    }

    /// Starts to accept on an idle listener: one connection after the other, whether a program asks for them or not.
    pub(crate) fn accept_ahead(&self, socket: &Rc<Socket<OwnedFd>>) {
        self.accept(socket, self.features.has(Feature::MultishotAccept));
    }

    fn accept(&self, socket: &Rc<Socket<OwnedFd>>, is_multishot: bool) {
        let kind = Kind::Accept { socket: Rc::clone(socket), is_multishot };
        self.operations.borrow_mut().start(&self.seam, kind);
    }
}

/// The buffer of an operation that has not been abandoned.
pub(crate) fn give_back<B: 'static>(buffer: Option<Buffer>) -> B {
    let buffer = buffer.expect(
        "the operation was abandoned: the kernel still held its buffer when the runtime ended, so it can't be given back",
    );
    buffer.unstow()
}
