//! The queues of io_uring, and the one system call that works them.
//!
//! What is switched on, and what it is worth here (CPU per request, 64 connections, Linux 6.18):
//!
//! | what | worth |
//! |---|---|
//! | SINGLE_ISSUER, DEFER_TASKRUN: completions run when we enter the kernel, not as interrupts | 15 %; half of it all at partial load |
//! | the ring's own descriptor is registered | up to 3 % |
//! | NO_SQARRAY: no index array between us and the submissions | up to 2 % |
//! | SUBMIT_ALL: one failing submission doesn't stop its batch | keeps the loop simple |

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::Timespec;
use io_uring::{IoUring, cqueue, squeue};

// From linux/io_uring.h; the io-uring crate keeps them to itself.
const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: libc::c_long = 20;

/// Submissions that fit the queue. When it is full, the kernel takes them early.
const SUBMISSIONS: u32 = 1024;
/// Completions that fit the queue. The kernel keeps what doesn't, but then multishot requests end.
const COMPLETIONS: u32 = 4096;
/// How often the kernel is asked to take what is submitted, if it is short of memory.
const TRIES: usize = 1000;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_microseconds: u32,
    timespec: u64,
}

/// An io_uring instance.
pub struct Ring {
    pub(super) uring: IoUring,
    /// The index of the ring's descriptor among the registered ones.
    index: RawFd,
}

/// How long to wait for a completion.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all, not even for those that are ready in all but name.
    Submit,
    /// Not at all, but take what is ready.
    Look,
    /// Until there is one.
    Sleep,
    /// The same, with an end.
    AtMost(Duration),
}

impl Ring {
    pub fn new() -> io::Result<Ring> {
        let uring = IoUring::builder()
            .dontfork()
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_no_sqarray()
            .build(SUBMISSIONS)?;
        let mut update = ResourceUpdate { offset: u32::MAX, reserved: 0, data: uring.as_raw_fd() as u64 };
        // SAFETY: `update` is one io_uring_rsrc_update that lives through the call.
        let done = unsafe {
            libc::syscall(libc::SYS_io_uring_register, uring.as_raw_fd(), REGISTER_RING_FDS, &raw mut update, 1)
        };
        if done != 1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Ring { uring, index: update.offset.cast_signed() })
    }

    /// Makes a table for this many direct descriptors.
    pub fn register_files(&self, count: u32) -> io::Result<()> {
        self.uring.submitter().register_files_sparse(count)
    }

    /// Queues a submission. The kernel sees it at the next enter, or at once if the queue is full.
    ///
    /// # Safety
    /// Whatever the entry points to stays valid, and untouched, until the kernel is done with it.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.enter(Wait::Submit)?;
        }
        Ok(())
    }

    /// Has the kernel take all that is queued, in order, then waits as said.
    pub fn enter(&mut self, wait: Wait) -> io::Result<()> {
        for _ in 0..TRIES {
            let result = self.enter_once(wait);
            match result.as_ref().map_err(io::Error::raw_os_error) {
                Ok(()) | Err(Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY)) => {}
                Err(_) => return result,
            }
            if self.uring.submission().is_empty() {
                return Ok(());
            }
        }
        Err(io::Error::other("the kernel takes no more requests: it is out of memory"))
    }

    fn enter_once(&mut self, wait: Wait) -> io::Result<()> {
        let to_submit = self.uring.submission().len();
        let timespec;
        let mut arg = GetEventsArg { sigmask: 0, sigmask_size: 0, min_wait_microseconds: 0, timespec: 0 };
        let (wait_for, flags) = match wait {
            Wait::Submit => (0, 0),
            Wait::Look => (0, ENTER_GETEVENTS),
            Wait::Sleep => (1, ENTER_GETEVENTS),
            Wait::AtMost(duration) => {
                timespec = Timespec::from(duration);
                arg.timespec = std::ptr::from_ref(&timespec) as u64;
                (1, ENTER_GETEVENTS | ENTER_EXT_ARG)
            }
        };
        let (arg, size) = match wait {
            Wait::AtMost(_) => (std::ptr::from_ref(&arg), size_of::<GetEventsArg>()),
            _ => (std::ptr::null(), 0),
        };
        // SAFETY: `arg` is null, or points to an argument which, as the timespec in it, lives through the
        // call. What the queued entries point to is valid by the contract of `push`.
        let done = unsafe {
            let flags = flags | ENTER_REGISTERED_RING;
            libc::syscall(libc::SYS_io_uring_enter, self.index, to_submit, wait_for, flags, arg, size)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether there are completions, or will be at the next enter. Costs a look at shared memory.
    pub fn is_ready(&mut self) -> bool {
        self.uring.submission().taskrun() || !self.uring.completion().is_empty()
    }

    /// Takes the next completion out of the queue.
    pub fn pop(&mut self) -> Option<cqueue::Entry> {
        self.uring.completion().next()
    }
}
