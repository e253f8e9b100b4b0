//! The rest of what a program uses beside TCP and UDP: Unix sockets, pipes, signals, children.
//! [`Net`] documents them.

use std::io;
use std::os::fd::OwnedFd;

use executor::Net;

use crate::async_fd::AsyncFd;
use crate::datagram::DatagramPort;
use crate::reactor::Reactor;
use crate::source::Direction;
use crate::tcp::{ListenSocket, ReadHalf, StreamSocket, TcpStream, WriteHalf};

/// The types for Unix streams. [`listen_unix`](Net::listen_unix),
/// [`connect_unix`](Net::connect_unix) and [`unix_pair`](Net::unix_pair) make them. They are the
/// types for TCP by other names: a connected Unix stream differs from a TCP stream only in its
/// addresses.
///
/// # Examples
///
/// ```
/// use reactor::{Listener, Net, Reactor, UnixListener, UnixStream};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let name = format!("\0unix-{}", std::process::id());
/// let mut listener: UnixListener = rt.listen_unix(&name)?;
/// rt.block_on(async {
///     let client: UnixStream = rt.connect_unix(&name).await?;
///     let server: UnixStream = listener.accept().await?;
///     Ok(())
/// })
/// # }
/// ```
pub use crate::tcp::{TcpListener as UnixListener, TcpStream as UnixStream};

/// A pipe's reading end, or a descriptor that reads like one: see
/// [`Net::pipe_reader`](Net::pipe_reader).
///
/// ```
/// use std::process::{Command, Stdio};
///
/// use reactor::{Net, PipeReader, Reactor, Reader, Writer};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let mut child = Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let mut output: PipeReader = rt.pipe_reader(child.stdout.take().unwrap())?;
/// let mut input = rt.pipe_writer(child.stdin.take().unwrap())?;
/// rt.block_on(async {
///     input.write_all("hello").await.0?;
///     input.shutdown().await?;
///     assert_eq!(&*output.recv().await?, b"HELLO");
///     assert!(rt.wait_for_exit(&mut child).await?.success());
///     Ok(())
/// })
/// # }
/// ```
pub type PipeReader = ReadHalf;

/// A pipe's writing end, or a descriptor that writes like one: see
/// [`Net::pipe_writer`](Net::pipe_writer).
///
/// ```
/// use reactor::{Net, PipeReader, PipeWriter, Reactor, Reader, Writer};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let (reader, writer) = std::io::pipe()?;
/// let mut reader: PipeReader = rt.pipe_reader(reader)?;
/// let mut writer: PipeWriter = rt.pipe_writer(writer)?;
/// rt.block_on(async {
///     writer.write_all("hello").await.0?;
///     assert_eq!(&*reader.recv().await?, b"hello");
///     writer.shutdown().await?;
///     assert!(reader.recv().await?.is_empty());
///     Ok(())
/// })
/// # }
/// ```
pub type PipeWriter = executor::PipeWriter<WriteHalf>;

/// The signals that come to this process: see [`Net::signals`](Net::signals).
///
/// ```
/// use reactor::{Net, Reactor, Signals};
/// # use signal_hook::{consts::{SIGHUP, SIGTERM}, low_level::raise};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let mut signals: Signals = rt.signals([SIGHUP, SIGTERM])?;
/// rt.block_on(async {
///     raise(SIGTERM)?;
///     assert_eq!(signals.next().await?, SIGTERM);
///     Ok(())
/// })
/// # }
/// ```
pub type Signals = executor::Signals<TcpStream>;

impl Net for Reactor {
    type Port = DatagramPort;
    type Acceptor = ListenSocket;

    fn pipe_end(&self, fd: OwnedFd) -> io::Result<StreamSocket> {
        let registration = AsyncFd::new(self, fd)?.registration;
        registration.source().is_pipe.set(true);
        Ok(StreamSocket { registration })
    }

    async fn when_readable<T>(&self, fd: OwnedFd, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        AsyncFd::new(self, fd)?.io(Direction::Read, |_| call()).await
    }
}
