//! A source: one descriptor that epoll watches, and the tasks that wait for it.
//!
//! # The readiness idea
//!
//! Try the call. If it would block, wait until epoll reports that the descriptor is ready, then try
//! again: [`Source::attempt`]. epoll never moves a byte; it only says when a try is worthwhile.
//!
//! # Level and edge
//!
//! *Level*: epoll reports a descriptor as long as it is ready. So we ask only while a task waits,
//! and stop asking when no task does; otherwise epoll would report it in every turn. *Edge*: epoll
//! reports a descriptor when it becomes ready. So we ask once, for both directions, and remember
//! the answer until a call would block. This table, and this file, hold all the differences:
//!
//! | moment | Level | Edge |
//! |---|---|---|
//! | register | nothing | ADD once: IN, OUT, RDHUP, ET; `ready` starts full |
//! | try | while `ready`; it starts full | while `ready` |
//! | would block, or short | clear `ready`, park; if that direction is not armed, queue one ADD or MOD | clear `ready`, park |
//! | event, a task waits | set `ready`, wake, stay armed | set `ready`, wake |
//! | event, only the other direction waits | set `ready`, MOD to that one | set `ready` |
//! | event, no task waits | set `ready`, DEL (HUP and ERR cannot be masked: an empty mask spins) | set `ready` |
//! | HUP or ERR again, a task waits | also MOD to what edge asks; from here on the source is in edge mode | as any event |
//! | asserted before sleeping | parked implies armed | parked implies not ready |
//!
//! *Short*: a read or write that moved fewer bytes than it could has drained the socket. So we skip
//! the next try, which saves one system call per request. In level mode this is always right,
//! because the kernel reports again what is still there. In edge mode it is right until an end, an
//! error or urgent data is reported: these may lie behind the short read, and the kernel does not
//! report them again. It never holds for descriptors that are not sockets: a terminal returns one
//! line per read, however much follows. Nor does it hold for sockets of packets (SOCK_SEQPACKET),
//! which return one packet per read.
//!
//! *HUP or ERR again*: most errors are over once a call has returned them. Some stay, because only
//! the program can clear them: for example, an entry in the error queue of a socket with
//! IP_RECVERR. Level-triggered, epoll would report such an error in every turn, and the task would
//! wake each time to find that its call would block. Nothing here can clear this level, so the
//! source waits for its edges from then on.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, Waker};

use executor::{Fired, Key, WaitSlot, closed};

use crate::epoll::{Epoll, Mask};
use crate::sys::{Moved, Sys};

/// The most calls that may succeed on a source in a row before its task goes to the back of the
/// queue. A client that sends faster than we read must not keep the others waiting.
pub(crate) const DRAIN_CAP: u8 = 16;

/// The way epoll reports a descriptor. The table in `source.rs` shows what follows from it.
///
/// # Examples
///
/// ```
/// use reactor::{Builder, Runtime, Trigger};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Builder::new().trigger(Trigger::Level).build()?;
/// assert_eq!(rt.engine(), "reactor-level");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// Reports it as long as it is ready.
    Level,
    /// Reports it when it becomes ready.
    #[default]
    Edge,
}

/// The direction in which bytes move.
///
/// # Examples
///
/// ```
/// use reactor::{AsyncFd, Direction, Reactor};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let (_reader, writer) = std::io::pipe()?;
/// let mut writer = AsyncFd::new(&rt, writer)?;
/// // Writable, as nothing is in the pipe.
/// rt.block_on(writer.io(Direction::Write, |_fd| Ok(())))
/// # }
/// ```
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

/// One watched descriptor. The driver's table holds one reference, its `Registration` the other.
#[derive(Debug)]
pub(crate) struct Source {
    /// A descriptor of any kind: a `File` can read and write them all.
    pub(crate) fd: File,
    key: Key,
    /// Edge, or level until HUP or ERR is reported a second time.
    trigger: Cell<Trigger>,
    /// Level mode: whether HUP or ERR has been reported.
    has_failed: Cell<bool>,
    /// The directions in which a try is worthwhile.
    ready: Cell<Directions>,
    /// Level mode: the directions we have asked epoll about.
    armed: Cell<Directions>,
    /// Level mode: whether this source is already in the driver's list of interests to update
    /// before the next wait.
    dirty: Cell<bool>,
    /// Edge mode: an end, an error or urgent data was reported, so a short read proves nothing any
    /// more. Set from the start if it moves packets.
    pub(crate) ending: Cell<bool>,
    /// Not a socket, so a short read never proves anything: see "Short" above.
    pub(crate) is_pipe: Cell<bool>,
    /// Successful calls in a row, per direction: see [`DRAIN_CAP`].
    streak: [Cell<u8>; 2],
    /// The error of an `epoll_ctl` call made in the background. The next call of a task returns it.
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

    /// Registers the source with epoll. Table, row "register".
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

    /// Takes the descriptor out of epoll, before it is closed. Otherwise epoll would go on
    /// reporting it if a duplicate were open.
    pub(crate) fn deregister(&self, epoll: &Epoll, sys: &Sys) {
        if self.armed.replace(NONE) != NONE {
            // This fails only if epoll has lost the descriptor already.
            let _ = epoll.delete(sys, self.fd.as_fd());
        }
    }

    /// Handles an event: table, rows "event". The driver is borrowed here, so this only collects
    /// wakers.
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

    /// Notes an end, an error or urgent data: later events need not report it again. Table, row
    /// "HUP or ERR again".
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

    /// Level mode: asks epoll about the directions in which a task is parked and about which we
    /// have not asked yet. The driver calls this for the sources in its dirty list, just before it
    /// sleeps.
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

    /// `epoll_ctl` failed. Reports the error to the waiting tasks; otherwise they would wait
    /// forever.
    fn fail(&self, error: &io::Error, fired: &mut Fired) {
        self.failure.set(error.raw_os_error().or(Some(libc::EIO)));
        self.wake_all(fired);
    }

    pub(crate) fn wake_all(&self, fired: &mut Fired) {
        self.waiting.iter().filter_map(WaitSlot::take).for_each(|waker| fired.wake(waker));
    }

    /// Checks the last row of the table.
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

    /// Notes that a call moved fewer bytes than it had room for, so the next one would block. See
    /// "Short" above.
    pub(crate) fn was_short(&self, direction: Direction) {
        if self.trigger.get() == Trigger::Level || !(self.ending.get() || self.is_pipe.get()) {
            self.set_ready(direction, false);
        }
    }

    /// Makes `call` until it would no longer block: table, rows "try" and "would block". Returns
    /// `None` if the task has to park. There is no other way to wait for a source, so no "wait
    /// until readable" can be misused.
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

    /// Parks a task. Level mode: returns true if the driver has to add the source to its dirty
    /// list.
    pub(crate) fn park(&self, direction: Direction, waker: &Waker) -> bool {
        self.waiting[direction as usize].set(waker);
        let unasked = self.trigger.get() == Trigger::Level && !self.armed.get()[direction as usize];
        unasked && !self.dirty.replace(true)
    }

    /// Clears the waker: the task waits no longer. epoll is not asked again here; an event for
    /// which no task waits does that.
    pub(crate) fn unpark(&self, direction: Direction) {
        self.waiting[direction as usize].clear();
    }

    /// Drops the wakers that leaked futures left behind.
    pub(crate) fn unpark_all(&self) {
        self.waiting.iter().for_each(WaitSlot::clear);
    }

    /// Calls recv(2), or read(2) if this is not a socket.
    pub(crate) fn recv(&self, sys: &Sys, buffer: &mut [u8]) -> io::Result<Moved> {
        if self.is_pipe.get() { sys.read(&self.fd, buffer) } else { sys.recv(self.fd.as_fd(), buffer) }
    }

    /// Calls send(2), or write(2) if this is not a socket.
    pub(crate) fn send(&self, sys: &Sys, bytes: &[u8]) -> io::Result<Moved> {
        if self.is_pipe.get() { sys.write(&self.fd, bytes) } else { sys.send(self.fd.as_fd(), bytes) }
    }

    /// Calls sendmsg(2), or writev(2) if this is not a socket: sends several buffers, one after the
    /// other.
    pub(crate) fn send_all(&self, sys: &Sys, bufs: &[IoSlice<'_>]) -> io::Result<Moved> {
        if self.is_pipe.get() { sys.write_all(&self.fd, bufs) } else { sys.send_all(self.fd.as_fd(), bufs) }
    }
}
