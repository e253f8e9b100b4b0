//! TCP over readiness: tries a call, and waits while it would block. The part that programs see is
//! in `executor`'s `tcp.rs`.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use executor::{Acceptor, Address, BufResult, Connection, IoBuf, IoBufMut, ListenOptions, Runtime};
use socket2::{SockRef, Type};

use crate::context::Context;
use crate::driver::EpollDriver;
use crate::pool::Chunk;
use crate::reactor::Reactor;
use crate::registration::Registration;
use crate::source::{Direction, Trigger};
use crate::sys::{Moved, Sys};

/// Listens for TCP connections.
///
/// # Examples
///
/// ```
/// use reactor::{Listener, Reactor, Stream, TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let mut listener = TcpListener::bind(&rt, "127.0.0.1:0".parse().unwrap())?;
/// rt.block_on(async {
///     let client = TcpStream::connect(&rt, listener.local_addr()?).await?;
///     let server: TcpStream = listener.accept().await?;
///     assert_eq!(server.peer_addr()?, client.local_addr()?);
///     Ok(())
/// })
/// # }
/// ```
pub type TcpListener = executor::TcpListener<ListenSocket>;
/// A TCP connection.
///
/// # Examples
///
/// ```
/// use reactor::{Reactor, Stream, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let echo = std::thread::spawn(move || {
///     let (mut stream, _) = listener.accept()?;
///     std::io::copy(&mut stream.try_clone()?, &mut stream)
/// });
/// rt.block_on(async {
///     let mut stream = TcpStream::connect(&rt, address).await?;
///     assert_eq!(&*stream.exchange("hello").await?, b"hello");
///     stream.close().await
/// })?;
/// assert_eq!(echo.join().unwrap()?, 5);
/// # Ok(())
/// # }
/// ```
pub type TcpStream = executor::TcpStream<StreamSocket>;
/// The reading side of a [`TcpStream`].
///
/// # Examples
///
/// ```
/// use reactor::{Net, Reactor, ReadHalf, Reader, Stream, Writer};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let (stream, mut peer) = rt.unix_pair()?;
/// let (mut reader, _writer): (ReadHalf, _) = stream.split();
/// rt.block_on(async {
///     peer.write_all("hello").await.0?;
///     assert_eq!(&*reader.recv().await?, b"hello");
///     Ok(())
/// })
/// # }
/// ```
pub type ReadHalf = executor::ReadHalf<StreamSocket>;
/// The writing side of a [`TcpStream`].
///
/// # Examples
///
/// ```
/// use reactor::{Net, Reactor, Reader, Stream, WriteHalf};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let (stream, mut peer) = rt.unix_pair()?;
/// let (_reader, writer): (_, WriteHalf) = stream.split();
/// drop(writer); // ends its side
/// assert!(rt.block_on(peer.recv())?.is_empty());
/// # Ok(())
/// # }
/// ```
pub type WriteHalf = executor::WriteHalf<StreamSocket>;

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
        match self.context.trigger {
            Trigger::Level => "reactor-level",
            Trigger::Edge => "reactor-edge",
        }
    }
}

/// Returns whether a socket that was made elsewhere moves packets, and no stream of bytes.
fn has_packets(socket: &impl AsFd) -> bool {
    SockRef::from(socket).r#type().is_ok_and(|kind| kind != Type::STREAM)
}

/// The socket inside a [`TcpListener`].
#[derive(Debug)]
pub struct ListenSocket {
    registration: Registration,
    reactor: Reactor,
    /// Its connections carry packets, as those of SOCK_SEQPACKET do.
    has_packets: bool,
}

impl Acceptor for ListenSocket {
    type Runtime = Reactor;
    type Connection = StreamSocket;

    fn bind(reactor: &Reactor, addr: SocketAddr, options: &ListenOptions) -> io::Result<ListenSocket> {
        let socket = reactor.context.sys.socket(addr, Type::STREAM)?;
        socket.set_reuse_address(options.reuse_addr)?;
        socket.set_reuse_port(options.reuse_port)?;
        // Accepted sockets inherit it, so it takes no system call for each.
        socket.set_tcp_nodelay(options.nodelay)?;
        reactor.context.sys.listen(&socket, addr, options.backlog)?;
        ListenSocket::from_std(reactor, socket.into())
    }

    fn from_std(reactor: &Reactor, listener: std::net::TcpListener) -> io::Result<ListenSocket> {
        listener.set_nonblocking(true)?;
        let has_packets = has_packets(&listener);
        let registration = Registration::new(&reactor.context, listener.into())?;
        Ok(ListenSocket { registration, reactor: reactor.clone(), has_packets })
    }

    async fn accept(&self) -> io::Result<StreamSocket> {
        let context = self.registration.context();
        let accept = || context.sys.accept(self.as_fd());
        StreamSocket::new(context, self.registration.io(Direction::Read, accept).await?, self.has_packets)
    }

    fn runtime(&self) -> &Reactor {
        &self.reactor
    }

    fn is_listening(&self) -> bool {
        SockRef::from(self).is_listener().unwrap_or(true)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        SocketAddr::from_raw(&SockRef::from(self).local_addr()?)
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registration.fd()
    }
}

/// The socket inside a [`TcpStream`].
#[derive(Debug)]
pub struct StreamSocket {
    pub(crate) registration: Registration,
}

impl StreamSocket {
    fn new(context: &Rc<Context>, fd: OwnedFd, has_packets: bool) -> io::Result<StreamSocket> {
        let registration = Registration::new(context, fd)?;
        registration.source().ending.set(has_packets);
        Ok(StreamSocket { registration })
    }

    fn sys(&self) -> &Sys {
        &self.registration.context().sys
    }

    fn try_recv(&self, space: &mut [u8]) -> io::Result<usize> {
        let received = self.registration.source().recv(self.sys(), space)?;
        if received.count > 0 && received.is_short {
            self.registration.source().was_short(Direction::Read);
        }
        Ok(received.count)
    }

    /// Sends a part of `bufs`, or the `whole`, by calls of `send`. Passes `send` the number of
    /// bytes sent before.
    fn sending<T: Unpin>(
        &self,
        bufs: T,
        whole: bool,
        len: impl Fn(&T) -> usize + Unpin,
        send: impl Fn(&T, usize) -> io::Result<Moved> + Unpin,
    ) -> impl Future<Output = BufResult<usize, T>> + Unpin {
        let mut place = self.registration.place(Direction::Write);
        let (mut bufs, mut sent) = (Some(bufs), 0);
        poll_fn(move |cx| {
            let left = bufs.as_ref().expect("polled again after it was ready");
            let result = loop {
                if sent == len(left) || (sent > 0 && !whole) {
                    break Ok(sent);
                }
                match ready!(place.poll(cx, || send(left, sent))) {
                    Ok(Moved { count, is_short }) => {
                        sent += count;
                        if is_short {
                            self.registration.source().was_short(Direction::Write);
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            Poll::Ready((result, bufs.take().expect("just seen")))
        })
    }

    /// Returns an error if the attempt to connect failed, and `WouldBlock` while it is undecided.
    /// SO_ERROR holds its error. If there is no error and no peer, it is undecided.
    fn try_connected(&self) -> io::Result<()> {
        let socket = SockRef::from(self);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(io::ErrorKind::WouldBlock.into()),
            other => other.map(drop),
        }
    }
}

impl Connection for StreamSocket {
    type Runtime = Reactor;
    type Chunk = Chunk;

    async fn connect(reactor: &Reactor, addr: SocketAddr) -> io::Result<StreamSocket> {
        let socket = reactor.context.sys.socket(addr, Type::STREAM.nonblocking())?;
        socket.set_tcp_nodelay(true)?;
        reactor.context.sys.connect(socket.as_fd(), &addr.into())?;
        let stream = StreamSocket::new(&reactor.context, socket.into(), false)?;
        // Writable means that the attempt is decided.
        stream.registration.io(Direction::Write, || stream.try_connected()).await?;
        Ok(stream)
    }

    fn from_std(reactor: &Reactor, stream: std::net::TcpStream) -> io::Result<StreamSocket> {
        stream.set_nonblocking(true)?;
        let has_packets = has_packets(&stream);
        StreamSocket::new(&reactor.context, stream.into(), has_packets)
    }

    fn recv(&self) -> impl Future<Output = io::Result<Chunk>> + Unpin {
        let recv = || {
            let mut chunk = self.registration.context().pool.lend()?;
            let count = self.try_recv(chunk.space())?;
            Ok(chunk.filled(count))
        };
        self.registration.io(Direction::Read, recv)
    }

    async fn read<B: IoBufMut>(&self, mut buf: B) -> BufResult<usize, B> {
        let space = buf.bytes_mut();
        let result = self.registration.io(Direction::Read, || self.try_recv(space)).await;
        (result, buf)
    }

    fn send<B: IoBuf>(&self, buf: B, whole: bool) -> impl Future<Output = BufResult<usize, B>> + Unpin {
        let send = |buf: &B, sent| self.registration.source().send(self.sys(), &buf.bytes()[sent..]);
        self.sending(buf, whole, |buf| buf.bytes().len(), send)
    }

    fn send_all<B: IoBuf>(&self, bufs: Vec<B>) -> impl Future<Output = BufResult<usize, Vec<B>>> + Unpin {
        let send = |bufs: &Vec<B>, sent| {
            let mut parts: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf.bytes())).collect();
            let mut rest = &mut parts[..];
            IoSlice::advance_slices(&mut rest, sent);
            self.registration.source().send_all(self.sys(), rest)
        };
        self.sending(bufs, true, |bufs| bufs.iter().map(|buf| buf.bytes().len()).sum(), send)
    }

    /// Returns true: a send that was dropped while it waited had bytes left to send.
    fn is_cut(&self) -> bool {
        true
    }

    /// Does nothing: with readiness, nothing is in flight unless a task asks.
    fn stop_receiving(&self) {}

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.sys().shutdown(self.as_fd(), how)
    }

    fn set_zero_linger(&self) -> io::Result<()> {
        SockRef::from(self).set_linger(Some(Duration::ZERO))
    }

    async fn close(self) -> io::Result<()> {
        let context = Rc::clone(self.registration.context());
        context.sys.close(self.registration.into_fd())
    }

    async fn drain(&self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    async fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(self.registration.into_fd())
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        SocketAddr::from_raw(&SockRef::from(self).peer_addr()?)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        SocketAddr::from_raw(&SockRef::from(self).local_addr()?)
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registration.fd()
    }
}
