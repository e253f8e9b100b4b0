//! TCP: listeners, streams, and their halves.

use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use executor::{
    AcceptPause, BufResult, IoBuf, IoBufMut, ListenOptions, Listener, Reader, Runtime, Stream, Writer,
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::source::{Direction, Registration};
use crate::{Chunk, EpollDriver, Reactor, Trigger};

impl Runtime for Reactor {
    type Listener = TcpListener;
    type Stream = TcpStream;
    type Driver = EpollDriver;

    fn listen(&self, addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
        TcpListener::bind_with(self, addr, options)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(self, addr).await
    }

    fn engine(&self) -> &'static str {
        match self.trigger() {
            Trigger::Level => "reactor-level",
            Trigger::Edge => "reactor-edge",
        }
    }
}

/// Listens for TCP connections.
#[derive(Debug)]
pub struct TcpListener {
    registration: Registration,
    pause: AcceptPause,
    paused_until: Option<Instant>,
}

impl TcpListener {
    /// Binds and listens, with the default [`ListenOptions`].
    ///
    /// # Errors
    /// As [`bind_with`](Self::bind_with).
    pub fn bind(reactor: &Reactor, addr: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind_with(reactor, addr, &ListenOptions::default())
    }

    /// Binds and listens.
    ///
    /// # Errors
    /// Those of socket(2), bind(2), listen(2); [`executor::closed`].
    pub fn bind_with(
        reactor: &Reactor,
        addr: SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(options.reuse_addr)?;
        socket.set_reuse_port(options.reuse_port)?;
        // Accepted sockets inherit it: no system call for each.
        socket.set_tcp_nodelay(options.nodelay)?;
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(reactor, socket.into())
    }

    /// Takes a listener made elsewhere, and makes it non-blocking.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2); [`executor::closed`].
    pub fn from_std(reactor: &Reactor, listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        let registration = Registration::new(reactor, listener.into())?;
        Ok(TcpListener { registration, pause: AcceptPause::default(), paused_until: None })
    }

    /// Waits out the pause after the last failure. It is the listener's, not this call's: dropping an
    /// accept does not shorten it.
    async fn wait_out_pause(&mut self) {
        if let Some(until) = self.paused_until {
            self.registration.reactor().sleep_until(until).await;
            self.paused_until = None;
        }
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        loop {
            self.wait_out_pause().await;
            let registration = &self.registration;
            let reactor = registration.reactor();
            let accept = || reactor.sys().accept(registration.fd());
            // A connection that can't be watched, for want of memory or of watches, is lost.
            let accepted = registration.io(Direction::Read, accept).await;
            let error = match accepted.and_then(|fd| TcpStream::new(reactor, fd)) {
                Ok(stream) => {
                    self.pause.reset();
                    return Ok(stream);
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC) => {
                    let pauses = &reactor.context().accept_pauses;
                    pauses.set(pauses.get() + 1);
                    self.paused_until = Some(reactor.now() + self.pause.grow());
                }
                // The connection was gone before we took it; accept(2) lists these.
                Some(
                    libc::ECONNABORTED
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENOPROTOOPT
                    | libc::EHOSTDOWN
                    | libc::ENONET
                    | libc::EHOSTUNREACH
                    | libc::ENETUNREACH
                    | libc::EPERM,
                ) => {}
                _ => return Err(error),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        local_addr(self.registration.fd())
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registration.fd()
    }
}

fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    as_inet(&SockRef::from(&fd).local_addr()?)
}

fn peer_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    as_inet(&SockRef::from(&fd).peer_addr()?)
}

fn as_inet(addr: &SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an internet address"))
}

/// What both halves of a stream share.
#[derive(Debug)]
struct Connection {
    registration: Registration,
    /// A write was dropped midway: how much of it went out is unknown, so nothing may follow it.
    is_write_broken: Cell<bool>,
    /// The halves are dropped together, by `close`.
    is_closing: Cell<bool>,
}

impl Connection {
    fn sys(&self) -> &crate::epoll::Sys {
        self.registration.reactor().sys()
    }

    fn try_recv(&self, space: &mut [u8]) -> io::Result<usize> {
        let received = self.sys().recv(self.registration.fd(), space)?;
        if received.count > 0 && received.is_short {
            self.registration.source().was_short(Direction::Read);
        }
        Ok(received.count)
    }

    fn check_write(&self) -> io::Result<()> {
        if self.is_write_broken.get() {
            return Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "an earlier write was dropped midway: how much of it was sent is unknown",
            ));
        }
        Ok(())
    }

    /// Sends all. If it is dropped when some is out, the stream is broken for writing.
    async fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.check_write()?;
        let mut sent = 0;
        while sent < bytes.len() {
            self.is_write_broken.set(sent > 0);
            let result = self.send(&bytes[sent..]).await;
            self.is_write_broken.set(false);
            sent += result?;
        }
        Ok(())
    }

    /// One send, as soon as one is possible.
    async fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let send = || {
            let sent = self.sys().send(self.registration.fd(), bytes)?;
            if sent.is_short {
                self.registration.source().was_short(Direction::Write);
            }
            Ok(sent.count)
        };
        self.registration.io(Direction::Write, send).await
    }
}

/// A TCP connection. Dropping it closes it; see [`Stream::close`] to learn how that went.
#[derive(Debug)]
pub struct TcpStream {
    // In this order: when `write` is dropped it is the last, and closes instead of shutting down.
    read: ReadHalf,
    write: WriteHalf,
}

impl TcpStream {
    /// Connects.
    ///
    /// # Errors
    /// Those of connect(2): refused, unreachable, timed out ...; [`executor::closed`].
    ///
    /// # Cancel safety
    /// Dropping this future gives the attempt up and closes its socket.
    pub async fn connect(reactor: &Reactor, addr: SocketAddr) -> io::Result<TcpStream> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        reactor.sys().connect(socket.as_fd(), &addr.into())?;
        let stream = TcpStream::new(reactor, socket.into())?;
        let registration = &stream.read.connection.registration;
        // Writable means "decided". SO_ERROR says how; no error and no peer means "not yet".
        let decided = || {
            let fd = registration.fd();
            let socket = SockRef::from(&fd);
            match socket.take_error()? {
                Some(error) => Err(error),
                None => match socket.peer_addr() {
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                    other => other.map(drop),
                },
            }
        };
        registration.io(Direction::Write, decided).await?;
        Ok(stream)
    }

    /// Takes a stream made elsewhere, and makes it non-blocking.
    ///
    /// # Errors
    /// Those of fcntl(2) and epoll_ctl(2); [`executor::closed`].
    pub fn from_std(reactor: &Reactor, stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        TcpStream::new(reactor, stream.into())
    }

    fn new(reactor: &Reactor, fd: OwnedFd) -> io::Result<TcpStream> {
        let registration = Registration::new(reactor, fd)?;
        let connection = Rc::new(Connection {
            registration,
            is_write_broken: Cell::new(false),
            is_closing: Cell::new(false),
        });
        Ok(TcpStream {
            read: ReadHalf { connection: Rc::clone(&connection) },
            write: WriteHalf { connection },
        })
    }

    /// Sends small writes at once (`true`), or waits to gather them.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(self).set_tcp_nodelay(nodelay)
    }

    /// Whether small writes are sent at once.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(self).tcp_nodelay()
    }

    /// Ends one side or both. Ending the reading side lets a waiting `recv` see the end.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn shutdown_how(&self, how: Shutdown) -> io::Result<()> {
        self.read.connection.sys().shutdown(self.as_fd(), how)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.connection.registration.fd()
    }
}

impl Reader for TcpStream {
    type Chunk = Chunk;

    async fn recv(&mut self) -> io::Result<Chunk> {
        self.read.recv().await
    }

    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        self.read.read(buf).await
    }
}

impl Writer for TcpStream {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        self.write.write(buf).await
    }

    async fn write_all<B: IoBuf>(&mut self, buf: B) -> BufResult<(), B> {
        self.write.write_all(buf).await
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.write.shutdown().await
    }
}

impl Stream for TcpStream {
    type ReadHalf = ReadHalf;
    type WriteHalf = WriteHalf;

    fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        peer_addr(self.as_fd())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        local_addr(self.as_fd())
    }

    async fn close(self) -> io::Result<()> {
        let connection = Rc::clone(&self.read.connection);
        connection.is_closing.set(true);
        drop(self);
        Rc::into_inner(connection).expect("the halves were together").registration.close()
    }
}

/// The reading side of a stream.
#[derive(Debug)]
pub struct ReadHalf {
    connection: Rc<Connection>,
}

impl Reader for ReadHalf {
    type Chunk = Chunk;

    async fn recv(&mut self) -> io::Result<Chunk> {
        let connection = &*self.connection;
        let pool = &connection.registration.reactor().context().pool;
        let receive = || {
            let mut chunk = pool.lend();
            let count = connection.try_recv(chunk.space())?;
            Ok(chunk.filled(count))
        };
        connection.registration.io(Direction::Read, receive).await
    }

    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        let space = buf.bytes_mut();
        if space.is_empty() {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
        }
        let receive = || self.connection.try_recv(space);
        let result = self.connection.registration.io(Direction::Read, receive).await;
        (result, buf)
    }
}

/// The writing side of a stream. Dropping it before the other half ends the writing side, so that the
/// peer reads the end of the stream.
#[derive(Debug)]
pub struct WriteHalf {
    connection: Rc<Connection>,
}

impl Writer for WriteHalf {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        let result = match self.connection.check_write() {
            Ok(()) => self.connection.send(buf.bytes()).await,
            Err(error) => Err(error),
        };
        (result, buf)
    }

    async fn write_all<B: IoBuf>(&mut self, buf: B) -> BufResult<(), B> {
        let result = self.connection.send_all(buf.bytes()).await;
        (result, buf)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.connection.sys().shutdown(self.connection.registration.fd(), Shutdown::Write)
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        // The last one closes, and that says it all.
        if Rc::strong_count(&self.connection) > 1 && !self.connection.is_closing.get() {
            let fd = self.connection.registration.fd();
            let _ = self.connection.sys().shutdown(fd, Shutdown::Write);
        }
    }
}
