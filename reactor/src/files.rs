//! Files beside readiness: reads and writes at an offset, on threads that may block.
//!
//! epoll answers EPERM to a regular file: it is always "ready", and a read that finds nothing in the page cache blocks
//! all the same. There is nothing to wait for, so the wait itself has to go elsewhere: to the runtime's pool
//! ([`Reactor::unblock`](executor::Executor::unblock)), which bounds how many reads and writes are under way. The proactor
//! needs no such thing.
//!
//! A thread that reads can't be stopped, and so it must not have the program's buffer, which need not be `Send` and which
//! its future may drop at any moment. It has one of its own, of 1 MiB at most, which is copied once; that is the price.

use std::fs::OpenOptions;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use executor::{BufResult, Files, IoBuf, IoBufMut, RandomAccess, allocate, closed, empty_buffer};

use crate::reactor::Reactor;

/// Bytes that one read or write moves at most.
const MOST: usize = 1 << 20;

/// A file, read and written at offsets, with the methods of [`RandomAccess`].
///
/// More reads and writes than [`BlockingConfig::max_threads`](executor::BlockingConfig::max_threads) wait for each other;
/// more than its `max_jobs` are refused with `ResourceBusy`. Dropping the future of one that has not begun, because all
/// threads are busy, takes it back. The last of the file's futures to end closes it, on the pool if need be.
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
    /// Each job has it too, so its number can't become another file's meanwhile.
    file: Arc<std::fs::File>,
    reactor: Reactor,
}

impl File {
    /// Opens a file. This looks the path up at once, and blocks for as long as the file system takes.
    ///
    /// # Errors
    /// Those of open(2); [`closed`] after the end of the runtime.
    pub fn open(reactor: &Reactor, path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<File> {
        reactor.open_file(path, options)
    }

    /// A file that was opened before: a regular one or a block device. (What was opened to append ignores the offsets of
    /// writes.)
    ///
    /// # Errors
    /// [`closed`] after the end of the runtime.
    pub fn from_std(reactor: &Reactor, file: std::fs::File) -> io::Result<File> {
        if reactor.context.closed.get() {
            return Err(closed());
        }
        Ok(File { file: Arc::new(file), reactor: reactor.clone() })
    }

    /// Has a thread of the pool do it.
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
