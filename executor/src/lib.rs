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
//! # Threads
//!
//! A runtime stays on its thread, with its tasks, timers, streams and handles. The compiler sees to it:
//!
//! ```compile_fail
//! fn crosses_threads<T: Send>() {}
//! crosses_threads::<executor::JoinHandle<()>>();
//! ```
//!
//! ```compile_fail
//! fn crosses_threads<T: Send>() {}
//! crosses_threads::<executor::Sleep>();
//! ```
//!
//! What crosses over are wakers, and these:
//!
//! ```
//! fn crosses_threads<T: Send + Sync>() {}
//! crosses_threads::<executor::RemoteHandle>();
//! crosses_threads::<executor::RemoteTask>();
//! crosses_threads::<executor::AbortHandle>();
//! crosses_threads::<executor::StopHandle>();
//! crosses_threads::<executor::JoinError>();
//! ```
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
//! `table.rs`, `queue.rs`, `task.rs`, `executor.rs`; then `timer.rs` with `radix.rs`, `buf.rs`, `runtime.rs`, `tcp.rs`. The
//! rest is small: `driver.rs` is the boundary, `remote.rs` the way in for other threads, `group.rs` a
//! `JoinSet`, `cores.rs` one runtime on each core, `seam.rs` the place where tests get between a driver and the kernel.

#![forbid(unsafe_code)]
// The futures of the traits here need not be `Send`: a runtime, its tasks and its streams live on one
// thread by design.
#![allow(async_fn_in_trait)]

mod buf;
mod cores;
mod driver;
mod executor;
mod group;
mod live;
mod queue;
#[cfg(all(test, loom))]
mod queue_loom;
mod radix;
mod remote;
mod runtime;
mod seam;
mod stats;
mod sync;
mod table;
mod task;
mod tcp;
mod timer;

#[cfg(feature = "faults")]
pub use live::live_headers;
#[cfg(feature = "faults")]
pub use seam::{Editor, Judge, Report, Verdict, judge_setups};
pub use table::{Key, Table};
pub use {
    buf::{BufResult, IoBuf, IoBufMut, Slice, allocate},
    cores::{StopHandle, Worker, run_on_each_core},
    driver::{Driver, Fired, Unpark, WaitSlot},
    executor::{Closed, Config, Executor, POLL_BUDGET, PanicHook, TIME_BUDGET, closed, yield_now},
    group::JoinSet,
    remote::{RemoteHandle, RemoteTask, SpawnError},
    runtime::{ListenOptions, Listener, Reader, Runtime, Stream, Writer},
    seam::Seam,
    stats::{DriverStats, Stats},
    task::{AbortHandle, JoinError, JoinHandle, PanicPayload, panic_text},
    tcp::{Acceptor, Connection, ReadHalf, TcpListener, TcpStream, WriteHalf},
    timer::{Elapsed, Interval, MissedTickBehavior, Sleep},
};
