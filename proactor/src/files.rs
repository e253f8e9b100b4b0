//! Files over completion: reads and writes at an offset.
//!
//! Here the two runtimes differ most. A regular file is always "ready", so readiness says nothing
//! about it (epoll answers EPERM), and a read that finds nothing in the page cache blocks the
//! thread. io_uring takes such a read like any other request. If it would block, io_uring passes it
//! to a worker thread inside the kernel. So the proactor needs no threads of its own for files. The
//! reactor does: its files use the pool for blocking calls, and copy the bytes once.
//!
//! A worker that is copying can't be stopped: the cancel of a dropped read has no effect, and the
//! kernel goes on writing to the buffer. `op.rs` needs no special case for this: only the final
//! completion of an operation frees what it owns, whatever its cancel returns.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;

use executor::{BufResult, Files, IoBuf, IoBufMut, RandomAccess, closed, empty_buffer};
use socket2::SockRef;

use crate::buffer::Buffer;
use crate::context::Context;
use crate::op::{FileRequest, Kind, Work};
use crate::proactor::Proactor;

/// A file, read and written at offsets with the methods of [`RandomAccess`].
///
/// If a future is dropped, its operation and its buffer stay with the kernel until it completes.
/// The operation fails with ECANCELED if the kernel cannot start a worker thread (process limit).
/// At its end, the runtime abandons operations that are still in flight at the deadline. Polling
/// the future of such an operation afterwards panics: the kernel may still write to the buffer, so
/// it can't be given back.
///
/// ```
/// use proactor::{File, Proactor, RandomAccess};
///
/// # fn example() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("proactor-file-{}", std::process::id()));
/// let rt = Proactor::new()?;
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
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
#[derive(Debug)]
pub struct File {
    /// Each operation holds a reference too, so that the number can't become another file's while
    /// the kernel may use it.
    file: Rc<std::fs::File>,
    context: Rc<Context>,
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
    /// use proactor::{File, Proactor};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let rt = Proactor::new()?;
    /// let file = File::open(&rt, "Cargo.toml", std::fs::OpenOptions::new().read(true))?;
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn open(proactor: &Proactor, path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<File> {
        proactor.open_file(path, options)
    }

    /// Takes a file that is already open: a regular one or a block device. (An unseekable file,
    /// such as a pipe, ignores the offsets. A file that was opened to append ignores the offsets of
    /// writes.)
    ///
    /// # Errors
    /// The errors of fcntl(2); [`closed`] after the end of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use proactor::{File, Proactor, RandomAccess};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let rt = Proactor::new()?;
    /// let file = File::from_std(&rt, std::fs::File::open("Cargo.toml")?)?;
    /// let (count, start) = rt.block_on(file.read_at([0; 9], 0));
    /// assert_eq!(&start[..count?], b"[package]");
    /// # Ok(())
    /// # }
    /// # fn main() {
    /// #     // Where io_uring is closed there is nothing to show.
    /// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
    /// # }
    /// ```
    pub fn from_std(proactor: &Proactor, file: std::fs::File) -> io::Result<File> {
        if proactor.context.is_closed.get() {
            return Err(closed());
        }
        // The flag belongs to the open file, so a duplicate may have set it. io_uring obeys it: it
        // would fail with "would block" instead of letting a worker wait for the disk.
        SockRef::from(&file).set_nonblocking(false)?;
        Ok(File { file: Rc::new(file), context: Rc::clone(&proactor.context) })
    }

    async fn transfer<B: IoBuf>(&self, buf: B, offset: u64, work: fn(B, u64) -> Work) -> BufResult<usize, B> {
        // Offset -1 would mean "at the current position", which all users of the file share.
        if i64::try_from(offset).is_err() {
            return (Err(io::Error::new(io::ErrorKind::InvalidInput, "an offset beyond i64::MAX")), buf);
        }
        let request = |buf| FileRequest { file: Rc::clone(&self.file), work: work(buf, offset) };
        self.context.transfer(buf, |buf| buf.bytes().len(), |buf| Kind::File(request(buf))).await
    }
}

impl Files for Proactor {
    type File = File;

    fn file_from_std(&self, file: std::fs::File) -> io::Result<File> {
        File::from_std(self, file)
    }
}

impl RandomAccess for File {
    async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> BufResult<usize, B> {
        if buf.bytes().is_empty() {
            return (Err(empty_buffer()), buf);
        }
        self.transfer(buf, offset, |buf, offset| Work::Read(Buffer::to_receive(buf), offset)).await
    }

    async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<usize, B> {
        self.transfer(buf, offset, |buf, offset| Work::Write(Buffer::to_send(buf), offset)).await
    }

    async fn sync(&self) -> io::Result<()> {
        let request = FileRequest { file: Rc::clone(&self.file), work: Work::Sync };
        let ticket = self.context.start(Kind::File(request)).map_err(|(error, _)| error)?;
        ticket.await.0.map(drop)
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
