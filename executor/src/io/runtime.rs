//! The traits that a program uses to run on every engine.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;

use crate::io::buf::{BufResult, IoBuf, IoBufMut};
use crate::run::driver::Driver;
use crate::run::executor::Executor;

/// Settings of a listener.
///
/// # Examples
///
/// ```
/// use executor::ListenOptions;
///
/// // For one listener on each core, all of them on one port.
/// let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
/// assert_eq!(options.backlog, 4096);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that the kernel queues before they are accepted, at most `net.core.somaxconn`.
    pub backlog: u32,
    /// `SO_REUSEADDR`: binds even if connections of an earlier listener linger in TIME_WAIT.
    pub reuse_addr: bool,
    /// `SO_REUSEPORT`: several listeners share one port, and the kernel spreads the connections.
    pub reuse_port: bool,
    /// `TCP_NODELAY` on the accepted streams: small writes are sent at once.
    pub nodelay: bool,
    /// Lets a proactor take all connections that wait in the kernel at once, before
    /// [`Listener::accept`] asks for them: as many as the backlog has, each with its descriptor.
    /// That saves one request for each connection. A program that keeps descriptors in reserve
    /// turns it off. Then the proactor takes at most one connection ahead. Reactors take none
    /// ahead.
    pub accept_ahead: bool,
}

impl Default for ListenOptions {
    /// Returns a backlog of 4096, `reuse_addr`, `nodelay` and `accept_ahead` on, `reuse_port` off.
    fn default() -> Self {
        ListenOptions { backlog: 4096, reuse_addr: true, reuse_port: false, nodelay: true, accept_ahead: true }
    }
}

/// A runtime's handle. It is cheap to clone and keeps nothing alive. When its owner is gone, its
/// functions fail with [`closed`](crate::closed).
///
/// It dereferences to its [`Executor`], which has all that needs no kernel: `spawn`, `block_on`,
/// `sleep`, `timeout`, `interval`, `now`, `stop`, `stopped`, `remote`, `stats`. A program that
/// takes the time only from there can run in simulated time.
///
/// # Examples
///
/// ```
/// use executor::{Runtime, Writer};
///
/// /// Writes a line each second, on any engine.
/// async fn tick<R: Runtime>(rt: &R, mut stream: R::Stream) -> std::io::Result<()> {
///     loop {
///         stream.write_all("tick\n").await.0?;
///         rt.sleep(std::time::Duration::from_secs(1)).await;
///     }
/// }
/// ```
pub trait Runtime: Clone + Deref<Target = Executor<Self::Driver>> + 'static {
    /// Listens for TCP connections.
    type Listener: Listener<Stream = Self::Stream>;
    /// A TCP connection.
    type Stream: Stream;
    /// The driver under the executor.
    type Driver: Driver;

    /// Binds and listens. With port 0 the kernel chooses the port: see [`Listener::local_addr`].
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2); [`closed`](crate::closed) after the end of the
    /// runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{ListenOptions, Listener, Runtime};
    /// # async fn example<R: Runtime>(rt: &R) -> std::io::Result<()> {
    /// let mut listener = rt.listen("127.0.0.1:7000".parse().unwrap(), &ListenOptions::default())?;
    /// let stream = listener.accept().await?;
    /// # Ok(())
    /// # }
    /// ```
    fn listen(&self, addr: SocketAddr, options: &ListenOptions) -> io::Result<Self::Listener>;

    /// Connects.
    ///
    /// # Errors
    /// Those of connect(2): refused, unreachable, timed out ...
    ///
    /// # Cancel safety
    /// Dropping this future gives the attempt up and closes its socket. If the peer has accepted by
    /// then, it sees the end of the stream or a reset.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Runtime, Stream};
    /// # async fn example<R: Runtime>(rt: &R) -> std::io::Result<()> {
    /// let mut stream = rt.connect("127.0.0.1:7000".parse().unwrap()).await?;
    /// let answer = stream.exchange("hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    async fn connect(&self, addr: SocketAddr) -> io::Result<Self::Stream>;

    /// Returns the engine's name: `reactor-level`, `reactor-edge`, `proactor` ...
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Runtime;
    /// # fn example<R: Runtime>(rt: &R) {
    /// println!("runs on {}", rt.engine());
    /// # }
    /// ```
    fn engine(&self) -> &'static str;
}

/// Accepts connections.
pub trait Listener: 'static {
    /// The connections it accepts.
    type Stream: Stream;

    /// Waits for the next connection. Trouble that passes, such as a connection that was gone
    /// before it was accepted, or a lack of free descriptors, never ends an accept loop. The
    /// listener waits with growing pauses until it is over.
    ///
    /// # Errors
    /// Those that will not pass: `InvalidInput` if the descriptor is not a listening socket (the
    /// text says so); [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future loses no connection: the next `accept` gets it. A pause that has begun
    /// goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Listener, Runtime, Writer};
    /// # async fn example<R: Runtime>(rt: &R, mut listener: R::Listener) -> std::io::Result<()> {
    /// loop {
    ///     let mut stream = listener.accept().await?;
    ///     rt.spawn(async move { stream.write_all("hello").await.0 }).detach();
    /// }
    /// # }
    /// ```
    async fn accept(&mut self) -> io::Result<Self::Stream>;

    /// Returns the address it listens on.
    ///
    /// # Errors
    /// Those of getsockname(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{ListenOptions, Listener, Runtime};
    /// # async fn example<R: Runtime>(rt: &R) -> std::io::Result<()> {
    /// let listener = rt.listen("127.0.0.1:0".parse().unwrap(), &ListenOptions::default())?;
    /// println!("the kernel chose port {}", listener.local_addr()?.port());
    /// # Ok(())
    /// # }
    /// ```
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The reading side of a stream.
pub trait Reader: 'static {
    /// Memory that the runtime lends. A drop gives it back.
    type Chunk: IoBuf;

    /// Waits for the next bytes: as many as there are, up to the runtime's chunk size. An empty
    /// chunk means the end of the stream, and each later call returns one again. A stream that
    /// waits here holds no buffer.
    ///
    /// # Errors
    /// Those of recv(2), such as a reset by the peer.
    ///
    /// # Cancel safety
    /// Dropping this future loses no byte: the next `recv` or `read` gets it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{IoBuf, Reader};
    /// # async fn example<R: Reader>(mut reader: R) -> std::io::Result<()> {
    /// loop {
    ///     let chunk = reader.recv().await?;
    ///     if chunk.bytes().is_empty() {
    ///         break; // the end of the stream
    ///     }
    ///     println!("{} bytes", chunk.bytes().len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    async fn recv(&mut self) -> io::Result<Self::Chunk>;

    /// Reads into a buffer of the caller's. Returns the number of bytes, 0 at the end of the
    /// stream.
    ///
    /// # Errors
    /// Those of recv(2). An empty buffer is `InvalidInput`, because 0 would look like the end.
    ///
    /// # Cancel safety
    /// Dropping this future loses no byte of the stream: the next `recv` or `read` gets it. The
    /// buffer is lost.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Reader;
    /// # async fn example<R: Reader>(mut reader: R) -> std::io::Result<()> {
    /// let (count, buffer) = reader.read(vec![0; 4096]).await;
    /// println!("{:?}", &buffer[..count?]);
    /// # Ok(())
    /// # }
    /// ```
    async fn read<B: IoBufMut>(&mut self, buf: B) -> BufResult<usize, B>;

    /// Fills the whole buffer.
    ///
    /// # Errors
    /// `UnexpectedEof` if the stream ends first; otherwise as [`read`](Self::read).
    ///
    /// # Cancel safety
    /// Dropping this future loses the buffer, and with it the bytes read so far. The next `recv` or
    /// `read` gets the bytes after them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Reader;
    /// # async fn example<R: Reader>(mut reader: R) -> std::io::Result<()> {
    /// // A message: its length in two bytes, then itself.
    /// let (result, len) = reader.read_exact([0; 2]).await;
    /// result?;
    /// let (result, message) = reader.read_exact(vec![0; u16::from_be_bytes(len).into()]).await;
    /// result?;
    /// # Ok(())
    /// # }
    /// ```
    async fn read_exact<B: IoBufMut>(&mut self, buf: B) -> BufResult<(), B> {
        let mut buf = buf;
        let (mut filled, len) = (0, buf.bytes().len());
        while filled < len {
            let (result, slice) = self.read(buf.slice(filled..len)).await;
            buf = slice.into_inner();
            match result {
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), buf),
                Ok(count) => filled += count,
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }
}

/// The writing side of a stream.
///
/// A stream takes one write at a time: the pieces of two in flight could mix. So a write borrows
/// the writer as long as it lasts, and this does not compile:
///
/// ```compile_fail,E0499
/// async fn two_at_a_time<W: executor::Writer>(mut stream: W) {
///     let one = stream.write_all("one");
///     let two = stream.write_all("two");
///     drop((one.await, two.await));
/// }
/// ```
///
/// Writing one after the other does:
///
/// ```
/// async fn one_by_one<W: executor::Writer>(mut stream: W) {
///     drop(stream.write_all("one").await);
///     drop(stream.write_all("two").await);
/// }
/// ```
///
/// Two tasks with one stream do not compile either:
///
/// ```compile_fail,E0382
/// fn two_tasks<R: executor::Runtime, W: executor::Writer>(rt: &R, mut stream: W) {
///     rt.spawn(async move { drop(stream.write_all("one").await) }).detach();
///     rt.spawn(async move { drop(stream.write_all("two").await) }).detach();
/// }
/// ```
pub trait Writer: 'static {
    /// Writes some of the buffer, and returns how much.
    ///
    /// # Errors
    /// Those of send(2); `BrokenPipe` after an earlier write was dropped midway. No write raises
    /// SIGPIPE, except to [pipes](crate::Net::pipe_writer).
    ///
    /// # Cancel safety
    /// Dropping this future before its first poll does nothing. Dropping it while it waits breaks
    /// the writing side: it is unknown how much was sent, so later writes fail with `BrokenPipe`.
    /// If it turns out that all was sent, nothing breaks. The peer gets a prefix of what was
    /// written, and reading goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Writer;
    /// # async fn example<W: Writer>(mut writer: W) -> std::io::Result<()> {
    /// let (count, buffer) = writer.write(vec![0; 1_000_000]).await;
    /// println!("{} of {} bytes", count?, buffer.len());
    /// # Ok(())
    /// # }
    /// ```
    async fn write<B: IoBuf>(&mut self, buf: B) -> BufResult<usize, B>;

    /// Writes the whole buffer.
    ///
    /// # Errors
    /// As [`write`](Self::write). How much was sent before the error is unknown.
    ///
    /// # Cancel safety
    /// Dropping this future does the same as dropping a [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Writer;
    /// # async fn example<W: Writer>(mut writer: W) -> std::io::Result<()> {
    /// let (result, buffer) = writer.write_all(vec![0; 1_000_000]).await;
    /// result?;
    /// writer.write_all(buffer).await.0?; // the same bytes again
    /// # Ok(())
    /// # }
    /// ```
    async fn write_all<B: IoBuf>(&mut self, buf: B) -> BufResult<(), B>;

    /// Writes all of several buffers, one after the other: a head and a body, for example, without
    /// first copying them together. Connections hand all of them to the kernel at once (at most
    /// 1,024, then the next). Other writers write one buffer at a time.
    ///
    /// # Errors
    /// As [`write`](Self::write). How much was sent before the error is unknown.
    ///
    /// # Cancel safety
    /// Dropping this future does the same as dropping a [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Writer;
    /// # async fn example<W: Writer>(mut writer: W) -> std::io::Result<()> {
    /// let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    /// writer.write_all_vectored(vec![head, "hello"]).await.0?;
    /// # Ok(())
    /// # }
    /// ```
    async fn write_all_vectored<B: IoBuf>(&mut self, bufs: Vec<B>) -> BufResult<(), Vec<B>> {
        let (mut written, mut rest) = (Vec::with_capacity(bufs.len()), bufs.into_iter());
        while let Some(buf) = rest.next() {
            let (result, buf) = self.write_all(buf).await;
            written.push(buf);
            if result.is_err() {
                written.extend(rest);
                return (result, written);
            }
        }
        (Ok(()), written)
    }

    /// Hands the whole buffer over. The future completes as soon as the runtime can send the rest
    /// alone, and the buffer does not come back. At most one buffer is under way: the next write
    /// first waits until it is sent, so a slow peer slows the program down.
    ///
    /// It saves a proactor the wake at the end of the send. On a reactor it does the same as
    /// [`write_all`](Self::write_all).
    ///
    /// End with [`flush`](Self::flush). ([`shutdown`](Self::shutdown) and [`Stream::close`] flush,
    /// too.) If a stream is dropped before everything is sent, the connection is reset: a message
    /// that was cut must not look whole. (Unix sockets and pipes have no reset. There, the peer sees
    /// an orderly end.) If only the writing half is dropped, the rest is still sent, and then the
    /// end.
    ///
    /// # Errors
    /// As [`write`](Self::write). The error of a buffer that was handed over may come late: the
    /// next write, `flush`, `shutdown` or `close` returns it. If the connection failed, a
    /// [`recv`](Reader::recv) may return the error, too.
    ///
    /// # Cancel safety
    /// Dropping this future while it waits for the buffer before it does nothing, except that its
    /// own buffer is dropped. On a reactor, it then does the same as dropping a
    /// [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Writer;
    /// # async fn example<W: Writer>(mut writer: W) -> std::io::Result<()> {
    /// for number in 0..1000 {
    ///     writer.feed(format!("{number}\n")).await?;
    /// }
    /// writer.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    async fn feed<B: IoBuf>(&mut self, buf: B) -> io::Result<()> {
        self.write_all(buf).await.0
    }

    /// Waits until everything that was [fed](Self::feed) is sent. Without that, it returns at once.
    ///
    /// # Errors
    /// Those of sending what was fed.
    ///
    /// # Cancel safety
    /// Dropping this future does nothing. The sending goes on, and keeps the task's waker until it is
    /// over.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Writer;
    /// # async fn example<W: Writer>(mut writer: W) -> std::io::Result<()> {
    /// writer.feed("hello").await?;
    /// writer.flush().await?;
    /// drop(writer); // cuts nothing
    /// # Ok(())
    /// # }
    /// ```
    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends the writing side: the peer reads all that was written, and then the end of the stream.
    ///
    /// # Errors
    /// Those of shutdown(2), and those of [`flush`](Self::flush).
    ///
    /// # Cancel safety
    /// Its first poll completes it, unless a buffer that was [fed](Self::feed) is still under way.
    /// Dropping this future before that does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{IoBuf, Stream};
    /// # async fn example<S: Stream>(mut stream: S) -> std::io::Result<()> {
    /// stream.write_all("all I have to say").await.0?;
    /// stream.shutdown().await?;
    /// while !stream.recv().await?.bytes().is_empty() {} // until the peer ends its side, too
    /// # Ok(())
    /// # }
    /// ```
    async fn shutdown(&mut self) -> io::Result<()>;
}

/// A connection: both sides, and a way to take them apart.
pub trait Stream: Reader + Writer {
    /// The reading side on its own.
    type ReadHalf: Reader<Chunk = <Self as Reader>::Chunk>;
    /// The writing side on its own. Dropping it ends the writing side, as `shutdown` does.
    type WriteHalf: Writer;

    /// Splits the stream into two owned halves, for two tasks. The connection closes when both are
    /// dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Reader, Runtime, Stream, Writer};
    /// # async fn example<R: Runtime>(rt: &R, stream: R::Stream) -> std::io::Result<()> {
    /// let (mut reader, mut writer) = stream.split();
    /// let writing = rt.spawn(async move { writer.write_all("hello").await.0 });
    /// let chunk = reader.recv().await?;
    /// writing.await.unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    fn split(self) -> (Self::ReadHalf, Self::WriteHalf);

    /// Closes a connection that was split by a *reset*: the peer sees an error instead of the end of
    /// the stream, and the kernel drops what is not sent. Both halves must be of one connection.
    /// (Unix sockets have no reset: they close.)
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Reader, Stream};
    /// # async fn example<S: Stream>(stream: S) {
    /// let (mut read, write) = stream.split();
    /// if read.recv().await.is_err() {
    ///     S::reset(read, write);
    /// }
    /// # }
    /// ```
    fn reset(read: Self::ReadHalf, write: Self::WriteHalf);

    /// Writes the whole buffer, then waits for the next bytes, as [`write_all`](Writer::write_all)
    /// and then [`recv`](Reader::recv) do. It is a server's step from one request to the next. The
    /// buffer does not come back. It is dropped as soon as it is sent, so a stream that waits holds
    /// none.
    ///
    /// One call for both saves work on a proactor: a message costs one system call and one wake
    /// instead of two, if the loop has nothing else to do in the meantime.
    ///
    /// # Errors
    /// Those of `write_all` and `recv`.
    ///
    /// # Cancel safety
    /// Dropping this future loses no received byte: the next `recv` or `read` gets it. Dropping it
    /// while it waits for the answer, after the buffer is sent, does no harm. Dropping it before
    /// that breaks the writing side, as dropping [`write_all`](Writer::write_all) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{IoBuf, Stream};
    ///
    /// /// Sends back what comes, up to the end.
    /// async fn echo<S: Stream>(mut stream: S) -> std::io::Result<()> {
    ///     let mut chunk = stream.recv().await?;
    ///     while !chunk.bytes().is_empty() {
    ///         chunk = stream.exchange(chunk).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    async fn exchange<B: IoBuf>(&mut self, buf: B) -> io::Result<Self::Chunk> {
        self.write_all(buf).await.0?;
        self.recv().await
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    /// Those of getpeername(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Stream;
    /// # fn example<S: Stream>(stream: S) -> std::io::Result<()> {
    /// println!("connected to {}", stream.peer_addr()?);
    /// # Ok(())
    /// # }
    /// ```
    fn peer_addr(&self) -> io::Result<SocketAddr>;

    /// Returns the address of this end.
    ///
    /// # Errors
    /// Those of getsockname(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Stream;
    /// # fn example<S: Stream>(stream: S) -> std::io::Result<()> {
    /// println!("connected by way of {}", stream.local_addr()?.ip());
    /// # Ok(())
    /// # }
    /// ```
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Ends the connection and reports how the close went. First sends what was
    /// [fed](Writer::feed). Dropping the stream closes it, too, and reports nothing. (On a proactor
    /// both may end the connection by shutdown(2), and so for duplicates of its descriptor, too.)
    ///
    /// # Errors
    /// Those of close(2), and those of [`flush`](Writer::flush). The connection is closed even
    /// then.
    ///
    /// # Cancel safety
    /// Dropping this future still closes the connection.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::Stream;
    /// # async fn example<S: Stream>(mut stream: S) -> std::io::Result<()> {
    /// stream.write_all("goodbye").await.0?;
    /// stream.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    async fn close(self) -> io::Result<()>;
}
