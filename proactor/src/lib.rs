//! A small single-threaded async runtime over io_uring: completion.
//!
//! We tell io_uring *what* to read or write, and it reports when that is done. The sibling crate
//! `reactor` learns from epoll *that* a socket can be read, and reads it. Both have the same names
//! for the same things, so a program changes sides in one line.
//!
//! ```
//! use proactor::{Builder, Listener, Reader, TcpListener, TcpStream, Writer};
//!
//! # fn example() -> std::io::Result<()> {
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
//! # fn main() {
//! #     // Where io_uring is closed there is nothing to show.
//! #     if proactor::Proactor::new().is_ok() { example().unwrap() }
//! # }
//! ```
//!
//! # Words and files
//!
//! The words of the Proactor pattern, and where they live here:
//!
//! | word | file |
//! |---|---|
//! | initiator: the first poll of a future | `tcp.rs`, `datagram.rs`, `files.rs`, `net.rs` |
//! | asynchronous operation | `op.rs`, which says what owns the memory while the kernel works: start there. `op/` has one file for each operation |
//! | asynchronous operation processor: the kernel | behind `ring.rs`; `submit.rs` passes it the operations |
//! | completion event: a CQE | `driver.rs` passes it on |
//! | completion handler: the waker of the task that waits | `ticket.rs` for one operation, `hold.rs` for what arrives at a socket |
//!
//! `socket.rs` keeps what has arrived and knows what is in flight. `buffer.rs` keeps a program's
//! buffer where the kernel finds it. `pool.rs` is the memory that `recv` lends. `builder.rs` sets
//! up a runtime. `ring/probe.rs` finds out what the kernel can do, and `features.rs` names it.
//!
//! # Threads
//!
//! A runtime stays on the thread that built it, with everything that belongs to it. Other threads
//! use its [`RemoteHandle`]. For several cores, see [`run_on_each_core`].
//!
//! ```compile_fail
//! fn crosses_threads<T: Send>() {}
//! crosses_threads::<proactor::Proactor>();
//! ```
//!
//! ```compile_fail
//! fn crosses_threads<T: Send>() {}
//! crosses_threads::<proactor::TcpStream>();
//! ```
//!
//! # Fairness
//!
//! The executor defines the [contract](executor#fairness). This runtime adds its own limits. A
//! multishot receive is stopped when four chunks (of 32 KiB) lie unread on a stream, and a
//! multishot accept when 64 connections lie unaccepted. What is on its way by then still arrives;
//! up to some 70 chunks were seen, and as many connections as the backlog has. After a task has
//! taken 16 of them in a row (the drain cap), it goes to the back of the queue. Every other call is
//! one operation, and so takes one turn. A turn handles at most as many completions as the queue
//! holds.
//!
//! # Kernel
//!
//! Linux 5.11 or later. Features of newer kernels are probed and used: see [`Feature`].

mod buffer;
mod builder;
mod calls;
mod context;
mod datagram;
mod driver;
mod error;
#[cfg(feature = "faults")]
mod faults;
mod features;
mod files;
mod hold;
mod net;
mod op;
mod pool;
mod proactor;
mod ring;
mod socket;
mod submit;
mod sys;
mod tcp;
mod ticket;

pub use crate::builder::Builder;
pub use crate::datagram::{DatagramPort, UdpSocket, UnixDatagram};
pub use crate::driver::UringDriver;
pub use crate::error::{Gate, SetupError};
pub use crate::features::{Feature, Features};
pub use crate::files::File;
pub use crate::net::{PipeReader, PipeWriter, Signals, UnixListener, UnixStream};
pub use crate::pool::Chunk;
pub use crate::proactor::Proactor;
pub use crate::tcp::{ListenSocket, ReadHalf, StreamSocket, TcpListener, TcpStream, WriteHalf};
pub use executor::{
    AbortHandle, BlockingConfig, BlockingStats, BufResult, Closed, Config, Datagram, DriverStats, Elapsed, Files,
    Interval, IoBuf, IoBufMut, JoinError, JoinHandle, JoinSet, ListenOptions, Listener, MissedTickBehavior, Net,
    PanicPayload, RandomAccess, Reader, RemoteHandle, RemoteTask, Runtime, Sleep, Slice, SpawnError, Stall, StallWatch,
    Stats, Stdin, Stdout, StopHandle, Stream, Worker, Writer, copy, copy_bidirectional, run_on_each_core, yield_now,
};
#[cfg(feature = "faults")]
pub use executor::{Editor, Judge, Report, Verdict};
