//! A small single-threaded async runtime over epoll: readiness.
//!
//! epoll tells us *that* a socket can be read, and we read it. The sibling crate `proactor` tells
//! io_uring *what* to read, and io_uring reports when that is done. Both have the same names for
//! the same things, so a program changes sides in one line.
//!
//! ```
//! use reactor::{Builder, Listener, Reader, TcpListener, TcpStream, Writer};
//!
//! # fn main() -> std::io::Result<()> {
//! let rt = Builder::new().build()?;
//! rt.block_on(async {
//!     let mut listener = TcpListener::bind(&rt, "127.0.0.1:0".parse().unwrap())?;
//!     let addr = listener.local_addr()?;
//!     let client = rt.spawn({
//!         let rt = rt.clone();
//!         async move {
//!             let mut stream = TcpStream::connect(&rt, addr).await?;
//!             stream.write_all("hello").await.0?;
//!             stream.recv().await
//!         }
//!     });
//!     let mut stream = listener.accept().await?;
//!     let chunk = stream.recv().await?;
//!     stream.write_all(chunk).await.0?;
//!     assert_eq!(&*client.await.unwrap()?, b"hello");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Words and files
//!
//! The words of the Reactor pattern, and where they live here:
//!
//! | word | file |
//! |---|---|
//! | event demultiplexer: epoll | `epoll.rs` |
//! | dispatcher | `driver.rs` |
//! | handle: the source | `source.rs`, with all differences between [`Trigger::Level`] and [`Trigger::Edge`] |
//! | event handler: the waker of the task that waits | `registration.rs` |
//!
//! The files, from the lowest layer up: `sys.rs` (the socket calls), `epoll.rs`, `source.rs`,
//! `context.rs` (what the parts of a runtime share), `driver.rs`, `registration.rs` (a source in
//! use, and a task's place there). These carry `tcp.rs`, `datagram.rs`, `net.rs` (Unix sockets,
//! pipes, signals, children), `async_fd.rs` (any pollable descriptor) and `files.rs` (epoll can't
//! watch files). `pool.rs` holds the memory that `recv` lends.
//!
//! # Threads
//!
//! A runtime stays on the thread that built it, with everything that belongs to it. Other threads
//! use its [`RemoteHandle`]. For several cores, see [`run_on_each_core`].
//!
//! ```compile_fail
//! fn crosses_threads<T: Send>() {}
//! crosses_threads::<reactor::Reactor>();
//! ```
//!
//! ```compile_fail
//! fn crosses_threads<T: Send>() {}
//! crosses_threads::<reactor::TcpStream>();
//! ```
//!
//! # Fairness
//!
//! The executor defines the [contract](executor#fairness). This runtime adds its own limits. After
//! 16 calls that succeed in a row on one source and direction (the drain cap), the task goes to the
//! back of the queue. A call moves at most one chunk (32 KiB), or what the program's buffer holds.
//! A turn takes at most 64 events.
//!
//! # Kernel
//!
//! Linux 3.9 or later. From 5.11 on, sleeps are as fine as the clock (`epoll_pwait2`). Before that,
//! they are rounded up to milliseconds.

mod async_fd;
mod builder;
mod calls;
mod context;
mod datagram;
mod driver;
mod epoll;
#[cfg(feature = "faults")]
mod faults;
mod files;
mod net;
mod pool;
mod reactor;
mod registration;
mod source;
mod sys;
mod tcp;

pub use crate::async_fd::AsyncFd;
pub use crate::builder::Builder;
pub use crate::datagram::{DatagramPort, UdpSocket, UnixDatagram};
pub use crate::driver::EpollDriver;
pub use crate::files::File;
pub use crate::net::{PipeReader, PipeWriter, Signals, UnixListener, UnixStream};
pub use crate::pool::Chunk;
pub use crate::reactor::Reactor;
pub use crate::source::{Direction, Trigger};
pub use crate::tcp::{ListenSocket, ReadHalf, StreamSocket, TcpListener, TcpStream, WriteHalf};
pub use executor::{
    AbortHandle, BlockingConfig, BlockingStats, BufResult, Closed, Config, Datagram, DriverStats, Elapsed, Files,
    Interval, IoBuf, IoBufMut, JoinError, JoinHandle, JoinSet, ListenOptions, Listener, MissedTickBehavior, Net,
    PanicPayload, RandomAccess, Reader, RemoteHandle, RemoteTask, Runtime, Sleep, Slice, SpawnError, Stall, StallWatch,
    Stats, Stdin, Stdout, StopHandle, Stream, Worker, Writer, copy, copy_bidirectional, run_on_each_core, yield_now,
};
#[cfg(feature = "faults")]
pub use executor::{Editor, Judge, Report, Verdict};
