//! The eventfds around a ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use executor::{Seam, Unpark, WakeFd};

use super::Ring;
use crate::calls::Call;

/// The eventfd that ends the ring's sleep, and the one that ends the sleep of a foreign loop.
///
/// They can't be the same: the ring writes to the second at each completion, and completes at each
/// write to the first.
#[derive(Debug)]
pub(crate) struct WakeFds {
    inner: WakeFd,
    outer: OnceLock<WakeFd>,
}

impl WakeFds {
    pub(crate) fn new(seam: &Seam) -> io::Result<WakeFds> {
        Ok(WakeFds { inner: eventfd(seam)?, outer: OnceLock::new() })
    }

    /// Returns the number of system calls made to wake.
    pub(crate) fn writes(&self) -> u64 {
        self.inner.writes() + self.outer.get().map_or(0, WakeFd::writes)
    }

    /// Returns the foreign loop's eventfd. The first call makes it and registers it with the ring.
    pub(crate) fn outer(&self, ring: &Ring, seam: &Seam) -> io::Result<BorrowedFd<'_>> {
        if self.outer.get().is_none() {
            let fd = eventfd(seam)?;
            ring.register_eventfd(seam, fd.as_fd())?;
            let _ = self.outer.set(fd);
        }
        Ok(self.outer.get().expect("just set").as_fd())
    }

    /// Makes the ring's eventfd unreadable until the next wake.
    pub(crate) fn clear(&self, seam: &Seam) {
        if seam.pass(Call::Read as usize).is_ok() {
            self.inner.clear();
        }
    }

    /// Makes the foreign loop's eventfd unreadable until the next completion. Returns whether it
    /// exists and could be cleared.
    pub(crate) fn clear_outer(&self, seam: &Seam) -> bool {
        self.outer.get().filter(|_| seam.pass(Call::Read as usize).is_ok()).inspect(|outer| outer.clear()).is_some()
    }

    /// Unregisters the foreign loop's eventfd at the end of the runtime: it is never readable
    /// again.
    pub(crate) fn forget_outer(&self, ring: &Ring, seam: &Seam) {
        if self.outer.get().is_some() && ring.unregister_eventfd().is_ok() {
            self.clear_outer(seam);
        }
    }

    /// Ends the foreign loop's sleep.
    pub(crate) fn write_outer(&self) {
        self.outer.get().into_iter().for_each(WakeFd::unpark);
    }
}

fn eventfd(seam: &Seam) -> io::Result<WakeFd> {
    seam.pass(Call::Eventfd2 as usize)?;
    WakeFd::new()
}

impl AsFd for WakeFds {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Unpark for WakeFds {
    fn unpark(&self) {
        self.inner.unpark();
        self.write_outer();
    }
}
