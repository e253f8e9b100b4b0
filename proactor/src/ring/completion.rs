//! What the kernel reports.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

/// One report of the kernel's about an operation. Only a [`Ring`](super::Ring) makes it, once for each, and it can't be copied: what
/// it says is true, and is believed once.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    pub(super) fn of(entry: &cqueue::Entry) -> Completion {
        Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() }
    }

    /// Returns whether the operation goes on, and will complete again.
    pub(crate) fn is_more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The receive buffer that was used.
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The descriptor that an accept returned: it is ours from here on. `None` if it returned an error.
    ///
    /// # Safety
    /// This is a completion of an accept.
    pub(crate) unsafe fn into_descriptor(self) -> Option<OwnedFd> {
        // SAFETY: the kernel made the descriptor for this completion, which is used up here, so no one else owns it.
        (self.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(self.result) })
    }

    /// One as the kernel would report it.
    #[cfg(test)]
    pub(crate) fn for_test(key: executor::Key, result: i32, flags: u32) -> Completion {
        Completion { user_data: key.to_u64(), result, flags }
    }
}
