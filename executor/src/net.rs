//! What runtimes have beyond TCP: the trait that a program asks for, and Unix sockets.
//!
//! A Unix stream is the same thing as a TCP stream once it is connected, so it has the same types, halves and chunks. Only
//! its addresses are others: `peer_addr` and `local_addr`, which give internet addresses, are errors. A Unix socket for
//! datagrams is to a UDP socket the same: one type, with another [`Address`](crate::Address).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self as unix, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::datagram::{Address, Port, UdpSocket, UnixDatagram};
use crate::runtime::Runtime;
use crate::tcp::{Acceptor, TcpListener, TcpStream};

/// The first pause between attempts to get into the queue of a Unix socket that is full, doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// Bytes of a path that fit the address of a Unix socket, or of an abstract name with the zero before it.
const PATH_MAX: usize = 107;

/// A runtime that has more than TCP: what a program asks for instead of [`Runtime`] if it needs that.
///
/// ```
/// use executor::{IoBuf, Net};
///
/// /// Sends each datagram back.
/// async fn echo<R: Net>(rt: &R) -> std::io::Result<()> {
///     let socket = rt.bind_udp("127.0.0.1:0".parse().unwrap())?;
///     loop {
///         let datagram = socket.recv_from().await?;
///         socket.send_to(datagram.bytes, datagram.from).await.0?;
///     }
/// }
/// ```
///
/// # Unix sockets
///
/// They are named by a path, or, if that begins with a zero byte (`"\0name"`), by an abstract name, which is no file and
/// is gone with its socket.
///
/// The file of a path is made by listening, as the umask says, and it stays when the listener is closed: who listened
/// removes it. One that nobody listens on any more is *stale*: connecting to it is refused, and so is listening there
/// again, until it is removed. Who connects needs the right to write to it.
///
/// All this holds for [sockets for datagrams](Self::bind_unix_datagram), too. Their peers are named by the standard
/// library's `SocketAddr`: `from_pathname`, `from_abstract_name`.
///
/// ```
/// use executor::{Listener, Net, Reader, Writer};
///
/// async fn greet<R: Net>(rt: &R, path: &str) -> std::io::Result<()> {
///     let mut listener = rt.listen_unix(path)?;
///     let mut client = rt.connect_unix(path).await?;
///     listener.accept().await?.write_all("hello").await.0?;
///     client.recv().await?;
///     std::fs::remove_file(path)
/// }
/// ```
pub trait Net:
    Runtime<Listener = TcpListener<Self::Acceptor>, Stream = TcpStream<<Self::Acceptor as Acceptor>::Connection>>
    + std::fmt::Debug
{
    /// What is behind its datagram sockets.
    type Port: Port<Runtime = Self>;
    /// What is behind its listeners.
    type Acceptor: Acceptor<Runtime = Self, Connection: AsFd> + AsFd;

    /// A UDP socket with this address: see [`UdpSocket::bind`].
    ///
    /// # Errors
    /// Those of [`UdpSocket::bind`].
    fn bind_udp(&self, addr: SocketAddr) -> io::Result<UdpSocket<Self::Port>> {
        UdpSocket::bind(self, addr)
    }

    /// Listens on a Unix socket.
    ///
    /// # Errors
    /// Those of bind(2): `AddrInUse` if the path exists ...; `InvalidInput` for a path that is too long;
    /// [`closed`](crate::closed).
    fn listen_unix(&self, path: impl AsRef<Path>) -> io::Result<Self::Listener> {
        TcpListener::from_std(self, OwnedFd::from(bound(path.as_ref(), UnixListener::bind_addr)?).into())
    }

    /// Connects to a Unix socket. If there is no room among the connections that wait to be accepted, it is tried
    /// again with growing pauses.
    ///
    /// # Errors
    /// Those of connect(2): `NotFound`, `ConnectionRefused` by a stale file ...; `InvalidInput` for a path that is too
    /// long; [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future gives the attempt up.
    async fn connect_unix(&self, path: impl AsRef<Path>) -> io::Result<Self::Stream> {
        let addr = unix_addr(path.as_ref())?.to_raw();
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        for pause in pauses() {
            match socket.connect(&addr) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.sleep(pause).await,
                connected => return connected.and_then(|()| TcpStream::from_std(self, socket.into())),
            }
        }
        unreachable!("there is always another pause")
    }

    /// Two Unix streams that are connected to each other.
    ///
    /// # Errors
    /// Those of socketpair(2); [`closed`](crate::closed).
    fn unix_pair(&self) -> io::Result<(Self::Stream, Self::Stream)> {
        let (one, other) = UnixStream::pair()?;
        let stream = |end: UnixStream| TcpStream::from_std(self, OwnedFd::from(end).into());
        Ok((stream(one)?, stream(other)?))
    }

    /// A Unix socket for datagrams, which others send to by this path.
    ///
    /// # Errors
    /// As [`listen_unix`](Self::listen_unix).
    fn bind_unix_datagram(&self, path: impl AsRef<Path>) -> io::Result<UnixDatagram<Self::Port>> {
        UnixDatagram::from_std(self, bound(path.as_ref(), unix::UnixDatagram::bind_addr)?)
    }

    /// Two Unix sockets for datagrams that are connected to each other.
    ///
    /// # Errors
    /// Those of socketpair(2); [`closed`](crate::closed).
    #[allow(clippy::type_complexity)]
    fn unix_datagram_pair(&self) -> io::Result<(UnixDatagram<Self::Port>, UnixDatagram<Self::Port>)> {
        let (one, other) = unix::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(self, one)?, UnixDatagram::from_std(self, other)?))
    }
}

/// The pauses between attempts, without end.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * 2).min(LONGEST_PAUSE)))
}

/// The address that a path stands for.
fn unix_addr(path: &Path) -> io::Result<unix::SocketAddr> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > PATH_MAX {
        let len = bytes.len();
        let text = format!(
            "a path of {len} bytes: that of a Unix socket has at most {PATH_MAX}; a shorter one, such as a \
            relative one, will do"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match bytes.strip_prefix(b"\0") {
        Some(name) => unix::SocketAddr::from_abstract_name(name),
        None => unix::SocketAddr::from_pathname(path),
    }
}

impl Address for unix::SocketAddr {
    type Std = unix::UnixDatagram;

    /// What has no name can't be sent to, which is left to the kernel to say.
    fn to_raw(&self) -> SockAddr {
        let name = self.as_abstract_name().map(|name| [b"\0", name].concat());
        let path = name.as_deref().or_else(|| Some(self.as_pathname()?.as_os_str().as_bytes())).unwrap_or_default();
        SockAddr::unix(std::ffi::OsStr::from_bytes(path)).or_else(|_| SockAddr::unix("")).expect("it fits")
    }

    /// A path of 108 bytes, which is all that the kernel has room for and more than the standard library can say, counts
    /// as no name.
    fn from_raw(raw: &SockAddr) -> io::Result<unix::SocketAddr> {
        let path = raw.as_pathname().filter(|path| path.as_os_str().len() <= PATH_MAX).unwrap_or(Path::new(""));
        let by_path = || unix::SocketAddr::from_pathname(path);
        raw.as_abstract_namespace().map_or_else(by_path, unix::SocketAddr::from_abstract_name)
    }
}

/// What is bound to the address of a path, or why it can't be.
fn bound<T>(path: &Path, bind: fn(&unix::SocketAddr) -> io::Result<T>) -> io::Result<T> {
    bind(&unix_addr(path)?).map_err(|error| {
        if error.kind() != io::ErrorKind::AddrInUse || path.as_os_str().as_bytes().starts_with(b"\0") {
            return error;
        }
        let text = format!("{} is there already ({error}); if nobody uses it any more, remove it", path.display());
        io::Error::new(io::ErrorKind::AddrInUse, text)
    })
}
