//! The socket calls, and the calls that read and write other descriptors. Where socket2 and std
//! offer a safe call, we use it.
//!
//! Every call passes the [`Seam`], which counts it and, under test, may fail, shorten or delay it.
//! The unsafe code of the crate is here and in `epoll.rs`.

mod datagram;

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use executor::Seam;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::calls::{Call, NAMES};

pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Calls that move bytes over sockets never wait, whatever O_NONBLOCK says: all duplicates of a
/// descriptor share this flag, and any of them can clear it. Calls that send never raise SIGPIPE.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// The bytes that a call moved.
pub(crate) struct Moved {
    pub(crate) count: usize,
    /// The call moved fewer bytes than the kernel was asked to move. (A test may ask the kernel for
    /// fewer than the caller did; that says nothing about the socket.)
    pub(crate) is_short: bool,
}

/// The socket calls, counted.
#[derive(Debug)]
pub(crate) struct Sys {
    seam: Seam,
}

impl Sys {
    pub(crate) fn new() -> Sys {
        Sys { seam: Seam::new(NAMES) }
    }

    pub(crate) fn seam(&self) -> &Seam {
        &self.seam
    }

    /// Calls recv(2).
    pub(crate) fn recv(&self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Moved> {
        let limit = self.seam.pass(Call::Recv as usize)?.min(buffer.len());
        let (count, _) = rustix::net::recv(fd, &mut buffer[..limit], RecvFlags::DONTWAIT)?;
        Ok(Moved { count, is_short: count < limit })
    }

    /// Calls read(2).
    pub(crate) fn read(&self, mut file: &File, buffer: &mut [u8]) -> io::Result<Moved> {
        let limit = self.seam.pass(Call::Read as usize)?.min(buffer.len());
        let count = file.read(&mut buffer[..limit])?;
        Ok(Moved { count, is_short: count < limit })
    }

    /// Calls send(2).
    pub(crate) fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Moved> {
        let limit = self.seam.pass(Call::Send as usize)?.min(bytes.len());
        let count = rustix::net::send(fd, &bytes[..limit], SEND)?;
        Ok(Moved { count, is_short: count < limit })
    }

    /// Calls write(2).
    pub(crate) fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<Moved> {
        let limit = self.seam.pass(Call::Write as usize)?.min(bytes.len());
        let count = file.write(&bytes[..limit])?;
        Ok(Moved { count, is_short: count < limit })
    }

    /// Calls sendmsg(2): sends several buffers, one after the other, and at most as many as the
    /// kernel takes at once.
    pub(crate) fn send_all(&self, fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<Moved> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        self.move_all(Call::Sendmsg, bufs, |bufs| SockRef::from(&fd).send_vectored_with_flags(bufs, flags))
    }

    /// Calls writev(2), otherwise like [`send_all`](Self::send_all).
    pub(crate) fn write_all(&self, mut file: &File, bufs: &[IoSlice<'_>]) -> io::Result<Moved> {
        self.move_all(Call::Writev, bufs, |bufs| file.write_vectored(bufs))
    }

    fn move_all(
        &self,
        call: Call,
        bufs: &[IoSlice<'_>],
        act: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Moved> {
        let limit = self.seam.pass(call as usize)?;
        let first = bufs.first().map_or(IoSlice::new(&[]), |first| IoSlice::new(&first[..limit.min(first.len())]));
        let bufs = if limit == usize::MAX { &bufs[..bufs.len().min(libc::UIO_MAXIOV as usize)] } else { &[first] };
        let count = act(bufs)?;
        Ok(Moved { count, is_short: count < bufs.iter().map(|buf| buf.len()).sum() })
    }

    pub(crate) fn socket(&self, addr: SocketAddr, kind: Type) -> io::Result<Socket> {
        self.seam.pass(Call::Socket as usize)?;
        Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))
    }

    pub(crate) fn listen(&self, socket: &Socket, addr: SocketAddr, backlog: u32) -> io::Result<()> {
        self.seam.pass(Call::Bind as usize)?;
        socket.bind(&addr.into())?;
        self.seam.pass(Call::Listen as usize)?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
    }

    /// Accepts a socket that is non-blocking and close-on-exec from the start: one call, no gap.
    pub(crate) fn accept(&self, fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        self.seam.pass(Call::Accept as usize)?;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: null for address and length is allowed and means "not wanted"; the call uses no
        // memory of ours.
        let accepted = unsafe { libc::accept4(fd.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        // SAFETY: the kernel just made this descriptor, and nothing else knows it.
        check(accepted).map(|accepted| unsafe { OwnedFd::from_raw_fd(accepted) })
    }

    /// Starts to connect. Also returns `Ok` if the attempt continues in the background.
    pub(crate) fn connect(&self, fd: BorrowedFd<'_>, addr: &SockAddr) -> io::Result<()> {
        self.seam.pass(Call::Connect as usize)?;
        match SockRef::from(&fd).connect(addr) {
            // EINTR: the attempt continues all the same, and a second call would be an error.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn shutdown(&self, fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
        self.seam.pass(Call::Shutdown as usize)?;
        SockRef::from(&fd).shutdown(how)
    }

    /// Closes the descriptor, and returns the result. On Linux the number is free again whatever
    /// the result.
    pub(crate) fn close(&self, fd: OwnedFd) -> io::Result<()> {
        // If a test makes this call fail, the descriptor must still be closed.
        let verdict = self.seam.pass(Call::Close as usize);
        let fd = std::os::fd::IntoRawFd::into_raw_fd(fd);
        // SAFETY: the number came out of an OwnedFd, so it was ours alone, and it is not used
        // again.
        let closed = check(unsafe { libc::close(fd) });
        verdict.and(closed).map(drop)
    }
}
