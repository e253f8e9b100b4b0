//! Datagrams as programs see them, of UDP and of Unix sockets. Written once for all runtimes.
//!
//! A [`Port`] holds what differs between readiness and completion; each runtime has one in its
//! `datagram.rs`. An [`Address`] holds what differs between UDP and Unix sockets. What programs
//! rely on is here: several tasks may share a socket, nothing is cut silently, and a datagram is
//! sent as a whole or not at all.
//!
//! # No room at the receiver of a Unix datagram
//!
//! If the receiver has no room, a UDP datagram is dropped. A Unix datagram is not: its sender
//! waits. What it can wait for depends on the socket and the engine:
//!
//! - If the socket is connected, poll and epoll report when there is room, as they do for a stream.
//!   A reactor waits for that.
//! - If it isn't, they don't know the receiver, so they always report that the socket can be
//!   written to. A sender that believes them tries again and again, and keeps a processor busy.
//! - io_uring waits in the same two ways. But when it tries again, the bytes are gone: the first
//!   try has consumed them, and it sends an empty datagram (seen on Linux 6.18). So no wait for
//!   room is left to io_uring here.
//!
//! Where there is nothing to wait for, the sender tries again after pauses that grow.

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

/// Bytes of a datagram that fit the memory which [`recv_from`](DatagramSocket::recv_from) lends, on
/// every engine: a proactor's chunk, less the place for the sender's address. Networks seldom carry
/// more than 1,500, or 9,000.
///
/// # Examples
///
/// ```
/// use executor::LENT_DATAGRAM;
///
/// // An Ethernet frame fits, jumbo frames too. The longest datagram over IPv4 needs `read_from`.
/// assert!((9_000..65_507).contains(&LENT_DATAGRAM));
/// ```
pub const LENT_DATAGRAM: usize = 32 * 1024 - 144;

/// A datagram that was received.
///
/// # Examples
///
/// ```
/// # use executor::{Datagram, Net};
/// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
/// let socket = rt.bind_udp("127.0.0.1:5353".parse().unwrap())?;
/// let Datagram { bytes, len, from } = socket.recv_from().await?;
/// println!("{} of {len} bytes from {from}", bytes.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Datagram<C, A = SocketAddr> {
    /// The part of it that fitted.
    pub bytes: C,
    /// Its length in bytes when it was sent.
    pub len: usize,
    /// Its sender. A Unix socket that was not bound has no name, and can't be answered.
    pub from: A,
}

impl<C: IoBuf, A> Datagram<C, A> {
    /// Returns true if its end is missing, because there was not enough room for it. The end is
    /// lost.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::Datagram;
    ///
    /// assert!(Datagram { bytes: "hel", len: 5, from: () }.is_cut());
    /// ```
    pub fn is_cut(&self) -> bool {
        self.bytes.bytes().len() < self.len
    }
}

/// The kind of address that names the sockets of one kind.
///
/// # Examples
///
/// ```
/// use executor::{Address, DatagramSocket, Port};
///
/// /// Sends each datagram back, over UDP as over a Unix socket.
/// async fn echo<P: Port, A: Address>(socket: DatagramSocket<P, A>) -> std::io::Result<()> {
///     loop {
///         let datagram = socket.recv_from().await?;
///         socket.send_to(datagram.bytes, datagram.from).await.0?;
///     }
/// }
/// ```
pub trait Address: Clone + Debug + 'static {
    /// The standard library's socket of that kind.
    type Std: From<OwnedFd> + Into<OwnedFd>;

    /// Converts it to the form that the kernel takes.
    fn to_raw(&self) -> SockAddr;
    /// Converts it from the form that the kernel gives.
    ///
    /// # Errors
    /// It is no address, or one of another kind.
    fn from_raw(raw: &SockAddr) -> io::Result<Self>;
}

impl Address for SocketAddr {
    type Std = std::net::UdpSocket;

    fn to_raw(&self) -> SockAddr {
        (*self).into()
    }

    /// A receive on a socket that was shut down has no sender. That is an error, too.
    fn from_raw(raw: &SockAddr) -> io::Result<SocketAddr> {
        let text = "not an internet address, or a datagram socket that was shut down";
        raw.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

/// A datagram socket from inside: how a runtime moves datagrams. At most one receive and one send
/// wait at a time for the socket to become ready; [`DatagramSocket`] says how more of them share
/// it.
pub trait Port: AsFd + Debug + Sized + 'static {
    /// The runtime.
    type Runtime: Runtime;
    /// Memory that the runtime lends.
    type Chunk: IoBuf + Deref<Target = [u8]> + Debug;

    /// See [`DatagramSocket::from_std`].
    fn from_fd(runtime: &Self::Runtime, fd: OwnedFd) -> io::Result<Self>;
    /// See [`DatagramSocket::recv_from`].
    async fn recv(&self) -> io::Result<Datagram<Self::Chunk, SockAddr>>;
    /// See [`DatagramSocket::read_from`].
    async fn read<B: IoBufMut>(&self, buf: B) -> BufResult<(usize, SockAddr), B>;
    /// See [`DatagramSocket::send_to`]. Returns `WouldBlock` if there is no room and no way to wait
    /// for it.
    async fn send<B: IoBuf>(&self, buf: B, to: Option<SockAddr>) -> BufResult<(), B>;
    /// See [`DatagramSocket::into_std`].
    async fn into_fd(self) -> io::Result<OwnedFd>;
}

/// A socket for datagrams: a [`UdpSocket`] or a [`UnixDatagram`]. Dropping it closes it.
///
/// Any number of tasks may use it at a time, behind an `Rc`. Each datagram goes to one of those
/// that receive. (Each time one of several gets a datagram, the others look, too. So this is meant
/// for a few tasks.)
///
/// Some options are not here (broadcast, multicast ...). Set them before
/// [`from_std`](Self::from_std), or on a duplicate of the descriptor.
///
/// # Examples
///
/// ```
/// # use executor::Net;
/// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
/// let socket = std::rc::Rc::new(rt.bind_udp("127.0.0.1:5353".parse().unwrap())?);
/// for number in 0..2 {
///     let socket = socket.clone();
///     rt.spawn(async move {
///         while let Ok(datagram) = socket.recv_from().await {
///             println!("task {number} got {} bytes", datagram.len);
///         }
///     }).detach();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DatagramSocket<P: Port, A> {
    port: P,
    runtime: P::Runtime,
    receiving: Waiting,
    sending: Waiting,
    address: std::marker::PhantomData<A>,
}

/// A UDP socket.
///
/// # Examples
///
/// ```
/// # use executor::{Port, UdpSocket};
/// # async fn example<P: Port>(rt: &P::Runtime) -> std::io::Result<()> {
/// let socket = UdpSocket::<P>::bind(rt, "127.0.0.1:0".parse().unwrap())?;
/// socket.send_to("hello", "127.0.0.1:5353".parse().unwrap()).await.0?;
/// # Ok(())
/// # }
/// ```
pub type UdpSocket<P> = DatagramSocket<P, SocketAddr>;

/// A Unix socket for datagrams. Its datagrams stay within one machine. None is lost, and they
/// arrive in order. [`Net`](crate::Net) explains paths and abstract names.
///
/// # Examples
///
/// ```
/// use executor::{Net, UnixDatagram};
///
/// async fn log<R: Net>(socket: &UnixDatagram<R::Port>, line: String) -> std::io::Result<()> {
///     let log = std::os::unix::net::SocketAddr::from_pathname("/dev/log")?;
///     socket.send_to(line, log).await.0
/// }
/// ```
pub type UnixDatagram<P> = DatagramSocket<P, unix::SocketAddr>;

/// All futures that wait for the same thing. The port keeps one waker, so it gets one that wakes
/// them all. So a future that was leaked, or is not polled just now, keeps no other from its
/// datagram. Each future that leaves wakes the others, which take its place at the port.
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
        // As many as there are now: a waker that polls at once takes a seat again. They are taken
        // one by one out of the same table, so that its keys stay unique.
        let count = lock(&this.0).len();
        for _ in 0..count {
            let first = lock(&this.0).iter().next().map(|(key, _)| key);
            let Some(waker) = first.and_then(|key| this.take(key)) else { return };
            contain(|| waker.wake());
        }
    }
}

impl Waiting {
    /// Waits for `future`, beside others that may wait for the same thing.
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

/// One future that waits, and the key of its waker while that is kept. Wakers may be foreign code:
/// none is cloned, dropped or woken under the lock.
struct Seat<'a> {
    all: &'a Arc<Wakers>,
    key: Option<Key>,
}

impl Seat<'_> {
    /// Keeps this waker in place of the one before.
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
    /// Binds a socket to this address. With port 0 the kernel chooses the port: see
    /// [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// Those of socket(2) and bind(2); [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Port, UdpSocket};
    /// # async fn example<P: Port>(rt: &P::Runtime) -> std::io::Result<()> {
    /// let socket = UdpSocket::<P>::bind(rt, "127.0.0.1:0".parse().unwrap())?;
    /// assert_ne!(socket.local_addr()?.port(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn bind(runtime: &P::Runtime, addr: SocketAddr) -> io::Result<Self> {
        Self::from_std(runtime, std::net::UdpSocket::bind(addr)?)
    }
}

impl<P: Port, A: Address> DatagramSocket<P, A> {
    /// Takes a socket made elsewhere.
    ///
    /// # Errors
    /// Those of fcntl(2) and of watching it; [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Port, UdpSocket};
    /// # async fn example<P: Port>(rt: &P::Runtime) -> std::io::Result<()> {
    /// let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    /// socket.set_broadcast(true)?;
    /// let socket = UdpSocket::<P>::from_std(rt, socket)?;
    /// socket.send_to("hello", "255.255.255.255:9".parse().unwrap()).await.0?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_std(rt: &P::Runtime, socket: A::Std) -> io::Result<Self> {
        let (receiving, sending, address) = Default::default();
        Ok(DatagramSocket { port: P::from_fd(rt, socket.into())?, runtime: rt.clone(), receiving, sending, address })
    }

    /// Gives the socket to the standard library, blocking. Datagrams that the runtime has taken
    /// from the kernel, and the program has not received, are lost.
    ///
    /// # Errors
    /// [`closed`](crate::closed), if the runtime ended with the socket in use. Those of fcntl(2).
    ///
    /// # Cancel safety
    /// Dropping this future closes the socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// let socket: std::net::UdpSocket = socket.into_std().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn into_std(self) -> io::Result<A::Std> {
        let fd = self.port.into_fd().await?;
        SockRef::from(&fd).set_nonblocking(false)?;
        Ok(fd.into())
    }

    /// Closes the socket, and waits until its address is free. Dropping the socket closes it, too.
    /// But on a proactor, operations under way then hold the address a moment longer.
    ///
    /// # Errors
    /// As [`into_std`](Self::into_std).
    ///
    /// # Cancel safety
    /// Dropping this future still closes the socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// let addr = socket.local_addr()?;
    /// socket.close().await?;
    /// let again = rt.bind_udp(addr)?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(self) -> io::Result<()> {
        self.port.into_fd().await.map(drop)
    }

    /// Connects the socket to this address. From now on [`send`](Self::send) sends to it, and the
    /// socket receives only what comes from it. If no socket has this address, a later call reports
    /// that, once: `ConnectionRefused`. (A socket that is not connected never gets this report.)
    ///
    /// For Unix sockets: if no socket has this address, this call itself fails. If others than the
    /// address send to this socket, they get `PermissionDenied`.
    ///
    /// # Errors
    /// Those of connect(2), which never waits here. For a Unix socket `NotFound`, and
    /// `ConnectionRefused` by a path to which no socket is bound any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// socket.connect("127.0.0.1:5353".parse().unwrap())?;
    /// socket.send("hello").await.0?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(&self, addr: A) -> io::Result<()> {
        SockRef::from(self).connect(&addr.to_raw())
    }

    /// Waits for the next datagram, in memory that the runtime lends. The memory has room for
    /// [`LENT_DATAGRAM`] bytes. A program that expects more uses [`read_from`](Self::read_from)
    /// instead, every time.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// let datagram = socket.recv_from().await?;
    /// println!("{:?} from {}", &*datagram.bytes, datagram.from);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv_from(&self) -> io::Result<Datagram<P::Chunk, A>> {
        let Datagram { bytes, len, from } = self.receiving.join(self.port.recv()).await?;
        Ok(Datagram { bytes, len, from: A::from_raw(&from)? })
    }

    /// Waits for the next datagram, and returns its bytes.
    ///
    /// # Errors
    /// Those of recvmsg(2). `InvalidData` for a datagram whose end is missing: see
    /// [`recv_from`](Self::recv_from).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// socket.connect("127.0.0.1:5353".parse().unwrap())?;
    /// socket.send("question").await.0?;
    /// let answer = socket.recv().await?;
    /// println!("{:?}", &*answer);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn recv(&self) -> io::Result<P::Chunk> {
        let Datagram { bytes, len, .. } = self.recv_from().await?;
        if bytes.len() == len {
            return Ok(bytes);
        }
        let text = format!("a datagram of {len} bytes, of which only {} fit: use read_from", bytes.len());
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// Reads the next datagram into a buffer of the caller's. Returns its length when it was sent,
    /// and its sender. If the datagram is longer than the buffer, its end is lost. No datagram is
    /// longer than 65,507 bytes over IPv4. The longest Unix datagram is a little shorter than its
    /// sender's buffer (`net.core.wmem_default`, and SO_SNDBUF).
    ///
    /// If a [`recv_from`](Self::recv_from) was dropped, a datagram that arrived for it is cut to
    /// the length that is possible there.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    ///
    /// # Cancel safety
    /// Dropping this future loses no datagram: the next receive gets it. The buffer is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// let (result, buffer) = socket.read_from(vec![0; 65_507]).await;
    /// let (len, from) = result?;
    /// println!("{:?} from {from}", &buffer[..len]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_from<B: IoBufMut>(&self, buf: B) -> BufResult<(usize, A), B> {
        let (result, buf) = self.receiving.join(self.port.read(buf)).await;
        (result.and_then(|(len, from)| Ok((len, A::from_raw(&from)?))), buf)
    }

    /// Sends the buffer as one datagram, which may be empty. Success says nothing about the arrival
    /// of a UDP datagram. It means that the receiver of a Unix datagram has it, and only needs to
    /// take it.
    ///
    /// If a Unix address has no room (`net.unix.max_dgram_qlen`: by default 10 datagrams may wait),
    /// the send waits until there is some. It tries again after pauses of 1 to 64 ms, and several
    /// that wait have no order. On a reactor, a program that sends much to one address should
    /// [connect](Self::connect) to it and use [`send`](Self::send), which needs no pauses. (While
    /// that waits for room, a `send_to` of the same socket waits, too.)
    ///
    /// # Errors
    /// Those of sendmsg(2): too long (EMSGSIZE) ... For a connected socket, also the errors of
    /// earlier datagrams. For a Unix address `NotFound`, or `ConnectionRefused` if no socket is
    /// bound to it any more.
    ///
    /// # Cancel safety
    /// Dropping this future leaves open whether the datagram is sent; it is never sent in part.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// socket.send_to("hello", "127.0.0.1:5353".parse().unwrap()).await.0?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_to<B: IoBuf>(&self, buf: B, to: A) -> BufResult<(), B> {
        self.dispatch(buf, Some(to.to_raw())).await
    }

    /// Sends the buffer to the address the socket is connected to. Otherwise as
    /// [`send_to`](Self::send_to).
    ///
    /// # Errors
    /// Those of `send_to`; EDESTADDRREQ or ENOTCONN if the socket isn't connected.
    ///
    /// # Cancel safety
    /// As [`send_to`](Self::send_to).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// socket.connect("127.0.0.1:5353".parse().unwrap())?;
    /// let (result, buffer) = socket.send(b"hello".to_vec()).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send<B: IoBuf>(&self, buf: B) -> BufResult<(), B> {
        self.dispatch(buf, None).await
    }

    /// Sends. Pauses where the port can't wait.
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

    /// Returns the address of this end. The address of a Unix socket that is not bound has no name.
    ///
    /// # Errors
    /// Those of getsockname(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// println!("answers come to {}", socket.local_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn local_addr(&self) -> io::Result<A> {
        A::from_raw(&SockRef::from(self).local_addr()?)
    }

    /// Returns the address the socket is connected to.
    ///
    /// # Errors
    /// Those of getpeername(2): ENOTCONN if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
    /// assert!(socket.peer_addr().is_err());
    /// socket.connect("127.0.0.1:5353".parse().unwrap())?;
    /// assert_eq!(socket.peer_addr()?.port(), 5353);
    /// # Ok(())
    /// # }
    /// ```
    pub fn peer_addr(&self) -> io::Result<A> {
        A::from_raw(&SockRef::from(self).peer_addr()?)
    }
}

impl<P: Port, A> AsFd for DatagramSocket<P, A> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}
