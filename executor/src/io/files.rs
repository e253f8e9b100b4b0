//! Files, for code that runs on every engine.
//!
//! Readiness has nothing to say about a regular file: it is always "ready", and a read that finds nothing in the page
//! cache blocks the thread all the same. So the reactor needs threads that may block, and takes them from its pool
//! ([`Executor::unblock`](crate::Executor::unblock)). The proactor needs none: io_uring takes a read of a file as any
//! other request, and keeps threads of its own, inside the kernel, for what would block.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::io::buf::{BufResult, IoBuf, IoBufMut};
use crate::io::runtime::Runtime;

/// A runtime that has files.
pub trait Files: Runtime {
    /// An open file.
    type File: RandomAccess;

    /// Opens a file. This looks the path up at once, and blocks for as long as the file system takes.
    ///
    /// # Errors
    /// Those of open(2); [`closed`](crate::closed) after the end of the runtime.
    fn open_file(&self, path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<Self::File> {
        self.file_from_std(options.open(path)?)
    }

    /// A file that was opened before.
    ///
    /// # Errors
    /// Those of taking it; [`closed`](crate::closed) after the end of the runtime.
    fn file_from_std(&self, file: std::fs::File) -> io::Result<Self::File>;
}

/// A file, read and written at offsets. It has no position, so any number of its futures may be under way at a time;
/// the order in which they are carried out is open.
pub trait RandomAccess: 'static {
    /// Reads what is at `offset` (in bytes) into the buffer: the number of bytes, 0 at the end of the file and
    /// beyond. It may be fewer than fit, at the end of the file and elsewhere.
    ///
    /// # Errors
    /// Those of pread(2). `InvalidInput` for an empty buffer, because 0 would look like the end, and for an
    /// offset beyond `i64::MAX`. [`closed`](crate::closed) after the end of the runtime.
    ///
    /// # Cancel safety
    /// Dropping this future harms nothing but the buffer.
    async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> BufResult<usize, B>;

    /// Writes the buffer to `offset` (in bytes), and says how much of it: fewer than all if it is large, on a full disk or
    /// at a limit of file sizes, and none of an empty buffer. What lies between the end of the file and the offset
    /// reads as zeros from then on.
    ///
    /// # Errors
    /// Those of pwrite(2); else as [`read_at`](Self::read_at).
    ///
    /// # Cancel safety
    /// Dropping this future leaves open what was written: nothing, a part or all, even after the drop.
    async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<usize, B>;

    /// Brings everything that was written before to the disk: the bytes and all that is known about the file,
    /// as fsync(2) does. (It isn't fdatasync(2): that spares the times of the file, and saves little where a
    /// file grows, since its size has to be brought to the disk by both.)
    ///
    /// # Errors
    /// Those of fsync(2). After an error it is not known what has reached the disk. [`closed`](crate::closed) after
    /// the end of the runtime.
    ///
    /// # Cancel safety
    /// Dropping this future leaves open whether it is done.
    async fn sync(&self) -> io::Result<()>;

    /// Its size in bytes, if it is a regular file. Asked of the kernel at once, which has it in memory.
    ///
    /// # Errors
    /// Those of fstat(2).
    fn size(&self) -> io::Result<u64>;
}
