//! Copies from a reader to a writer. What the reader lends goes to the writer as it is.
//!
//! Why not `splice`? On io_uring, a thread of the kernel does each splice, and waits in it: two
//! threads for each connection, idle or not (Linux 6.18). splice(2), called by the loop itself when
//! a poll reports bytes, needs no thread. But it takes four system calls for each message and its
//! answer, where `recv` and `send` share theirs among all connections, and two pipes for each
//! connection. One large stream gains by splices, small messages lose, and larger chunks bring most
//! of the same gain. The figures are in `executor/MEASURED.md`.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use crate::io::buf::IoBuf;
use crate::io::runtime::{Reader, Stream, Writer};

/// Writes all that the reader brings to the writer, up to the end of the stream. It does not pass
/// on the end. Returns the number of bytes. At most one chunk is under way: a slow writer slows the
/// reader down. (It does not [feed](Writer::feed) the writer: if that fails while the reader is
/// silent, the copy must end.)
///
/// The bytes are never copied in user space.
///
/// # Errors
/// Those of reading and of writing. How many bytes were written before the error is unknown.
///
/// # Cancel safety
/// Dropping this future while it reads loses nothing. Dropping it while it writes loses the chunk,
/// and does to the writer what dropping [`write_all`](Writer::write_all) does.
///
/// # Examples
///
/// ```
/// use executor::{Stream, copy};
///
/// /// Sends back what comes, up to the end.
/// async fn echo<S: Stream>(stream: S) -> std::io::Result<u64> {
///     let (mut reader, mut writer) = stream.split();
///     copy(&mut reader, &mut writer).await
/// }
/// ```
pub async fn copy<R: Reader, W: Writer>(reader: &mut R, writer: &mut W) -> io::Result<u64> {
    let mut count = 0;
    loop {
        let chunk = reader.recv().await?;
        let len = chunk.bytes().len();
        if len == 0 {
            return Ok(count);
        }
        writer.write_all(chunk).await.0?;
        count += len as u64;
    }
}

/// Connects two streams. What comes from one goes to the other, both ways, and so do the ends: when
/// one side has ended, the other way goes on. Returns the bytes from `a` to `b`, and from `b` to
/// `a`.
///
/// # Errors
/// The first error of either way, which ends both ways and closes the streams.
///
/// # Cancel safety
/// Dropping this future closes both streams. What was received and not sent by then is lost.
///
/// # Examples
///
/// ```
/// use std::net::SocketAddr;
///
/// use executor::{Runtime, copy_bidirectional};
///
/// async fn relay<R: Runtime>(rt: &R, client: R::Stream, to: SocketAddr) -> std::io::Result<()> {
///     let (sent, received) = copy_bidirectional(client, rt.connect(to).await?).await?;
///     println!("{sent} bytes there, {received} back");
///     Ok(())
/// }
/// ```
pub async fn copy_bidirectional<A: Stream, B: Stream>(a: A, b: B) -> io::Result<(u64, u64)> {
    let ((from_a, to_a), (from_b, to_b)) = (a.split(), b.split());
    let (mut there, mut back) = (pin!(copy_with_end(from_a, to_b)), pin!(copy_with_end(from_b, to_a)));
    let (mut sent_there, mut sent_back) = (None, None);
    poll_fn(|cx| {
        if sent_there.is_none()
            && let Poll::Ready(count) = there.as_mut().poll(cx)
        {
            sent_there = Some(count?);
        }
        if sent_back.is_none()
            && let Poll::Ready(count) = back.as_mut().poll(cx)
        {
            sent_back = Some(count?);
        }
        sent_there.zip(sent_back).map_or(Poll::Pending, |counts| Poll::Ready(Ok(counts)))
    })
    .await
}

async fn copy_with_end(mut reader: impl Reader, mut writer: impl Writer) -> io::Result<u64> {
    let count = copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(count)
}
