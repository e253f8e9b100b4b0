//! The standard input and output as streams.
//!
//! Both may be anything: a terminal, a pipe, a file. Not all of that can be watched, and making it non-blocking would do so
//! for every process that has it, too, the shell included. So blocking calls do the work, on threads.
//!
//! **Input.** One thread named "stdin", for the whole process: a pool of its own, of which each read is a job. It reads
//! when it is asked to, at most 32 KiB at once, and keeps what nobody waits for any more for the next who asks. It is not
//! the runtime's pool, because a read of a terminal ends when somebody types: the end of a runtime doesn't wait for it,
//! and the end of the process finds it in its read and takes no notice. That one thread and that one buffer are all that
//! is ever left behind.
//!
//! **Output.** Each write is a job on the runtime's pool. One that nobody takes (a full pipe) delays the end of the runtime
//! until its deadline, as every blocking job does.

use std::io::{self, Read, Write};
use std::sync::{Arc, LazyLock, Mutex};

use crate::io::buf::{BufResult, IoBuf, IoBufMut, empty_buffer};
use crate::io::runtime::{Reader, Writer};
use crate::run::blocking::{Blocking, BlockingConfig, Pool};
use crate::run::driver::Driver;
use crate::run::executor::Executor;
use crate::tasks::sync::lock;

/// Bytes of one read or write at most.
const MOST: usize = 32 * 1024;

static THREAD: LazyLock<Arc<Pool>> =
    LazyLock::new(|| Pool::new("stdin", BlockingConfig { max_threads: 1, ..BlockingConfig::default() }));
/// What was read, until somebody takes it.
static KEPT: Mutex<Option<io::Result<Vec<u8>>>> = Mutex::new(None);

/// What the thread does, which is the only one to fill what is kept.
fn read() {
    if lock(&KEPT).is_some() {
        return;
    }
    let mut buffer = vec![0; MOST];
    let read = loop {
        match io::stdin().read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    *lock(&KEPT) = Some(read.map(|count| buffer[..count].to_vec()));
}

/// The standard input: see [`Executor::stdin`].
#[derive(Debug)]
pub struct Stdin(());

impl Stdin {
    /// The next bytes, at most so many.
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
            // What it reads may be taken by somebody else; then it is asked again.
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
#[derive(Debug)]
pub struct Stdout<D: Driver> {
    executor: Executor<D>,
    /// A write was dropped while it was waited for.
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
        let write = move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&bytes)?;
            stdout.flush().map(|()| bytes.len())
        };
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
    /// The standard input. All that read it, here and through std, share its bytes: each gets some. Waiting for it keeps
    /// neither a runtime nor the process from its end.
    pub fn stdin(&self) -> Stdin {
        Stdin(())
    }

    /// The standard output. What was written has left the process. Its [`shutdown`](Writer::shutdown) does nothing,
    /// because others write there, too.
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
