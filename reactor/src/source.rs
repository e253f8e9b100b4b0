//! A source: one descriptor that epoll watches, and who waits for it.
//!
//! # The readiness idea
//!
//! Try the call. If it would block, wait until epoll says that the descriptor is ready, then try
//! again: [`Source::attempt`]. epoll never moves a byte; it only says when trying is worthwhile.
//!
//! # Level and edge
//!
//! *Level*: epoll reports a descriptor as long as it is ready. So we ask only while somebody waits, and
//! take the question back when nobody does, or it would be answered in every turn. *Edge*: epoll
//! reports a descriptor when it becomes ready. So we ask once, for everything, and remember the answer
//! until a call would block. All that differs is in this table, and in this file:
//!
//! | moment | Level | Edge |
//! |---|---|---|
//! | register | nothing | ADD once: IN, OUT, RDHUP, ET; `ready` starts full |
//! | try | while `ready`; it starts full | while `ready` |
//! | would block, or short | clear `ready`, park; if that direction is not armed, queue one ADD or MOD | clear `ready`, park |
//! | event, somebody waits | set `ready`, wake, stay armed | set `ready`, wake |
//! | event, only the other direction waits | set `ready`, MOD to that one | set `ready` |
//! | event, nobody waits | set `ready`, DEL (HUP and ERR cannot be masked: an empty mask spins) | set `ready` |
//! | HUP or ERR again, a task waits | also MOD to what edge asks; from here on the source is in edge mode | as any event |
//! | asserted before sleeping | parked implies armed | parked implies not ready |
//!
//! *Short*: a read or write that moved fewer bytes than it could has drained the socket, so the next
//! try is spared: one system call per request. In level mode that is always right, because the kernel
//! reports again what is still there. In edge mode it holds until an end, an error or urgent data was
//! reported, for these may lie behind the short read and will not be reported again. Of what is no socket it never
//! holds.
//!
//! *HUP or ERR again*: most errors are over when a call has told them. Some stay, because the program alone can take them
//! away, such as an entry in the error queue of a socket with IP_RECVERR. Then each turn would report it, wake the task,
//! and find that its call would block. A level that nothing here lowers can be waited for by its edges only.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, Waker};

use executor::{Fired, Key, WaitSlot, closed};

use crate::epoll::{Epoll, Mask};
use crate::sys::{Moved, Sys};

/// Calls that may succeed on a source in a row before its task goes to the back of the queue: a client
/// that sends faster than we read must not keep the others waiting.
pub(crate) const DRAIN_CAP: u8 = 16;

/// How epoll is asked to report a descriptor. See the table above for what follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// As long as it is ready.
    Level,
    /// When it becomes ready.
    #[default]
    Edge,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards us: readable, acceptable.
    Read,
    /// Away from us: writable, connected.
    Write,
}

/// A set of directions: read, write.
type Directions = [bool; 2];

const BOTH: Directions = [true; 2];
const NONE: Directions = [false; 2];

fn mask(directions: Directions) -> Mask {
    match directions {
        [true, true] => Mask::READ.and(Mask::WRITE),
        [false, true] => Mask::WRITE,
        _ => Mask::READ,
    }
}

/// One watched descriptor. The driver's table has a reference, and its `Registration` the other.
#[derive(Debug)]
pub(crate) struct Source {
    /// Of any kind: a `File` reads and writes them all.
    pub(crate) fd: File,
    key: Key,
    /// Edge, or level until HUP or ERR has been reported twice.
    trigger: Cell<Trigger>,
    /// Level: whether HUP or ERR has been reported.
    has_failed: Cell<bool>,
    /// Directions in which a try is worthwhile.
    ready: Cell<Directions>,
    /// Level: directions epoll has been asked about.
    armed: Cell<Directions>,
    /// Level: whether it stands in the driver's list of sources whose question must be put.
    dirty: Cell<bool>,
    /// Edge: an end, an error or urgent data was reported; short reads prove nothing any more.
    ending: Cell<bool>,
    /// It is no socket, and a short read never proves anything: a terminal gives a line at a time, whatever follows.
    pub(crate) is_pipe: Cell<bool>,
    /// Successes in a row, per direction: see [`DRAIN_CAP`].
    streak: [Cell<u8>; 2],
    /// The error of an epoll_ctl made in the background, for whoever waits.
    failure: Cell<Option<i32>>,
    waiting: [WaitSlot; 2],
}

impl Source {
    pub(crate) fn new(fd: OwnedFd, key: Key, trigger: Trigger) -> Source {
        Source {
            fd: fd.into(),
            key,
            trigger: Cell::new(trigger),
            has_failed: Cell::new(false),
            ready: Cell::new(BOTH),
            armed: Cell::default(),
            dirty: Cell::new(false),
            ending: Cell::new(false),
            is_pipe: Cell::new(false),
            streak: Default::default(),
            failure: Cell::new(None),
            waiting: Default::default(),
        }
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// Table, row "register".
    pub(crate) fn register(&self, epoll: &Epoll, sys: &Sys) -> io::Result<()> {
        match self.trigger.get() {
            Trigger::Level => Ok(()),
            Trigger::Edge => {
                epoll.add(sys, self.fd.as_fd(), self.key, mask(BOTH).and(Mask::EDGE))?;
                self.armed.set(BOTH);
                Ok(())
            }
        }
    }

    /// Before the descriptor is closed: epoll would go on reporting it if a duplicate were open.
    pub(crate) fn deregister(&self, epoll: &Epoll, sys: &Sys) {
        if self.armed.replace(NONE) != NONE {
            // It can fail only if epoll has lost the descriptor already.
            let _ = epoll.delete(sys, self.fd.as_fd());
        }
    }

    /// Table, rows "event". Called with the driver borrowed, so wakers are only collected.
    pub(crate) fn event(&self, mask: Mask, epoll: &Epoll, sys: &Sys, fired: &mut Fired) {
        let mut ready = self.ready.get();
        let mut still_asked = self.armed.get();
        for direction in [Direction::Read, Direction::Write] {
            let hit = match direction {
                Direction::Read => mask.readable(),
                Direction::Write => mask.writable(),
            };
            if !hit {
                continue;
            }
            ready[direction as usize] = true;
            match self.waiting[direction as usize].take() {
                Some(waker) => fired.wake(waker),
                None => still_asked[direction as usize] = false,
            }
        }
        self.ready.set(ready);
        if mask.ending() {
            self.end(mask.failed() && still_asked != NONE, epoll, sys, fired);
        }
        if self.trigger.get() == Trigger::Level && still_asked != self.armed.get() {
            self.ask(still_asked, epoll, sys, fired);
        }
    }

    /// Something came that no later event need announce again. Table, row "HUP or ERR again".
    #[cold]
    fn end(&self, is_failure_awaited: bool, epoll: &Epoll, sys: &Sys, fired: &mut Fired) {
        self.ending.set(true);
        if self.trigger.get() == Trigger::Edge || !is_failure_awaited || !self.has_failed.replace(true) {
            return;
        }
        match epoll.modify(sys, self.fd.as_fd(), self.key, mask(BOTH).and(Mask::EDGE)) {
            Ok(()) => {
                self.trigger.set(Trigger::Edge);
                self.armed.set(BOTH);
            }
            Err(error) => self.fail(&error, fired),
        }
    }

    /// Level: asks epoll about what is parked and has not been asked about. Called for the sources in
    /// the driver's dirty list, just before the driver sleeps.
    pub(crate) fn flush(&self, epoll: &Epoll, sys: &Sys, fired: &mut Fired) {
        self.dirty.set(false);
        let mut wanted = self.armed.get();
        wanted.iter_mut().zip(&self.waiting).for_each(|(wanted, slot)| *wanted |= slot.is_set());
        if wanted != self.armed.get() {
            self.ask(wanted, epoll, sys, fired);
        }
    }

    fn ask(&self, wanted: Directions, epoll: &Epoll, sys: &Sys, fired: &mut Fired) {
        let fd = self.fd.as_fd();
        let asked = match (self.armed.get(), wanted) {
            (_, NONE) => epoll.delete(sys, fd),
            (NONE, _) => epoll.add(sys, fd, self.key, mask(wanted)),
            _ => epoll.modify(sys, fd, self.key, mask(wanted)),
        };
        match asked {
            Ok(()) => self.armed.set(wanted),
            Err(error) => self.fail(&error, fired),
        }
    }

    /// The question could not be put: whoever waits gets the error, instead of waiting for ever.
    fn fail(&self, error: &io::Error, fired: &mut Fired) {
        self.failure.set(error.raw_os_error().or(Some(libc::EIO)));
        self.wake_all(fired);
    }

    pub(crate) fn wake_all(&self, fired: &mut Fired) {
        self.waiting.iter().filter_map(WaitSlot::take).for_each(|waker| fired.wake(waker));
    }

    /// Table, last row.
    #[cfg(debug_assertions)]
    pub(crate) fn assert_ready_to_sleep(&self) {
        for direction in [Direction::Read, Direction::Write] {
            let parked = self.waiting[direction as usize].is_set();
            let fine = match self.trigger.get() {
                Trigger::Level => self.armed.get()[direction as usize],
                Trigger::Edge => !self.ready.get()[direction as usize],
            };
            assert!(!parked || fine, "about to sleep, but {direction:?} would never be woken: {self:?}");
        }
    }

    fn set_ready(&self, direction: Direction, value: bool) {
        let mut ready = self.ready.get();
        ready[direction as usize] = value;
        self.ready.set(ready);
    }

    /// A call moved fewer bytes than it had room for: the next one would block. See "Short" above.
    pub(crate) fn was_short(&self, direction: Direction) {
        if self.trigger.get() == Trigger::Level || !(self.ending.get() || self.is_pipe.get()) {
            self.set_ready(direction, false);
        }
    }

    /// Table, rows "try" and "would block": makes `call` until it no longer would block. The only way to wait for a
    /// source: there is no "wait until readable" to misuse. `None`: the task has to park.
    pub(crate) fn attempt<T>(
        &self,
        direction: Direction,
        is_closed: &Cell<bool>,
        cx: &Context<'_>,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> Option<Poll<io::Result<T>>> {
        let streak = &self.streak[direction as usize];
        loop {
            if is_closed.get() {
                return Some(Poll::Ready(Err(closed())));
            }
            if let Some(errno) = self.failure.take() {
                return Some(Poll::Ready(Err(io::Error::from_raw_os_error(errno))));
            }
            if !self.ready.get()[direction as usize] {
                self.streak.iter().for_each(|streak| streak.set(0));
                return None;
            }
            if streak.get() >= DRAIN_CAP {
                streak.set(0);
                cx.waker().wake_by_ref();
                return Some(Poll::Pending);
            }
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.set_ready(direction, false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    streak.set(streak.get() + 1);
                    return Some(Poll::Ready(result));
                }
            }
        }
    }

    /// Parks a task. Level: returns whether the source belongs into the driver's dirty list, where it isn't yet.
    pub(crate) fn park(&self, direction: Direction, waker: &Waker) -> bool {
        self.waiting[direction as usize].set(waker);
        let unasked = self.trigger.get() == Trigger::Level && !self.armed.get()[direction as usize];
        unasked && !self.dirty.replace(true)
    }

    /// Nobody waits any longer. What epoll was asked stays; an event that finds nobody takes it back.
    pub(crate) fn unpark(&self, direction: Direction) {
        self.waiting[direction as usize].clear();
    }

    /// Drops the wakers that futures have left that were leaked.
    pub(crate) fn unpark_all(&self) {
        self.waiting.iter().for_each(WaitSlot::clear);
    }

    /// recv(2), or read(2) where there is no socket.
    pub(crate) fn recv(&self, sys: &Sys, buffer: &mut [u8]) -> io::Result<Moved> {
        if self.is_pipe.get() { sys.read(&self.fd, buffer) } else { sys.recv(self.fd.as_fd(), buffer) }
    }

    /// send(2), or write(2) where there is no socket.
    pub(crate) fn send(&self, sys: &Sys, bytes: &[u8]) -> io::Result<Moved> {
        if self.is_pipe.get() { sys.write(&self.fd, bytes) } else { sys.send(self.fd.as_fd(), bytes) }
    }

    /// sendmsg(2), or writev(2) where there is no socket: several buffers, one after the other.
    pub(crate) fn send_all(&self, sys: &Sys, bufs: &[IoSlice<'_>]) -> io::Result<Moved> {
        if self.is_pipe.get() { sys.write_all(&self.fd, bufs) } else { sys.send_all(self.fd.as_fd(), bufs) }
    }
}
