//! epoll: what we ask it, what it reports, and the calls for both. Each call passes the
//! [`Seam`](executor::Seam).

#[cfg(feature = "faults")]
mod faults;

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use executor::Key;

use crate::calls::Call;
use crate::sys::{Sys, check};

/// A set of events to ask epoll about, or that it reports. The bits are epoll's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask(u32);

#[allow(clippy::cast_sign_loss)] // the kernel's flags are bits, whatever type libc gives them
impl Mask {
    /// The events that a reader waits for. RDHUP, the peer's end of stream, concerns reading. It
    /// always comes with IN; we ask for it so that a short read can tell "no more for now" from "no
    /// more".
    pub(crate) const READ: Mask = Mask((libc::EPOLLIN | libc::EPOLLRDHUP) as u32);
    pub(crate) const WRITE: Mask = Mask(libc::EPOLLOUT as u32);
    /// Reports changes only. Also reports urgent data, because a read stops short at its mark.
    /// (Level mode does not ask for it: epoll would report it until the program reads it out of
    /// band, and ours never does.)
    pub(crate) const EDGE: Mask = Mask((libc::EPOLLET | libc::EPOLLPRI) as u32);
    const BOTH_WAYS: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
    const ENDING: u32 = Self::BOTH_WAYS | (libc::EPOLLRDHUP | libc::EPOLLPRI) as u32;

    pub(crate) fn and(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }

    /// Returns whether the event concerns a reader. HUP and ERR concern both sides.
    pub(crate) fn readable(self) -> bool {
        self.0 & (Self::READ.0 | Self::BOTH_WAYS) != 0
    }

    pub(crate) fn writable(self) -> bool {
        self.0 & (Self::WRITE.0 | Self::BOTH_WAYS) != 0
    }

    /// Returns whether the event has HUP or ERR. epoll reports these even if not asked.
    pub(crate) fn failed(self) -> bool {
        self.0 & Self::BOTH_WAYS != 0
    }

    /// Returns whether the event reports an end, an error or urgent data (a read stops short at its
    /// mark). Later events need not report it again, so from here on a short read proves nothing.
    pub(crate) fn ending(self) -> bool {
        self.0 & Self::ENDING != 0
    }
}

/// The number of events we take from the kernel in one call: as many as the number of tasks polled
/// between two calls. The others stay ready and come with the next call. If we took more, the tasks
/// of some would still be in the queue at the next call, and level-triggered epoll would report
/// these events a second time, when no task waits for them.
const EVENTS_PER_WAIT: usize = executor::POLL_BUDGET as usize;

/// The events that one wait reported.
pub(crate) struct Events {
    memory: Box<[libc::epoll_event]>,
    count: usize,
}

impl Events {
    pub(crate) fn new() -> Events {
        Events { memory: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT].into(), count: 0 }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, Mask)> {
        self.memory[..self.count].iter().map(|event| (Key::from_u64(event.u64), Mask(event.events)))
    }
}

/// Returns whether the error says that the call cannot be had here. An older kernel answers ENOSYS.
/// A seccomp filter that does not know the call answers EPERM or EOPNOTSUPP, and the call itself
/// returns neither.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP))
}

/// An epoll instance.
pub(crate) struct Epoll {
    pub(crate) fd: OwnedFd,
    /// epoll_pwait2 (Linux 5.11) takes nanoseconds. Without it, we use milliseconds, rounded up.
    has_pwait2: Cell<bool>,
}

impl Epoll {
    pub(crate) fn new(sys: &Sys, allow_pwait2: bool) -> io::Result<Epoll> {
        sys.seam().pass(Call::EpollCreate1 as usize)?;
        // SAFETY: the call uses no memory of ours.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel just made this descriptor, and nothing else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Epoll { fd, has_pwait2: Cell::new(allow_pwait2) })
    }

    pub(crate) fn add(&self, sys: &Sys, fd: BorrowedFd<'_>, key: Key, mask: Mask) -> io::Result<()> {
        self.control(sys, libc::EPOLL_CTL_ADD, fd, key, mask)
    }

    pub(crate) fn modify(&self, sys: &Sys, fd: BorrowedFd<'_>, key: Key, mask: Mask) -> io::Result<()> {
        self.control(sys, libc::EPOLL_CTL_MOD, fd, key, mask)
    }

    pub(crate) fn delete(&self, sys: &Sys, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(sys, libc::EPOLL_CTL_DEL, fd, Key::reserved(0), Mask(0))
    }

    fn control(&self, sys: &Sys, what: i32, fd: BorrowedFd<'_>, key: Key, mask: Mask) -> io::Result<()> {
        sys.seam().pass(Call::EpollCtl as usize)?;
        let mut event = libc::epoll_event { events: mask.0, u64: key.to_u64() };
        // SAFETY: `event` lives through the call, which copies it; both descriptors are open.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), what, fd.as_raw_fd(), &raw mut event) })?;
        Ok(())
    }

    /// Sleeps until a descriptor is ready or the time is over, and replaces `events`. A signal ends
    /// the sleep early, with no events.
    pub(crate) fn wait(&self, sys: &Sys, timeout: Option<Duration>, events: &mut Events) -> io::Result<()> {
        let waited = if self.has_pwait2.get() {
            match self.wait_nanoseconds(sys, timeout, events) {
                Err(error) if is_absent(&error) => {
                    self.has_pwait2.set(false);
                    self.wait_milliseconds(sys, timeout, events)
                }
                other => other,
            }
        } else {
            self.wait_milliseconds(sys, timeout, events)
        };
        events.count = match waited {
            Ok(count) => usize::try_from(count).expect("a count"),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        #[cfg(feature = "faults")]
        events.edit(sys);
        Ok(())
    }

    fn wait_nanoseconds(&self, sys: &Sys, timeout: Option<Duration>, events: &mut Events) -> io::Result<libc::c_int> {
        sys.seam().pass(Call::EpollPwait2 as usize)?;
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let (memory, room) = (events.memory.as_mut_ptr(), EVENTS_PER_WAIT as libc::c_int);
        // SAFETY: `memory` has room for `room` events, `timeout` is null or lives through the call,
        // and a null signal mask is allowed.
        check(unsafe { libc::epoll_pwait2(self.fd.as_raw_fd(), memory, room, timeout, std::ptr::null()) })
    }

    fn wait_milliseconds(&self, sys: &Sys, timeout: Option<Duration>, events: &mut Events) -> io::Result<libc::c_int> {
        sys.seam().pass(Call::EpollWait as usize)?;
        // Rounded up: a timer is never early. Clamped: the loop sleeps again if there is time left.
        let timeout =
            timeout.map_or(-1, |timeout| timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX));
        let (memory, room) = (events.memory.as_mut_ptr(), EVENTS_PER_WAIT as libc::c_int);
        // SAFETY: `memory` has room for `room` events.
        check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), memory, room, timeout) })
    }
}
