//! Datagrams over readiness: tries a call, and waits while it would block. The part that programs
//! see is in `executor`'s `datagram.rs`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use executor::{BufResult, Datagram, IoBuf, IoBufMut, LENT_DATAGRAM, Port};
use socket2::{SockAddr, SockRef};

use crate::pool::Chunk;
use crate::reactor::Reactor;
use crate::registration::Registration;
use crate::source::Direction;

/// A UDP socket.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let rt = reactor::Reactor::new()?;
/// let loopback = "127.0.0.1:0".parse().unwrap();
/// let (one, other) = (reactor::UdpSocket::bind(&rt, loopback)?, reactor::UdpSocket::bind(&rt, loopback)?);
/// rt.block_on(async {
///     one.send_to("hello", other.local_addr()?).await.0?;
///     let datagram = other.recv_from().await?;
///     assert_eq!((&*datagram.bytes, datagram.from), (&b"hello"[..], one.local_addr()?));
///     Ok(())
/// })
/// # }
/// ```
pub type UdpSocket = executor::UdpSocket<DatagramPort>;

/// A Unix socket for datagrams. See [`Net`](executor::Net) for its names.
///
/// ```
/// # use reactor::Net;
/// # fn main() -> std::io::Result<()> {
/// let rt = reactor::Reactor::new()?;
/// let name = format!("\0greetings-{}", std::process::id());
/// let unnamed = std::os::unix::net::UnixDatagram::unbound()?;
/// let one = reactor::UnixDatagram::from_std(&rt, unnamed)?;
/// let other = rt.bind_unix_datagram(&name)?;
/// rt.block_on(async {
///     one.send_to("hello", other.local_addr()?).await.0?;
///     let datagram = other.recv_from().await?;
///     assert_eq!((&*datagram.bytes, datagram.from.is_unnamed()), (&b"hello"[..], true));
///     Ok(())
/// })
/// # }
/// ```
pub type UnixDatagram = executor::UnixDatagram<DatagramPort>;

/// The socket inside a [`UdpSocket`] or a [`UnixDatagram`].
#[derive(Debug)]
pub struct DatagramPort {
    registration: Registration,
}

impl Port for DatagramPort {
    type Runtime = Reactor;
    type Chunk = Chunk;

    fn from_fd(reactor: &Reactor, fd: OwnedFd) -> io::Result<DatagramPort> {
        SockRef::from(&fd).set_nonblocking(true)?;
        Ok(DatagramPort { registration: Registration::new(&reactor.context, fd)? })
    }

    async fn recv(&self) -> io::Result<Datagram<Chunk, SockAddr>> {
        let context = self.registration.context();
        let recv = || {
            let mut chunk = context.pool.lend()?;
            let (len, from) = context.sys.recv_from(self.as_fd(), &mut chunk.space()[..LENT_DATAGRAM])?;
            Ok(Datagram { bytes: chunk.filled(len.min(LENT_DATAGRAM)), len, from })
        };
        self.registration.io(Direction::Read, recv).await
    }

    async fn read<B: IoBufMut>(&self, mut buf: B) -> BufResult<(usize, SockAddr), B> {
        let (sys, room) = (&self.registration.context().sys, buf.bytes_mut());
        let result = self.registration.io(Direction::Read, || sys.recv_from(self.as_fd(), room)).await;
        (result, buf)
    }

    async fn send<B: IoBuf>(&self, buf: B, to: Option<SockAddr>) -> BufResult<(), B> {
        let sys = &self.registration.context().sys;
        let is_unix = to.as_ref().is_some_and(SockAddr::is_unix);
        let send = || match sys.send_to(self.as_fd(), buf.bytes(), to.as_ref()) {
            // epoll would report at once that it is ready: see `executor`'s `datagram.rs`.
            Err(error) if is_unix && error.kind() == io::ErrorKind::WouldBlock => Ok(Err(error)),
            result => result.map(|_| Ok(())),
        };
        (self.registration.io(Direction::Write, send).await.and_then(|sent| sent), buf)
    }

    async fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(self.registration.into_fd())
    }
}

impl AsFd for DatagramPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registration.fd()
    }
}
