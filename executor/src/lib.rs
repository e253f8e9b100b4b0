//! The core that the two runtimes share: tasks, wakes, time, buffers, and the traits that programs
//! use. It knows neither epoll nor io_uring, and contains no unsafe code.
//!
//! | you want to ... | begin with |
//! |---|---|
//! | use a runtime in a program of yours | the page of [`reactor`](../reactor/index.html) or of [`proactor`](../proactor/index.html): a whole program, then *What programs use* below |
//! | learn network programming | `demos/README.md`, the course; the page of [`demos`](../demos/index.html) lists its parts |
//! | read the source | *Reading order* at the end of this page |
//!
//! # A task, a turn, a wake
//!
//! A *task* is a future that the [`Executor`] owns. The executor polls it when it is in the queue,
//! and a *wake* puts it into the queue. A poll runs until the future has to wait for something.
//! Then the future leaves its waker there (with a timer, a socket, another task) and returns
//! `Pending`. When no task is ready, or after a bounded batch of polls, the driver has a *turn*: it
//! hands its requests to the kernel, sleeps until something happens or the next timer is due, and
//! reports what *fired*. The executor wakes the tasks that wait for it, and the loop starts again.
//! That is all; the loop is one screen in `run/event_loop.rs`.
//!
//! # What programs use
//!
//! A program gets its runtime from the crate `reactor` or `proactor`.
//!
//! - the runtime: [`Executor`], [`Config`], [`BlockingConfig`], [`StallWatch`], [`Stall`],
//!   [`PanicHook`]
//! - tasks: [`JoinHandle`], [`JoinSet`], [`AbortHandle`], [`yield_now`]; [`JoinError`],
//!   [`SpawnError`], [`PanicPayload`], [`panic_text`]
//! - time: [`Sleep`], [`Interval`], [`MissedTickBehavior`], [`Elapsed`]
//! - other threads: [`RemoteHandle`], [`RemoteTask`]; [`run_on_each_core`], [`run_workers`],
//!   [`Worker`], [`StopHandle`]
//! - traits to write against: [`Runtime`], [`Net`], [`Files`]; [`Listener`], [`Stream`],
//!   [`Reader`], [`Writer`], [`RandomAccess`]
//! - streams: [`TcpListener`], [`ListenOptions`], [`TcpStream`], [`ReadHalf`], [`WriteHalf`],
//!   [`PipeWriter`], [`Stdin`], [`Stdout`]; [`copy`], [`copy_bidirectional`]
//! - datagrams: [`UdpSocket`], [`UnixDatagram`], both a [`DatagramSocket`]; [`Datagram`],
//!   [`Address`], [`LENT_DATAGRAM`]
//! - signals: [`Signals`]
//! - buffers: [`IoBuf`], [`IoBufMut`], [`BufResult`], [`Slice`]
//! - limits and counters: [`POLL_BUDGET`], [`TIME_BUDGET`]; [`Stats`], [`DriverStats`],
//!   [`BlockingStats`]
//! - the end of the runtime: [`Closed`]
//!
//! # What the author of a driver uses
//!
//! - the driver: [`Driver`], [`Fired`], [`Unpark`], [`WakeFd`], [`WaitSlot`]
//! - names of what waits: [`Table`], [`Key`]
//! - what sockets stand on: [`Acceptor`], [`Connection`], [`Port`]
//! - parts of readers and sockets: [`allocate`], [`empty_buffer`], [`closed`]
//! - counting and testing system calls: [`Seam`]; with the feature `faults` also `Judge`,
//!   `Verdict`, `Editor`, `Report`, `judge_setups`, `live_headers`, `queues_of_this_thread`
//!
//! # Threads
//!
//! Calls that would block a runtime's thread go to other threads, a bounded pool:
//! [`spawn_blocking`](Executor::spawn_blocking). The runtime itself stays on its thread, with its
//! tasks, timers, streams and handles. The compiler enforces it:
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
//! Wakers may cross over, and these:
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
//! Anything that is ready runs eventually, no matter what the others do. The promises:
//!
//! | to | promise |
//! |---|---|
//! | tasks | Tasks are polled first come, first served. A task that wakes itself goes to the back of the queue. |
//! | the driver, and through it the kernel's events, timers, other threads | A turn comes after at most [`POLL_BUDGET`] polls or after [`TIME_BUDGET`]. The clock is looked at after every 16 polls, and the first look starts the time. So if polls are long, a turn comes after at most 32 of them. |
//! | timers | They never fire early. They fire in the first turn after their deadline, in the order of their deadlines. Of equal deadlines, the one that was set first fires first. |
//! | streams and listeners | One that is always ready gets a bounded number of calls or chunks, its *drain cap*. Then its task goes to the back of the queue, or waits for the next turn. The docs of the two runtimes give the number. |
//! | tasks that wait for the kernel | A turn takes a bounded number of events. The rest stays ready and comes with the next turn. |
//!
//! So one client that sends as fast as it can hardly delays a hundred others that ask and wait for
//! the answer. The test of this (`ET6` in `tests/RELIABILITY.md`) reports the 99th percentile with
//! that client and without it.
//!
//! What is *not* promised: the executor does not interrupt a poll that does not return. A task that
//! only ever awaits things that are already ready (a channel that it fills itself, for example)
//! keeps the thread to itself. Tasks get turns; bytes, peers and users do not: a client with a
//! thousand connections gets a thousand turns. There are no priorities.
//!
//! # Cancellation
//!
//! Any future may be dropped at any moment. After the drop, the kernel touches no memory and no
//! descriptor that is gone. Each function says under *Cancel safety* what a drop means for the
//! data. In short, on every engine:
//!
//! | dropped | lost |
//! |---|---|
//! | [`accept`](Listener::accept), [`recv`](Reader::recv) | nothing |
//! | [`read`](Reader::read) | no byte of the stream, only the buffer |
//! | [`read_exact`](Reader::read_exact) | what was read so far |
//! | [`write`](Writer::write), [`write_all`](Writer::write_all), [`exchange`](Stream::exchange), before the first poll or when all was sent | nothing |
//! | the same, in between | it is unknown how much was sent, so the writing side is broken |
//! | [`feed`](Writer::feed) | on a proactor its buffer; on a reactor as `write_all` |
//! | [`flush`](Writer::flush) | nothing |
//! | [`recv_from`](DatagramSocket::recv_from), [`recv`](DatagramSocket::recv) | no datagram |
//! | [`read_from`](DatagramSocket::read_from) | no datagram, only the buffer |
//! | [`send_to`](DatagramSocket::send_to), [`send`](DatagramSocket::send) | it is unknown whether the datagram is sent; it is sent whole or not at all |
//! | [`next`](Signals::next) | no signal |
//! | [`wait_for_exit`](Net::wait_for_exit) | nothing; the child goes on |
//! | [`connect`](Runtime::connect), [`connect_unix`](Net::connect_unix) | the attempt |
//! | [`copy`], while it writes | the chunk that it writes, and the writing side |
//! | [`copy_bidirectional`] | both streams, because it owns them |
//! | [`close`](Stream::close) | its result; the stream closes all the same |
//! | [`Sleep`], [`tick`](Interval::tick), [`JoinHandle`], [`join_next`](JoinSet::join_next), [`stopped`](Executor::stopped), [`yield_now`] | nothing |
//! | [`timeout`](Executor::timeout) | what the future in it loses |
//! | [`unblock`](Executor::unblock) | the job, if it has not begun; otherwise its result |
//!
//! To wait for the first of two futures, drop the other when one is ready: `or` of the crate
//! `futures-lite` does so. The table says what the loser loses. A server that ends in good order:
//!
//! ```
//! # use std::time::Duration;
//! use executor::{JoinSet, Listener, Net, Reader, Stream};
//! use futures_lite::future::or;
//!
//! const SIGTERM: i32 = 15;
//!
//! async fn serve<R: Net>(rt: &R, mut listener: R::Listener) -> std::io::Result<()> {
//!     let mut signals = rt.signals([SIGTERM])?;
//!     let mut clients = JoinSet::new();
//!     loop {
//!         let next = async { listener.accept().await.map(Some) };
//!         let end = async { signals.next().await.map(|_| None) };
//!         let Some(stream) = or(next, end).await? else { break };
//!         clients.add(rt.spawn(client(stream)));
//!         // The group keeps the result of each client that has gone until it is taken.
//!         while let Some(Some(_)) = futures_lite::future::poll_once(clients.join_next()).await {}
//!     }
//!     drop(listener);
//!     // The others have ten seconds to finish. The drop of the group cuts those that do not.
//!     let all = async { while clients.join_next().await.is_some() {} };
//!     let _ = rt.timeout(Duration::from_secs(10), all).await;
//!     Ok(())
//! }
//!
//! async fn client<S: Stream>(mut stream: S) {
//!     while let Ok(chunk) = stream.recv().await {
//!         let is_end = executor::IoBuf::bytes(&chunk).is_empty();
//!         if is_end || stream.exchange(chunk).await.is_err() {
//!             break;
//!         }
//!     }
//! }
//! ```
//!
//! A future of a runtime may be polled by another executor. When its runtime ends, a future that
//! waits for a socket, a datagram, a file or a task is woken, and returns an error. A future that
//! waits for a time is not woken: the clock of the runtime stands still ([`Sleep`],
//! [`timeout`](Executor::timeout), [`tick`](Interval::tick)).
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
//! | owner | the value whose drop ends the runtime |
//! | handle | a clone of the owner; it keeps nothing alive |
//!
//! # Reading order
//!
//! | folder | read first | then |
//! |---|---|---|
//! | `tasks/` | `table.rs`, `queue.rs`, `task.rs` | `remote.rs`, the way in for other threads; `group.rs`, a `JoinSet` |
//! | `run/` | `driver.rs`, the boundary; `event_loop.rs`, the loop | `blocking.rs`, threads for calls that block; `foreign.rs`, which guards calls of foreign code; `cores.rs`, one runtime on each core |
//! | `time/` | `timer.rs` | `radix.rs`, the heap |
//! | `io/` | `buf.rs`, `runtime.rs`, `tcp.rs`, which has a drawing of the traits | `net.rs`, `datagram.rs`, `pipe.rs`, `signals.rs`, `files.rs` |
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

/// Buffers, streams, datagrams and files as programs see them, and what a runtime provides for
/// them.
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
