//! Connections to servers: in use, and kept for the next request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use executor::{Reader, Runtime};
use futures_lite::future::poll_once;

use crate::http::Input;

use super::pair::{Chunk, Pair};
use super::servers::Place;

/// A connection to a server that is in use.
pub(crate) struct Link<R: Runtime> {
    pub(crate) pair: Pair<R>,
    /// What has been received and not yet passed on.
    pub(crate) input: Input<Chunk<R>>,
    pub(crate) place: Place,
    /// Whether it has been kept: then the server may have closed it meanwhile, and nobody is to blame.
    pub(crate) was_kept: bool,
}

impl<R: Runtime> Link<R> {
    pub(crate) fn new(pair: Pair<R>, place: Place) -> Self {
        Link { pair, input: Input::new(), place, was_kept: false }
    }

    pub(crate) fn kept(pair: Pair<R>, place: Place) -> Self {
        Link { was_kept: true, ..Link::new(pair, place) }
    }

    /// Whether closing it would cut a request short.
    pub(crate) fn is_midway(&mut self) -> &Rc<Cell<bool>> {
        self.pair.parts().2
    }
}

/// Connections that are kept, for each server a bounded number.
pub(crate) struct Idle<R: Runtime> {
    /// Those of each server, the one that has waited longest first.
    servers: Vec<RefCell<Vec<Kept<R>>>>,
    most: usize,
    time: Duration,
}

struct Kept<R: Runtime> {
    pair: Pair<R>,
    since: Instant,
}

impl<R: Runtime> Idle<R> {
    pub(crate) fn new(servers: usize, most: usize, time: Duration) -> Self {
        Idle { servers: (0..servers).map(|_| RefCell::default()).collect(), most, time }
    }

    /// Keeps a connection; too many, and the one that has waited longest is closed.
    pub(crate) fn keep(&self, rt: &R, link: Link<R>) {
        let server = link.place.server();
        let kept = Kept { pair: link.pair, since: rt.turn_time() };
        let mut list = self.servers[server].borrow_mut();
        list.push(kept);
        let excess = list.len().saturating_sub(self.most);
        let closed: Vec<_> = list.drain(..excess).collect();
        drop(list);
        drop(closed);
    }

    /// The connection that was used last, if the server has neither closed it nor said anything on it: bytes that
    /// nobody asked for would be taken for the answer to the next request.
    pub(crate) async fn take(&self, rt: &R, server: usize) -> Option<Pair<R>> {
        self.sweep(rt, server);
        loop {
            let Kept { mut pair, .. } = self.servers[server].borrow_mut().pop()?;
            if poll_once(pair.parts().0.recv()).await.is_none() {
                return Some(pair);
            }
        }
    }

    /// Closes those that have waited too long.
    pub(crate) fn sweep(&self, rt: &R, server: usize) {
        let now = rt.turn_time();
        let mut list = self.servers[server].borrow_mut();
        let expired = list.partition_point(|kept| now - kept.since >= self.time);
        let closed: Vec<_> = list.drain(..expired).collect();
        drop(list);
        drop(closed);
    }

    /// Closes all of a server.
    pub(crate) fn clear(&self, server: usize) {
        drop(self.servers[server].take());
    }
}
