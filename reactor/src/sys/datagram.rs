//! The socket calls for datagrams.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use socket2::{SockAddr, SockRef};

use super::Sys;
use crate::calls::Call;

impl Sys {
    /// Receives a datagram. Returns its length, even if there is less room, and its sender.
    pub(crate) fn recv_from(&self, fd: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<(usize, SockAddr)> {
        let limit = self.seam.pass(Call::Recv as usize)?.min(room.len());
        let room: *mut [u8] = &raw mut room[..limit];
        // SAFETY: these are the same bytes, which nothing else refers to. socket2 promises (at
        // `Socket::recv`) to pass the memory to the system call and to write no uninitialised bytes
        // to it, so they stay initialised.
        let room = unsafe { &mut *(room as *mut [MaybeUninit<u8>]) };
        SockRef::from(&fd).recv_from_with_flags(room, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
    }

    /// Sends a datagram to `to`, or to the address that the socket is connected to. Never raises
    /// SIGPIPE.
    pub(crate) fn send_to(&self, fd: BorrowedFd<'_>, bytes: &[u8], to: Option<&SockAddr>) -> io::Result<usize> {
        self.seam.pass(Call::Send as usize)?;
        let (socket, flags) = (SockRef::from(&fd), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        match to {
            Some(to) => socket.send_to_with_flags(bytes, to, flags),
            None => socket.send_with_flags(bytes, flags),
        }
    }
}
