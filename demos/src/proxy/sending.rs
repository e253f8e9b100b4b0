//! A request's body on its way to a server.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use executor::{IoBuf, Reader, Runtime, Writer};

use super::pair::{Chunk, ReadHalf, WriteHalf};
use super::reply::{CHUNK_HEAD, LAST_CHUNK, end_chunk};
use crate::http::{Body, Framing, Input, Limits, Patience, Status, Until, Waited};

/// What came of sending a body.
pub(super) enum Sent {
    /// All of it, or as much as the server wanted: it has the word.
    Enough,
    /// The client has sent what is no body, or nothing for too long.
    Refused(Status),
    ClientGone,
}

/// The state of a request's body, seen by who waits for the answer.
pub(super) struct Sending {
    /// Whether the server still lacks a part.
    pub(super) is_midway: Rc<Cell<bool>>,
    /// When something was sent last.
    pub(super) last: Cell<Instant>,
    /// Whether the client has got a part of an answer. An interim answer is none.
    pub(super) has_begun: Rc<Cell<bool>>,
    /// The code of the answer that is passed on, 0 before, and how much of its content the client has got.
    pub(super) passed: Cell<(u16, u64)>,
}

impl Sending {
    pub(super) fn is_whole(&self) -> bool {
        !self.is_midway.get()
    }
}

/// Sends the client's body to the server, read strictly and written anew.
pub(super) async fn send_body<R: Runtime>(
    rt: &R,
    limits: &Limits,
    reader: &mut ReadHalf<R>,
    input: &mut Input<Chunk<R>>,
    writer: &mut WriteHalf<R>,
    framing: Framing,
    sending: &Sending,
) -> Sent {
    let stopped = pin!(rt.stopped());
    let mut patience = Patience::new(rt, stopped);
    let mut body = Body::new(framing);
    let mut out = Vec::new();
    let begun = patience.now();
    loop {
        if framing == Framing::Chunked {
            out.extend_from_slice(CHUNK_HEAD);
        }
        let start = out.len();
        let progress = match body.decode(input.bytes(), limits, Some(&mut out)) {
            Ok(progress) => progress,
            Err(status) => return Sent::Refused(status),
        };
        input.consume(progress.consumed);
        if framing == Framing::Chunked {
            end_chunk(&mut out, 0, start);
            if progress.is_done {
                out.extend_from_slice(LAST_CHUNK);
            }
        }
        if !out.is_empty() {
            let until = Until::After(limits.stall_timeout);
            match patience.wait(until, false, pin!(writer.write_all(std::mem::take(&mut out)))).await {
                Waited::Done((Ok(()), buffer)) => out = buffer,
                // It may have answered before it closed, and the answer is on its way.
                _ => return Sent::Enough,
            }
            out.clear();
            sending.last.set(patience.now());
        }
        if progress.is_done {
            sending.is_midway.set(false);
            return Sent::Enough;
        }
        patience.be_fair().await;
        let stalls = patience.now() + limits.stall_timeout;
        let until = Until::At(stalls.min(begun + limits.body_time(body.received())));
        match patience.wait(until, false, pin!(reader.recv())).await {
            Waited::Done(Ok(chunk)) if !chunk.bytes().is_empty() => input.push(chunk),
            Waited::TimedOut => return Sent::Refused(Status::RequestTimeout),
            _ => return Sent::ClientGone,
        }
    }
}
