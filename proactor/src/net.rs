//! TCP: listeners, streams, and their halves.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use executor::{
    AcceptPause, BufResult, IoBuf, IoBufMut, ListenOptions, Listener, Reader, Runtime, Stream, Writer, closed,
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

use crate::op::{Buffer, Kind, Socket};
use crate::ring::Call;
use crate::{Chunk, Context, Proactor, UringDriver};

impl Runtime for Proactor {
    type Listener = TcpListener;
    type Stream = TcpStream;
    type Driver = UringDriver;

    fn listen(&self, addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
        TcpListener::bind_with(self, addr, options)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(self, addr).await
    }

    fn engine(&self) -> &'static str {
        "proactor"
    }
}

/// Starts the operation that fills a socket.
type Fill<T> = fn(&Context, &Rc<Socket<T>>);

/// A socket with what it shares with the runtime. The last user handle of a socket holds one.
struct Connection<T> {
    /// `None` only while it is dropped or closed.
    socket: Option<Rc<Socket<T>>>,
    context: Rc<Context>,
    /// A write was dropped midway: how much of it went out is unknown, so nothing may follow it.
    is_write_broken: Cell<bool>,
    /// The halves are dropped together, by `close`.
    is_closing: Cell<bool>,
}

impl<T> std::fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("fd", &self.as_fd()).finish_non_exhaustive()
    }
}

impl<T> Connection<T> {
    fn new(proactor: &Proactor, fd: OwnedFd) -> io::Result<Connection<T>> {
        if proactor.context.is_closed.get() {
            return Err(closed());
        }
        Ok(Connection {
            socket: Some(Socket::new(fd)),
            context: Rc::clone(&proactor.context),
            is_write_broken: Cell::new(false),
            is_closing: Cell::new(false),
        })
    }

    fn socket(&self) -> &Rc<Socket<T>> {
        self.socket.as_ref().expect("taken only at the end")
    }

    /// Whether the kernel, or what waits to be shown to it, refers to the socket.
    fn is_busy(&self) -> bool {
        Rc::strong_count(self.socket()) > 1
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.context.seam.pass(Call::Shutdown as usize)?;
        SockRef::from(self.socket()).shutdown(how)
    }

    /// Waits for what arrives next. If nothing is under way to bring it, starts it with `fill`; without
    /// one, says `None`.
    fn arrival(&self, fill: Option<Fill<T>>) -> Arrival<'_, T> {
        Arrival { connection: self, fill, is_waiting: false }
    }

    /// Cancels what is in flight, waits until the kernel has let go, and closes.
    async fn close(mut self) -> io::Result<()> {
        self.context.release(self.socket());
        poll_fn(|cx| {
            if !self.is_busy() || self.context.is_closed.get() {
                return Poll::Ready(());
            }
            self.socket().incoming.wait(cx);
            Poll::Pending
        })
        .await;
        let socket = self.socket.take().expect("taken only at the end");
        Rc::into_inner(socket).map_or_else(|| Err(closed()), |socket| self.context.close(socket.into_fd()))
    }
}

impl<T> AsFd for Connection<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl<T> Drop for Connection<T> {
    /// The kernel holds the file as long as an operation does, so closing the number would tell the peer
    /// nothing: its end of stream is sent first.
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        self.context.release(&socket);
        match Rc::try_unwrap(socket) {
            Ok(socket) => drop(self.context.close(socket.into_fd())),
            Err(busy) => {
                if self.context.seam.pass(Call::Shutdown as usize).is_ok() {
                    let _ = SockRef::from(&*busy).shutdown(Shutdown::Both);
                }
            }
        }
    }
}

/// The future of [`Connection::arrival`].
struct Arrival<'a, T> {
    connection: &'a Connection<T>,
    fill: Option<Fill<T>>,
    is_waiting: bool,
}

impl<T> Future for Arrival<'_, T> {
    /// `None`: nothing is under way, and nothing was to be started. Else an item, or the end.
    type Output = Option<io::Result<Option<T>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Connection { context, .. } = self.connection;
        let socket = self.connection.socket();
        // Before what has arrived: at the end of the runtime that is "cancelled".
        if context.is_closed.get() {
            return Poll::Ready(Some(Err(closed())));
        }
        if let Some(arrived) = socket.incoming.take() {
            return Poll::Ready(Some(arrived));
        }
        if socket.incoming.is_idle() {
            let Some(fill) = self.fill else { return Poll::Ready(None) };
            fill(context, socket);
        }
        socket.incoming.wait(cx);
        self.is_waiting = true;
        Poll::Pending
    }
}

impl<T> Drop for Arrival<'_, T> {
    /// What is under way stays so: the next one who asks finds what it brings.
    fn drop(&mut self) {
        if self.is_waiting {
            self.connection.socket().incoming.stop_waiting();
        }
    }
}

/// Listens for TCP connections.
#[derive(Debug)]
pub struct TcpListener {
    connection: Connection<OwnedFd>,
    proactor: Proactor,
    pause: AcceptPause,
    paused_until: Option<Instant>,
}

impl TcpListener {
    /// Binds and listens, with the default [`ListenOptions`].
    ///
    /// # Errors
    /// As [`bind_with`](Self::bind_with).
    pub fn bind(proactor: &Proactor, addr: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind_with(proactor, addr, &ListenOptions::default())
    }

    /// Binds and listens.
    ///
    /// # Errors
    /// Those of socket(2), bind(2), listen(2); [`executor::closed`].
    pub fn bind_with(
        proactor: &Proactor,
        addr: SocketAddr,
        options: &ListenOptions,
    ) -> io::Result<TcpListener> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(options.reuse_addr)?;
        socket.set_reuse_port(options.reuse_port)?;
        // Accepted sockets inherit it: no system call for each.
        socket.set_tcp_nodelay(options.nodelay)?;
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(proactor, socket.into())
    }

    /// Takes a listener made elsewhere, and makes it blocking: on a non-blocking one io_uring reports
    /// "would block" instead of waiting.
    ///
    /// # Errors
    /// Those of fcntl(2); [`executor::closed`].
    pub fn from_std(proactor: &Proactor, listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(false)?;
        let connection = Connection::new(proactor, listener.into())?;
        let proactor = proactor.clone();
        Ok(TcpListener { connection, proactor, pause: AcceptPause::default(), paused_until: None })
    }

    /// Waits out the pause after the last failure. It is the listener's, not this call's: dropping an
    /// accept does not shorten it.
    async fn wait_out_pause(&mut self) {
        if let Some(until) = self.paused_until {
            self.proactor.sleep_until(until).await;
            self.paused_until = None;
        }
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        loop {
            self.wait_out_pause().await;
            let arrived = self.connection.arrival(Some(Context::fill_listener)).await;
            let error = match arrived.expect("filled") {
                Ok(Some(fd)) => {
                    self.pause.reset();
                    return TcpStream::new(&self.proactor, fd);
                }
                Ok(None) => unreachable!("a listener has no end of stream"),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    let pauses = &self.proactor.context.accept_pauses;
                    pauses.set(pauses.get() + 1);
                    self.paused_until = Some(self.proactor.now() + self.pause.grow());
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
        local_addr(self.as_fd())
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
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
    pub async fn connect(proactor: &Proactor, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        let stream = TcpStream::new(proactor, socket.into())?;
        let connection = &stream.read.connection;
        let socket = Rc::clone(connection.socket());
        let kind = Kind::Connect { socket, addr: Box::new(addr.into()) };
        let ticket = connection.context.start(kind).map_err(|(error, _)| error)?;
        let (result, kind) = ticket.await;
        drop(kind);
        result?;
        Ok(stream)
    }

    /// Takes a stream made elsewhere, and makes it blocking: on a non-blocking one io_uring reports
    /// "would block" instead of waiting.
    ///
    /// # Errors
    /// Those of fcntl(2); [`executor::closed`].
    pub fn from_std(proactor: &Proactor, stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(false)?;
        TcpStream::new(proactor, stream.into())
    }

    fn new(proactor: &Proactor, fd: OwnedFd) -> io::Result<TcpStream> {
        let connection = Rc::new(Connection::new(proactor, fd)?);
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
        self.read.connection.shutdown(how)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.connection.as_fd()
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
        Rc::into_inner(connection).expect("the halves were together").close().await
    }
}

/// The reading side of a stream.
#[derive(Debug)]
pub struct ReadHalf {
    connection: Rc<Connection<Chunk>>,
}

impl Reader for ReadHalf {
    type Chunk = Chunk;

    async fn recv(&mut self) -> io::Result<Chunk> {
        let arrived = self.connection.arrival(Some(Context::fill_stream)).await;
        let chunk = arrived.expect("filled")?;
        Ok(chunk.unwrap_or_else(|| self.connection.context.pool.adopt(Vec::new(), 0)))
    }

    /// Straight into the buffer, unless something has arrived before or is under way.
    async fn read<B: IoBufMut>(&mut self, mut buf: B) -> BufResult<usize, B> {
        if buf.bytes_mut().is_empty() {
            return (Err(io::ErrorKind::InvalidInput.into()), buf);
        }
        match self.connection.arrival(None).await {
            Some(Ok(Some(mut chunk))) => {
                let count = chunk.move_to(buf.bytes_mut());
                if !chunk.is_empty() {
                    self.connection.socket().incoming.put_back(chunk);
                }
                return (Ok(count), buf);
            }
            Some(Ok(None)) => return (Ok(0), buf),
            Some(Err(error)) => return (Err(error), buf),
            None => {}
        }
        let (buffer, start, len) = Buffer::to_receive(buf);
        let socket = Rc::clone(self.connection.socket());
        match self.connection.context.start(Kind::Read { socket, buffer, start, len }) {
            Err((error, kind)) => (Err(error), unstow(kind)),
            Ok(ticket) => {
                let (result, kind) = ticket.await;
                (result, unstow(kind))
            }
        }
    }
}

impl Drop for ReadHalf {
    /// What arrives from now on is dropped, so that it takes nothing of the pool.
    fn drop(&mut self) {
        self.connection.context.release(self.connection.socket());
    }
}

fn unstow<B: IoBuf>(kind: Kind) -> B {
    match kind {
        Kind::Read { buffer, .. } | Kind::Send { buffer, .. } => buffer.unstow(),
        _ => unreachable!("only reads and sends have a buffer"),
    }
}

/// The writing side of a stream. Dropping it before the other half ends the writing side, so that the
/// peer reads the end of the stream.
#[derive(Debug)]
pub struct WriteHalf {
    connection: Rc<Connection<Chunk>>,
}

impl WriteHalf {
    /// Sends, all or some. If it is dropped before the kernel has answered, the stream is broken for
    /// writing.
    async fn send<B: IoBuf>(&mut self, buf: B, whole: bool) -> BufResult<usize, B> {
        let connection = &*self.connection;
        if connection.is_write_broken.get() {
            let text = "an earlier write was dropped midway: how much of it was sent is unknown";
            return (Err(io::Error::new(io::ErrorKind::BrokenPipe, text)), buf);
        }
        let (buffer, start, len) = Buffer::to_send(buf);
        if len == 0 {
            return (Ok(0), buffer.unstow());
        }
        let socket = Rc::clone(connection.socket());
        match connection.context.start(Kind::Send { socket, buffer, start, len, sent: 0, whole }) {
            Err((error, kind)) => (Err(error), unstow(kind)),
            Ok(ticket) => {
                connection.is_write_broken.set(true);
                let (result, kind) = ticket.await;
                connection.is_write_broken.set(false);
                (result, unstow(kind))
            }
        }
    }
}

impl Writer for WriteHalf {
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B> {
        self.send(buf, false).await
    }

    async fn write_all<B: IoBuf>(&mut self, buf: B) -> BufResult<(), B> {
        let (result, buf) = self.send(buf, true).await;
        (result.map(drop), buf)
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.connection.shutdown(Shutdown::Write)
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        // The last one closes, and that says it all.
        if Rc::strong_count(&self.connection) > 1 && !self.connection.is_closing.get() {
            let _ = self.connection.shutdown(Shutdown::Write);
        }
    }
}
