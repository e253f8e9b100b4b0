//! The echo server: what comes in goes out, until the peer has said all.
//!
//! ```sh
//! demos echo --on reactor-level                 # then: nc 127.0.0.1 8080
//! demos echo --client 127.0.0.1:8080            # or this, in another terminal
//! ```
//!
//! This is the smallest program that shows how the two kinds of runtime meet. `recv` lends a chunk of
//! memory that holds bytes. `feed` hands the chunk over, and the runtime owns it until the last byte is
//! sent. Under a reactor the chunk is filled when the socket is ready; under a proactor the kernel has
//! filled it before the task wakes. The program is the same.
//!
//! A peer that sends and never reads stops itself: its connection waits in `feed`, holds the two last
//! chunks, reads no more, and ends after a minute.

use std::io::{self, ErrorKind};
use std::pin::pin;

use executor::{IoBuf, Reader, Runtime, Writer};

use crate::serve::{STUCK, unless_stopped, unless_stuck};

/// Echoes on `stream` until the peer ends its side, or until the runtime is stopped and the peer is
/// idle.
///
/// # Errors
/// Those of the stream, such as a reset by the peer.
pub async fn connection<R: Runtime>(rt: R, mut stream: R::Stream) -> io::Result<()> {
    let mut stopped = pin!(rt.stopped());
    while let Some(received) = unless_stopped(&rt, stopped.as_mut(), stream.recv()).await {
        let chunk = received?;
        if chunk.bytes().is_empty() {
            break;
        }
        unless_stuck(&rt, pin!(stream.feed(chunk)), STUCK).await.ok_or(ErrorKind::TimedOut)??;
    }
    // It flushes first: what came in goes out, though the runtime is stopped.
    unless_stuck(&rt, pin!(stream.shutdown()), STUCK).await.ok_or(ErrorKind::TimedOut)?
}
