//! The core that the two runtimes share: tasks, wakes, time, buffers, and the traits a program is
//! written against. It knows no kernel and contains no unsafe code.
//!
//! # A task, a turn, a wake
//!
//! A *task* is a future the [`Executor`] owns. It is polled when it is in the queue, and it gets into
//! the queue by a *wake*. A poll runs until the future has to wait for something: it leaves its waker
//! there (with a timer, a socket, another task) and returns `Pending`. When no task is ready, or after
//! a bounded batch, the driver has a *turn*: it hands its requests to the kernel, sleeps until
//! something happens or the next timer is due, and reports what *fired*. The tasks that wait for it
//! are woken, and the loop starts over. That is all; the loop is one screen in `executor.rs`.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | task | a spawned future with its name, in the executor's table |
//! | key | the name of a table's entry: index and generation |
//! | wake | the request to poll a task; at most one is queued per task |
//! | turn | one call of the driver, with or without sleep |
//! | fired | what a turn found: wakers to call, things to drop |
//! | driver | the part that talks to the kernel: `reactor` (epoll) or `proactor` (io_uring) |
//! | owner, handle | the value whose drop ends the runtime; its clones, which keep nothing alive |
//!
//! # Reading order
//!
//! `table.rs`, `queue.rs`, `task.rs`, `executor.rs`; then `timer.rs`, `buf.rs`, `runtime.rs`. The rest
//! is small: `driver.rs` is the boundary, `remote.rs` the way in for other threads, `group.rs` a
//! `JoinSet`, `seam.rs` the place where tests get between a driver and the kernel.

#![forbid(unsafe_code)]
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(loom))]
mod buf;
#[cfg(not(loom))]
mod driver;
#[cfg(not(loom))]
mod executor;
#[cfg(not(loom))]
mod group;
#[cfg(not(loom))]
mod pause;
mod queue;
#[cfg(not(loom))]
mod remote;
#[cfg(not(loom))]
mod runtime;
#[cfg(not(loom))]
mod seam;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod stop;
mod sync;
mod table;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod timer;

#[cfg(all(feature = "faults", not(loom)))]
pub use seam::{Judge, Verdict};
pub use table::{Key, Table};
#[cfg(not(loom))]
pub use {
    buf::{BufResult, IoBuf, IoBufMut, Slice},
    driver::{Driver, Fired, Unpark},
    executor::{Closed, Config, Executor, POLL_BUDGET, PanicHook, TIME_BUDGET, closed, yield_now},
    group::JoinSet,
    pause::AcceptPause,
    remote::{RemoteHandle, RemoteTask, SpawnError},
    runtime::{ListenOptions, Listener, Reader, Runtime, Stream, Writer},
    seam::Seam,
    stats::{DriverStats, Stats},
    task::{AbortHandle, JoinError, JoinHandle, panic_text},
    timer::{Elapsed, Interval, MissedTickBehavior, Sleep},
};
