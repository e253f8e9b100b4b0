//! Files, for code that runs on every engine.
//!
//! Readiness does not help with a regular file. The file is always "ready", and a read that finds
//! nothing in the page cache blocks the thread all the same. So the reactor needs threads that may
//! block, and takes them from its pool ([`Executor::unblock`](crate::Executor::unblock)). The
//! proactor needs none: io_uring takes a read of a file like any other request, and keeps threads
//! of its own, inside the kernel, for requests that would block.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use crate::io::buf::{BufResult, IoBuf, IoBufMut};
use crate::io::runtime::Runtime;

/// A runtime that has files.
///
/// # Examples
///
/// ```
/// use std::fs::OpenOptions;
///
/// use executor::{Files, RandomAccess};
///
/// async fn first_kilobyte<R: Files>(rt: &R, path: &str) -> std::io::Result<Vec<u8>> {
///     let file = rt.open_file(path, OpenOptions::new().read(true))?;
///     let (count, mut bytes) = file.read_at(vec![0; 1024], 0).await;
///     bytes.truncate(count?);
///     Ok(bytes)
/// }
/// ```
pub trait Files: Runtime {
    /// An open file.
    type File: RandomAccess;

    /// Opens a file. Looks the path up at once, and blocks for as long as the file system takes.
    ///
    /// # Errors
    /// Those of open(2); [`closed`](crate::closed) after the end of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Files;
    /// # async fn example<R: Files>(rt: &R) -> std::io::Result<()> {
    /// let file = rt.open_file("new", std::fs::OpenOptions::new().write(true).create(true))?;
    /// # Ok(())
    /// # }
    /// ```
    fn open_file(&self, path: impl AsRef<Path>, options: &OpenOptions) -> io::Result<Self::File> {
        self.file_from_std(options.open(path)?)
    }

    /// Takes a file that was opened before.
    ///
    /// # Errors
    /// Those of taking it; [`closed`](crate::closed) after the end of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Files, RandomAccess};
    /// # async fn example<R: Files>(rt: &R) -> std::io::Result<()> {
    /// let file = rt.file_from_std(std::fs::File::create("new")?)?;
    /// file.write_at("hello", 0).await.0?;
    /// # Ok(())
    /// # }
    /// ```
    fn file_from_std(&self, file: std::fs::File) -> io::Result<Self::File>;
}

/// A file, read and written at offsets. It has no position, so any number of its futures may be
/// under way at a time. They are carried out in no fixed order.
///
/// # Examples
///
/// ```
/// use executor::RandomAccess;
///
/// async fn replace_first<F: RandomAccess>(file: &F, byte: u8) -> std::io::Result<()> {
///     file.write_at([byte], 0).await.0?;
///     file.sync().await
/// }
/// ```
pub trait RandomAccess: 'static {
    /// Reads what is at `offset` (in bytes) into the buffer. Returns the number of bytes: 0 at the
    /// end of the file and beyond. It may be less than fits, at the end of the file and elsewhere.
    ///
    /// # Errors
    /// Those of pread(2). `InvalidInput` for an empty buffer, because 0 would look like the end,
    /// and for an offset beyond `i64::MAX`. [`closed`](crate::closed) after the end of the runtime.
    ///
    /// # Cancel safety
    /// Dropping this future loses the buffer, and nothing else.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Files, RandomAccess};
    /// # async fn example<R: Files>(rt: &R) -> std::io::Result<()> {
    /// let file = rt.file_from_std(std::fs::File::open("data")?)?;
    /// let (mut offset, mut buffer) = (0, vec![0; 4096]);
    /// loop {
    ///     let (count, same) = file.read_at(buffer, offset).await;
    ///     let count = count?;
    ///     if count == 0 {
    ///         break;
    ///     }
    ///     offset += count as u64;
    ///     buffer = same;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> BufResult<usize, B>;

    /// Writes the buffer to `offset` (in bytes). Returns the number of bytes written. That is less
    /// than all if the buffer is large, on a full disk or at a limit of file sizes, and 0 for an
    /// empty buffer. The space between the end of the file and the offset reads as zeros from then
    /// on.
    ///
    /// # Errors
    /// Those of pwrite(2); otherwise as [`read_at`](Self::read_at).
    ///
    /// # Cancel safety
    /// Dropping this future leaves open what was written: nothing, a part or all, even after the
    /// drop.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Files, RandomAccess};
    /// # async fn example<R: Files>(rt: &R) -> std::io::Result<()> {
    /// let file = rt.file_from_std(std::fs::File::create("new")?)?;
    /// let (count, buffer) = file.write_at(b"hello".to_vec(), 100).await;
    /// println!("{} of {} bytes", count?, buffer.len());
    /// # Ok(())
    /// # }
    /// ```
    async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<usize, B>;

    /// Brings everything that was written before to the disk, as fsync(2) does: the bytes, and all
    /// that is known about the file. (fdatasync(2) would leave out the times of the file. That
    /// saves little where a file grows, because both have to bring its size to the disk.)
    ///
    /// # Errors
    /// Those of fsync(2). After an error it is not known what has reached the disk.
    /// [`closed`](crate::closed) after the end of the runtime.
    ///
    /// # Cancel safety
    /// Dropping this future leaves open whether the sync is done.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Files, RandomAccess};
    /// # async fn example<R: Files>(rt: &R) -> std::io::Result<()> {
    /// let file = rt.file_from_std(std::fs::File::create("new")?)?;
    /// file.write_at("hello", 0).await.0?;
    /// file.sync().await?; // now it outlives a power failure
    /// # Ok(())
    /// # }
    /// ```
    async fn sync(&self) -> io::Result<()>;

    /// Returns the size in bytes, if it is a regular file. Asks the kernel at once, which has it in
    /// memory.
    ///
    /// # Errors
    /// Those of fstat(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Files, RandomAccess};
    /// # async fn example<R: Files>(rt: &R) -> std::io::Result<()> {
    /// let file = rt.file_from_std(std::fs::File::open("data")?)?;
    /// println!("{} bytes", file.size()?);
    /// # Ok(())
    /// # }
    /// ```
    fn size(&self) -> io::Result<u64>;
}
