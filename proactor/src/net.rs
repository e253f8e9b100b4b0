//! TCP over completion: start an operation, and wait for what it brings. What programs see of it is in
//! `executor`'s `tcp.rs`.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use executor::{Acceptor, Address, BufResult, Connection, IoBuf, IoBufMut, ListenOptions, Runtime, closed};
use socket2::SockRef;

use crate::op::{Buffer, Kind, Socket};
use crate::ring::{self, message::Gather};
use crate::{Chunk, Context, Feature, Proactor, UringDriver};

/// Listens for TCP connections.
pub type TcpListener = executor::TcpListener<ListenSocket>;
/// A TCP connection.
pub type TcpStream = executor::TcpStream<StreamSocket>;
/// The reading side of a [`TcpStream`].
pub type ReadHalf = executor::ReadHalf<StreamSocket>;
/// The writing side of a [`TcpStream`].
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

/// Starts the operation that fills a socket.
pub(crate) type Fill<T> = fn(&Context, &Rc<Socket<T>>);

/// The program's hold on a socket; operations have others.
pub(crate) struct Hold<T> {
    /// `None` only while it is dropped or closed.
    socket: Option<Rc<Socket<T>>>,
    pub(crate) context: Rc<Context>,
}

impl<T> Hold<T> {
    pub(crate) fn new(proactor: &Proactor, fd: OwnedFd) -> io::Result<Hold<T>> {
        if proactor.context.is_closed.get() {
            return Err(closed());
        }
        Ok(Hold { socket: Some(Socket::new(fd)), context: Rc::clone(&proactor.context) })
    }

    /// Has what arrives next wake the task, and has it brought if nothing is under way to do so. Returns
    /// false if nothing needs to be waited for.
    fn await_arrival(&self, fill: Fill<T>, cx: &mut TaskContext<'_>) -> bool {
        let incoming = &self.socket().incoming;
        if self.context.is_closed.get() || incoming.has_arrived() {
            return false;
        }
        if incoming.filler.get().is_none() {
            fill(&self.context, self.socket());
            if incoming.has_arrived() {
                return false;
            }
        }
        incoming.waiting.set(cx.waker());
        true
    }

    pub(crate) fn socket(&self) -> &Rc<Socket<T>> {
        self.socket.as_ref().expect("taken only at the end")
    }

    /// Waits for what arrives next. If nothing is under way to bring it, starts it with `fill`; without
    /// one, says `None`.
    pub(crate) fn arrival(&self, fill: Option<Fill<T>>) -> Arrival<'_, T> {
        Arrival { hold: self, fill, is_waiting: false }
    }

    /// Cancels what is in flight, drops what has arrived, and waits until the kernel has let go.
    pub(crate) async fn release(mut self) -> io::Result<Socket<T>> {
        self.context.release(self.socket());
        poll_fn(|cx| {
            let is_busy = Rc::strong_count(self.socket()) > 1;
            if !is_busy || self.context.is_closed.get() {
                return Poll::Ready(());
            }
            self.socket().incoming.waiting.set(cx.waker());
            Poll::Pending
        })
        .await;
        let socket = self.socket.take().expect("taken only at the end");
        Rc::into_inner(socket).ok_or_else(closed)
    }
}

impl<T> std::fmt::Debug for Hold<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hold").field(&self.as_fd()).finish()
    }
}

impl<T> AsFd for Hold<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl<T> Drop for Hold<T> {
    /// The kernel holds the file as long as an operation does, so closing the number would tell the peer
    /// nothing: its end of stream is sent first.
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        self.context.release(&socket);
        match Rc::try_unwrap(socket) {
            Ok(socket) => drop(ring::close(&self.context.seam, socket.into_fd())),
            Err(busy) => {
                let _ = self.context.shutdown(busy.as_fd(), Shutdown::Both);
            }
        }
    }
}

/// The future of [`Hold::arrival`].
pub(crate) struct Arrival<'a, T> {
    hold: &'a Hold<T>,
    fill: Option<Fill<T>>,
    is_waiting: bool,
}

impl<T> Future for Arrival<'_, T> {
    /// `None`: nothing is under way, and nothing was to be started. Else an item, or the end.
    type Output = Option<io::Result<Option<T>>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Hold { context, .. } = self.hold;
        let socket = self.hold.socket();
        // Before what has arrived: at the end of the runtime that is "cancelled".
        if context.is_closed.get() {
            return Poll::Ready(Some(Err(closed())));
        }
        let mut arrived = socket.incoming.take();
        if arrived.is_none() && socket.incoming.filler.get().is_none() {
            let Some(fill) = self.fill else { return Poll::Ready(None) };
            fill(context, socket);
            // It may have failed at once.
            arrived = socket.incoming.take();
        }
        if arrived.is_some() {
            return Poll::Ready(arrived);
        }
        socket.incoming.waiting.set(cx.waker());
        self.is_waiting = true;
        Poll::Pending
    }
}

impl<T> Drop for Arrival<'_, T> {
    /// What is under way stays so: the next one who asks finds what it brings.
    fn drop(&mut self) {
        if self.is_waiting {
            drop(self.hold.socket().incoming.waiting.take());
        }
    }
}

/// What is behind a [`TcpListener`].
#[derive(Debug)]
pub struct ListenSocket {
    hold: Hold<OwnedFd>,
    proactor: Proactor,
}

impl Acceptor for ListenSocket {
    type Runtime = Proactor;
    type Connection = StreamSocket;

    fn bind(proactor: &Proactor, addr: SocketAddr, options: &ListenOptions) -> io::Result<ListenSocket> {
        let socket = proactor.context.socket(addr)?;
        socket.set_reuse_address(options.reuse_addr)?;
        socket.set_reuse_port(options.reuse_port)?;
        // Accepted sockets inherit it: no system call for each.
        socket.set_tcp_nodelay(options.nodelay)?;
        proactor.context.listen(&socket, addr, options.backlog)?;
        ListenSocket::from_std(proactor, socket.into())
    }

    /// Blocking, for on a non-blocking socket io_uring reports "would block" instead of waiting.
    fn from_std(proactor: &Proactor, listener: std::net::TcpListener) -> io::Result<ListenSocket> {
        listener.set_nonblocking(false)?;
        Ok(ListenSocket { hold: Hold::new(proactor, listener.into())?, proactor: proactor.clone() })
    }

    async fn accept(&self) -> io::Result<StreamSocket> {
        let arrived = self.hold.arrival(Some(Context::fill_listener)).await.expect("filled")?;
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

/// What is behind a [`TcpStream`].
#[derive(Debug)]
pub struct StreamSocket {
    pub(crate) hold: Hold<Chunk>,
}

impl StreamSocket {
    fn new(proactor: &Proactor, fd: OwnedFd) -> io::Result<StreamSocket> {
        Ok(StreamSocket { hold: Hold::new(proactor, fd)? })
    }

    fn reading<B: IoBufMut>(&self, buf: B) -> Kind {
        Kind::Read { socket: Rc::clone(self.hold.socket()), buffer: Buffer::to_receive(buf) }
    }

    /// A send of the whole, or of some.
    fn sending(&self, buffer: Buffer, whole: bool, is_kept: bool) -> Kind {
        let socket = Rc::clone(self.hold.socket());
        let is_quiet = whole && !socket.is_pipe.get() && self.hold.context.features.has(Feature::QuietSend);
        Kind::Send { socket, buffer, sent: 0, whole, is_quiet, is_kept }
    }
}

impl Connection for StreamSocket {
    type Runtime = Proactor;
    type Chunk = Chunk;

    async fn connect(proactor: &Proactor, addr: SocketAddr) -> io::Result<StreamSocket> {
        let socket = proactor.context.socket(addr)?;
        socket.set_tcp_nodelay(true)?;
        let stream = StreamSocket::new(proactor, socket.into())?;
        let kind = Kind::Connect { socket: Rc::clone(stream.hold.socket()), addr: Box::new(addr.into()) };
        let ticket = stream.hold.context.start(kind).map_err(|(error, _)| error)?;
        let (result, _) = ticket.await;
        result.map(|_| stream)
    }

    /// Blocking, for on a non-blocking socket io_uring reports "would block" instead of waiting.
    fn from_std(proactor: &Proactor, stream: std::net::TcpStream) -> io::Result<StreamSocket> {
        stream.set_nonblocking(false)?;
        StreamSocket::new(proactor, stream.into())
    }

    fn recv(&self) -> impl Future<Output = io::Result<Chunk>> + Unpin {
        let mut arrival = self.hold.arrival(Some(Context::fill_stream));
        poll_fn(move |cx| {
            let chunk = ready!(Pin::new(&mut arrival).poll(cx)).expect("filled")?;
            Poll::Ready(Ok(chunk.unwrap_or_else(|| self.hold.context.pool.adopt(Vec::new(), 0))))
        })
    }

    /// Straight into the buffer, unless something has arrived before or is under way.
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
        let kind = move |buf| self.sending(Buffer::to_send(buf), whole, true);
        self.hold.context.transfer(buf, |buf| buf.bytes().len(), kind)
    }

    fn send_all<B: IoBuf>(&self, bufs: Vec<B>) -> impl Future<Output = BufResult<usize, Vec<B>>> + Unpin {
        let kind = |bufs| self.sending(Gather::stow(bufs), true, true);
        self.hold.context.transfer(bufs, |bufs| bufs.iter().map(|buf| buf.bytes().len()).sum(), kind)
    }

    /// Waits for what is received, and looks at the send only then.
    fn send_before_recv<B: IoBuf>(&self, buf: B) -> impl Future<Output = io::Result<()>> + Unpin {
        let (mut buf, mut ticket) = (Some(buf), None);
        poll_fn(move |cx| {
            if let Some(buf) = buf.take().filter(|buf| !buf.bytes().is_empty()) {
                let kind = self.sending(Buffer::to_send(buf), true, false);
                ticket = Some(self.hold.context.start(kind).map_err(|(error, _)| error)?);
            }
            let Some(ticket) = &mut ticket else { return Poll::Ready(Ok(())) };
            if ticket.is_sent() {
                return Poll::Ready(Ok(()));
            }
            if !ticket.is_done() && self.hold.await_arrival(Context::fill_stream, cx) {
                return Poll::Pending;
            }
            Pin::new(ticket).poll(cx).map(|(result, _)| result.map(drop))
        })
    }

    fn is_cut(&self) -> bool {
        self.hold.socket().is_cut.get()
    }

    /// What arrives from now on is dropped, so that it takes nothing of the pool.
    fn stop_receiving(&self) {
        self.hold.context.release(self.hold.socket());
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.hold.context.shutdown(self.as_fd(), how)
    }

    async fn close(self) -> io::Result<()> {
        let context = Rc::clone(&self.hold.context);
        ring::close(&context.seam, self.hold.release().await?.into_fd())
    }

    async fn drain(&self) -> io::Result<Vec<u8>> {
        self.hold.context.stop_filling(self.hold.socket());
        let mut rest = Vec::new();
        loop {
            match self.hold.arrival(None).await {
                Some(Ok(Some(chunk))) => rest.extend_from_slice(&chunk),
                // The cancel's own answer is no news.
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
