//! Oracles: they see what no address sanitizer sees, the kernel writing to memory that was given back.
//!
//! AddressSanitizer and valgrind watch what the *program* does. A completion-based runtime fails otherwise: it
//! frees a buffer while the kernel still has its address, and the kernel, which no tool instruments, writes
//! there later. Three things make such a write visible, or likely:
//!
//! - [`Quarantine`], a global allocator: what is freed is filled, kept for a while, and looked at again. It
//!   sees writes to any memory that was on the heap.
//! - [`PageBuffer`], a buffer on pages of its own, which are never used again. It sees reads, too, however late.
//! - [`StalledBuffer`], which the kernel can't get done with: an operation on it is stopped in the middle of its
//!   copy for as long as one likes, and no cancel can end it.
//!
//! [`check`] asks the first two, and every test ends with it. An oracle that can't see is no oracle, so the tests
//! of this crate plant kernel writes into freed memory, with a ring of their own, and insist that they are seen.
//!
//! [`forked`] runs something in a forked process, which is unsafe, too, and therefore lives here.

mod fork;
mod pages;
mod quarantine;
mod stall;

pub use fork::forked;
pub use pages::{PageBuffer, touched};
pub use quarantine::{Corruption, Quarantine, Report, in_use, inspect};
pub use stall::{Stall, StalledBuffer};

/// Insists that nobody has touched what was given back.
///
/// # Panics
/// If somebody has; the text says where.
pub fn check() {
    let report = inspect();
    assert_eq!(report.corrupted, 0, "freed memory was written to: {report:?}");
    assert_eq!(touched(), 0, "pages of dropped buffers were touched");
}
