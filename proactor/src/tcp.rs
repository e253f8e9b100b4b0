//! TCP over completion: starts an operation, and waits for what it brings. The part that programs
//! see is in `executor`'s `tcp.rs`.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use executor::{Acceptor, Address, BufResult, Connection, IoBuf, IoBufMut, ListenOptions, Runtime, allocate, closed};
use socket2::SockRef;

use crate::buffer::Buffer;
use crate::context::Context;
use crate::driver::UringDriver;
use crate::features::Feature;
use crate::hold::{Fill, Hold};
use crate::op::{Accept, Connect, Kind, Purpose, Read, RecvMultishot, RecvOnce, Send};
use crate::pool::{Chunk, MISS_SIZE, OWN_SIZE};
use crate::proactor::Proactor;
use crate::ring::buffers::Group;
use crate::socket::{Sending, Socket};
use crate::submit::count;
use crate::sys;

/// Listens for TCP connections.
///
/// # Examples
///
/// ```
/// use proactor::{Listener, Proactor, Stream, TcpListener, TcpStream};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let mut listener = TcpListener::bind(&rt, "127.0.0.1:0".parse().unwrap())?;
/// rt.block_on(async {
///     let client = TcpStream::connect(&rt, listener.local_addr()?).await?;
///     let server: TcpStream = listener.accept().await?;
///     assert_eq!(server.peer_addr()?, client.local_addr()?);
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type TcpListener = executor::TcpListener<ListenSocket>;
/// A TCP connection.
///
/// # Examples
///
/// ```
/// use proactor::{Proactor, Stream, TcpStream};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
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
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type TcpStream = executor::TcpStream<StreamSocket>;
/// The reading side of a [`TcpStream`].
///
/// # Examples
///
/// ```
/// use proactor::{Net, Proactor, ReadHalf, Reader, Stream, Writer};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let (stream, mut peer) = rt.unix_pair()?;
/// let (mut reader, _writer): (ReadHalf, _) = stream.split();
/// rt.block_on(async {
///     peer.write_all("hello").await.0?;
///     assert_eq!(&*reader.recv().await?, b"hello");
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type ReadHalf = executor::ReadHalf<StreamSocket>;
/// The writing side of a [`TcpStream`].
///
/// # Examples
///
/// ```
/// use proactor::{Net, Proactor, Reader, Stream, WriteHalf};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let (stream, mut peer) = rt.unix_pair()?;
/// let (_reader, writer): (_, WriteHalf) = stream.split();
/// drop(writer); // ends its side
/// assert!(rt.block_on(peer.recv())?.is_empty());
/// # Ok(())
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type WriteHalf = executor::WriteHalf<StreamSocket>;

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

/// The socket inside a [`TcpListener`].
pub struct ListenSocket {
    hold: Hold<OwnedFd>,
    proactor: Proactor,
    fill: Fill<OwnedFd>,
}

impl std::fmt::Debug for ListenSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenSocket").field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl Acceptor for ListenSocket {
    type Runtime = Proactor;
    type Connection = StreamSocket;

    fn bind(proactor: &Proactor, addr: SocketAddr, options: &ListenOptions) -> io::Result<ListenSocket> {
        let socket = sys::socket(&proactor.context.seam, addr)?;
        socket.set_reuse_address(options.reuse_addr)?;
        socket.set_reuse_port(options.reuse_port)?;
        // Accepted sockets inherit it, so it takes no system call for each.
        socket.set_tcp_nodelay(options.nodelay)?;
        sys::listen(&proactor.context.seam, &socket, addr, options.backlog)?;
        let mut listener = ListenSocket::from_std(proactor, socket.into())?;
        if !options.accept_ahead {
            listener.fill = accept_once;
        }
        Ok(listener)
    }

    /// Makes the socket blocking: on a non-blocking one, io_uring fails with "would block" instead
    /// of waiting.
    fn from_std(proactor: &Proactor, listener: std::net::TcpListener) -> io::Result<ListenSocket> {
        listener.set_nonblocking(false)?;
        let hold = Hold::new(&proactor.context, listener.into())?;
        Ok(ListenSocket { hold, proactor: proactor.clone(), fill: accept_ahead })
    }

    async fn accept(&self) -> io::Result<StreamSocket> {
        let arrived = self.hold.arrival(Some(self.fill)).await.expect("filled")?;
        StreamSocket::new(&self.proactor, arrived.expect("a listener has no end of stream"))
    }

    fn runtime(&self) -> &Proactor {
        &self.proactor
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
        self.hold.as_fd()
    }
}

/// The socket inside a [`TcpStream`].
#[derive(Debug)]
pub struct StreamSocket {
    pub(crate) hold: Hold<Chunk>,
}

impl StreamSocket {
    fn new(proactor: &Proactor, fd: OwnedFd) -> io::Result<StreamSocket> {
        Ok(StreamSocket { hold: Hold::new(&proactor.context, fd)? })
    }

    fn reading<B: IoBufMut>(&self, buf: B) -> Kind {
        Kind::Read(Read { socket: Rc::clone(self.hold.socket()), buffer: Buffer::to_receive(buf) })
    }

    /// Makes a send of the whole buffer, or of a part.
    fn sending(&self, buffer: Buffer, is_whole: bool) -> Send {
        let socket = Rc::clone(self.hold.socket());
        let is_quiet = is_whole && !socket.is_pipe.get() && self.hold.context.features.has(Feature::QuietSend);
        Send::new(socket, buffer, is_whole, is_quiet)
    }

    /// Starts to send a whole buffer that does not come back. Returns false if it is empty.
    fn start_sending<B: IoBuf>(&self, buf: B, purpose: Purpose) -> io::Result<bool> {
        let Hold { context, .. } = &self.hold;
        if context.is_closed.get() {
            return Err(closed());
        }
        if buf.bytes().is_empty() {
            return Ok(false);
        }
        let send = self.sending(Buffer::to_send(buf), true).to(purpose);
        context.operations.borrow_mut().send(&context.seam, send);
        Ok(true)
    }
}

impl Connection for StreamSocket {
    type Runtime = Proactor;
    type Chunk = Chunk;

    async fn connect(proactor: &Proactor, addr: SocketAddr) -> io::Result<StreamSocket> {
        let socket = sys::socket(&proactor.context.seam, addr)?;
        socket.set_tcp_nodelay(true)?;
        let stream = StreamSocket::new(proactor, socket.into())?;
        let kind = Kind::Connect(Connect::new(Rc::clone(stream.hold.socket()), addr.into()));
        let ticket = stream.hold.context.start(kind).map_err(|(error, _)| error)?;
        let (result, _) = ticket.await;
        result.map(|_| stream)
    }

    /// Makes the socket blocking: on a non-blocking one, io_uring fails with "would block" instead
    /// of waiting.
    fn from_std(proactor: &Proactor, stream: std::net::TcpStream) -> io::Result<StreamSocket> {
        stream.set_nonblocking(false)?;
        StreamSocket::new(proactor, stream.into())
    }

    fn recv(&self) -> impl Future<Output = io::Result<Chunk>> + Unpin {
        let mut arrival = self.hold.arrival(Some(fill_stream));
        poll_fn(move |cx| {
            let chunk = ready!(Pin::new(&mut arrival).poll(cx)).expect("filled")?;
            Poll::Ready(Ok(chunk.unwrap_or_else(|| self.hold.context.pool.adopt(Vec::new(), 0))))
        })
    }

    /// Reads straight into the buffer, unless something has arrived before or is in flight.
    async fn read<B: IoBufMut>(&self, mut buf: B) -> BufResult<usize, B> {
        match self.hold.arrival(None).await {
            None => self.hold.context.transfer(buf, |buf| buf.bytes().len(), |buf| self.reading(buf)).await,
            Some(Ok(Some(mut chunk))) => {
                let count = chunk.move_to(buf.bytes_mut());
                if !chunk.is_empty() {
                    self.hold.socket().incoming.put_back(chunk);
                }
                (Ok(count), buf)
            }
            Some(Ok(None)) => (Ok(0), buf),
            Some(Err(error)) => (Err(error), buf),
        }
    }

    fn send<B: IoBuf>(&self, buf: B, whole: bool) -> impl Future<Output = BufResult<usize, B>> + Unpin {
        let kind = move |buf| Kind::Send(self.sending(Buffer::to_send(buf), whole));
        self.hold.context.transfer_after(|cx| self.poll_flush(cx), buf, |buf| buf.bytes().len(), kind)
    }

    fn send_all<B: IoBuf>(&self, bufs: Vec<B>) -> impl Future<Output = BufResult<usize, Vec<B>>> + Unpin {
        let kind = |bufs| Kind::Send(self.sending(Buffer::to_gather(bufs), true));
        self.hold.context.transfer_after(
            |cx| self.poll_flush(cx),
            bufs,
            |bufs| bufs.iter().map(|buf| buf.bytes().len()).sum(),
            kind,
        )
    }

    fn send_before_recv<B: IoBuf>(&self, buf: B) -> impl Future<Output = io::Result<()>> + Unpin {
        Exchange { stream: self, buf: Some(buf), is_under_way: false }
    }

    /// Never waits: the slot owns the send, and no future has to.
    fn feed<B: IoBuf>(&self, buf: B) -> impl Future<Output = io::Result<()>> + Unpin {
        let mut buf = Some(buf);
        poll_fn(move |cx| {
            ready!(self.poll_flush(cx))?;
            let buf = buf.take().expect("polled again after it was ready");
            Poll::Ready(self.start_sending(buf, Purpose::Feed).map(drop))
        })
    }

    #[inline]
    fn poll_flush(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.hold.socket().sending.get() {
            Sending::Whole => Poll::Ready(Ok(())),
            _ => self.hold.poll_sent(cx),
        }
    }

    fn is_cut(&self) -> bool {
        matches!(self.hold.socket().sending.get(), Sending::UnderWay | Sending::Cut)
    }

    /// Drops what arrives from now on, so that it takes nothing from the pool.
    fn stop_receiving(&self) {
        self.hold.context.release(self.hold.socket());
    }

    fn stop_sending(&self) {
        let socket = self.hold.socket();
        if socket.sending.get() == Sending::Fed {
            socket.incoming.ends_when_sent.set(true);
            self.hold.context.operations.borrow_mut().is_quiet_awaited = true;
        } else {
            let _ = self.shutdown(Shutdown::Write);
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read && self.hold.socket().sending.get() == Sending::Fed {
            return Err(io::Error::other("not everything that was fed is sent: flush first"));
        }
        sys::shutdown(&self.hold.context.seam, self.as_fd(), how)
    }

    fn set_zero_linger(&self) -> io::Result<()> {
        self.hold.set_zero_linger()
    }

    async fn close(self) -> io::Result<()> {
        let context = Rc::clone(&self.hold.context);
        sys::close(&context.seam, self.hold.release().await?.into_fd())
    }

    async fn drain(&self) -> io::Result<Vec<u8>> {
        self.hold.context.stop_filling(self.hold.socket());
        let mut rest = Vec::new();
        loop {
            match self.hold.arrival(None).await {
                Some(Ok(Some(chunk))) => rest.extend_from_slice(&chunk),
                // The result of the cancel itself is not an error to report.
                Some(Err(error)) if error.raw_os_error() != Some(libc::ECANCELED) => return Err(error),
                _ => return Ok(rest),
            }
        }
    }

    async fn into_fd(self) -> io::Result<OwnedFd> {
        self.hold.release().await.map(Socket::into_fd)
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
        self.hold.as_fd()
    }
}

/// The future of [`Connection::send_before_recv`]. It waits for the receive, and looks at the send
/// only then. Dropping it gives the send up.
struct Exchange<'a, B> {
    stream: &'a StreamSocket,
    buf: Option<B>,
    is_under_way: bool,
}

impl<B: IoBuf> Future for Exchange<'_, B> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream;
        if self.buf.is_some() {
            ready!(stream.poll_flush(cx))?;
            let buf = self.buf.take().expect("just seen");
            self.is_under_way = stream.start_sending(buf, Purpose::Exchange)?;
        }
        if !self.is_under_way {
            return Poll::Ready(Ok(()));
        }
        let is_sending = stream.hold.socket().sending.get() == Sending::UnderWay;
        if is_sending && stream.hold.await_arrival(fill_stream, cx) {
            return Poll::Pending;
        }
        let sent = ready!(stream.poll_flush(cx));
        self.is_under_way = false;
        Poll::Ready(sent)
    }
}

// The buffer is a value like any other.
impl<B> Unpin for Exchange<'_, B> {}

impl<B> Drop for Exchange<'_, B> {
    fn drop(&mut self) {
        if self.is_under_way {
            let Hold { context, .. } = &self.stream.hold;
            context.give_up_sending(self.stream.hold.socket());
        }
    }
}

/// Starts to receive on an idle stream: again and again if the kernel can and the pool has a
/// buffer, otherwise once. If there is no memory, this has failed when the function returns.
fn fill_stream(context: &Context, socket: &Rc<Socket<Chunk>>) {
    let mut operations = context.operations.borrow_mut();
    let can_repeat = context.features.has(Feature::MultishotRecv) && !socket.is_pipe.get();
    let again = can_repeat && context.pool.has_room(Group::Streams);
    let socket_of_operation = Rc::clone(socket);
    let kind = if again {
        Kind::RecvMultishot(RecvMultishot { socket: socket_of_operation })
    } else {
        count(&mut operations.stats.pool_misses);
        let size = if can_repeat { MISS_SIZE } else { OWN_SIZE };
        let Ok(memory) = allocate(size) else {
            socket.incoming.end.set(Some(-libc::ENOMEM));
            return;
        };
        Kind::RecvOnce(RecvOnce::new(socket_of_operation, memory))
    };
    operations.start(&context.seam, kind);
}

/// Starts to accept one connection on an idle listener.
fn accept_once(context: &Context, socket: &Rc<Socket<OwnedFd>>) {
    accept(context, socket, false);
}

/// Starts to accept one connection after the other on an idle listener, before a program asks for
/// them.
fn accept_ahead(context: &Context, socket: &Rc<Socket<OwnedFd>>) {
    accept(context, socket, context.features.has(Feature::MultishotAccept));
}

fn accept(context: &Context, socket: &Rc<Socket<OwnedFd>>, is_multishot: bool) {
    let kind = Kind::Accept(Accept { socket: Rc::clone(socket), is_multishot });
    context.begin(kind);
}
