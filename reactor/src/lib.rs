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
//! `net.rs` makes TCP out of it, `datagram.rs` datagrams, `process.rs` pipes, signals and children, `pool.rs` the memory that
//! `recv` lends, `async_fd.rs` lets any pollable descriptor in, `fs.rs` is for files, which epoll can't watch, `cores.rs`
//! puts a runtime on each of several cores.
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
mod calls;
mod datagram;
mod driver;
mod epoll;
#[cfg(feature = "faults")]
mod faults;
mod fs;
mod net;
mod pool;
mod process;
mod source;

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use executor::Executor;

use crate::driver::Sources;
use crate::epoll::{Epoll, Sys};
use crate::pool::Pool;

pub use crate::async_fd::AsyncFd;
pub use crate::datagram::{DatagramPort, UdpSocket, UnixDatagram, UnixListener, UnixStream};
pub use crate::driver::EpollDriver;
pub use crate::fs::File;
pub use crate::net::{ListenSocket, ReadHalf, StreamSocket, TcpListener, TcpStream, WriteHalf};
pub use crate::pool::Chunk;
pub use crate::process::{PipeReader, PipeWriter, Signals};
pub use crate::source::Direction;
pub use executor::{
    AbortHandle, BlockingConfig, BlockingStats, BufResult, Closed, Config, Datagram, DriverStats, Elapsed, Files,
    Interval, IoBuf, IoBufMut, JoinError, JoinHandle, JoinSet, ListenOptions, Listener, MissedTickBehavior, Net,
    PanicPayload, RandomAccess, Reader, RemoteHandle, RemoteTask, Runtime, Sleep, Slice, SpawnError, Stall, StallWatch,
    Stats, Stdin, Stdout, StopHandle, Stream, Worker, Writer, copy, copy_bidirectional, run_on_each_core, yield_now,
};
#[cfg(feature = "faults")]
pub use executor::{Editor, Judge, Report, Verdict};

/// How epoll is asked to report a descriptor. See `source.rs` for what follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// As long as it is ready.
    Level,
    /// When it becomes ready.
    #[default]
    Edge,
}

/// What driver, sources and streams of a runtime share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) sys: Sys,
    pub(crate) pool: Rc<Pool>,
    pub(crate) trigger: Trigger,
    pub(crate) closed: Cell<bool>,
    /// `None` once the runtime has ended. No foreign code runs while this is borrowed.
    pub(crate) sources: RefCell<Option<Sources>>,
}

/// The runtime. What [`Builder::build`] returns is its owner, and dropping that ends it; clones are
/// handles, which keep nothing alive. Most of its methods are those of [`Executor`].
#[derive(Clone, Debug)]
pub struct Reactor {
    executor: Executor<EpollDriver>,
    context: Rc<Context>,
}

impl Reactor {
    /// A runtime with the defaults: edge-triggered.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> io::Result<Reactor> {
        Builder::new().build()
    }
}

impl Deref for Reactor {
    type Target = Executor<EpollDriver>;

    fn deref(&self) -> &Self::Target {
        &self.executor
    }
}

/// Sets a runtime up.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    trigger: Trigger,
    config: Config,
    without_pwait2: bool,
}

impl Builder {
    /// The defaults: edge-triggered, and those of [`Config`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Chooses level or edge.
    pub fn trigger(mut self, trigger: Trigger) -> Builder {
        self.trigger = trigger;
        self
    }

    /// Limits and hooks that every runtime has.
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// Looks for work for so long before it sleeps: see [`Config::spin`].
    pub fn spin(mut self, spin: Duration) -> Builder {
        self.config.spin = spin;
        self
    }

    /// Waits as on a kernel without `epoll_pwait2`: in whole milliseconds.
    pub fn without_pwait2(mut self) -> Builder {
        self.without_pwait2 = true;
        self
    }

    /// Makes the runtime, on the thread that will run it.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and eventfd(2): no free descriptors, no memory.
    pub fn build(self) -> io::Result<Reactor> {
        let sys = Sys::new();
        let sources = Sources::new(Epoll::new(&sys, !self.without_pwait2)?);
        let context = Rc::new(Context {
            sys,
            pool: Rc::default(),
            trigger: self.trigger,
            closed: Cell::new(false),
            sources: RefCell::new(Some(sources)),
        });
        let driver = EpollDriver::new(Rc::clone(&context))?;
        Ok(Reactor { executor: Executor::new(driver, self.config), context })
    }
}
