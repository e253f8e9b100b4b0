//! A small single-threaded async runtime over epoll: readiness.
//!
//! epoll tells us *that* a socket can be read; we read it. Its sibling `proactor` tells io_uring
//! *what* to read, and is told when that is done. Both have the same names for the same things, so a
//! program changes sides in one line.
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
//! # Who is who
//!
//! The Reactor pattern's words, and where they live here. Event demultiplexer: epoll, `epoll.rs`.
//! Dispatcher: `driver.rs`. Handle: the source, `source.rs`, which also holds everything that differs
//! between [`Trigger::Level`] and [`Trigger::Edge`]. Event handler: the waker of the task that waits.
//!
//! The files from below: `sys.rs` (the socket calls), `epoll.rs`, `source.rs`, `context.rs` (what a runtime's parts share),
//! `driver.rs`, `registration.rs` (a source in use, and a task's place there). On these stand `tcp.rs`, `datagram.rs`,
//! `net.rs` (Unix sockets, pipes, signals, children), `async_fd.rs` (any pollable descriptor) and `files.rs`, which epoll
//! can't watch. `pool.rs` has the memory that `recv` lends.
//!
//! # Threads
//!
//! A runtime stays on the thread that built it, with all that belongs to it; other threads have its
//! [`RemoteHandle`]. For several cores: [`run_on_each_core`].
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
//! The [contract](executor#fairness) is the executor's. What is this runtime's own: 16 calls that succeed in a row on
//! one source and direction are its drain cap, then the task goes to the back of the queue; a call moves at most
//! one chunk (32 KiB) or what the program's buffer holds. A turn takes at most 64 events.
//!
//! # Kernel
//!
//! Linux 3.9 or later; from 5.11 on, sleeps are as fine as the clock (`epoll_pwait2`), before that they
//! are rounded up to milliseconds.

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
