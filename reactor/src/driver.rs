//! The dispatcher: turns what epoll reports into wakes.

#[cfg(feature = "faults")]
mod dump;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Driver, DriverStats, Fired, Key, Table, Unpark, WakeFd, closed};

use crate::Context;
use crate::calls::Call;
use crate::epoll::{Epoll, Events, Mask};
use crate::source::Source;

/// The name of the wake-up event among the sources' keys.
const WAKE: Key = Key::reserved(1);

/// The driver over epoll. It is public because it names the type behind
/// [`Reactor`](crate::Reactor); all its doings are the runtime's.
pub struct EpollDriver {
    epoll: Epoll,
    batch: Events,
    wake_fd: Arc<WakeFd>,
    context: Rc<Context>,
    sources: Table<Rc<Source>>,
    /// Level: sources with a question to put to epoll before the next sleep.
    dirty: Vec<Key>,
    events: u64,
    stale_events: u64,
}

impl EpollDriver {
    pub(crate) fn new(epoll: Epoll, context: Rc<Context>) -> io::Result<EpollDriver> {
        context.sys.seam().pass(Call::Eventfd2 as usize)?;
        let wake_fd = Arc::new(WakeFd::new()?);
        // Edge-triggered, so nobody has to read it: each write is a new edge. (Its counter would be full after 2^64.)
        epoll.add(&context.sys, wake_fd.as_fd(), WAKE, Mask::READ.and(Mask::EDGE))?;
        let (batch, sources, dirty) = (Events::new(), Table::default(), Vec::new());
        Ok(EpollDriver { epoll, batch, wake_fd, context, sources, dirty, events: 0, stale_events: 0 })
    }

    pub(crate) fn register(&mut self, fd: OwnedFd) -> io::Result<Rc<Source>> {
        if self.context.closed.get() {
            return Err(closed());
        }
        let trigger = self.context.trigger;
        let key = self.sources.insert_with(|key| Rc::new(Source::new(fd, key, trigger)));
        let source = Rc::clone(self.sources.get(key).expect("just inserted"));
        if let Err(error) = source.register(&self.epoll, &self.context.sys) {
            self.sources.remove(key);
            return Err(error);
        }
        Ok(source)
    }

    pub(crate) fn deregister(&mut self, source: &Source) {
        source.deregister(&self.epoll, &self.context.sys);
        self.sources.remove(source.key());
    }

    /// Asks epoll, now, whether it can watch this at all. (Level mode asks nothing before somebody
    /// waits.)
    pub(crate) fn probe(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.epoll.add(&self.context.sys, fd, WAKE, Mask::READ)?;
        self.epoll.delete(&self.context.sys, fd)
    }

    pub(crate) fn flush_later(&mut self, key: Key) {
        self.dirty.push(key);
    }

    fn flush(&mut self, fired: &mut Fired) {
        for key in self.dirty.drain(..) {
            if let Some(source) = self.sources.get(key) {
                source.flush(&self.epoll, &self.context.sys, fired);
            }
        }
    }
}

impl Driver for EpollDriver {
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()> {
        self.flush(fired);
        // A question that could not be put woke its task: no time to sleep.
        let timeout = if fired.is_empty() { timeout } else { Some(Duration::ZERO) };
        #[cfg(debug_assertions)]
        self.sources.iter().for_each(|(_, source)| source.assert_ready_to_sleep());
        let EpollDriver { epoll, batch, context, sources, events, stale_events, .. } = self;
        epoll.wait(&context.sys, timeout, batch)?;
        for (key, mask) in batch.iter() {
            if key == WAKE {
                continue;
            }
            *events += 1;
            match sources.get(key) {
                Some(source) => source.event(mask, epoll, &context.sys, fired),
                None => *stale_events += 1,
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.context.closed.set(true);
    }

    /// Readiness leaves nothing with the kernel but the questions, and these end with the epoll
    /// instance. Streams that outlive the runtime are told.
    fn drain(&mut self, _deadline: Option<Instant>, fired: &mut Fired) -> io::Result<()> {
        for source in std::mem::take(&mut self.sources).into_values() {
            source.deregister(&self.epoll, &self.context.sys);
            source.wake_all(fired);
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.wake_fd) as Arc<dyn Unpark>
    }

    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.epoll.fd.as_fd())
    }

    fn stats(&self) -> DriverStats {
        DriverStats {
            system_calls: self.context.sys.seam().counts(("write", self.wake_fd.writes())),
            events: self.events,
            chunks_lent_now: self.context.pool.lent(),
            pool_bytes_now: self.context.pool.bytes(),
            sources_now: Some(self.sources.len() as u64),
            stale_events: Some(self.stale_events),
            ..DriverStats::default()
        }
    }
}
