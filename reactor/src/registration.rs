//! A registered source, and the place where a task waits for it.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{self, Poll};

use crate::context::Context;
use crate::source::{Direction, Source};

/// A source that is registered with the driver. Dropping it first takes the descriptor out of epoll
/// and then closes it. In the other order, events could arrive after the close.
#[derive(Debug)]
pub(crate) struct Registration {
    /// `None` only while this is dropped or taken apart.
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

    /// Makes `call` until it would no longer block: see [`Source::attempt`].
    ///
    /// Allows one waiting task per direction: the callers take `&mut self`.
    pub(crate) fn io<T>(
        &self,
        direction: Direction,
        mut call: impl FnMut() -> io::Result<T> + Unpin,
    ) -> impl Future<Output = io::Result<T>> + Unpin {
        let mut place = self.place(direction);
        poll_fn(move |cx| place.poll(cx, &mut call))
    }

    /// Returns the place alone, for callers that write their own future around it.
    pub(crate) fn place(&self, direction: Direction) -> Place<'_> {
        Place { registration: self, direction, is_parked: false }
    }

    /// Takes the source from the driver. Returns the descriptor, which the caller drops outside of
    /// the borrow.
    fn leave(&mut self) -> Option<OwnedFd> {
        let source = self.source.take()?;
        self.context.deregister(&source);
        // Wakers of leaked futures.
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

/// The place of a task that does I/O in one direction. Dropping it clears the task's waker.
pub(crate) struct Place<'a> {
    registration: &'a Registration,
    direction: Direction,
    is_parked: bool,
}

impl Place<'_> {
    /// Polls once: see [`Registration::io`].
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
