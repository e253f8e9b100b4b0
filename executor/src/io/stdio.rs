//! The standard input and output as streams.
//!
//! Both may be anything: a terminal, a pipe, a file. Some of these cannot be watched. And making
//! one non-blocking would make it so for every process that shares it, the shell included. So
//! blocking calls do the work, on threads.
//!
//! **Input.** One thread named "stdin" serves the whole process. It is a pool of its own, and each
//! read is a job. It reads only on request, at most 32 KiB at once. If no caller waits for the
//! bytes any more, it keeps them for the next caller. It is not the runtime's pool, because a read
//! of a terminal ends only when a user types. So the end of a runtime doesn't wait for this read,
//! and the end of the process ignores it. At most that one thread and that one buffer are ever left
//! behind.
//!
//! **Output.** Each write is a job on the runtime's pool. A write that cannot proceed (into a full
//! pipe) delays the end of the runtime until its deadline, as every blocking job does.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, Mutex};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

use crate::io::buf::{BufResult, IoBuf, IoBufMut, empty_buffer};
use crate::io::runtime::{Reader, Writer};
use crate::run::blocking::{Blocking, BlockingConfig, Pool};
use crate::run::driver::Driver;
use crate::run::executor::Executor;
use crate::tasks::sync::lock;

/// The most bytes of one read or write.
const MOST: usize = 32 * 1024;

static THREAD: LazyLock<Arc<Pool>> =
    LazyLock::new(|| Pool::new("stdin", BlockingConfig { max_threads: 1, ..BlockingConfig::default() }));
/// The result of a read, until a caller takes it.
static KEPT: Mutex<Option<io::Result<Vec<u8>>>> = Mutex::new(None);

/// Reads once, on the thread "stdin", unless a result is still kept. Nothing else fills `KEPT`.
fn read() {
    if lock(&KEPT).is_some() {
        return;
    }
    let mut buffer = vec![0; MOST];
    let read = read_patiently(&mut buffer);
    *lock(&KEPT) = Some(read.map(|count| buffer[..count].to_vec()));
}

fn read_patiently(buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match io::stdin().read(buffer) {
            // std also says this for a descriptor that is open for writing only.
            Ok(0) if fcntl_getfl(io::stdin())? & OFlags::ACCMODE == OFlags::WRONLY => return Err(Errno::BADF.into()),
            Err(error) => wait_or_fail(error, &io::stdin(), PollFlags::IN)?,
            read => return read,
        }
    }
}

/// Writes all, and flushes.
fn write_patiently(mut bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    loop {
        // What an error leaves unwritten stays in std's buffer, or in `bytes`.
        let written = if bytes.is_empty() { stdout.flush().map(|()| 0) } else { stdout.write(bytes) };
        match written {
            Ok(0) if bytes.is_empty() => return Ok(()),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => wait_or_fail(error, &stdout, PollFlags::OUT)?,
        }
    }
}

/// Blocks until `file` is ready, if that is all that is wrong with it: another process that shares
/// it may have made it non-blocking.
fn wait_or_fail(error: io::Error, file: &impl AsFd, events: PollFlags) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock => match poll(&mut [PollFd::new(file, events)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        },
        _ => Err(error),
    }
}

/// The standard input: see [`Executor::stdin`].
///
/// # Examples
///
/// ```
/// use executor::{Reader, Stdin};
///
/// async fn count(mut stdin: Stdin) -> std::io::Result<usize> {
///     let mut count = 0;
///     loop {
///         match stdin.recv().await?.len() {
///             0 => return Ok(count),
///             more => count += more,
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Stdin(());

impl Stdin {
    /// Waits for the next bytes, at most `most`.
    async fn next(&self, most: usize) -> io::Result<Vec<u8>> {
        let take = || {
            let mut kept = lock(&KEPT);
            let mut read = kept.take()?;
            *kept = read.as_mut().ok().filter(|bytes| bytes.len() > most).map(|bytes| Ok(bytes.split_off(most)));
            Some(read)
        };
        loop {
            if let Some(read) = take() {
                return read;
            }
            // Another caller may take what this job reads; then the loop starts another.
            Blocking::start(&THREAD, read).await.map_err(io::Error::other)?;
        }
    }
}

impl Reader for Stdin {
    type Chunk = Vec<u8>;

    async fn recv(&mut self) -> io::Result<Vec<u8>> {
        self.next(MOST).await
    }

    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        if buf.bytes().is_empty() {
            return (Err(empty_buffer()), buf);
        }
        let read = self.next(buf.bytes().len()).await;
        let count = read.map(|bytes| {
            buf.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        });
        (count, buf)
    }
}

/// The standard output: see [`Executor::stdout`].
///
/// # Examples
///
/// ```
/// use executor::{Driver, Stdout, Writer};
///
/// async fn greet<D: Driver>(stdout: &mut Stdout<D>) -> std::io::Result<()> {
///     stdout.write_all("hello\n").await.0
/// }
/// ```
#[derive(Debug)]
pub struct Stdout<D: Driver> {
    executor: Executor<D>,
    /// A write was dropped while it waited.
    is_broken: bool,
}

impl<D: Driver> Writer for Stdout<D> {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        if self.is_broken {
            let text = "an earlier write was dropped midway: how much of it was written is unknown";
            return (Err(io::Error::new(io::ErrorKind::BrokenPipe, text)), buf);
        }
        let bytes = buf.bytes();
        let bytes = bytes[..bytes.len().min(MOST)].to_vec();
        self.is_broken = true;
        let write = move || write_patiently(&bytes).map(|()| bytes.len());
        let result = self.executor.unblock_io(write).await;
        self.is_broken = false;
        (result, buf)
    }

    async fn write_all<B: IoBuf>(&mut self, mut buf: B) -> BufResult<(), B> {
        let (mut written, len) = (0, buf.bytes().len());
        while written < len {
            let (result, slice) = self.write(buf.slice(written..len)).await;
            buf = slice.into_inner();
            match result {
                Ok(count) => written += count,
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Driver> Executor<D> {
    /// Returns the standard input. All its readers, here and through std, share its bytes: each
    /// gets some. Waiting for input delays neither the end of a runtime nor the end of the process.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor, Reader};
    /// # async fn example<D: Driver>(rt: &Executor<D>) -> std::io::Result<()> {
    /// let typed = rt.stdin().recv().await?;
    /// println!("{} bytes", typed.len());
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdin(&self) -> Stdin {
        Stdin(())
    }

    /// Returns the standard output. When a write completes, its bytes have left the process. The
    /// [`shutdown`](Writer::shutdown) does nothing, because others write there, too.
    ///
    /// ```
    /// # use executor::{Driver, Executor, Reader, Writer};
    /// # async fn example<D: Driver>(rt: &Executor<D>) -> std::io::Result<()> {
    /// let (mut stdin, mut stdout) = (rt.stdin(), rt.stdout());
    /// loop {
    ///     let chunk = stdin.recv().await?;
    ///     if chunk.is_empty() {
    ///         return Ok(());
    ///     }
    ///     stdout.write_all(chunk).await.0?;
    /// }
    /// # }
    /// ```
    pub fn stdout(&self) -> Stdout<D> {
        Stdout { executor: self.clone(), is_broken: false }
    }
}
