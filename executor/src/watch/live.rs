//! For tests: how many task headers are alive, which is what every waker of a task keeps alive. A build without
//! the feature `faults` counts nothing.

/// Stands for a header.
#[derive(Debug)]
pub(crate) struct Live(());

impl Live {
    #[inline]
    pub(crate) fn new() -> Live {
        #[cfg(feature = "faults")]
        HEADERS.fetch_add(1, Ordering::Relaxed);
        Live(())
    }
}

#[cfg(feature = "faults")]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "faults")]
static HEADERS: AtomicU64 = AtomicU64::new(0);

#[cfg(feature = "faults")]
impl Drop for Live {
    fn drop(&mut self) {
        HEADERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Task headers of all runtimes of this process.
#[cfg(feature = "faults")]
pub fn live_headers() -> u64 {
    HEADERS.load(Ordering::Relaxed)
}
