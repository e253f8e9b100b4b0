//! The dispatcher: turns what epoll reports into wakes.

#[cfg(feature = "faults")]
mod dump;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Driver, DriverStats, Fired, Key, Table, Unpark, WakeFd, closed};

use crate::Context;
use crate::calls::Call;
use crate::epoll::{Epoll, Events, Mask, Sys};
use crate::source::Source;

/// The name of the wake-up event among the sources' keys.
const WAKE: Key = Key::reserved(1);

/// What epoll watches. The driver shares it with the sources' owners, by the [`Context`], and takes it from there at the
/// end of the runtime.
pub(crate) struct Sources {
    epoll: Rc<Epoll>,
    table: Table<Rc<Source>>,
    /// Level: sources with a question to put to epoll before the next sleep.
    dirty: Vec<Key>,
}

impl Sources {
    pub(crate) fn new(epoll: Epoll) -> Sources {
        Sources { epoll: Rc::new(epoll), table: Table::default(), dirty: Vec::new() }
    }

    fn flush(&mut self, sys: &Sys, fired: &mut Fired) {
        for key in self.dirty.drain(..) {
            if let Some(source) = self.table.get(key) {
                source.flush(&self.epoll, sys, fired);
            }
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("len", &self.table.len()).finish_non_exhaustive()
    }
}

/// What sources ask of the driver.
impl Context {
    pub(crate) fn register(&self, fd: OwnedFd) -> io::Result<Rc<Source>> {
        let mut sources = self.sources.borrow_mut();
        let sources = sources.as_mut().filter(|_| !self.closed.get()).ok_or_else(closed)?;
        let key = sources.table.insert_with(|key| Rc::new(Source::new(fd, key, self.trigger)));
        let source = Rc::clone(sources.table.get(key).expect("just inserted"));
        if let Err(error) = source.register(&sources.epoll, &self.sys) {
            sources.table.remove(key);
            return Err(error);
        }
        Ok(source)
    }

    /// Does nothing after the end: the driver has forgotten the source by then.
    pub(crate) fn deregister(&self, source: &Source) {
        if let Some(sources) = self.sources.borrow_mut().as_mut() {
            source.deregister(&sources.epoll, &self.sys);
            sources.table.remove(source.key());
        }
    }

    /// Asks epoll, now, whether it can watch this at all. (Level mode asks nothing before somebody
    /// waits.)
    pub(crate) fn probe(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let sources = self.sources.borrow();
        let epoll = &sources.as_ref().ok_or_else(closed)?.epoll;
        epoll.add(&self.sys, fd, WAKE, Mask::READ)?;
        epoll.delete(&self.sys, fd)
    }

    pub(crate) fn flush_later(&self, key: Key) {
        if let Some(sources) = self.sources.borrow_mut().as_mut() {
            sources.dirty.push(key);
        }
    }
}

/// The driver over epoll. It is public because it names the type behind
/// [`Reactor`](crate::Reactor); all its doings are the runtime's.
pub struct EpollDriver {
    epoll: Rc<Epoll>,
    batch: Events,
    wake_fd: Arc<WakeFd>,
    context: Rc<Context>,
    events: u64,
    stale_events: u64,
}

impl EpollDriver {
    pub(crate) fn new(context: Rc<Context>) -> io::Result<EpollDriver> {
        context.sys.seam().pass(Call::Eventfd2 as usize)?;
        let wake_fd = Arc::new(WakeFd::new()?);
        let epoll = Rc::clone(&context.sources.borrow().as_ref().ok_or_else(closed)?.epoll);
        // Edge-triggered, so nobody has to read it: each write is a new edge. (Its counter would be full after 2^64.)
        epoll.add(&context.sys, wake_fd.as_fd(), WAKE, Mask::READ.and(Mask::EDGE))?;
        Ok(EpollDriver { epoll, batch: Events::new(), wake_fd, context, events: 0, stale_events: 0 })
    }
}

impl Driver for EpollDriver {
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()> {
        let EpollDriver { epoll, batch, context, events, stale_events, .. } = self;
        let sys = &context.sys;
        let mut sources = context.sources.borrow_mut();
        let sources = sources.as_mut().ok_or_else(closed)?;
        sources.flush(sys, fired);
        // A question that could not be put woke its task: no time to sleep.
        let timeout = if fired.is_empty() { timeout } else { Some(Duration::ZERO) };
        #[cfg(debug_assertions)]
        sources.table.iter().for_each(|(_, source)| source.assert_ready_to_sleep());
        epoll.wait(sys, timeout, batch)?;
        for (key, mask) in batch.iter() {
            if key == WAKE {
                continue;
            }
            *events += 1;
            match sources.table.get(key) {
                Some(source) => source.event(mask, epoll, sys, fired),
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
        let sources = self.context.sources.take();
        for source in sources.into_iter().flat_map(|sources| sources.table.into_values()) {
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
            sources_now: Some(self.context.sources.borrow().as_ref().map_or(0, |sources| sources.table.len()) as u64),
            stale_events: Some(self.stale_events),
            ..DriverStats::default()
        }
    }
}
