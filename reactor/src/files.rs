//! Files without readiness: reads and writes at an offset, on threads that may block.
//!
//! For a regular file, epoll answers EPERM: the file is always "ready", but a read that finds
//! nothing in the page cache blocks all the same. So there is no event to wait for, and the wait
//! must happen on another thread: in the runtime's pool
//! ([`Reactor::unblock`](executor::Executor::unblock)), which bounds how many reads and writes run
//! at once. The proactor needs no such pool.
//!
//! A thread that reads can't be stopped. So it must not use the program's buffer, which need not be
//! `Send` and which its future may drop at any moment. It uses its own buffer, of 1 MiB at most,
//! and the price is one copy.

use std::fs::OpenOptions;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use executor::{BufResult, Files, IoBuf, IoBufMut, RandomAccess, allocate, closed, empty_buffer};

use crate::reactor::Reactor;

/// The most bytes that one read or write moves.
const MOST: usize = 1 << 20;

/// A file, read and written at offsets with the methods of [`RandomAccess`].
///
/// If there are more reads and writes than
/// [`BlockingConfig::max_threads`](executor::BlockingConfig::max_threads), they wait for each
/// other. Beyond its `max_jobs`, they fail with `ResourceBusy`. Dropping the future of a job that
/// has not begun, because all threads are busy, removes the job. The last job or handle to end
/// closes the file, on the pool if need be.
///
/// ```
/// use reactor::{File, RandomAccess, Reactor};
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("reactor-file-{}", std::process::id()));
/// let rt = Reactor::new()?;
/// let options = std::fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).clone();
/// let file = File::open(&rt, &path, &options)?;
/// rt.block_on(async {
///     assert_eq!(file.write_at("hello", 3).await.0?, 5);
///     file.sync().await?;
///     let (count, bytes) = file.read_at(vec![0; 100], 2).await;
///     assert_eq!(&bytes[..count?], b"\0hello");
///     Ok(())
/// })
/// # .and_then(|()| std::fs::remove_file(path))
/// # }
/// ```
#[derive(Debug)]
pub struct File {
    /// Each job holds a reference too, so that the number can't become another file's in the
    /// meantime.
    file: Arc<std::fs::File>,
    reactor: Reactor,
}

impl File {
    /// Opens a file. This looks the path up at once, and blocks as long as the file system takes.
    ///
    /// # Errors
    /// The errors of open(2); [`closed`] after the end of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{File, Reactor};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = Reactor::new()?;
    /// let file = File::open(&rt, "Cargo.toml", std::fs::OpenOptions::new().read(true))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(reactor: &Reactor, path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<File> {
        reactor.open_file(path, options)
    }

    /// Takes a file that is already open: a regular one or a block device. (A file that was opened
    /// to append ignores the offsets of writes.)
    ///
    /// # Errors
    /// [`closed`] after the end of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{File, RandomAccess, Reactor};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = Reactor::new()?;
    /// let file = File::from_std(&rt, std::fs::File::open("Cargo.toml")?)?;
    /// let (count, start) = rt.block_on(file.read_at([0; 9], 0));
    /// assert_eq!(&start[..count?], b"[package]");
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_std(reactor: &Reactor, file: std::fs::File) -> io::Result<File> {
        if reactor.context.closed.get() {
            return Err(closed());
        }
        Ok(File { file: Arc::new(file), reactor: reactor.clone() })
    }

    /// Runs `act` on a thread of the pool.
    fn elsewhere<T, F>(&self, act: F) -> impl Future<Output = io::Result<T>>
    where
        T: Send + 'static,
        F: FnOnce(&std::fs::File) -> io::Result<T> + Send + 'static,
    {
        let file = Arc::clone(&self.file);
        self.reactor.unblock_io(move || act(&file))
    }
}

impl Files for Reactor {
    type File = File;

    fn file_from_std(&self, file: std::fs::File) -> io::Result<File> {
        File::from_std(self, file)
    }
}

impl RandomAccess for File {
    async fn read_at<B: IoBufMut>(&self, mut buf: B, offset: u64) -> BufResult<usize, B> {
        let len = buf.bytes().len().min(MOST);
        if len == 0 {
            return (Err(empty_buffer()), buf);
        }
        let read = move |file: &std::fs::File| {
            let mut bytes = allocate(len)?;
            let count = file.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        };
        let bytes = self.elsewhere(read).await;
        let count = bytes.map(|bytes| {
            buf.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        });
        (count, buf)
    }

    async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<usize, B> {
        let bytes = buf.bytes();
        let bytes = bytes[..bytes.len().min(MOST)].to_vec();
        (self.elsewhere(move |file| file.write_at(&bytes, offset)).await, buf)
    }

    async fn sync(&self) -> io::Result<()> {
        self.elsewhere(std::fs::File::sync_all).await
    }

    fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
