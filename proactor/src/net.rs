//! The rest of what a program uses beside TCP and UDP: pipes, signals, children, Unix sockets.
//! [`Net`] documents them.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use executor::{Connection, Net};

use crate::datagram::DatagramPort;
use crate::op::Kind;
use crate::proactor::Proactor;
use crate::tcp::{ListenSocket, StreamSocket};

/// A pipe's reading end, or a descriptor that reads like one: see
/// [`Net::pipe_reader`](executor::Net::pipe_reader).
///
/// ```
/// use std::process::{Command, Stdio};
///
/// use proactor::{Net, PipeReader, Proactor, Reader, Writer};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
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
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type PipeReader = crate::ReadHalf;

/// A pipe's writing end, or a descriptor that writes like one: see
/// [`Net::pipe_writer`](executor::Net::pipe_writer).
///
/// ```
/// use proactor::{Net, PipeReader, PipeWriter, Proactor, Reader, Writer};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
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
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type PipeWriter = executor::PipeWriter<crate::WriteHalf>;

/// The signals that come to this process: see [`Net::signals`](executor::Net::signals).
///
/// ```
/// use proactor::{Net, Proactor, Signals};
/// # use signal_hook::{consts::{SIGHUP, SIGTERM}, low_level::raise};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let mut signals: Signals = rt.signals([SIGHUP, SIGTERM])?;
/// rt.block_on(async {
///     raise(SIGTERM)?;
///     assert_eq!(signals.next().await?, SIGTERM);
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub type Signals = executor::Signals<crate::TcpStream>;

/// The types for Unix streams. [`listen_unix`](Net::listen_unix),
/// [`connect_unix`](Net::connect_unix) and [`unix_pair`](Net::unix_pair) make them. They are the
/// types for TCP by other names: a connected Unix stream differs from a TCP stream only in its
/// addresses.
///
/// # Examples
///
/// ```
/// use proactor::{Listener, Net, Proactor, UnixListener, UnixStream};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let name = format!("\0unix-{}", std::process::id());
/// let mut listener: UnixListener = rt.listen_unix(&name)?;
/// rt.block_on(async {
///     let client: UnixStream = rt.connect_unix(&name).await?;
///     let server: UnixStream = listener.accept().await?;
///     Ok(())
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub use crate::tcp::{TcpListener as UnixListener, TcpStream as UnixStream};

impl Net for Proactor {
    type Port = DatagramPort;
    type Acceptor = ListenSocket;

    fn pipe_end(&self, fd: OwnedFd) -> io::Result<StreamSocket> {
        let stream = StreamSocket::from_std(self, fd.into())?;
        stream.hold.socket().is_pipe.set(true);
        Ok(stream)
    }

    async fn when_readable<T>(&self, fd: OwnedFd, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let fd = Rc::new(fd);
        let mut pause = FIRST_PAUSE;
        loop {
            let ready = self.context.start(Kind::Poll(Rc::clone(&fd))).map_err(|(error, _)| error)?.await.0?;
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            // An error or a hang-up that the call does not clear stays, and ends every wait at
            // once.
            if ready & STAYS_UP != 0 {
                self.sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The states that a poll reports even if not asked, as long as they last.
const STAYS_UP: usize = (libc::POLLERR | libc::POLLHUP).unsigned_abs() as usize;
/// The first pause between waits that such a state ends. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
