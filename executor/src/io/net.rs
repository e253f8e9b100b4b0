//! What runtimes have beyond TCP: the trait that a program asks for; Unix sockets, pipes, signals, the end
//! of child processes.
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
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::io::backoff::FOR_ROOM;
use crate::io::datagram::{Address, Port, UdpSocket, UnixDatagram};
use crate::io::pipe::PipeWriter;
use crate::io::runtime::{Runtime, Stream};
use crate::io::signals::Signals;
use crate::io::tcp::{Acceptor, ReadHalf, TcpListener, TcpStream, WriteHalf};

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
///
/// # Pipes
///
/// A pipe's end, a FIFO, a child's input or output, a terminal: whatever is read with read(2) or written with write(2)
/// and can make one wait is a [`Reader`](crate::Reader) or a [`Writer`](crate::Writer) here, with the same promises as a
/// stream's half: a `recv` or `read` that is dropped loses no byte, a `write` that is dropped while it waits breaks the
/// writer.
///
/// ```
/// use std::process::{Command, Stdio};
///
/// use executor::{IoBuf, Net, Reader, Writer};
///
/// /// Has `sort` sort the lines: hands them over, ends its input, and reads its output to the end.
/// async fn sorted<R: Net>(rt: &R, lines: String) -> std::io::Result<Vec<u8>> {
///     let mut child = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
///     let mut input = rt.pipe_writer(child.stdin.take().unwrap())?;
///     let mut output = rt.pipe_reader(child.stdout.take().unwrap())?;
///     // In a task of its own: `sort` could wait for us to read before it takes all.
///     let writing = rt.spawn(async move {
///         input.write_all(lines).await.0?;
///         input.shutdown().await
///     });
///     let mut sorted = Vec::new();
///     loop {
///         let chunk = output.recv().await?;
///         if chunk.bytes().is_empty() {
///             writing.await.unwrap()?;
///             return Ok(sorted);
///         }
///         sorted.extend_from_slice(chunk.bytes());
///     }
/// }
/// ```
///
/// # Signals
///
/// ```
/// use executor::{Listener, Net};
///
/// /// Accepts until SIGTERM (15) or Ctrl-C (SIGINT, 2).
/// async fn serve<R: Net>(rt: &R, mut listener: R::Listener) -> std::io::Result<()> {
///     let mut signals = rt.signals([2, 15])?;
///     let accepting = rt.spawn(async move { while listener.accept().await.is_ok() {} });
///     println!("signal {}: no more is accepted", signals.next().await?);
///     accepting.abort();
///     Ok(())
/// }
/// ```
///
/// # Child processes
///
/// They are those of [`std::process`], whose pipes are read and written as [above](#pipes). Their end is awaited with
/// [`wait_for_exit`](Self::wait_for_exit); a time-out leaves
/// them as they are, so who wants them to end with it says so:
///
/// ```
/// use std::process::{Child, ExitStatus};
/// use std::time::Duration;
///
/// async fn for_a_second_at_most<R: executor::Net>(rt: &R, mut child: Child) -> std::io::Result<ExitStatus> {
///     if let Ok(exited) = rt.timeout(Duration::from_secs(1), rt.wait_for_exit(&mut child)).await {
///         return exited;
///     }
///     child.kill()?;
///     rt.wait_for_exit(&mut child).await
/// }
/// ```
///
/// Who drops a [`Child`] neither ends it nor learns of its end; and it stays as a *zombie*, which is no more than its number
/// and its status, until this program ends. So wait for each. To have one end with the task that waits, put it into a type
/// whose `Drop` calls [`kill`](Child::kill) and then [`wait`](Child::wait), which is a matter of microseconds after that.
pub trait Net:
    Runtime<Listener = TcpListener<Self::Acceptor>, Stream = TcpStream<<Self::Acceptor as Acceptor>::Connection>>
    + std::fmt::Debug
{
    /// What is behind its datagram sockets.
    type Port: Port<Runtime = Self>;
    /// What is behind its listeners.
    type Acceptor: Acceptor<Runtime = Self, Connection: AsFd> + AsFd;

    /// A connection over a pipe's end: it reads with read(2) and writes with write(2). What
    /// [`pipe_reader`](Self::pipe_reader) and [`pipe_writer`](Self::pipe_writer) are made of.
    ///
    /// # Errors
    /// Theirs.
    #[doc(hidden)]
    fn pipe_end(&self, fd: OwnedFd) -> io::Result<<Self::Acceptor as Acceptor>::Connection>;

    /// Makes `call`, which tells that it would block by `WouldBlock`, when the descriptor is readable; and perhaps before.
    /// What [`wait_for_exit`](Self::wait_for_exit) is made of.
    ///
    /// # Errors
    /// Those of `call` and of watching the descriptor; [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing: when `call` succeeds, it is over.
    async fn when_readable<T>(&self, fd: OwnedFd, call: impl FnMut() -> io::Result<T>) -> io::Result<T>;

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
        for pause in FOR_ROOM.pauses() {
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

    /// Reads a pipe's end: a [`std::io::PipeReader`], a [`ChildStdout`](std::process::ChildStdout), a `File` that is a FIFO ...
    /// The end of the stream comes when nobody has the writing end any more.
    ///
    /// The flag O_NONBLOCK is set (by the reactor) or cleared (by the proactor). It belongs to the open file, so to all who
    /// share it, as programs share a terminal; for one's own input and output there are
    /// [`stdin`](crate::Executor::stdin) and [`stdout`](crate::Executor::stdout).
    ///
    /// On the proactor, a `recv` that waits holds 16 KiB; dropping the reader closes it some turns later if one was under
    /// way; and a runtime that takes requests for sockets only refuses to read: `PermissionDenied`.
    ///
    /// # Errors
    /// Those of fcntl(2). On the reactor `PermissionDenied` for what epoll can't watch, such as regular files; the
    /// proactor reads those, from their own position on. [`closed`](crate::closed).
    fn pipe_reader(&self, fd: impl Into<OwnedFd>) -> io::Result<<Self::Stream as Stream>::ReadHalf> {
        Ok(ReadHalf { connection: self.pipe_end(fd.into())?.into() })
    }

    /// Writes to a pipe's end: a [`std::io::PipeWriter`], a [`ChildStdin`](std::process::ChildStdin) ... A pipe that is full is
    /// waited for. When nobody has the reading end any more, a write is a `BrokenPipe`; and where SIGPIPE is
    /// not ignored, as it is in programs of Rust unless they change that, it ends the program.
    ///
    /// [`shutdown`](crate::Writer::shutdown) closes it, and so does dropping it. What is said of the flag, of sockets only and
    /// of closing at [`pipe_reader`](Self::pipe_reader) holds here, too.
    ///
    /// # Errors
    /// Those of [`pipe_reader`](Self::pipe_reader).
    fn pipe_writer(&self, fd: impl Into<OwnedFd>) -> io::Result<PipeWriter<<Self::Stream as Stream>::WriteHalf>> {
        let connection = self.pipe_end(fd.into())?.into();
        Ok(PipeWriter(Some(WriteHalf { connection, is_broken: false, is_closing: false })))
    }

    /// From now on these signals do nothing but being told by [`Signals::next`]: to this one, and to all others who ask
    /// for the same, on any thread and by any runtime. Numbers are those of signal(7), which crates such as libc and
    /// signal-hook have names for.
    ///
    /// The handler stays for as long as the program runs: after the drop of all who ask for it a signal does nothing at
    /// all, and does not what it did before. So a program that stops asking for SIGINT can't be ended by Ctrl-C any more.
    ///
    /// # Errors
    /// `InvalidInput` for what is no signal or can't be handled: SIGKILL, SIGSTOP, SIGSEGV, SIGFPE and SIGILL. Those of
    /// sigaction(2) and socketpair(2); [`closed`](crate::closed).
    fn signals(&self, signals: impl IntoIterator<Item = i32>) -> io::Result<Signals<Self::Stream>> {
        Signals::new(signals.into_iter().collect(), |end| TcpStream::from_std(self, OwnedFd::from(end).into()))
    }

    /// Waits until the child has ended, and takes its exit status. As [`Child::wait`] does, it closes the child's input
    /// first, if that was not taken out, so that one that reads to the end comes to it; and asked again it says the
    /// same again. No signal is needed for that but a descriptor that stands for the process (pidfd_open(2), Linux 5.3).
    ///
    /// # Errors
    /// Those of pidfd_open(2) and waitpid(2): `ECHILD` if somebody else took the status, or has SIGCHLD ignored.
    /// [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future leaves the child as it is, but for its input, and it can be waited for again.
    async fn wait_for_exit(&self, child: &mut Child) -> io::Result<ExitStatus> {
        drop(child.stdin.take());
        // Once its status is taken, its number may be that of another.
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        self.when_readable(process, || child.try_wait()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())).await
    }
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
