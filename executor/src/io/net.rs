//! What runtimes have beyond TCP: the trait that a program asks for; Unix sockets, pipes, signals,
//! the end of child processes.
//!
//! Once it is connected, a Unix stream is the same thing as a TCP stream, so it has the same types,
//! halves and chunks. Only its addresses differ: `peer_addr` and `local_addr` give internet
//! addresses, so they fail. A Unix socket for datagrams and a UDP socket are one type, too, with
//! another [`Address`](crate::Address).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self as unix, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::io::backoff::FOR_ROOM;
use crate::io::datagram::{Address, Port, UdpSocket, UnixDatagram};
use crate::io::pipe::PipeWriter;
use crate::io::runtime::{Runtime, Stream};
use crate::io::signals::Signals;
use crate::io::tcp::{Acceptor, ReadHalf, TcpListener, TcpStream, WriteHalf};

/// Bytes of a path that fit the address of a Unix socket. An abstract name and the zero before it
/// have the same limit.
const PATH_MAX: usize = 107;

/// A runtime that has more than TCP. A program that needs that asks for this instead of
/// [`Runtime`].
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
/// A Unix socket is named by a path. If the path begins with a zero byte (`"\0name"`), it is an
/// abstract name instead, which is no file and is gone with its socket.
///
/// Listening creates the file of a path, with the rights that the umask leaves. The file stays when
/// the listener is closed: the program that listened removes it. A file on which no socket listens
/// any more is *stale*. Until it is removed, connecting to it is refused, and so is listening there
/// again. To connect, a program needs the right to write to the file.
///
/// All this holds for [sockets for datagrams](Self::bind_unix_datagram), too. Their peers are named
/// by the standard library's `SocketAddr`: `from_pathname`, `from_abstract_name`.
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
/// A pipe's end, a FIFO, a child's input or output, a terminal: all that is read with read(2) or
/// written with write(2), and can make its user wait, is a [`Reader`](crate::Reader) or a
/// [`Writer`](crate::Writer) here. The promises are those of a stream's half: dropping a `recv` or
/// `read` loses no byte, and dropping a `write` while it waits breaks the writer.
///
/// ```
/// use std::process::{Command, Stdio};
///
/// use executor::{IoBuf, Net, Reader, Writer};
///
/// /// Sorts the lines with `sort`: hands them over, ends its input, reads its output to the end.
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
/// Child processes are those of [`std::process`], and their pipes are read and written as
/// [above](#pipes). [`wait_for_exit`](Self::wait_for_exit) awaits their end. A time-out leaves a
/// child as it is. A program that wants the child to end with the time-out ends it itself:
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
/// Dropping a [`Child`] does not end it, and its end is not reported. After its end it stays as a
/// *zombie*, which is only its number and its status, until this program ends. So wait for each
/// child. To end a child with the task that waits for it, put it into a type whose `Drop` calls
/// [`kill`](Child::kill) and then [`wait`](Child::wait), which takes only microseconds after that.
pub trait Net:
    Runtime<Listener = TcpListener<Self::Acceptor>, Stream = TcpStream<<Self::Acceptor as Acceptor>::Connection>>
    + std::fmt::Debug
{
    /// The inside of its datagram sockets.
    type Port: Port<Runtime = Self>;
    /// The inside of its listeners.
    type Acceptor: Acceptor<Runtime = Self, Connection: AsFd> + AsFd;

    /// Makes a connection over a pipe's end, which reads with read(2) and writes with write(2).
    /// [`pipe_reader`](Self::pipe_reader) and [`pipe_writer`](Self::pipe_writer) are made of it.
    ///
    /// # Errors
    /// Those of these two.
    #[doc(hidden)]
    fn pipe_end(&self, fd: OwnedFd) -> io::Result<<Self::Acceptor as Acceptor>::Connection>;

    /// Calls `call` when the descriptor is readable, and perhaps before. `call` returns
    /// `WouldBlock` if it would block. [`wait_for_exit`](Self::wait_for_exit) is made of this.
    ///
    /// # Errors
    /// Those of `call` and of watching the descriptor; [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing: as soon as `call` succeeds, the future is over.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    /// socket.set_nonblocking(true)?;
    /// let mut buffer = [0; 512];
    /// let fd = socket.try_clone()?.into();
    /// let (count, from) = rt.when_readable(fd, || socket.recv_from(&mut buffer)).await?;
    /// # Ok(())
    /// # }
    /// ```
    async fn when_readable<T>(&self, fd: OwnedFd, call: impl FnMut() -> io::Result<T>) -> io::Result<T>;

    /// Binds a UDP socket to this address: see [`UdpSocket::bind`].
    ///
    /// # Errors
    /// Those of [`UdpSocket::bind`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_udp("[::1]:0".parse().unwrap())?;
    /// # Ok(())
    /// # }
    /// ```
    fn bind_udp(&self, addr: SocketAddr) -> io::Result<UdpSocket<Self::Port>> {
        UdpSocket::bind(self, addr)
    }

    /// Listens on a Unix socket.
    ///
    /// # Errors
    /// Those of bind(2): `AddrInUse` if the path exists ...; `InvalidInput` for a path that is
    /// empty or too long; [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Listener, Net};
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let mut listener = rt.listen_unix("\0an abstract name")?;
    /// let stream = listener.accept().await?;
    /// # Ok(())
    /// # }
    /// ```
    fn listen_unix(&self, path: impl AsRef<Path>) -> io::Result<Self::Listener> {
        TcpListener::from_std(self, OwnedFd::from(bound(path.as_ref(), UnixListener::bind_addr)?).into())
    }

    /// Connects to a Unix socket. If there is no room among the connections that wait to be
    /// accepted, it tries again with growing pauses.
    ///
    /// # Errors
    /// Those of connect(2): `NotFound`, `ConnectionRefused` by a stale file ...; `InvalidInput` for
    /// a path that is empty or too long; [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future gives the attempt up.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Net, Writer};
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let mut stream = rt.connect_unix("/run/server.socket").await?;
    /// stream.write_all("hello").await.0?;
    /// # Ok(())
    /// # }
    /// ```
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

    /// Makes two Unix streams that are connected to each other.
    ///
    /// # Errors
    /// Those of socketpair(2); [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{IoBuf, Net, Reader, Writer};
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let (mut one, mut other) = rt.unix_pair()?;
    /// one.write_all("hello").await.0?;
    /// assert_eq!(other.recv().await?.bytes(), b"hello");
    /// # Ok(())
    /// # }
    /// ```
    fn unix_pair(&self) -> io::Result<(Self::Stream, Self::Stream)> {
        let (one, other) = UnixStream::pair()?;
        let stream = |end: UnixStream| TcpStream::from_std(self, OwnedFd::from(end).into());
        Ok((stream(one)?, stream(other)?))
    }

    /// Binds a Unix socket for datagrams to this path, to which others send.
    ///
    /// # Errors
    /// As [`listen_unix`](Self::listen_unix).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let socket = rt.bind_unix_datagram("\0an abstract name")?;
    /// let datagram = socket.recv_from().await?;
    /// # Ok(())
    /// # }
    /// ```
    fn bind_unix_datagram(&self, path: impl AsRef<Path>) -> io::Result<UnixDatagram<Self::Port>> {
        UnixDatagram::from_std(self, bound(path.as_ref(), unix::UnixDatagram::bind_addr)?)
    }

    /// Makes two Unix sockets for datagrams that are connected to each other.
    ///
    /// # Errors
    /// Those of socketpair(2); [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let (one, other) = rt.unix_datagram_pair()?;
    /// one.send("hello").await.0?;
    /// assert_eq!(&*other.recv().await?, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    #[allow(clippy::type_complexity)]
    fn unix_datagram_pair(&self) -> io::Result<(UnixDatagram<Self::Port>, UnixDatagram<Self::Port>)> {
        let (one, other) = unix::UnixDatagram::pair()?;
        Ok((UnixDatagram::from_std(self, one)?, UnixDatagram::from_std(self, other)?))
    }

    /// Reads a pipe's end: a [`std::io::PipeReader`], a [`ChildStdout`](std::process::ChildStdout),
    /// a `File` that is a FIFO ... The stream ends when no process holds the writing end any more.
    ///
    /// The reactor sets the flag O_NONBLOCK, the proactor clears it. The flag belongs to the open
    /// file, so to all that share it, as programs share a terminal. For the program's own input and
    /// output there are [`stdin`](crate::Executor::stdin) and [`stdout`](crate::Executor::stdout).
    ///
    /// On the proactor, a `recv` that waits holds 16 KiB. If one was under way, dropping the reader
    /// closes the pipe some turns later. And a runtime that takes requests for sockets only refuses
    /// to read: `PermissionDenied`.
    ///
    /// # Errors
    /// Those of fcntl(2). On the reactor, `PermissionDenied` for what epoll can't watch, such as
    /// regular files. The proactor reads those, from their own position on.
    /// [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{IoBuf, Net, Reader};
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut reader = rt.pipe_reader(reader)?;
    /// drop(writer);
    /// assert!(reader.recv().await?.bytes().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    fn pipe_reader(&self, fd: impl Into<OwnedFd>) -> io::Result<<Self::Stream as Stream>::ReadHalf> {
        Ok(ReadHalf { connection: self.pipe_end(fd.into())?.into() })
    }

    /// Writes to a pipe's end: a [`std::io::PipeWriter`], a
    /// [`ChildStdin`](std::process::ChildStdin) ... A write to a full pipe waits. When no process
    /// holds the reading end any more, a write fails with `BrokenPipe`. Where SIGPIPE is not
    /// ignored, such a write ends the program instead. Rust programs ignore SIGPIPE unless they
    /// change that.
    ///
    /// [`shutdown`](crate::Writer::shutdown) closes it, and so does dropping it. What
    /// [`pipe_reader`](Self::pipe_reader) says of the flag, of runtimes for sockets only, and of
    /// closing holds here, too.
    ///
    /// # Errors
    /// Those of [`pipe_reader`](Self::pipe_reader).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Net, Writer};
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut writer = rt.pipe_writer(writer)?;
    /// writer.write_all("hello").await.0?;
    /// writer.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    fn pipe_writer(&self, fd: impl Into<OwnedFd>) -> io::Result<PipeWriter<<Self::Stream as Stream>::WriteHalf>> {
        let connection = self.pipe_end(fd.into())?.into();
        Ok(PipeWriter(Some(WriteHalf { connection, is_broken: false, is_closing: false })))
    }

    /// Reports these signals by [`Signals::next`]. From now on they do nothing else. Each goes to
    /// all that ask for it, on any thread and by any runtime. The numbers are those of signal(7);
    /// crates such as libc and signal-hook have names for them.
    ///
    /// The handler stays for as long as the program runs. After the drop of all that ask for a
    /// signal, the signal does nothing at all: it does not get its old effect back. So a program
    /// that stops asking for SIGINT can't be ended by Ctrl-C any more.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is no signal, and for a signal that can't be handled:
    /// SIGKILL, SIGSTOP, SIGSEGV, SIGFPE and SIGILL. Those of sigaction(2) and socketpair(2);
    /// [`closed`](crate::closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// const SIGHUP: i32 = 1;
    /// let mut signals = rt.signals([SIGHUP])?;
    /// while signals.next().await? == SIGHUP {
    ///     println!("reads the configuration again");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn signals(&self, signals: impl IntoIterator<Item = i32>) -> io::Result<Signals<Self::Stream>> {
        Signals::new(signals.into_iter().collect(), |end| TcpStream::from_std(self, OwnedFd::from(end).into()))
    }

    /// Waits until the child has ended, and takes its exit status. Like [`Child::wait`], it first
    /// closes the child's input, if that was not taken out: a child that reads to the end then
    /// reaches the end. A second call returns the same status. It needs no signal, only a
    /// descriptor that stands for the process (pidfd_open(2), Linux 5.3). If there is none, because
    /// the kernel is older or a filter forbids the call, it asks after pauses of 1 to 64 ms.
    ///
    /// # Errors
    /// Those of pidfd_open(2) and waitpid(2): `ECHILD` if other code took the status, or set
    /// SIGCHLD to be ignored. [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future leaves the child as it is, except that its input is closed. The child
    /// can be waited for again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Net;
    /// # async fn example<R: Net>(rt: &R) -> std::io::Result<()> {
    /// let mut child = std::process::Command::new("true").spawn()?;
    /// assert!(rt.wait_for_exit(&mut child).await?.success());
    /// # Ok(())
    /// # }
    /// ```
    async fn wait_for_exit(&self, child: &mut Child) -> io::Result<ExitStatus> {
        drop(child.stdin.take());
        // Once its status is taken, its number may belong to another process.
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match pidfd_open(Pid::from_child(child), PidfdFlags::empty()) {
            Ok(process) => {
                self.when_readable(process, || child.try_wait()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())).await
            }
            // The kernel, or a filter in front of it, does not know the call.
            Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => ask_until_exit(self, child).await,
            Err(error) => Err(error.into()),
        }
    }
}

/// Asks whether the child has ended, after pauses that grow.
async fn ask_until_exit<R: Net>(rt: &R, child: &mut Child) -> io::Result<ExitStatus> {
    for pause in FOR_ROOM.pauses() {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        rt.sleep(pause).await;
    }
    unreachable!("there is always another pause")
}

/// Returns the address that a path stands for.
fn unix_addr(path: &Path) -> io::Result<unix::SocketAddr> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        // The kernel would choose an abstract name, which no other program knows: unix(7),
        // autobind.
        let text = "the path of a Unix socket is empty: give one, or an abstract name, which begins with a zero byte";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
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

    /// An address without a name can't be sent to. The kernel reports that.
    fn to_raw(&self) -> SockAddr {
        let name = self.as_abstract_name().map(|name| [b"\0", name].concat());
        let path = name.as_deref().or_else(|| Some(self.as_pathname()?.as_os_str().as_bytes())).unwrap_or_default();
        SockAddr::unix(std::ffi::OsStr::from_bytes(path)).or_else(|_| SockAddr::unix("")).expect("it fits")
    }

    /// A path of 108 bytes counts as no name: it fills all the room that the kernel has, and is
    /// longer than the standard library can express.
    fn from_raw(raw: &SockAddr) -> io::Result<unix::SocketAddr> {
        let path = raw.as_pathname().filter(|path| path.as_os_str().len() <= PATH_MAX).unwrap_or(Path::new(""));
        let by_path = || unix::SocketAddr::from_pathname(path);
        raw.as_abstract_namespace().map_or_else(by_path, unix::SocketAddr::from_abstract_name)
    }
}

/// Binds to the address of a path. If that fails, the error says why.
fn bound<T>(path: &Path, bind: fn(&unix::SocketAddr) -> io::Result<T>) -> io::Result<T> {
    bind(&unix_addr(path)?).map_err(|error| {
        if error.kind() != io::ErrorKind::AddrInUse || path.as_os_str().as_bytes().starts_with(b"\0") {
            return error;
        }
        let text = format!("{} is there already ({error}); if nobody uses it any more, remove it", path.display());
        io::Error::new(io::ErrorKind::AddrInUse, text)
    })
}
