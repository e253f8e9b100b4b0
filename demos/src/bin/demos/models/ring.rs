//! The two queues of io_uring, for the rungs that use it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, anyhow};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::counters::{Call, Counters};
use crate::engine::Engine;

/// Requests that fit the queue. When it is full, the kernel takes them early.
const SUBMISSIONS: u32 = 1024;
/// Completions that fit the queue. The kernel keeps what does not.
const COMPLETIONS: u32 = 16 * 1024;
/// How often the kernel is asked in a row to take what is queued, if it is short of memory.
const TRIES: usize = 1000;

/// A ring.
pub struct Ring {
    uring: IoUring,
    counters: &'static Counters,
}

impl Ring {
    /// Sets one up.
    pub fn new(counters: &'static Counters) -> anyhow::Result<Ring> {
        Ok(Ring { uring: open()?, counters })
    }

    /// The ring of the io-uring crate, to register things with.
    pub fn uring(&self) -> &IoUring {
        &self.uring
    }

    /// Queues a request. The kernel sees it at the next [`wait`](Self::wait), or at once if the queue is full.
    ///
    /// # Safety
    /// Whatever the request points to stays valid, and is the kernel's alone, until the request has completed.
    pub unsafe fn push(&mut self, request: &squeue::Entry) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        while unsafe { self.uring.submission().push(request) }.is_err() {
            self.enter(0)?;
        }
        Ok(())
    }

    /// Asks to be told when something can be read, once.
    pub fn poll(&mut self, file: BorrowedFd<'_>, events: libc::c_short, name: u64) -> io::Result<()> {
        let events = u32::from(events.cast_unsigned());
        let poll = opcode::PollAdd::new(types::Fd(file.as_raw_fd()), events).build();
        // SAFETY: it points to nothing.
        unsafe { self.push(&poll.user_data(name)) }
    }

    /// Hands over what is queued, sleeps until something has completed, and takes all that has.
    pub fn wait(&mut self, completed: &mut Vec<cqueue::Entry>) -> io::Result<()> {
        completed.clear();
        self.enter(1)?;
        completed.extend(self.uring.completion());
        Ok(())
    }

    fn enter(&mut self, completions: usize) -> io::Result<()> {
        for _ in 0..TRIES {
            self.counters.call(Call::Enter);
            match self.uring.submit_and_wait(completions) {
                Ok(_) => return Ok(()),
                Err(error) => match error.raw_os_error() {
                    // There are completions to be taken first.
                    Some(libc::EBUSY) if completions > 0 => return Ok(()),
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                    _ => return Err(error),
                },
            }
        }
        Err(io::Error::other("the kernel takes no more requests: it is out of memory"))
    }
}

/// Says why io_uring is not to be had here.
pub fn check() -> anyhow::Result<()> {
    let uring = open()?;
    let mut probe = Probe::new();
    uring.submitter().register_probe(&mut probe).context("the ring does not tell what it can do")?;
    let wanted = [opcode::PollAdd::CODE, opcode::Accept::CODE, opcode::Recv::CODE, opcode::Send::CODE];
    if wanted.into_iter().all(|code| probe.is_supported(code)) { Ok(()) } else { Err(anyhow!("it lacks sockets")) }
}

/// Completions are worked on when the ring is entered, where the kernel can (Linux 6.1), not whenever they come.
fn open() -> anyhow::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_cqsize(COMPLETIONS);
    let plain = builder.clone();
    let uring = builder.setup_single_issuer().setup_defer_taskrun().build(SUBMISSIONS);
    uring.or_else(|_| plain.build(SUBMISSIONS)).map_err(|error| match Engine::Proactor.check() {
        // The proactor looks for what closes it.
        Err(reason) => anyhow!("io_uring cannot be set up: {reason}; see `demos doctor`"),
        Ok(()) => anyhow!("io_uring cannot be set up: {error}; see `demos doctor`"),
    })
}

/// The descriptor of a socket, as requests name it.
pub fn fd(socket: &impl AsFd) -> types::Fd {
    types::Fd(socket.as_fd().as_raw_fd())
}
