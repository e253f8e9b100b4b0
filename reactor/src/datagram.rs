//! Datagrams over readiness: try, and wait while it would block. What programs see of it is in `executor`'s
//! `datagram.rs`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use executor::{BufResult, Datagram, IoBuf, IoBufMut, LENT_DATAGRAM, Net, Port};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::net::as_inet;
use crate::source::{Direction, Registration};
use crate::{AsyncFd, Chunk, ListenSocket, Reactor, StreamSocket};

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

impl Net for Reactor {
    type Port = DatagramPort;
    type Acceptor = ListenSocket;

    fn try_connect_unix(&self, path: &Path) -> io::Result<OwnedFd> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(socket.into())
    }

    fn pipe_end(&self, fd: OwnedFd) -> io::Result<StreamSocket> {
        let registration = AsyncFd::new(self, fd)?.registration;
        registration.source().is_pipe.set(true);
        Ok(StreamSocket { registration })
    }

    async fn when_readable<T>(&self, fd: OwnedFd, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        AsyncFd::new(self, fd)?.io(Direction::Read, |_| call()).await
    }
}

/// What is behind a [`UdpSocket`].
#[derive(Debug)]
pub struct DatagramPort {
    registration: Registration,
}

impl DatagramPort {
    fn try_recv(&self, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.registration.reactor().context.sys.recv_from(self.as_fd(), room)?;
        Ok((len, as_inet(&from)?))
    }
}

impl Port for DatagramPort {
    type Runtime = Reactor;
    type Chunk = Chunk;

    fn from_fd(reactor: &Reactor, fd: OwnedFd) -> io::Result<DatagramPort> {
        SockRef::from(&fd).set_nonblocking(true)?;
        Ok(DatagramPort { registration: Registration::new(reactor, fd)? })
    }

    async fn recv(&self) -> io::Result<Datagram<Chunk>> {
        let recv = || {
            let mut chunk = self.registration.reactor().context.pool.lend()?;
            let (len, from) = self.try_recv(&mut chunk.space()[..LENT_DATAGRAM])?;
            Ok(Datagram { bytes: chunk.filled(len.min(LENT_DATAGRAM)), len, from })
        };
        self.registration.io(Direction::Read, recv).await
    }

    async fn read<B: IoBufMut>(&self, mut buf: B) -> BufResult<(usize, SocketAddr), B> {
        let room = buf.bytes_mut();
        let result = self.registration.io(Direction::Read, || self.try_recv(room)).await;
        (result, buf)
    }

    async fn send<B: IoBuf>(&self, buf: B, to: Option<SocketAddr>) -> BufResult<(), B> {
        let sys = &self.registration.reactor().context.sys;
        let send = || sys.send_to(self.as_fd(), buf.bytes(), to).map(drop);
        (self.registration.io(Direction::Write, send).await, buf)
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
