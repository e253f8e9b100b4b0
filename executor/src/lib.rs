//! The core that the two runtimes share: tasks, wakes, time, buffers, and the traits a program is
//! written against. It knows neither epoll nor io_uring, and contains no unsafe code.
//!
//! # A task, a turn, a wake
//!
//! A *task* is a future the [`Executor`] owns. It is polled when it is in the queue, and it gets into
//! the queue by a *wake*. A poll runs until the future has to wait for something: it leaves its waker
//! there (with a timer, a socket, another task) and returns `Pending`. When no task is ready, or after
//! a bounded batch, the driver has a *turn*: it hands its requests to the kernel, sleeps until
//! something happens or the next timer is due, and reports what *fired*. The tasks that wait for it
//! are woken, and the loop starts over. That is all; the loop is one screen in `run/event_loop.rs`.
//!
//! # Threads
//!
//! What would block a runtime's thread goes to others, a bounded pool: [`spawn_blocking`](Executor::spawn_blocking).
//! The runtime itself stays on its thread, with its tasks, timers, streams and handles. The compiler sees to it:
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
//! # Fairness
//!
//! Nobody who is ready waits for ever, whatever the others do. What is promised, and to whom:
//!
//! | to | promise |
//! |---|---|
//! | tasks | Polled first come, first served. A task that wakes itself goes to the back of the queue. |
//! | the driver, and through it the kernel's events, timers, other threads | A turn after at most [`POLL_BUDGET`] polls, or [`TIME_BUDGET`], which is looked at every 16 polls: so at most 16 polls late. |
//! | timers | Never early. They fire in the first turn after their deadline, in the order of their deadlines, and then of being set. |
//! | streams and listeners | One that is always ready gets a bounded number of calls or chunks, its *drain cap*, and then its task goes to the back of the queue, or waits for the next turn. The two runtimes say how many. |
//! | those who wait in the kernel | A turn takes a bounded number of events. The rest stays ready, and comes with the next. |
//!
//! So with one client that sends as fast as it can, a hundred others that ask and wait for the answer get it nearly
//! as soon as without it; the test of this (scenario `ET6`) reports the 99th percentile of both.
//!
//! What is *not* promised: a poll that does not return is not interrupted; a task that never awaits anything but what
//! is ready already (its own chunks, an empty channel of its own) has the thread to itself. Turns are dealt out to
//! tasks, not to bytes, peers or users: who has a thousand connections gets a thousand turns. There are no priorities.
//!
//! # Cancellation
//!
//! Any future may be dropped at any moment: nothing of it stays with the kernel that could touch memory or
//! descriptors that are gone. What a drop means for the data is said, for each function, under *Cancel safety*. In
//! short, on every engine:
//!
//! | dropped | lost |
//! |---|---|
//! | [`accept`](Listener::accept), [`recv`](Reader::recv) | nothing |
//! | [`read`](Reader::read) | no byte of the stream, only the buffer |
//! | [`read_exact`](Reader::read_exact) | what was read so far |
//! | [`write`](Writer::write), [`write_all`](Writer::write_all), [`exchange`](Stream::exchange) | once they waited, and unless all was sent: how much was, so the writing side is broken |
//! | [`recv_from`](DatagramSocket::recv_from), [`recv`](DatagramSocket::recv) | no datagram |
//! | [`read_from`](DatagramSocket::read_from) | no datagram, only the buffer |
//! | [`send_to`](DatagramSocket::send_to), [`send`](DatagramSocket::send) | whether the datagram, a whole one, is sent |
//! | [`next`](Signals::next) | no signal |
//! | [`wait_for_exit`](Net::wait_for_exit) | nothing; the child goes on |
//! | [`connect`](Runtime::connect), [`connect_unix`](Net::connect_unix) | the attempt |
//! | [`copy`], while it writes | the chunk that is written, and the writing side |
//! | [`copy_bidirectional`] | both streams, which are its own |
//! | [`close`](Stream::close) | what it would have said; it closes all the same |
//! | [`Sleep`], [`tick`](Interval::tick), [`JoinHandle`], [`join_next`](JoinSet::join_next), [`stopped`](Executor::stopped), [`yield_now`] | nothing |
//! | [`timeout`](Executor::timeout) | what its future loses |
//! | [`unblock`](Executor::unblock) | the job, unless it has begun; then its result |
//!
//! A future of a runtime may be polled by another executor. When its runtime ends, one that waits for a socket, a
//! datagram, a file or a task is woken, and told. One that waits for a time is not: the clock of the runtime stands still
//! ([`Sleep`], [`timeout`](Executor::timeout), [`tick`](Interval::tick)).
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
//! | folder | read first | then |
//! |---|---|---|
//! | `tasks/` | `table.rs`, `queue.rs`, `task.rs` | `remote.rs`, the way in for other threads; `group.rs`, a `JoinSet` |
//! | `run/` | `driver.rs`, the boundary; `event_loop.rs`, the loop | `blocking.rs`, threads for calls that block; `foreign.rs`, which guards calls of foreign code; `cores.rs`, one runtime on each core |
//! | `time/` | `timer.rs` | `radix.rs`, the heap |
//! | `io/` | `buf.rs`, `runtime.rs`, `tcp.rs` | `net.rs`, `datagram.rs`, `pipe.rs`, `signals.rs`, `files.rs` |
//! | `watch/` | | `stats.rs`; `seam.rs`, where tests get between a driver and the kernel |

#![forbid(unsafe_code)]
// The futures of the traits here need not be `Send`: a runtime, its tasks and its streams live on one
// thread by design.
#![allow(async_fn_in_trait)]

/// Tasks, their names, and how a wake brings one back into the queue.
mod tasks {
    pub(crate) mod group;
    pub(crate) mod queue;
    #[cfg(all(test, any(loom, shuttle)))]
    mod queue_loom;
    #[cfg(all(test, shuttle))]
    mod queue_shuttle;
    pub(crate) mod remote;
    pub(crate) mod sync;
    pub(crate) mod table;
    pub(crate) mod task;
}

/// Sleeps, timeouts, intervals, and the heap that orders them.
mod time {
    pub(crate) mod radix;
    pub(crate) mod timer;
}

/// The loop, the driver it runs on, and other threads: for calls that block, and on other cores.
mod run {
    pub(crate) mod blocking;
    pub(crate) mod config;
    pub(crate) mod cores;
    pub(crate) mod driver;
    #[cfg(feature = "faults")]
    mod dump;
    pub(crate) mod event_loop;
    pub(crate) mod executor;
    pub(crate) mod foreign;
    mod foreign_loop;
    pub(crate) mod stall;
    mod wake_all;
    pub(crate) mod wake_fd;
}

/// What programs see of buffers, streams, datagrams, files; and what a runtime provides for that.
mod io {
    pub(crate) mod backoff;
    pub(crate) mod buf;
    pub(crate) mod copy;
    pub(crate) mod datagram;
    pub(crate) mod files;
    mod lookup;
    pub(crate) mod net;
    pub(crate) mod pipe;
    pub(crate) mod runtime;
    pub(crate) mod signals;
    pub(crate) mod stdio;
    pub(crate) mod tcp;
}

/// Counters, and the seam where tests get between a driver and the kernel.
mod watch {
    #[cfg(feature = "faults")]
    pub(crate) mod live;
    pub(crate) mod seam;
    pub(crate) mod stats;
}

#[cfg(feature = "faults")]
pub use crate::tasks::queue::queues_of_this_thread;
#[cfg(feature = "faults")]
pub use crate::watch::live::live_headers;
#[cfg(feature = "faults")]
pub use crate::watch::seam::{Editor, Judge, Report, Verdict, judge_setups};

pub use crate::tasks::group::JoinSet;
pub use crate::tasks::queue::SpawnError;
pub use crate::tasks::remote::{RemoteHandle, RemoteTask};
pub use crate::tasks::table::{Key, Table};
pub use crate::tasks::task::{AbortHandle, JoinError, JoinHandle, PanicPayload, panic_text};

pub use crate::time::timer::{Elapsed, Interval, MissedTickBehavior, Sleep};

pub use crate::run::blocking::BlockingConfig;
pub use crate::run::config::{Closed, Config, PanicHook, closed};
pub use crate::run::cores::{StopHandle, Worker, run_on_each_core, run_workers};
pub use crate::run::driver::{Driver, Fired, Unpark, WaitSlot};
pub use crate::run::event_loop::{POLL_BUDGET, TIME_BUDGET};
pub use crate::run::executor::{Executor, yield_now};
pub use crate::run::stall::{Stall, StallWatch};
pub use crate::run::wake_fd::WakeFd;

pub use crate::io::buf::{BufResult, IoBuf, IoBufMut, Slice, allocate, empty_buffer};
pub use crate::io::copy::{copy, copy_bidirectional};
pub use crate::io::datagram::{Address, Datagram, DatagramSocket, LENT_DATAGRAM, Port, UdpSocket, UnixDatagram};
pub use crate::io::files::{Files, RandomAccess};
pub use crate::io::net::Net;
pub use crate::io::pipe::PipeWriter;
pub use crate::io::runtime::{ListenOptions, Listener, Reader, Runtime, Stream, Writer};
pub use crate::io::signals::Signals;
pub use crate::io::stdio::{Stdin, Stdout};
pub use crate::io::tcp::{Acceptor, Connection, ReadHalf, TcpListener, TcpStream, WriteHalf};

pub use crate::watch::seam::Seam;
pub use crate::watch::stats::{BlockingStats, DriverStats, Stats};
