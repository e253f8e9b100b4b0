//! A connection that ends by a reset if it is given up midway.
//!
//! An orderly end says: that was all. So whatever ends a connection in the middle of something (a reset of the other
//! side, a time-out, the end of the grace period) must not look like one.

use std::cell::Cell;
use std::rc::Rc;

use executor::{Reader, Runtime, Stream};

/// The memory that a runtime's streams lend.
pub(crate) type Chunk<R> = <<R as Runtime>::Stream as Reader>::Chunk;
/// The halves of a runtime's streams.
pub(crate) type ReadHalf<R> = <<R as Runtime>::Stream as Stream>::ReadHalf;
pub(crate) type WriteHalf<R> = <<R as Runtime>::Stream as Stream>::WriteHalf;
type Halves<R> = (ReadHalf<R>, WriteHalf<R>);

/// Both halves of a connection. Dropping it closes the connection.
pub(crate) struct Pair<R: Runtime> {
    /// `None` only while this is dropped.
    halves: Option<Halves<R>>,
    is_midway: Rc<Cell<bool>>,
}

impl<R: Runtime> Pair<R> {
    /// Of a connection on which nothing has begun.
    pub(crate) fn new(stream: R::Stream) -> Self {
        Pair { halves: Some(stream.split()), is_midway: Rc::default() }
    }

    /// Both halves, and the mark that says whether a close would cut something short.
    pub(crate) fn parts(&mut self) -> (&mut ReadHalf<R>, &mut WriteHalf<R>, &Rc<Cell<bool>>) {
        let (reader, writer) = self.halves.as_mut().expect("taken only at the end");
        (reader, writer, &self.is_midway)
    }
}

impl<R: Runtime> Drop for Pair<R> {
    fn drop(&mut self) {
        if let Some((reader, writer)) = self.halves.take().filter(|_| self.is_midway.get()) {
            R::Stream::reset(reader, writer);
        }
    }
}
