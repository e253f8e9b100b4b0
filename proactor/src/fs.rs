//! Files over completion: reads and writes at an offset.
//!
//! Here the two worlds differ most. A regular file is always "ready", so readiness has nothing to say about
//! it (epoll answers EPERM), and a read that finds nothing in the page cache blocks the thread. io_uring
//! takes such a read like any other request; what would block, it hands to a worker thread of its own. The
//! reactor has no counterpart yet: there it takes a pool of threads that may block.
//!
//! A worker that is copying can't be stopped: the cancel of a dropped read comes back without effect, and the
//! kernel goes on writing to the buffer. Nothing in `op.rs` had to be changed for that, because what an
//! operation owns is freed by its final completion only, whatever its cancel says.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;

use executor::{BufResult, IoBuf, IoBufMut, closed};
use io_uring::{opcode, squeue, types};
use socket2::SockRef;

use crate::op::{Buffer, Kind, clamp};
use crate::{Context, Proactor};

/// A file, read and written at offsets. It has no position, so any number of its futures may be under way at
/// a time; the order in which they are carried out is then the kernel's.
///
/// ```
/// use proactor::{File, Proactor};
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
    /// Each operation has it too, so its number can't become another file's while the kernel may look at it.
    file: Rc<std::fs::File>,
    context: Rc<Context>,
}

impl File {
    /// Opens a file. This looks the path up at once, and blocks for as long as the file system takes.
    ///
    /// # Errors
    /// Those of open(2); [`closed`] after the end of the runtime.
    pub fn open(proactor: &Proactor, path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<File> {
        File::from_std(proactor, options.open(path)?)
    }

    /// A file that was opened before: a regular one or a block device. (What can't be sought, such as a pipe,
    /// ignores the offsets; what was opened to append ignores those of writes.)
    ///
    /// # Errors
    /// Those of fcntl(2); [`closed`] after the end of the runtime.
    pub fn from_std(proactor: &Proactor, file: std::fs::File) -> io::Result<File> {
        if proactor.context.is_closed.get() {
            return Err(closed());
        }
        // The flag belongs to any open file, and io_uring heeds it: instead of having a worker wait for the
        // disk, it would report "would block".
        SockRef::from(&file).set_nonblocking(false)?;
        Ok(File { file: Rc::new(file), context: Rc::clone(&proactor.context) })
    }

    /// Reads what is at `offset` (in bytes) into the buffer: the number of bytes, 0 at the end of the file and
    /// beyond. It may be fewer than fit, at the end of the file and elsewhere.
    ///
    /// # Errors
    /// Those of pread(2). `InvalidInput` for an empty buffer, because 0 would look like the end, and for an
    /// offset beyond `i64::MAX`. ECANCELED if the kernel could start no worker (a limit of processes).
    /// [`closed`] after the end of the runtime.
    ///
    /// # Panics
    /// If it is polled on after the runtime ended and had to abandon the read at its deadline: the kernel may
    /// still write to the buffer, which then can't be given back.
    ///
    /// # Cancel safety
    /// Dropping this future harms nothing but the buffer, which stays with the operation until the kernel has
    /// let go of it and is dropped then.
    pub async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> BufResult<usize, B> {
        if buf.bytes().is_empty() {
            return (Err(io::Error::new(io::ErrorKind::InvalidInput, "a read into an empty buffer")), buf);
        }
        self.transfer(buf, offset, |buf, offset| Work::Read(Buffer::to_receive(buf), offset)).await
    }

    /// Writes the buffer to `offset` (in bytes), and says how much of it: fewer than all on a full disk or at a
    /// limit of file sizes, and none of an empty buffer. What lies between the end of the file and the offset
    /// reads as zeros from then on.
    ///
    /// # Errors
    /// Those of pwrite(2); else as [`read_at`](Self::read_at).
    ///
    /// # Panics
    /// As [`read_at`](Self::read_at).
    ///
    /// # Cancel safety
    /// Dropping this future leaves open what was written: nothing, a part or all, even after the drop. The
    /// buffer stays with the operation until the kernel has let go of it.
    pub async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<usize, B> {
        self.transfer(buf, offset, |buf, offset| Work::Write(Buffer::to_send(buf), offset)).await
    }

    /// Brings everything that was written before to the disk: the bytes and all that is known about the file,
    /// as fsync(2) does. (It isn't fdatasync(2): that spares the times of the file, and saves little where a
    /// file grows, since its size has to be brought to the disk by both.)
    ///
    /// # Errors
    /// Those of fsync(2). After an error it is not known what has reached the disk. [`closed`] after the end
    /// of the runtime.
    ///
    /// # Panics
    /// As [`read_at`](Self::read_at).
    ///
    /// # Cancel safety
    /// Dropping this future leaves open whether it is done.
    pub async fn sync(&self) -> io::Result<()> {
        let request = FileRequest { file: Rc::clone(&self.file), work: Work::Sync };
        let ticket = self.context.start(Kind::File(request)).map_err(|(error, _)| error)?;
        ticket.await.0.map(drop)
    }

    /// Its size in bytes, if it is a regular file. Asked of the kernel at once, which has it in memory.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    async fn transfer<B: IoBuf>(&self, buf: B, offset: u64, work: fn(B, u64) -> Work) -> BufResult<usize, B> {
        // -1 would mean the file's own position, which all its users would share.
        if i64::try_from(offset).is_err() {
            return (Err(io::Error::new(io::ErrorKind::InvalidInput, "an offset beyond i64::MAX")), buf);
        }
        let request = |buf| FileRequest { file: Rc::clone(&self.file), work: work(buf, offset) };
        self.context.transfer(buf, |buf| Kind::File(request(buf))).await
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What the kernel is to do with a file, and all that belongs to it while it does.
pub(crate) struct FileRequest {
    pub(crate) file: Rc<std::fs::File>,
    work: Work,
}

/// A buffer with its offset in the file.
enum Work {
    Read(Buffer, u64),
    Write(Buffer, u64),
    Sync,
}

impl FileRequest {
    /// The submission.
    pub(crate) fn entry(&mut self) -> squeue::Entry {
        let fd = types::Fd(self.file.as_raw_fd());
        match &mut self.work {
            Work::Read(buffer, offset) => {
                let (start, len) = buffer.place();
                opcode::Read::new(fd, start, clamp(len)).offset(*offset).build()
            }
            Work::Write(buffer, offset) => {
                let (start, len) = buffer.place();
                opcode::Write::new(fd, start, clamp(len)).offset(*offset).build()
            }
            Work::Sync => opcode::Fsync::new(fd).build(),
        }
    }

    /// The buffer, of a read or a write.
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        match self.work {
            Work::Read(buffer, _) | Work::Write(buffer, _) => Some(buffer),
            Work::Sync => None,
        }
    }
}
