//! UDP as programs see it. Written once for all runtimes.
//!
//! What differs between readiness and completion is a [`Port`], which each runtime has in its `datagram.rs`. What
//! programs rely on is here: several tasks may share a socket, nothing is cut without a word, and a datagram is
//! either sent as a whole or not at all.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::task::Waker;

use crate::buf::{BufResult, IoBuf, IoBufMut};

/// Bytes of a datagram that fit the memory which [`recv_from`](UdpSocket::recv_from) lends, on every engine: a
/// proactor's chunk, less the place for the sender's address. Networks seldom carry more than 1,500, or 9,000.
pub const LENT_DATAGRAM: usize = 16 * 1024 - 144;

/// A datagram that was received.
#[derive(Clone, Debug)]
pub struct Datagram<C> {
    /// What of it fitted.
    pub bytes: C,
    /// Its length in bytes when it was sent.
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
}

impl<C: IoBuf> Datagram<C> {
    /// Whether its end is missing, because there was not enough room for it. It cannot be had any more.
    pub fn is_cut(&self) -> bool {
        self.bytes.bytes().len() < self.len
    }
}

/// A datagram socket from inside: how a runtime moves datagrams. At most one receive and one send wait at a time for
/// the socket to become ready; see [`UdpSocket`] for how more of them get on.
pub trait Port: AsFd + Debug + Sized + 'static {
    /// The runtime.
    type Runtime;
    /// Memory the runtime lends.
    type Chunk: IoBuf + Deref<Target = [u8]> + Debug;

    /// See [`UdpSocket::from_std`].
    fn from_fd(runtime: &Self::Runtime, fd: OwnedFd) -> io::Result<Self>;
    /// See [`UdpSocket::recv_from`].
    async fn recv(&self) -> io::Result<Datagram<Self::Chunk>>;
    /// See [`UdpSocket::read_from`].
    async fn read<B: IoBufMut>(&self, buf: B) -> BufResult<(usize, SocketAddr), B>;
    /// See [`UdpSocket::send_to`].
    async fn send<B: IoBuf>(&self, buf: B, to: Option<SocketAddr>) -> BufResult<(), B>;
    /// See [`UdpSocket::into_std`].
    async fn into_fd(self) -> io::Result<OwnedFd>;
}

/// A UDP socket. Dropping it closes it.
///
/// Any number of tasks may use it at a time, behind an `Rc`: each datagram goes to one of those who receive. (Each
/// time one of several is served the others look, too; that is meant for few.)
///
/// Options that are not here (broadcast, multicast ...) can be set before [`from_std`](Self::from_std), or on a duplicate
/// of the descriptor.
#[derive(Debug)]
pub struct UdpSocket<P> {
    port: P,
    receiving: Waiting,
    sending: Waiting,
}

/// All that wait for the same. The port knows of the last one only, so whoever leaves wakes the others.
#[derive(Debug, Default)]
struct Waiting(RefCell<Vec<Waker>>);

impl Waiting {
    /// Waits for `future`, of which there may be others.
    async fn join<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let _leaving = Leaving(self);
        poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            let is_known = self.0.borrow().iter().any(|waker| waker.will_wake(cx.waker()));
            if polled.is_pending() && !is_known {
                // Cloned outside of the borrow: a waker may be foreign code.
                let waker = cx.waker().clone();
                self.0.borrow_mut().push(waker);
            }
            polled
        })
        .await
    }
}

struct Leaving<'a>(&'a Waiting);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.0.take().into_iter().for_each(Waker::wake);
    }
}

impl<P: Port> UdpSocket<P> {
    /// A socket with this address. Port 0 lets the kernel choose; ask [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// Those of socket(2) and bind(2); [`closed`](crate::closed).
    pub fn bind(runtime: &P::Runtime, addr: SocketAddr) -> io::Result<Self> {
        Self::from_std(runtime, StdSocket::bind(addr)?)
    }

    /// Takes a socket made elsewhere.
    ///
    /// # Errors
    /// Those of fcntl(2) and of watching it; [`closed`](crate::closed).
    pub fn from_std(runtime: &P::Runtime, socket: StdSocket) -> io::Result<Self> {
        let port = P::from_fd(runtime, socket.into())?;
        Ok(UdpSocket { port, receiving: Waiting::default(), sending: Waiting::default() })
    }

    /// Gives the socket to the standard library, blocking. Datagrams that the runtime has taken from the kernel, and
    /// nobody has received, are lost.
    ///
    /// # Errors
    /// [`closed`](crate::closed), if the runtime ended with the socket in use. Those of fcntl(2).
    ///
    /// # Cancel safety
    /// Dropping this future closes the socket.
    pub async fn into_std(self) -> io::Result<StdSocket> {
        let socket = StdSocket::from(self.port.into_fd().await?);
        socket.set_nonblocking(false)?;
        Ok(socket)
    }

    /// Closes the socket, and waits until its address is free. Dropping closes, too, but what is under way on a
    /// proactor holds the address a moment longer.
    ///
    /// # Errors
    /// As [`into_std`](Self::into_std).
    ///
    /// # Cancel safety
    /// Dropping this future still closes the socket.
    pub async fn close(self) -> io::Result<()> {
        self.port.into_fd().await.map(drop)
    }

    /// A duplicate, for what needs no runtime.
    fn duplicate(&self) -> io::Result<StdSocket> {
        self.as_fd().try_clone_to_owned().map(StdSocket::from)
    }

    /// From now on [`send`](Self::send) sends to this address, and only what comes from there is received. If nobody
    /// is there, a later call says so, once: `ConnectionRefused`. (A socket that is not connected never hears of it.)
    ///
    /// # Errors
    /// Those of connect(2), which never waits here, and of fcntl(2).
    pub fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        self.duplicate()?.connect(addr)
    }

    /// The next datagram, in memory the runtime lends. It has room for [`LENT_DATAGRAM`] bytes; whoever expects
    /// more uses [`read_from`](Self::read_from) instead, and always.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it.
    pub async fn recv_from(&self) -> io::Result<Datagram<P::Chunk>> {
        self.receiving.join(self.port.recv()).await
    }

    /// The bytes of the next datagram.
    ///
    /// # Errors
    /// Those of recvmsg(2). `InvalidData` for a datagram of which the end is missing: see
    /// [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it.
    pub async fn recv(&self) -> io::Result<P::Chunk> {
        let Datagram { bytes, len, .. } = self.recv_from().await?;
        if bytes.len() == len {
            return Ok(bytes);
        }
        let text = format!("a datagram of {len} bytes, of which only {} fit: use read_from", bytes.len());
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// Reads the next datagram into a buffer of the caller's: its length when it was sent, and its sender. If that
    /// is longer than the buffer, the end is lost. No datagram is longer than 65,507 bytes over IPv4.
    ///
    /// A datagram that arrived when [`recv_from`](Self::recv_from) was asked for, and was dropped, has the length
    /// that is possible there.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it. The buffer is lost.
    pub async fn read_from<B: IoBufMut>(&self, buf: B) -> BufResult<(usize, SocketAddr), B> {
        self.receiving.join(self.port.read(buf)).await
    }

    /// Sends the buffer as one datagram, which may be empty. That it was sent says nothing about its arrival.
    ///
    /// # Errors
    /// Those of sendmsg(2): too long (EMSGSIZE) ...; of a connected socket, also what became of
    /// earlier datagrams.
    ///
    /// # Cancel safety
    /// Dropping this future leaves open whether the datagram is sent; it is never sent in part.
    pub async fn send_to<B: IoBuf>(&self, buf: B, to: SocketAddr) -> BufResult<(), B> {
        self.sending.join(self.port.send(buf, Some(to))).await
    }

    /// Sends the buffer to the address the socket is connected to. Else as [`send_to`](Self::send_to).
    ///
    /// # Errors
    /// Those of `send_to`; EDESTADDRREQ or ENOTCONN if it isn't connected.
    ///
    /// # Cancel safety
    /// As [`send_to`](Self::send_to).
    pub async fn send<B: IoBuf>(&self, buf: B) -> BufResult<(), B> {
        self.sending.join(self.port.send(buf, None)).await
    }

    /// The address of this end.
    ///
    /// # Errors
    /// Those of getsockname(2) and fcntl(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.duplicate()?.local_addr()
    }

    /// The address it is connected to.
    ///
    /// # Errors
    /// Those of getpeername(2), ENOTCONN if there is none, and of fcntl(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.duplicate()?.peer_addr()
    }
}

impl<P: AsFd> AsFd for UdpSocket<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}
