//! Any descriptor that epoll can watch: a pipe, an eventfd, a timerfd, a signalfd ...

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::SockRef;

use crate::reactor::Reactor;
use crate::registration::Registration;
use crate::source::Direction;

/// A descriptor that the runtime watches, for the program's own calls.
///
/// ```
/// use std::io::{Read, Write};
/// # fn main() -> std::io::Result<()> {
/// let rt = reactor::Reactor::new()?;
/// let (reader, mut writer) = std::io::pipe()?;
/// let mut reader = reactor::AsyncFd::new(&rt, reader)?;
/// writer.write_all(b"now")?;
/// let mut buffer = [0; 8];
/// let count = rt.block_on(reader.io(reactor::Direction::Read, |fd| {
///     std::fs::File::from(fd.try_clone_to_owned()?).read(&mut buffer)
/// }))?;
/// assert_eq!(&buffer[..count], b"now");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncFd {
    pub(crate) registration: Registration,
}

impl AsyncFd {
    /// Takes the descriptor, and makes it non-blocking.
    ///
    /// # Errors
    /// `PermissionDenied` if epoll cannot watch it, such as regular files and directories.
    /// `AlreadyExists` if unsafe code gave one number two owners, and the other is watched. The
    /// errors of fcntl(2) and epoll_ctl(2); [`executor::closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{AsyncFd, Reactor};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = Reactor::new()?;
    /// let refused = AsyncFd::new(&rt, std::fs::File::open("Cargo.toml")?);
    /// assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(reactor: &Reactor, fd: impl Into<OwnedFd>) -> io::Result<AsyncFd> {
        let fd = fd.into();
        SockRef::from(&fd).set_nonblocking(true)?;
        reactor.context.probe(fd.as_fd()).map_err(explain)?;
        Ok(AsyncFd { registration: Registration::new(&reactor.context, fd)? })
    }

    /// Makes `call` until it would no longer block. This is the only way to wait, so readiness
    /// can't be mistaken for a promise. `call` must return `WouldBlock` when there is nothing to
    /// do.
    ///
    /// # Errors
    /// The errors of `call`; [`executor::closed`].
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing: when `call` succeeds, the future is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{fs::File, io::Write};
    ///
    /// use reactor::{AsyncFd, Direction, Reactor};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = Reactor::new()?;
    /// let (_reader, writer) = std::io::pipe()?;
    /// let mut writer = AsyncFd::new(&rt, writer)?;
    /// let count = rt.block_on(writer.io(Direction::Write, |fd| {
    ///     File::from(fd.try_clone_to_owned()?).write(b"hello")
    /// }))?;
    /// assert_eq!(count, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn io<T>(
        &mut self,
        direction: Direction,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.registration.io(direction, || call(self.registration.fd())).await
    }

    /// Returns the descriptor. It is no longer watched, but still non-blocking.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{AsyncFd, Reactor};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let rt = Reactor::new()?;
    /// let (reader, _writer) = std::io::pipe()?;
    /// let reader = AsyncFd::new(&rt, reader)?;
    /// let reader = std::io::PipeReader::from(reader.into_inner());
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_inner(self) -> OwnedFd {
        self.registration.into_fd()
    }
}

impl AsFd for AsyncFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registration.fd()
    }
}

fn explain(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::EPERM) {
        return error;
    }
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "epoll cannot watch this descriptor: regular files and directories are always \"ready\", and a \
         read that goes to the disk blocks all the same; read files on a thread, or with io_uring",
    )
}
