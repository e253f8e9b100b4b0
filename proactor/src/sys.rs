//! The calls that sockets need in addition to the ring. Each passes the [`Seam`].

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};

use executor::Seam;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockRef, Socket, Type};

use crate::calls::Call;

pub(crate) fn socket(seam: &Seam, addr: SocketAddr) -> io::Result<Socket> {
    seam.pass(Call::Socket as usize)?;
    Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))
}

pub(crate) fn listen(seam: &Seam, socket: &Socket, addr: SocketAddr, backlog: u32) -> io::Result<()> {
    seam.pass(Call::Bind as usize)?;
    socket.bind(&addr.into())?;
    seam.pass(Call::Listen as usize)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

pub(crate) fn shutdown(seam: &Seam, fd: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
    seam.pass(Call::Shutdown as usize)?;
    SockRef::from(&fd).shutdown(how)
}

/// Resets a TCP connection at once, whoever else holds the file. Fails for what has no reset.
pub(crate) fn reset(fd: BorrowedFd<'_>) -> io::Result<()> {
    let storage = SockAddrStorage::zeroed();
    let len = storage.size_of();
    // SAFETY: zeros are an address of the family AF_UNSPEC.
    let nowhere = unsafe { SockAddr::new(storage, len) };
    SockRef::from(&fd).connect(&nowhere)
}

/// Closes the descriptor, and returns the result. On Linux the number is free again whatever the
/// result.
pub(crate) fn close(seam: &Seam, fd: OwnedFd) -> io::Result<()> {
    // If a test makes this call fail, the descriptor must still be closed.
    let verdict = seam.pass(Call::Close as usize);
    // SAFETY: the number came out of an OwnedFd, so it was ours alone, and it is not used again.
    let closed = unsafe { libc::close(fd.into_raw_fd()) };
    let closed = if closed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    verdict.and(closed)
}
