//! The ring: io_uring's queues, and the one system call that drives them.
//!
//! Almost all unsafe code of the crate is here and in this module's files. The rest is in `op.rs`
//! and its files, which own the memory that the kernel sees, and in `submit.rs`, which passes it to
//! the kernel. Every call passes the [`Seam`], which counts it and, under test, may fail or delay
//! it.

pub(crate) mod buffers;
pub(crate) mod completion;
#[cfg(feature = "faults")]
mod faults;
#[cfg(feature = "faults")]
mod judge;
pub(crate) mod message;
pub(crate) mod probe;
mod restrict;
pub(crate) mod setup;
pub(crate) mod wake;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use executor::Seam;
use io_uring::{IoUring, opcode, squeue, types};

use self::buffers::{BufferRing, Registered};
use self::completion::Completion;
use crate::calls::Call;

// From linux/io_uring.h; the io-uring crate does not export them.
const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const ENTER_NO_IOWAIT: u32 = 1 << 7;

/// The event that a poll waits for.
pub(crate) const READABLE: u32 = libc::POLLIN.unsigned_abs() as u32;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_microseconds: u32,
    timespec: u64,
}

/// The result of an enter after which the loop can continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// Normally, or by time-out or signal. The last two say nothing about the queues either.
    Done,
    /// The kernel is short of something for now: reap, and try again.
    Busy,
}

/// An io_uring instance.
pub(crate) struct Ring {
    uring: IoUring,
    /// The descriptor for enter calls: the ring's own, or its index among the thread's registered
    /// rings.
    enter_fd: RawFd,
    enter_flags: u32,
    /// The header that the kernel may read while we try a feature.
    trial: Option<Rc<message::Message>>,
    /// Operations that a test makes fail, and completions that it holds back.
    #[cfg(feature = "faults")]
    faults: faults::Faults,
}

impl Ring {
    pub(crate) fn completion_entries(&self) -> u32 {
        self.uring.params().cq_entries()
    }

    /// Queues a submission, unless the queue is full. The kernel sees it at the next enter.
    ///
    /// # Safety
    /// Everything that the entry points to must stay valid and untouched until its final completion
    /// is reaped.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        let mut queue = self.uring.submission();
        // SAFETY: the caller promises it.
        unsafe { queue.push(entry) }.is_ok()
    }

    /// Queues a submission that points to no memory: it names a descriptor, another submission or
    /// the registered buffers.
    fn push_plain(&mut self, entry: squeue::Entry, name: u64) -> bool {
        // SAFETY: the entry points to nothing that has to stay valid. The kernel takes the file
        // when it sees the entry. If the number names another file by then, that gives a wrong
        // answer, not a wrong access.
        unsafe { self.push(&entry.user_data(name)) }
    }

    /// Waits until the descriptor is readable; again and again if `is_multishot`.
    pub(crate) fn poll(&mut self, fd: BorrowedFd<'_>, is_multishot: bool, name: u64) -> bool {
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), READABLE);
        self.push_plain(entry.multi(is_multishot).build(), name)
    }

    /// Cancels the submission that was queued as `target`. If `is_quiet`, the cancel completes only
    /// if it finds nothing.
    pub(crate) fn cancel(&mut self, target: u64, name: u64, is_quiet: bool) -> bool {
        let is_quiet = is_quiet && self.uring.params().is_feature_skip_cqe_on_success();
        let flags = if is_quiet { squeue::Flags::SKIP_SUCCESS } else { squeue::Flags::empty() };
        self.push_plain(opcode::AsyncCancel::new(target).build().flags(flags), name)
    }

    pub(crate) fn is_full(&mut self) -> bool {
        self.uring.submission().is_full()
    }

    /// Returns whether an enter that does not sleep would do anything: submit, or run completions
    /// that the kernel holds back until we enter.
    pub(crate) fn has_business(&mut self) -> bool {
        let queue = self.uring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Returns whether the kernel has taken all submissions, and no completion waits in its
    /// overflow list. Every completion posted until then has reached the queue.
    pub(crate) fn is_through(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.is_empty() && !queue.cq_overflow()
    }

    /// Returns whether completions wait in the kernel because the queue was full. Only an enter
    /// brings them.
    pub(crate) fn is_overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// Submits what is queued, and waits at most `timeout` for a completion (`None`: forever).
    pub(crate) fn enter(&mut self, seam: &Seam, timeout: Option<Duration>) -> io::Result<Entered> {
        let to_submit = self.uring.submission().len();
        // Clamped to what the kernel's clock can hold. The loop sleeps again if there is time left.
        let timespec = timeout.map(|timeout| types::Timespec::from(timeout.min(Duration::from_secs(1 << 32))));
        let arg = GetEventsArg {
            sigmask: 0,
            sigmask_size: 0,
            min_wait_microseconds: 0,
            timespec: timespec.as_ref().map_or(0, |timespec| std::ptr::from_ref(timespec) as u64),
        };
        let wait_for = u32::from(timeout != Some(Duration::ZERO));
        let flags = ENTER_GETEVENTS | self.enter_flags;
        let entered = seam.pass(Call::Enter as usize).and_then(|_| {
            // SAFETY: `arg` and the timespec it points to live through the call. Everything that
            // the queued entries point to is valid, by the contract of `push`.
            let done = unsafe {
                libc::syscall(
                    libc::SYS_io_uring_enter,
                    self.enter_fd,
                    to_submit,
                    wait_for,
                    flags,
                    &raw const arg,
                    size_of::<GetEventsArg>(),
                )
            };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
        match entered {
            Ok(()) => Ok(Entered::Done),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::ETIME) => Ok(Entered::Done),
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => Ok(Entered::Busy),
                _ => Err(error),
            },
        }
    }

    /// Takes the next completion out of the queue.
    pub(crate) fn pop(&mut self) -> Option<Completion> {
        #[cfg(feature = "faults")]
        if let Some(staged) = self.faults.next() {
            return Some(staged);
        }
        let entry = self.uring.completion().next()?;
        Some(Completion::of(&entry))
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Makes the kernel write to this eventfd at each completion.
    pub(crate) fn register_eventfd(&self, seam: &Seam, fd: BorrowedFd<'_>) -> io::Result<()> {
        seam.pass(Call::Register as usize)?;
        self.uring.submitter().register_eventfd(fd.as_raw_fd())
    }

    /// Ends what `register_eventfd` started.
    pub(crate) fn unregister_eventfd(&self) -> io::Result<()> {
        self.uring.submitter().unregister_eventfd()
    }

    pub(crate) fn register_buffers<H>(&self, seam: &Seam, buffers: &BufferRing<H>) -> io::Result<()> {
        seam.pass(Call::Register as usize)?;
        let Registered { address, entries, group, flags } = buffers.to_register();
        // SAFETY: the entries are page-aligned, and there are as many as `entries` says. The kernel
        // pins their pages, and reads and writes them when a request picks a buffer. During set-up,
        // the kernel has been given no buffer, so it can pick none. After that, `buffers` belong to
        // the pool, which outlives every request, or is leaked: see the barrier in `op.rs`.
        unsafe { self.uring.submitter().register_buf_ring_with_flags(address, entries, group, flags) }
    }

    pub(crate) fn unregister_buffers<H>(&self, buffers: &BufferRing<H>) -> io::Result<()> {
        self.uring.submitter().unregister_buf_ring(buffers.group() as u16)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use executor::WakeFd;

    use super::*;
    use crate::calls::NAMES;
    use crate::features::{Feature, Features};

    /// Completions that find the queue full wait in the kernel until an enter brings them. Until
    /// then, a send that did not complete may have failed.
    #[test]
    fn nothing_is_through_while_completions_lie_in_the_kernel() {
        const ROOM: u32 = 4;
        let seam = Seam::new(NAMES);
        let (size, mut features) = (setup::Size { submissions: ROOM, completions: ROOM }, Features::ALL);
        // Where io_uring is closed, there is no queue to fill.
        let Ok(mut ring) = Ring::new(&seam, size, false, &mut features) else { return };
        assert_eq!(ring.completion_entries(), ROOM);
        for round in 0..2 {
            for number in 0..ROOM {
                assert!(ring.push_plain(opcode::Nop::new().build(), u64::from(round * ROOM + number)));
            }
            assert!(!ring.is_through(), "the kernel has not taken them");
            ring.enter(&seam, Some(Duration::ZERO)).unwrap();
            assert_eq!(ring.is_through(), round == 0, "after {} completions", (round + 1) * ROOM);
        }
        let mut reaped = std::iter::from_fn(|| ring.pop()).map(|completion| completion.user_data).collect::<Vec<_>>();
        assert_eq!(reaped, [0, 1, 2, 3]);
        assert!(!ring.is_through(), "the queue is empty, and the rest is not in it yet");
        assert!(ring.has_business(), "an enter brings it");
        ring.enter(&seam, Some(Duration::ZERO)).unwrap();
        assert!(ring.is_through());
        reaped.extend(std::iter::from_fn(|| ring.pop()).map(|completion| completion.user_data));
        assert_eq!(reaped, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    /// The end of its target says everything. An answer of the cancel would be a second completion,
    /// and no place is kept for it.
    #[test]
    fn a_quiet_cancel_that_finds_its_target_does_not_answer() {
        const TARGET: u64 = 1;
        let seam = Seam::new(NAMES);
        let (size, mut features) = (setup::Size { submissions: 8, completions: 8 }, Features::ALL);
        let Ok(mut ring) = Ring::new(&seam, size, false, &mut features) else { return };
        if !features.has(Feature::QuietSend) {
            return;
        }
        let silent = WakeFd::new().unwrap();
        for (is_quiet, answers) in [(true, 0), (false, 1)] {
            assert!(ring.poll(silent.as_fd(), false, TARGET));
            ring.enter(&seam, Some(Duration::ZERO)).unwrap();
            assert!(ring.cancel(TARGET, 2, is_quiet));
            (0..3).for_each(|_| assert_eq!(ring.enter(&seam, Some(Duration::ZERO)).unwrap(), Entered::Done));
            let ends: Vec<_> = std::iter::from_fn(|| ring.pop()).collect();
            let of_target = ends.iter().filter(|end| end.user_data == TARGET && end.result == -libc::ECANCELED).count();
            assert_eq!((of_target, ends.len()), (1, 1 + answers), "{ends:?}");
        }
    }
}
