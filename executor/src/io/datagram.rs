//! Datagrams as programs see them, of UDP and of Unix sockets. Written once for all runtimes.
//!
//! What differs between readiness and completion is a [`Port`], which each runtime has in its `datagram.rs`. What
//! differs between UDP and Unix sockets is an [`Address`]. What programs rely on is here: several tasks may share a
//! socket, nothing is cut without a word, and a datagram is either sent as a whole or not at all.
//!
//! # No room at the receiver of a Unix datagram
//!
//! A UDP datagram for which the receiver has no room is dropped. A Unix one is not: its sender waits. What for?
//!
//! - If the socket is connected, poll and epoll tell when there is room, as they do for a stream. A reactor waits for
//!   that.
//! - If it isn't, they say that it can be written to, for they don't know where to. Whoever believes them tries again
//!   and again, and keeps a processor busy.
//! - io_uring waits in the same two ways; and when it tries again, the bytes are gone: the first try has consumed them,
//!   and what is sent is an empty datagram (seen on Linux 6.18). So nothing may be left to it here.
//!
//! Where nothing can be waited for, the sender pauses, longer and longer, and tries again.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net as unix;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use futures_task::ArcWake;
use socket2::{SockAddr, SockRef};

use crate::io::backoff::FOR_ROOM;
use crate::io::buf::{BufResult, IoBuf, IoBufMut};
use crate::io::runtime::Runtime;
use crate::run::foreign::contain;
use crate::tasks::sync::lock;
use crate::tasks::table::{Key, Table};

/// Bytes of a datagram that fit the memory which [`recv_from`](DatagramSocket::recv_from) lends, on every engine: a
/// proactor's chunk, less the place for the sender's address. Networks seldom carry more than 1,500, or 9,000.
pub const LENT_DATAGRAM: usize = 32 * 1024 - 144;

/// A datagram that was received.
#[derive(Clone, Debug)]
pub struct Datagram<C, A = SocketAddr> {
    /// What of it fitted.
    pub bytes: C,
    /// Its length in bytes when it was sent.
    pub len: usize,
    /// Who sent it. A Unix socket that was not bound has no name, and can't be answered.
    pub from: A,
}

impl<C: IoBuf, A> Datagram<C, A> {
    /// Whether its end is missing, because there was not enough room for it. It cannot be had any more.
    pub fn is_cut(&self) -> bool {
        self.bytes.bytes().len() < self.len
    }
}

/// What sockets of a kind are named by.
pub trait Address: Clone + Debug + 'static {
    /// The standard library's socket of that kind.
    type Std: From<OwnedFd> + Into<OwnedFd>;

    /// As it is told to the kernel.
    fn to_raw(&self) -> SockAddr;
    /// As the kernel told it.
    ///
    /// # Errors
    /// It is none, or of another kind.
    fn from_raw(raw: &SockAddr) -> io::Result<Self>;
}

impl Address for SocketAddr {
    type Std = std::net::UdpSocket;

    fn to_raw(&self) -> SockAddr {
        (*self).into()
    }

    /// A socket that was shut down receives from nobody.
    fn from_raw(raw: &SockAddr) -> io::Result<SocketAddr> {
        let text = "not an internet address, or a datagram socket that was shut down";
        raw.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

/// A datagram socket from inside: how a runtime moves datagrams. At most one receive and one send wait at a time for
/// the socket to become ready; see [`DatagramSocket`] for how more of them get on.
pub trait Port: AsFd + Debug + Sized + 'static {
    /// The runtime.
    type Runtime: Runtime;
    /// Memory the runtime lends.
    type Chunk: IoBuf + Deref<Target = [u8]> + Debug;

    /// See [`DatagramSocket::from_std`].
    fn from_fd(runtime: &Self::Runtime, fd: OwnedFd) -> io::Result<Self>;
    /// See [`DatagramSocket::recv_from`].
    async fn recv(&self) -> io::Result<Datagram<Self::Chunk, SockAddr>>;
    /// See [`DatagramSocket::read_from`].
    async fn read<B: IoBufMut>(&self, buf: B) -> BufResult<(usize, SockAddr), B>;
    /// See [`DatagramSocket::send_to`]. `WouldBlock`, if there is no room and no way to wait for it.
    async fn send<B: IoBuf>(&self, buf: B, to: Option<SockAddr>) -> BufResult<(), B>;
    /// See [`DatagramSocket::into_std`].
    async fn into_fd(self) -> io::Result<OwnedFd>;
}

/// A socket for datagrams: a [`UdpSocket`] or a [`UnixDatagram`]. Dropping it closes it.
///
/// Any number of tasks may use it at a time, behind an `Rc`: each datagram goes to one of those who receive. (Each
/// time one of several is served the others look, too; that is meant for few.)
///
/// Options that are not here (broadcast, multicast ...) can be set before [`from_std`](Self::from_std), or on a duplicate
/// of the descriptor.
#[derive(Debug)]
pub struct DatagramSocket<P: Port, A> {
    port: P,
    runtime: P::Runtime,
    receiving: Waiting,
    sending: Waiting,
    address: std::marker::PhantomData<A>,
}

/// A UDP socket.
pub type UdpSocket<P> = DatagramSocket<P, SocketAddr>;

/// A Unix socket for datagrams: within one machine, none is lost, and they arrive in order. What is named by a path or
/// an abstract name is said at [`Net`](crate::Net).
pub type UnixDatagram<P> = DatagramSocket<P, unix::SocketAddr>;

/// All that wait for the same. The port keeps one waker, so it gets one that wakes them all: one that was leaked, or is
/// not polled just now, keeps no other from its datagram. And each that leaves wakes the others, which take its place at
/// the port.
#[derive(Debug, Default)]
struct Waiting(Arc<Wakers>);

#[derive(Debug, Default)]
struct Wakers(Mutex<Table<Waker>>);

impl Wakers {
    fn take(&self, key: Key) -> Option<Waker> {
        lock(&self.0).remove(key)
    }
}

impl ArcWake for Wakers {
    fn wake_by_ref(this: &Arc<Self>) {
        // As many as there are now: a waker that polls at once takes a seat again. And one by one out of the same table,
        // whose names stay unique.
        let count = lock(&this.0).len();
        for _ in 0..count {
            let first = lock(&this.0).iter().next().map(|(key, _)| key);
            let Some(waker) = first.and_then(|key| this.take(key)) else { return };
            contain(|| waker.wake());
        }
    }
}

impl Waiting {
    /// Waits for `future`, of which there may be others.
    async fn join<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut seat = Seat { all: &self.0, key: None };
        poll_fn(|cx| {
            // Before the poll: what it waits for may come during it.
            seat.keep(cx.waker());
            future.as_mut().poll(&mut Context::from_waker(&futures_task::waker_ref(&self.0)))
        })
        .await
    }
}

/// One that waits, and the name of its waker while that is kept. Wakers may be foreign code: none is cloned, dropped or
/// woken under the lock.
struct Seat<'a> {
    all: &'a Arc<Wakers>,
    key: Option<Key>,
}

impl Seat<'_> {
    /// Keeps this waker instead of the one before.
    fn keep(&mut self, waker: &Waker) {
        let is_known = |key| lock(&self.all.0).get(key).is_some_and(|known| known.will_wake(waker));
        if self.key.is_some_and(is_known) {
            return;
        }
        let waker = waker.clone();
        let before = self.key.and_then(|key| self.all.take(key));
        self.key = Some(lock(&self.all.0).insert(waker));
        contain(|| drop(before));
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let own = self.key.and_then(|key| self.all.take(key));
        contain(|| drop(own));
        ArcWake::wake_by_ref(self.all);
    }
}

impl<P: Port> UdpSocket<P> {
    /// A socket with this address. Port 0 lets the kernel choose; ask [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// Those of socket(2) and bind(2); [`closed`](crate::closed).
    pub fn bind(runtime: &P::Runtime, addr: SocketAddr) -> io::Result<Self> {
        Self::from_std(runtime, std::net::UdpSocket::bind(addr)?)
    }
}

impl<P: Port, A: Address> DatagramSocket<P, A> {
    /// Takes a socket made elsewhere.
    ///
    /// # Errors
    /// Those of fcntl(2) and of watching it; [`closed`](crate::closed).
    pub fn from_std(rt: &P::Runtime, socket: A::Std) -> io::Result<Self> {
        let (receiving, sending, address) = Default::default();
        Ok(DatagramSocket { port: P::from_fd(rt, socket.into())?, runtime: rt.clone(), receiving, sending, address })
    }

    /// Gives the socket to the standard library, blocking. Datagrams that the runtime has taken from the kernel, and
    /// nobody has received, are lost.
    ///
    /// # Errors
    /// [`closed`](crate::closed), if the runtime ended with the socket in use. Those of fcntl(2).
    ///
    /// # Cancel safety
    /// Dropping this future closes the socket.
    pub async fn into_std(self) -> io::Result<A::Std> {
        let fd = self.port.into_fd().await?;
        SockRef::from(&fd).set_nonblocking(false)?;
        Ok(fd.into())
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

    /// From now on [`send`](Self::send) sends to this address, and only what comes from there is received. If nobody
    /// is there, a later call says so, once: `ConnectionRefused`. (A socket that is not connected never hears of it.)
    ///
    /// Of Unix sockets: if nobody is there, this says so. If others than the address send to this socket, they are
    /// refused: `PermissionDenied`.
    ///
    /// # Errors
    /// Those of connect(2), which never waits here; of a Unix socket `NotFound`, and `ConnectionRefused` by a path that
    /// nobody is bound to any more.
    pub fn connect(&self, addr: A) -> io::Result<()> {
        SockRef::from(self).connect(&addr.to_raw())
    }

    /// The next datagram, in memory the runtime lends. It has room for [`LENT_DATAGRAM`] bytes; whoever expects
    /// more uses [`read_from`](Self::read_from) instead, and always.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it.
    pub async fn recv_from(&self) -> io::Result<Datagram<P::Chunk, A>> {
        let Datagram { bytes, len, from } = self.receiving.join(self.port.recv()).await?;
        Ok(Datagram { bytes, len, from: A::from_raw(&from)? })
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
    /// is longer than the buffer, the end is lost. No datagram is longer than 65,507 bytes over IPv4. A Unix one is
    /// a little shorter than its sender's buffer (`net.core.wmem_default`, and SO_SNDBUF).
    ///
    /// A datagram that arrived when [`recv_from`](Self::recv_from) was asked for, and was dropped, has the length
    /// that is possible there.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it. The buffer is lost.
    pub async fn read_from<B: IoBufMut>(&self, buf: B) -> BufResult<(usize, A), B> {
        let (result, buf) = self.receiving.join(self.port.read(buf)).await;
        (result.and_then(|(len, from)| Ok((len, A::from_raw(&from)?))), buf)
    }

    /// Sends the buffer as one datagram, which may be empty. That it was sent says nothing about its arrival; of a
    /// Unix one it says that the receiver has it, and only need take it.
    ///
    /// To a Unix address that has no room (`net.unix.max_dgram_qlen`: 10 datagrams that wait, if nobody says otherwise)
    /// it is sent when there is some. That is looked for with pauses of 1 to 64 ms, and those who look have no order. On a
    /// reactor, who sends much to one address had better be [connected](Self::connect) to it, and use
    /// [`send`](Self::send): that needs no pauses. (While it waits for room, so does a `send_to` of the same socket.)
    ///
    /// # Errors
    /// Those of sendmsg(2): too long (EMSGSIZE) ...; of a connected socket, also what became of
    /// earlier datagrams; to a Unix address `NotFound`, or `ConnectionRefused` if nobody is bound to it any more.
    ///
    /// # Cancel safety
    /// Dropping this future leaves open whether the datagram is sent; it is never sent in part.
    pub async fn send_to<B: IoBuf>(&self, buf: B, to: A) -> BufResult<(), B> {
        self.dispatch(buf, Some(to.to_raw())).await
    }

    /// Sends the buffer to the address the socket is connected to. Else as [`send_to`](Self::send_to).
    ///
    /// # Errors
    /// Those of `send_to`; EDESTADDRREQ or ENOTCONN if it isn't connected.
    ///
    /// # Cancel safety
    /// As [`send_to`](Self::send_to).
    pub async fn send<B: IoBuf>(&self, buf: B) -> BufResult<(), B> {
        self.dispatch(buf, None).await
    }

    /// Sends, with pauses where the port can't wait.
    async fn dispatch<B: IoBuf>(&self, mut buf: B, to: Option<SockAddr>) -> BufResult<(), B> {
        for pause in FOR_ROOM.pauses() {
            let (result, same) = self.sending.join(self.port.send(buf, to.clone())).await;
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.runtime.sleep(pause).await,
                result => return (result, same),
            }
            buf = same;
        }
        unreachable!("there is always another pause")
    }

    /// The address of this end. A Unix socket that is not bound has one without a name.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<A> {
        A::from_raw(&SockRef::from(self).local_addr()?)
    }

    /// The address it is connected to.
    ///
    /// # Errors
    /// Those of getpeername(2): ENOTCONN if there is none.
    pub fn peer_addr(&self) -> io::Result<A> {
        A::from_raw(&SockRef::from(self).peer_addr()?)
    }
}

impl<P: Port, A> AsFd for DatagramSocket<P, A> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}
