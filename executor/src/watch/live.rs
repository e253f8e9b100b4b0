//! For tests: counts the task headers that are alive. Every waker of a task keeps its header alive.

use std::sync::atomic::{AtomicU64, Ordering};

static HEADERS: AtomicU64 = AtomicU64::new(0);

/// Stands for one header.
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

/// Returns the number of task headers of all runtimes of this process.
pub fn live_headers() -> u64 {
    HEADERS.load(Ordering::Relaxed)
}
