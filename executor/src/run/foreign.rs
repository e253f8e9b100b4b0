//! Calls of foreign code: wakers, destructors, hooks. Any of them may panic. The payload of a panic
//! has a destructor, which may panic, too.
//!
//! The rule: a call of foreign code is guarded, or comes after everything that must happen. If a
//! destructor panics while another panic unwinds, the process ends. The same happens if two
//! destructors panic in one `Vec`. So things are dropped one by one.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls foreign code, and returns its panic.
pub(crate) fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, Payload> {
    catch_unwind(AssertUnwindSafe(act))
}

/// Calls foreign code whose panic concerns nothing else. std's panic hook has reported the panic,
/// and it ends here. It is cold, so that it is never inlined into a hot path.
#[cold]
pub(crate) fn contain(act: impl FnOnce()) {
    if let Err(payload) = guarded(act) {
        dispose(payload);
    }
}

/// Drops a payload. If its destructor panics, the payload of that panic is forgotten: dropping it
/// could panic again, without end.
pub(crate) fn dispose(payload: Payload) {
    guarded(|| drop(payload)).unwrap_or_else(std::mem::forget);
}

/// Drops each item by itself.
pub(crate) fn drop_each<T>(all: impl IntoIterator<Item = T>) {
    all.into_iter().for_each(|one| contain(|| drop(one)));
}

/// Returns the first of two panics. The other one ends here.
pub(crate) fn first_panic(first: Result<(), Payload>, second: Result<(), Payload>) -> Option<Payload> {
    match (first, second) {
        (Err(first), Err(second)) => {
            dispose(second);
            Some(first)
        }
        (first, second) => first.err().or(second.err()),
    }
}
