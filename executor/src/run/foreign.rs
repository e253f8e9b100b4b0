//! Calls of foreign code: wakers, destructors, hooks. Any of them may panic, and the payload of a panic has a destructor,
//! which may panic, too.
//!
//! The rule: a call of foreign code is guarded, or comes after all that must happen. A panic in a destructor that runs
//! while another panic unwinds ends the process, and so do two in one `Vec`. So things are dropped one by one.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls foreign code, and returns its panic.
pub(crate) fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, Payload> {
    catch_unwind(AssertUnwindSafe(act))
}

/// Calls foreign code whose panic concerns nothing else. std's panic hook has reported it, and it ends here.
/// Not on any hot path, so never a part of one.
#[cold]
pub(crate) fn contain(act: impl FnOnce()) {
    if let Err(payload) = guarded(act) {
        dispose(payload);
    }
}

/// Drops a payload. What its destructor panics with is forgotten: dropping it could go on like that for ever.
pub(crate) fn dispose(payload: Payload) {
    guarded(|| drop(payload)).unwrap_or_else(std::mem::forget);
}

/// Drops each by itself.
pub(crate) fn drop_each<T>(all: impl IntoIterator<Item = T>) {
    all.into_iter().for_each(|one| contain(|| drop(one)));
}

/// The first of two panics. The other ends here.
pub(crate) fn first_panic(first: Result<(), Payload>, second: Result<(), Payload>) -> Option<Payload> {
    match (first, second) {
        (Err(first), Err(second)) => {
            dispose(second);
            Some(first)
        }
        (first, second) => first.err().or(second.err()),
    }
}
