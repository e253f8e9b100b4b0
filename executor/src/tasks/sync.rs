//! The primitives that cross threads. They come from std, or from loom or shuttle when one of those
//! checks them.

pub(crate) use std::sync::Arc;

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, atomic};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::{Mutex, atomic};

/// Locks a mutex whose data is consistent even after a panic, so it ignores poisoning.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
