//! The eventfd that ends a driver's sleep.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::run::driver::Unpark;

/// An eventfd that any thread writes to, to wake the thread that waits on it. The descriptor stays
/// open as long as this exists.
#[derive(Debug)]
pub struct WakeFd {
    eventfd: File,
    writes: AtomicU64,
}

impl WakeFd {
    /// Makes a new eventfd, which is non-blocking.
    ///
    /// # Errors
    /// Those of eventfd(2): no free descriptors, no memory.
    pub fn new() -> io::Result<WakeFd> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?.into();
        Ok(WakeFd { eventfd, writes: AtomicU64::new(0) })
    }

    /// Returns the number of system calls made to wake. Other threads make them, and cannot reach
    /// the [`Seam`](crate::Seam).
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Makes the eventfd unreadable until the next wake.
    pub fn clear(&self) {
        // It fails only if there is nothing to read.
        let _ = (&self.eventfd).read(&mut [0; size_of::<u64>()]);
    }
}

impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl Unpark for WakeFd {
    fn unpark(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        // It can fail only if the counter is full, which is already a wake.
        let _ = (&self.eventfd).write(&1u64.to_ne_bytes());
    }
}
