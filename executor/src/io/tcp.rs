//! TCP as programs see it: listeners, streams, halves. Written once for all runtimes.
//!
//! The layers, from the traits that a program uses down to those that a runtime implements:
//!
//! ```text
//! traits for programs  Runtime --listen-> Listener --accept-> Stream = Reader + Writer
//! (runtime.rs)            |                                   ^    |
//!                         +-------------connect---------------+    +--split-> Reader, Writer
//!
//! types, written once           TcpListener<A>       TcpStream<C>     ReadHalf<C>, WriteHalf<C>
//! (this file)                        |                    |                 |
//!                                    v                    +--------+--------+
//!                                                                  v
//! traits of a runtime           A: Acceptor ------accept----> C: Connection
//! (this file)
//!
//! beside them   Net: a Runtime with Unix sockets, pipes, signals and children, too (net.rs);
//!               DatagramSocket<P, A>, which stands on a P: Port (datagram.rs)
//! ```
//!
//! An [`Acceptor`] and a [`Connection`] hold what differs between readiness and completion: how
//! connections and bytes get across. Each runtime has its own. The types here hold what programs
//! rely on: which end closes what, what a dropped write means, and how an accept loop survives.
//!
//! Most methods here are not `async fn`s. They return the future of the layer below, or one closure
//! around it. An `async fn` keeps its arguments twice, and five layers of that add memory to each
//! idle connection (figures: `executor/MEASURED.md`).

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use socket2::SockRef;

use crate::io::backoff::TO_ACCEPT;
use crate::io::buf::{BufResult, IoBuf, IoBufMut, empty_buffer};
use crate::io::runtime::{ListenOptions, Listener, Reader, Runtime, Stream, Writer};
use crate::time::timer::Sleep;

/// A TCP connection from inside: how a runtime moves its bytes. At most one receive and one send
/// are under way at a time.
pub trait Connection: Debug + Sized + 'static {
    /// The runtime.
    type Runtime;
    /// Memory that the runtime lends.
    type Chunk: IoBuf;

    /// See [`TcpStream::connect`].
    async fn connect(runtime: &Self::Runtime, addr: SocketAddr) -> io::Result<Self>;
    /// See [`TcpStream::from_std`].
    fn from_std(runtime: &Self::Runtime, stream: std::net::TcpStream) -> io::Result<Self>;
    /// See [`Reader::recv`].
    fn recv(&self) -> impl Future<Output = io::Result<Self::Chunk>> + Unpin;
    /// See [`Reader::read`]; the buffer is not empty.
    async fn read<B: IoBufMut>(&self, buf: B) -> BufResult<usize, B>;
    /// Sends some of the buffer, or all of it if `whole`. See [`Writer::write`] and
    /// [`Writer::write_all`].
    fn send<B: IoBuf>(&self, buf: B, whole: bool) -> impl Future<Output = BufResult<usize, B>> + Unpin;
    /// Sends all of several buffers, one after the other. See [`Writer::write_all_vectored`].
    fn send_all<B: IoBuf>(&self, bufs: Vec<B>) -> impl Future<Output = BufResult<usize, Vec<B>>> + Unpin;
    /// Sends the whole buffer, and drops it. The task receives next. So the end of the send need
    /// not wake the task, if an arrival wakes it. See [`Stream::exchange`].
    fn send_before_recv<B: IoBuf>(&self, buf: B) -> impl Future<Output = io::Result<()>> + Unpin {
        let mut sending = self.send(buf, true);
        poll_fn(move |cx| pin!(&mut sending).poll(cx).map(|(result, _buf)| result.map(drop)))
    }
    /// Sends the whole buffer, and drops it. The future completes as soon as the runtime can go on
    /// alone. See [`Writer::feed`].
    fn feed<B: IoBuf>(&self, buf: B) -> impl Future<Output = io::Result<()>> + Unpin {
        self.send_before_recv(buf)
    }
    /// Waits until what was fed is sent. Every send does this first.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
    /// Returns true if a send whose future was dropped while it waited may have left something
    /// unsent.
    fn is_cut(&self) -> bool;
    /// Stops receiving: the reading half was dropped.
    fn stop_receiving(&self);
    /// Ends the writing side: the writing half was dropped. What was fed is sent first. If the
    /// connection is closed before that, it is reset.
    fn stop_sending(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
    /// Ends one side or both.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
    /// Makes the close reset the connection, whatever is under way. See
    /// [`TcpStream::set_zero_linger`].
    fn set_zero_linger(&self) -> io::Result<()>;
    /// See [`Stream::close`].
    async fn close(self) -> io::Result<()>;
    /// Stops receiving, and returns what has arrived. See [`TcpStream::into_std`].
    async fn drain(&self) -> io::Result<Vec<u8>>;
    /// See [`TcpStream::into_std`].
    async fn into_fd(self) -> io::Result<OwnedFd>;
    /// Returns the address of the other end.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
    /// Returns the address of this end.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A listening socket from inside: how a runtime accepts.
pub trait Acceptor: Debug + Sized + 'static {
    /// The runtime.
    type Runtime: Runtime;
    /// The connections it accepts.
    type Connection: Connection<Runtime = Self::Runtime>;

    /// See [`TcpListener::bind_with`].
    fn bind(runtime: &Self::Runtime, addr: SocketAddr, options: &ListenOptions) -> io::Result<Self>;
    /// See [`TcpListener::from_std`].
    fn from_std(runtime: &Self::Runtime, listener: std::net::TcpListener) -> io::Result<Self>;
    /// Waits for the next connection. Returns any error that the kernel reports.
    /// See [`Listener::accept`].
    async fn accept(&self) -> io::Result<Self::Connection>;
    /// Returns the runtime it accepts on.
    fn runtime(&self) -> &Self::Runtime;
    /// Returns true if its socket listens, or if that is not known.
    fn is_listening(&self) -> bool {
        true
    }
    /// Returns the address it listens on.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Listens for TCP connections.
///
/// # Examples
///
/// ```
/// use executor::{Acceptor, Listener, TcpListener};
///
/// /// Closes each connection at once, and counts them.
/// async fn refuse<A: Acceptor>(mut listener: TcpListener<A>, count: &mut u64) -> std::io::Result<()> {
///     loop {
///         drop(listener.accept().await?);
///         *count += 1;
///     }
/// }
/// ```
#[derive(Debug)]
pub struct TcpListener<A> {
    acceptor: A,
    /// The pause after the last failure. Each further failure doubles it, a success sets it to
    /// zero.
    pause: Duration,
    paused: Option<Sleep>,
}

impl<A: Acceptor> TcpListener<A> {
    /// Binds and listens, with the default [`ListenOptions`].
    ///
    /// # Errors
    /// As [`bind_with`](Self::bind_with).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Acceptor, Listener, TcpListener};
    /// # async fn example<A: Acceptor>(rt: &A::Runtime) -> std::io::Result<()> {
    /// let mut listener = TcpListener::<A>::bind(rt, "127.0.0.1:7000".parse().unwrap())?;
    /// let stream = listener.accept().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind(runtime: &A::Runtime, addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(runtime, addr, &ListenOptions::default())
    }

    /// Binds and listens.
    ///
    /// # Errors
    /// Those of socket(2), bind(2), listen(2); [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Acceptor, ListenOptions, Listener, TcpListener};
    /// # async fn example<A: Acceptor>(rt: &A::Runtime) -> std::io::Result<()> {
    /// // The kernel chooses the port of the first, and spreads the connections over both.
    /// let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    /// let one = TcpListener::<A>::bind_with(rt, "127.0.0.1:0".parse().unwrap(), &options)?;
    /// let other = TcpListener::<A>::bind_with(rt, one.local_addr()?, &options)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind_with(runtime: &A::Runtime, addr: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        A::bind(runtime, addr, options).map(Self::new)
    }

    /// Takes a listener made elsewhere.
    ///
    /// # Errors
    /// Those of fcntl(2) and of watching it; [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Acceptor, Listener, TcpListener};
    /// # async fn example<A: Acceptor>(rt: &A::Runtime) -> std::io::Result<()> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// listener.set_ttl(1)?;
    /// let mut listener = TcpListener::<A>::from_std(rt, listener)?;
    /// let stream = listener.accept().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_std(runtime: &A::Runtime, listener: std::net::TcpListener) -> io::Result<Self> {
        A::from_std(runtime, listener).map(Self::new)
    }

    fn new(acceptor: A) -> Self {
        TcpListener { acceptor, pause: Duration::ZERO, paused: None }
    }

    /// Returns true if an error of accept means that nothing can ever be accepted here. accept(2)
    /// also passes on errors of the connection it failed to make, and EOPNOTSUPP may be one of
    /// those.
    fn is_no_listener(&self, error: &io::Error) -> bool {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOTSOCK | Errno::INVAL | Errno::BADF | Errno::FAULT) => true,
            Some(Errno::OPNOTSUPP) => !self.acceptor.is_listening(),
            _ => false,
        }
    }
}

impl<A: Acceptor> Listener for TcpListener<A> {
    type Stream = TcpStream<A::Connection>;

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        loop {
            // The pause belongs to the listener, not to this call: dropping an accept doesn't
            // shorten it.
            if let Some(paused) = &mut self.paused {
                paused.await;
                self.paused = None;
            }
            match self.acceptor.accept().await {
                Ok(connection) => {
                    self.pause = Duration::ZERO;
                    return Ok(TcpStream::new(connection));
                }
                // The connection was gone before we took it. Accept the next one at once.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Not an error of the kernel: the runtime is closed.
                Err(error) if error.raw_os_error().is_none() => return Err(error),
                Err(error) if self.is_no_listener(&error) => {
                    let text = format!(
                        "nothing can be accepted here: {error}. A listener's socket must listen, and not be shut down: \
                         make it with bind, or call listen(2) on it before from_std"
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
                }
                // Out of descriptors or memory, or one of the network errors that accept(2) passes
                // on from the connection it failed to make. All of them pass, but some take time.
                Err(_) => {
                    self.pause = TO_ACCEPT.after(self.pause);
                    self.paused = Some(self.acceptor.runtime().pause_accepting(self.pause));
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.acceptor.local_addr()
    }
}

impl<A: Acceptor + AsFd> AsFd for TcpListener<A> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.acceptor.as_fd()
    }
}

/// A TCP connection. Dropping it closes it. [`Stream::close`] closes it, too, and reports how that
/// went. [`from_std`](Self::from_std) says what a drop does to duplicates of its descriptor.
///
/// # Examples
///
/// ```
/// use executor::{Connection, Stream, TcpStream, Writer};
///
/// /// Says goodbye. Reports an error of the close.
/// async fn part<C: Connection>(mut stream: TcpStream<C>) -> std::io::Result<()> {
///     stream.write_all("goodbye").await.0?;
///     stream.close().await
/// }
/// ```
#[derive(Debug)]
pub struct TcpStream<C: Connection> {
    // In this order: `write` is dropped last, so it closes the connection instead of shutting it
    // down.
    read: ReadHalf<C>,
    write: WriteHalf<C>,
}

impl<C: Connection> TcpStream<C> {
    /// Connects.
    ///
    /// # Errors
    /// Those of connect(2): refused, unreachable, timed out ...; [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future gives the attempt up and closes its socket. If the peer has accepted by
    /// then, it sees the end of the stream or a reset.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Connection, Stream, TcpStream};
    /// # async fn example<C: Connection>(rt: &C::Runtime) -> std::io::Result<()> {
    /// let mut stream = TcpStream::<C>::connect(rt, "127.0.0.1:7000".parse().unwrap()).await?;
    /// let answer = stream.exchange("hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(runtime: &C::Runtime, addr: SocketAddr) -> io::Result<Self> {
        C::connect(runtime, addr).await.map(Self::new)
    }

    /// Takes a stream made elsewhere.
    ///
    /// A drop on a reactor closes only its own descriptor: duplicates go on. A proactor with a
    /// receive or a send under way first ends the connection by shutdown(2), which all duplicates
    /// share. [`into_std`](Self::into_std) gives the stream back and does neither.
    ///
    /// # Errors
    /// Those of fcntl(2) and of watching it; [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Connection, TcpStream, Writer};
    /// # async fn example<C: Connection>(rt: &C::Runtime, stream: std::net::TcpStream) -> std::io::Result<()> {
    /// stream.set_ttl(1)?;
    /// let mut stream = TcpStream::<C>::from_std(rt, stream)?;
    /// stream.write_all("hello").await.0?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_std(runtime: &C::Runtime, stream: std::net::TcpStream) -> io::Result<Self> {
        C::from_std(runtime, stream).map(Self::new)
    }

    /// Gives the stream to the standard library, blocking. Also returns the bytes that the runtime
    /// had taken from the kernel and the program had not received. (A proactor's receives repeat
    /// themselves, so there may be some. On a reactor there are none.) To get a Unix stream,
    /// convert it: `std::os::fd::OwnedFd::from(stream).into()`.
    ///
    /// # Errors
    /// [`closed`](crate::closed), if the runtime ended with the stream in use. The error of a
    /// receive that no task awaited, such as a reset: without it, std would see an orderly end.
    /// Those of fcntl(2).
    ///
    /// # Cancel safety
    /// Dropping this future closes the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Connection, TcpStream};
    /// # async fn example<C: Connection>(stream: TcpStream<C>) -> std::io::Result<()> {
    /// use std::io::{Cursor, Read};
    ///
    /// let (stream, rest) = stream.into_std().await?;
    /// // Reads what the runtime had taken first, then what comes.
    /// let mut input = Cursor::new(rest).chain(stream);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn into_std(mut self) -> io::Result<(std::net::TcpStream, Vec<u8>)> {
        self.write.flush().await?;
        let rest = self.read.connection.drain().await?;
        let stream = std::net::TcpStream::from(self.take_apart().into_fd().await?);
        stream.set_nonblocking(false)?;
        Ok((stream, rest))
    }

    /// Returns the connection that both halves share. Sends nothing to the peer.
    fn take_apart(mut self) -> C {
        let connection = Rc::clone(&self.read.connection);
        self.write.is_closing = true;
        drop(self);
        Rc::into_inner(connection).expect("the halves were together")
    }

    fn new(connection: C) -> Self {
        let connection = Rc::new(connection);
        TcpStream {
            read: ReadHalf { connection: Rc::clone(&connection) },
            write: WriteHalf { connection, is_broken: false, is_closing: false },
        }
    }

    /// Ends one side or both. If the reading side ends, a waiting `recv` returns the end of the
    /// stream.
    ///
    /// # Errors
    /// Those of shutdown(2). If the writing side is to end before everything that was
    /// [fed](Writer::feed) is sent: the peer would take a cut message for a whole one.
    /// [`flush`](Writer::flush) first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Connection, TcpStream};
    /// # async fn example<C: Connection>(stream: TcpStream<C>) -> std::io::Result<()> {
    /// // The peer reads the end of the stream, and so does this side.
    /// stream.shutdown_how(std::net::Shutdown::Both)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shutdown_how(&self, how: Shutdown) -> io::Result<()> {
        self.read.connection.shutdown(how)
    }

    /// Makes the close *reset* the connection (SO_LINGER with no time). The kernel drops what is
    /// not sent, the peer sees an error, and the address does not linger in TIME_WAIT.
    ///
    /// A close cannot linger for a time: close(2) would block for that time, and the whole loop
    /// with it. Instead, [`shutdown`](Writer::shutdown) the writing side, and await the peer's end
    /// of the stream.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Connection, TcpStream};
    /// # async fn example<C: Connection>(stream: TcpStream<C>) -> std::io::Result<()> {
    /// stream.set_zero_linger()?;
    /// drop(stream); // resets the connection
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.read.connection.set_zero_linger()
    }
}

impl<C: Connection + AsFd> TcpStream<C> {
    /// Sends small writes at once (`true`), or waits to gather them (`false`).
    ///
    /// # Errors
    /// Those of setsockopt(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Connection, TcpStream, Writer};
    /// # async fn example<C: Connection + std::os::fd::AsFd>(mut stream: TcpStream<C>) -> std::io::Result<()> {
    /// stream.set_nodelay(false)?;
    /// for word in ["many", "small", "writes"] {
    ///     stream.write_all(word).await.0?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        SockRef::from(self).set_tcp_nodelay(nodelay)
    }

    /// Returns true if small writes are sent at once.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Connection, TcpStream};
    /// # async fn example<C: Connection + std::os::fd::AsFd>(rt: &C::Runtime) -> std::io::Result<()> {
    /// let stream = TcpStream::<C>::connect(rt, "127.0.0.1:7000".parse().unwrap()).await?;
    /// assert!(stream.nodelay()?, "connect turns it on");
    /// # Ok(())
    /// # }
    /// ```
    pub fn nodelay(&self) -> io::Result<bool> {
        SockRef::from(self).tcp_nodelay()
    }
}

impl<C: Connection + AsFd> AsFd for TcpStream<C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.connection.as_fd()
    }
}

impl<C: Connection> Reader for TcpStream<C> {
    type Chunk = C::Chunk;

    fn recv(&mut self) -> impl Future<Output = io::Result<C::Chunk>> {
        self.read.recv()
    }

    fn read<B: IoBufMut>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        self.read.read(buf)
    }
}

impl<C: Connection> Writer for TcpStream<C> {
    fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        self.write.write(buf)
    }

    fn write_all<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<(), B>> {
        self.write.write_all(buf)
    }

    fn write_all_vectored<B: IoBuf>(&mut self, bufs: Vec<B>) -> impl Future<Output = BufResult<(), Vec<B>>> {
        self.write.write_all_vectored(bufs)
    }

    fn feed<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = io::Result<()>> {
        self.write.feed(buf)
    }

    fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        self.write.flush()
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.write.shutdown().await
    }
}

impl<C: Connection> Stream for TcpStream<C> {
    type ReadHalf = ReadHalf<C>;
    type WriteHalf = WriteHalf<C>;

    fn split(self) -> (ReadHalf<C>, WriteHalf<C>) {
        (self.read, self.write)
    }

    fn reset(read: ReadHalf<C>, mut write: WriteHalf<C>) {
        // This fails only for a connection that is gone.
        let _ = write.connection.set_zero_linger();
        write.is_closing = true;
        drop(read);
    }

    fn exchange<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = io::Result<C::Chunk>> {
        let connection = &*self.read.connection;
        let (mut receiving, mut is_sent) = (connection.recv(), false);
        let mut sending = self.write.guard(buf, C::send_before_recv, |error, _buf| Err(error));
        poll_fn(move |cx| {
            if !is_sent {
                ready!(pin!(&mut sending).poll(cx))?;
                is_sent = true;
            }
            pin!(&mut receiving).poll(cx)
        })
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.read.connection.peer_addr()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.read.connection.local_addr()
    }

    async fn close(mut self) -> io::Result<()> {
        let flushed = self.write.flush().await;
        flushed.and(self.take_apart().close().await)
    }
}

/// The reading side of a stream.
///
/// # Examples
///
/// ```
/// use executor::{Connection, IoBuf, ReadHalf, Reader};
///
/// /// Counts the bytes up to the end of the stream.
/// async fn count<C: Connection>(mut reader: ReadHalf<C>) -> std::io::Result<usize> {
///     let mut count = 0;
///     loop {
///         match reader.recv().await?.bytes().len() {
///             0 => return Ok(count),
///             len => count += len,
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub struct ReadHalf<C: Connection> {
    pub(crate) connection: Rc<C>,
}

impl<C: Connection> Reader for ReadHalf<C> {
    type Chunk = C::Chunk;

    fn recv(&mut self) -> impl Future<Output = io::Result<C::Chunk>> {
        self.connection.recv()
    }

    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B> {
        if buf.bytes().is_empty() {
            return (Err(empty_buffer()), buf);
        }
        self.connection.read(buf).await
    }
}

impl<C: Connection> Drop for ReadHalf<C> {
    fn drop(&mut self) {
        self.connection.stop_receiving();
    }
}

/// The writing side of a stream. If it is dropped before the other half, it ends the writing side,
/// and the peer reads the end of the stream.
///
/// # Examples
///
/// ```
/// use executor::{Connection, WriteHalf, Writer};
///
/// /// Writes the numbers, a line each. The drop of the half then ends the stream.
/// async fn list<C: Connection>(mut writer: WriteHalf<C>, numbers: Vec<u64>) -> std::io::Result<()> {
///     for number in numbers {
///         writer.feed(format!("{number}\n")).await?;
///     }
///     writer.flush().await
/// }
/// ```
#[derive(Debug)]
pub struct WriteHalf<C: Connection> {
    pub(crate) connection: Rc<C>,
    /// A write was dropped while it waited. Nothing may follow it, unless all of it was sent.
    pub(crate) is_broken: bool,
    /// The halves are dropped together, by `close` or `into_std`.
    pub(crate) is_closing: bool,
}

impl<C: Connection> WriteHalf<C> {
    /// Waits for the future that `send` makes of a buffer. Refuses the buffer if nothing may follow
    /// the writes before it.
    fn guard<'a, B: Unpin, T, F: Future<Output = T> + Unpin>(
        &'a mut self,
        buf: B,
        send: impl FnOnce(&'a C, B) -> F,
        refuse: impl Fn(io::Error, B) -> T + Unpin,
    ) -> impl Future<Output = T> + Unpin {
        let WriteHalf { connection, is_broken, .. } = self;
        let mut sending = if *is_broken && connection.is_cut() { Err(Some(buf)) } else { Ok(send(connection, buf)) };
        poll_fn(move |cx| match &mut sending {
            Ok(sending) => {
                // If the poll panics, how much was sent is unknown.
                *is_broken = true;
                let polled = pin!(sending).poll(cx);
                // Stays true if this future is dropped while it waits.
                *is_broken = polled.is_pending();
                polled
            }
            Err(refused) => {
                let text = "an earlier write was dropped midway: how much of it was sent is unknown";
                let buf = refused.take().expect("polled again after it was ready");
                Poll::Ready(refuse(io::Error::new(io::ErrorKind::BrokenPipe, text), buf))
            }
        })
    }
}

impl<C: Connection> Writer for WriteHalf<C> {
    fn write<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<usize, B>> {
        self.guard(buf, |connection, buf| connection.send(buf, false), |error, buf| (Err(error), buf))
    }

    fn write_all<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = BufResult<(), B>> {
        let mut sending = self.guard(buf, |connection, buf| connection.send(buf, true), |error, buf| (Err(error), buf));
        poll_fn(move |cx| pin!(&mut sending).poll(cx).map(|(result, buf)| (result.map(drop), buf)))
    }

    fn write_all_vectored<B: IoBuf>(&mut self, bufs: Vec<B>) -> impl Future<Output = BufResult<(), Vec<B>>> {
        let mut sending = self.guard(bufs, C::send_all, |error, bufs| (Err(error), bufs));
        poll_fn(move |cx| pin!(&mut sending).poll(cx).map(|(result, bufs)| (result.map(drop), bufs)))
    }

    fn feed<B: IoBuf>(&mut self, buf: B) -> impl Future<Output = io::Result<()>> {
        self.guard(buf, C::feed, |error, _buf| Err(error))
    }

    fn flush(&mut self) -> impl Future<Output = io::Result<()>> {
        // After a write that was dropped midway, nothing fed is left.
        let is_cut = self.is_broken && self.connection.is_cut();
        poll_fn(move |cx| if is_cut { Poll::Ready(Ok(())) } else { self.connection.poll_flush(cx) })
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.connection.shutdown(Shutdown::Write)
    }
}

impl<C: Connection> Drop for WriteHalf<C> {
    fn drop(&mut self) {
        // The last half to go closes the connection, which ends both sides.
        if Rc::strong_count(&self.connection) > 1 && !self.is_closing {
            self.connection.stop_sending();
        }
    }
}
