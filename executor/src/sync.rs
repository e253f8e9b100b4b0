//! The primitives that cross threads, from std; from loom when it checks them.

pub(crate) use std::sync::Arc;

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, atomic};
