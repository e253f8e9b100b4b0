//! A small single-threaded async runtime over io_uring: completion.
//!
//! We tell io_uring *what* to read or write; it tells us when that is done. Its sibling `reactor` is
//! told by epoll *that* a socket can be read, and reads it. Both have the same names for the same
//! things, so a program changes sides in one line.
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
//! # Who is who
//!
//! The Proactor pattern's words, and where they live here. Initiator: a future's first poll, `net.rs`.
//! Asynchronous operation: `op.rs`, which also says what owns the memory while the kernel works; start there.
//! Asynchronous operation processor: the kernel, behind `ring.rs`, which `submit.rs` feeds. Completion event: a CQE, handed
//! out by `driver.rs`. Completion handler: the waker of the task that holds the ticket. `socket.rs` keeps what has arrived
//! and knows what is under way, `buffer.rs` keeps a program's buffer where the kernel finds it, `pool.rs` is the
//! memory that `recv` lends, `datagram.rs` is for datagrams, `process.rs` for pipes, signals and children, `fs.rs` for files,
//! `setup.rs` finds out what the kernel can do.
//!
//! # Threads
//!
//! A runtime stays on the thread that built it, with all that belongs to it; other threads have its
//! [`RemoteHandle`]. For several cores: [`run_on_each_core`].
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
//! The [contract](executor#fairness) is the executor's. What is this runtime's own: a receive that repeats itself is
//! stopped when four chunks (of 32 KiB) lie unread on a stream, and an accept when 64 connections do; what was under
//! way by then still arrives, up to some 70 chunks were seen. They are handed out without a turn in between, and no
//! more come before the next one. All else is one operation, and so one turn, for each call. A turn takes at most as many
//! completions as the queue holds.
//!
//! # Kernel
//!
//! Linux 5.11 or later. What newer ones add is probed and used: see [`Feature`].

mod buffer;
mod calls;
mod datagram;
mod driver;
#[cfg(feature = "faults")]
mod faults;
mod fs;
mod net;
mod op;
mod pool;
mod process;
mod ring;
mod setup;
mod socket;
mod submit;

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use executor::{Executor, Seam};

use crate::pool::Pool;
use crate::submit::Operations;

pub use crate::datagram::{DatagramPort, UdpSocket, UnixDatagram, UnixListener, UnixStream};
pub use crate::driver::UringDriver;
pub use crate::fs::File;
pub use crate::net::{ListenSocket, ReadHalf, StreamSocket, TcpListener, TcpStream, WriteHalf};
pub use crate::pool::Chunk;
pub use crate::process::{PipeReader, PipeWriter, Signals};
pub use crate::setup::{Builder, Feature, Features, Gate, SetupError};
pub use executor::{
    AbortHandle, BlockingConfig, BlockingStats, BufResult, Closed, Config, Datagram, DriverStats, Elapsed, Files,
    Interval, IoBuf, IoBufMut, JoinError, JoinHandle, JoinSet, ListenOptions, Listener, MissedTickBehavior, Net,
    PanicPayload, RandomAccess, Reader, RemoteHandle, RemoteTask, Runtime, Sleep, Slice, SpawnError, Stall, StallWatch,
    Stats, Stdin, Stdout, StopHandle, Stream, Worker, Writer, copy, copy_bidirectional, run_on_each_core, yield_now,
};
#[cfg(feature = "faults")]
pub use executor::{Editor, Judge, Report, Verdict};

/// What the sockets of a runtime share, with or without its driver.
pub(crate) struct Context {
    pub(crate) operations: RefCell<Operations>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) seam: Seam,
    pub(crate) is_closed: Cell<bool>,
    features: Features,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("seam", &self.seam).finish_non_exhaustive()
    }
}

/// The runtime. What [`Builder::build`] returns is its owner, and dropping that ends it; clones are
/// handles, which keep nothing alive. Most of its methods are those of [`Executor`].
#[derive(Clone, Debug)]
pub struct Proactor {
    executor: Executor<UringDriver>,
    context: Rc<Context>,
}

impl Proactor {
    /// A runtime with the defaults.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<Proactor, SetupError> {
        Builder::new().build()
    }

    /// What was probed and is used.
    pub fn features(&self) -> Features {
        self.context.features
    }
}

impl Deref for Proactor {
    type Target = Executor<UringDriver>;

    fn deref(&self) -> &Self::Target {
        &self.executor
    }
}
