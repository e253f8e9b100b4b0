//! The reports of the kernel.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

/// One report of the kernel about an operation. Only a [`Ring`](super::Ring) makes it, once for
/// each report, and it can't be copied. So what it says is true, and is used once.
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

    /// Returns whether the operation continues, and will complete again.
    pub(crate) fn is_more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// Returns the number of the receive buffer that the kernel used.
    pub(crate) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Returns whether the kernel keeps that buffer, to fill more of it.
    pub(crate) fn keeps_buffer(&self) -> bool {
        cqueue::buffer_more(self.flags)
    }

    /// Takes the descriptor that an accept returned: it is ours from here on. Returns `None` if the
    /// accept failed.
    ///
    /// # Safety
    /// This must be a completion of an accept.
    pub(crate) unsafe fn into_descriptor(self) -> Option<OwnedFd> {
        // SAFETY: the kernel made the descriptor for this completion, which is consumed here, so
        // nothing else owns it.
        (self.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(self.result) })
    }

    /// Makes a completion, as the kernel would report it.
    #[cfg(test)]
    pub(crate) fn for_test(key: executor::Key, result: i32, flags: u32) -> Completion {
        Completion { user_data: key.to_u64(), result, flags }
    }
}
