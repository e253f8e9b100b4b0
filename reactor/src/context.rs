//! The part of a runtime that its driver, sources and streams share: the calls, the memory, and
//! what epoll watches.

#[cfg(feature = "faults")]
mod dump;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use executor::{Fired, Key, Table, closed};

use crate::epoll::{Epoll, Mask};
use crate::pool::Pool;
use crate::source::{Source, Trigger};
use crate::sys::Sys;

/// The name of the wake-up event among the sources' keys.
pub(crate) const WAKE: Key = Key::reserved(1);

/// The sources that epoll watches. The driver shares it with the owners of the sources, through the
/// [`Context`], and takes it out at the end of the runtime.
pub(crate) struct Sources {
    pub(crate) epoll: Rc<Epoll>,
    pub(crate) table: Table<Rc<Source>>,
    /// Level mode: the sources whose interests to update before the next sleep.
    dirty: Vec<Key>,
}

impl Sources {
    pub(crate) fn new(epoll: Epoll) -> Sources {
        Sources { epoll: Rc::new(epoll), table: Table::default(), dirty: Vec::new() }
    }

    pub(crate) fn flush(&mut self, sys: &Sys, fired: &mut Fired) {
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

/// Everything that the parts of a runtime share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) sys: Sys,
    pub(crate) pool: Rc<Pool>,
    pub(crate) trigger: Trigger,
    pub(crate) closed: Cell<bool>,
    /// `None` after the end of the runtime. No user code runs while this is borrowed.
    pub(crate) sources: RefCell<Option<Sources>>,
}

/// The requests of sources to the driver.
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

    /// Takes a source out of epoll and the table. Does nothing after the end of the runtime: the
    /// driver has dropped the source by then.
    pub(crate) fn deregister(&self, source: &Source) {
        if let Some(sources) = self.sources.borrow_mut().as_mut() {
            source.deregister(&sources.epoll, &self.sys);
            sources.table.remove(source.key());
        }
    }

    /// Asks epoll at once whether it can watch this descriptor. (Level mode otherwise asks nothing
    /// before a task waits.)
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
