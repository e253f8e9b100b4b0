//! A source that is registered, and the place of a task that waits for it.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{self, Poll};

use crate::context::Context;
use crate::source::{Direction, Source};

/// A source and its place with the driver. Dropping it takes the descriptor out of epoll, then closes
/// it: in this order, or events could outlive it.
#[derive(Debug)]
pub(crate) struct Registration {
    /// `None` only while it is dropped or taken apart.
    source: Option<Rc<Source>>,
    context: Rc<Context>,
}

impl Registration {
    pub(crate) fn new(context: &Rc<Context>, fd: OwnedFd) -> io::Result<Registration> {
        let source = context.register(fd)?;
        Ok(Registration { source: Some(source), context: Rc::clone(context) })
    }

    pub(crate) fn source(&self) -> &Source {
        self.source.as_ref().expect("taken only at the end")
    }

    pub(crate) fn context(&self) -> &Rc<Context> {
        &self.context
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.source().fd.as_fd()
    }

    /// Makes `call` until it no longer would block: see [`Source::attempt`].
    ///
    /// One waiter per direction: callers are `&mut` above this.
    pub(crate) fn io<T>(
        &self,
        direction: Direction,
        mut call: impl FnMut() -> io::Result<T> + Unpin,
    ) -> impl Future<Output = io::Result<T>> + Unpin {
        let mut place = self.place(direction);
        poll_fn(move |cx| place.poll(cx, &mut call))
    }

    /// The same, for those who write the future around it themselves.
    pub(crate) fn place(&self, direction: Direction) -> Place<'_> {
        Place { registration: self, direction, is_parked: false }
    }

    /// Takes the source from the driver. What it held is dropped by the caller, outside of the borrow.
    fn leave(&mut self) -> Option<OwnedFd> {
        let source = self.source.take()?;
        self.context.deregister(&source);
        // Left by a future that was leaked.
        source.unpark_all();
        let source = Rc::into_inner(source).expect("the driver's reference is gone");
        Some(source.fd.into())
    }

    pub(crate) fn into_fd(mut self) -> OwnedFd {
        self.leave().expect("taken only at the end")
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(fd) = self.leave() {
            let _ = self.context.sys.close(fd);
        }
    }
}

/// The place of whoever does I/O in one direction, given up on drop.
pub(crate) struct Place<'a> {
    registration: &'a Registration,
    direction: Direction,
    is_parked: bool,
}

impl Place<'_> {
    /// See [`Registration::io`].
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut task::Context<'_>,
        call: impl FnMut() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let Registration { context, .. } = self.registration;
        let source = self.registration.source();
        if let Some(polled) = source.attempt(self.direction, &context.closed, cx, call) {
            return polled;
        }
        self.is_parked = true;
        if source.park(self.direction, cx.waker()) {
            context.flush_later(source.key());
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_parked {
            self.registration.source().unpark(self.direction);
        }
    }
}
