//! For tests: how many task headers are alive, which is what every waker of a task keeps alive.

use std::sync::atomic::{AtomicU64, Ordering};

static HEADERS: AtomicU64 = AtomicU64::new(0);

/// Stands for a header.
#[derive(Debug)]
pub(crate) struct Live(());

impl Live {
    pub(crate) fn new() -> Live {
        HEADERS.fetch_add(1, Ordering::Relaxed);
        Live(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        HEADERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Task headers of all runtimes of this process.
pub fn live_headers() -> u64 {
    HEADERS.load(Ordering::Relaxed)
}
