//! What runtimes have beyond TCP: the trait that a program asks for, and Unix sockets.
//!
//! A Unix stream is the same thing as a TCP stream once it is connected, so it has the same types, halves and chunks. Only
//! its addresses are others: `peer_addr` and `local_addr`, which give internet addresses, are errors.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self as unix, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::datagram::{Port, UdpSocket};
use crate::runtime::Runtime;
use crate::tcp::{Acceptor, TcpListener, TcpStream};

/// The first pause between attempts to connect to a Unix socket whose queue is full, doubled with each.
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
{
    /// What is behind its UDP sockets.
    type Port: Port<Runtime = Self>;
    /// What is behind its listeners.
    type Acceptor: Acceptor<Runtime = Self, Connection: AsFd> + AsFd;

    /// A non-blocking socket that is connected to the path. `WouldBlock` if there is no room among the connections that
    /// wait to be accepted.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    fn try_connect_unix(&self, path: &Path) -> io::Result<OwnedFd>;

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
        let path = path.as_ref();
        let listener = UnixListener::bind_addr(&unix_addr(path)?).map_err(|error| explain(error, path))?;
        TcpListener::from_std(self, OwnedFd::from(listener).into())
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
        unix_addr(path.as_ref())?;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_connect_unix(path.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.sleep(pause).await,
                connected => return TcpStream::from_std(self, connected?.into()),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
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
}

/// The address that a path stands for.
fn unix_addr(path: &Path) -> io::Result<unix::SocketAddr> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > PATH_MAX {
        let text = format!(
            "a path of {} bytes: that of a Unix socket has at most {PATH_MAX}; a shorter one, such as a \
            relative one, will do",
            bytes.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match bytes.strip_prefix(b"\0") {
        Some(name) => unix::SocketAddr::from_abstract_name(name),
        None => unix::SocketAddr::from_pathname(path),
    }
}

fn explain(error: io::Error, path: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse || path.as_os_str().as_bytes().starts_with(b"\0") {
        return error;
    }
    let text = format!("{} is there already ({error}); if nobody listens on it any more, remove it", path.display());
    io::Error::new(io::ErrorKind::AddrInUse, text)
}
