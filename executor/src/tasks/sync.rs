//! The primitives that cross threads, from std; from loom or shuttle when they check them.

pub(crate) use std::sync::Arc;

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, atomic};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::{Mutex, atomic};

/// Locks what is never left halfway, also if somebody panicked with the lock.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
