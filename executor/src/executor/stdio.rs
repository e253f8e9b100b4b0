//! The standard input and output as streams.
//!
//! Both may be anything: a terminal, a pipe, a file. Not all of that can be watched, and making it non-blocking would do so
//! for every process that has it, too, the shell included. So blocking calls do the work, on threads.
//!
//! **Input.** One thread named "stdin", for the whole process, started by the first read. It reads when it is asked to,
//! at most 32 KiB at once, and keeps what nobody waits for any more for the next who asks. It is none of a pool, because
//! a read of a terminal ends when somebody types: the end of a runtime doesn't wait for it, and the end of the process
//! finds it in its read and takes no notice. That one thread and that one buffer are all that is ever left behind.
//!
//! **Output.** Each write is a job on the runtime's pool. One that nobody takes (a full pipe) delays the end of the runtime
//! until its deadline, as every blocking job does.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use super::Executor;
use crate::buf::{BufResult, IoBuf, IoBufMut};
use crate::driver::Driver;
use crate::runtime::{Reader, Writer};

/// Bytes of one read or write at most.
const MOST: usize = 32 * 1024;

/// What was read, and who waits for it.
struct Input {
    has_thread: bool,
    is_wanted: bool,
    ready: Option<io::Result<Vec<u8>>>,
    /// By the number of their handle, which has at most one read under way.
    wakers: BTreeMap<u64, Waker>,
    handles: u64,
}

static INPUT: Mutex<Input> =
    Mutex::new(Input { has_thread: false, is_wanted: false, ready: None, wakers: BTreeMap::new(), handles: 0 });
static WANTED: Condvar = Condvar::new();

fn input() -> MutexGuard<'static, Input> {
    INPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread does.
fn serve() {
    let mut buffer = vec![0; MOST];
    loop {
        let idle = |input: &mut Input| !input.is_wanted;
        drop(WANTED.wait_while(input(), idle).unwrap_or_else(PoisonError::into_inner));
        let read = loop {
            match io::stdin().read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let mut input = input();
        input.is_wanted = false;
        input.ready = Some(read.map(|count| buffer[..count].to_vec()));
        let wakers = std::mem::take(&mut input.wakers);
        drop(input);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// The standard input: see [`Executor::stdin`].
#[derive(Debug)]
pub struct Stdin(u64);

/// A read under way. A waker that stayed behind would keep its runtime's descriptor.
struct Waits(u64);

impl Drop for Waits {
    fn drop(&mut self) {
        let waker = input().wakers.remove(&self.0);
        drop(waker);
    }
}

impl Stdin {
    /// The next bytes, at most so many.
    fn next(&self, most: usize) -> impl Future<Output = io::Result<Vec<u8>>> + use<> {
        let waits = Waits(self.0);
        poll_fn(move |cx| {
            let (waits, waker) = (&waits, cx.waker().clone());
            let mut input = input();
            if let Some(mut read) = input.ready.take() {
                let rest = read.as_mut().ok().filter(|bytes| bytes.len() > most).map(|bytes| bytes.split_off(most));
                input.ready = rest.map(Ok);
                return Poll::Ready(read);
            }
            if !input.has_thread {
                thread::Builder::new().name("stdin".to_owned()).spawn(serve)?;
                input.has_thread = true;
            }
            input.is_wanted = true;
            WANTED.notify_one();
            let known = input.wakers.insert(waits.0, waker);
            drop((input, known));
            Poll::Pending
        })
    }
}

impl Reader for Stdin {
    type Chunk = Vec<u8>;

    fn recv(&mut self) -> impl Future<Output = io::Result<Vec<u8>>> {
        self.next(MOST)
    }

    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        if buf.bytes().is_empty() {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
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
        let mut input = input();
        input.handles += 1;
        Stdin(input.handles)
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
