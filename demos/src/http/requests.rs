//! The receiving side of a client's connection: what has come, how long to wait for the next request, how it ends.

use std::pin::pin;
use std::time::Instant;

use executor::{IoBuf, Reader, Runtime};

use super::access::Access;
use super::input::Input;
use super::limits::Limits;
use super::patience::{Patience, Until, Waited};
use super::response::Status;
use crate::serve::LAST_CALL;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client is gone, or nothing can be said to it any more.
    Now,
    /// The client may be sending still, and should get the last response nevertheless.
    Linger,
}

/// What came of waiting for input.
pub(crate) enum Arrival {
    /// Bytes, which are part of the input now.
    Bytes,
    /// The client ended its side.
    End,
    TimedOut,
    /// The runtime stops.
    Stopped,
    Failed,
}

/// What a client sends, request after request.
pub(crate) struct Requests<'a, R: Runtime, S: Reader> {
    pub stream: &'a mut S,
    pub input: Input<S::Chunk>,
    pub patience: Patience<'a, R>,
    /// Where the answers are noted, if anywhere.
    pub access: Option<Box<Access>>,
    /// Since when the client owes us a head: the accept, or the first byte of the next request.
    head_since: Option<Instant>,
}

impl<'a, R: Runtime, S: Reader> Requests<'a, R, S> {
    /// Those of a client that has just connected.
    pub(crate) fn new(rt: &R, stream: &'a mut S, patience: Patience<'a, R>) -> Self {
        // Not the time of the turn, which may have begun before the client came: its deadline would be too early.
        let head_since = Some(rt.now());
        Requests { stream, input: Input::new(), patience, access: None, head_since }
    }

    /// Takes a head of this length out of the input. What follows is its body, or the next head.
    pub(crate) fn consume_head(&mut self, head_len: usize) {
        if let Some(access) = &mut self.access {
            access.asked(&self.input.bytes()[..head_len]);
        }
        self.input.consume(head_len);
        self.head_since = None;
    }

    /// Notes an answer with so many bytes of content, if answers are noted.
    pub(crate) fn answered(&mut self, status: Status, bytes: u64) {
        if let Some(access) = &mut self.access {
            access.answered(status.code(), bytes, self.input.bytes());
        }
    }

    /// Waits for more of the next head. If none comes, the error is what to answer, if anything.
    pub(crate) async fn receive_head(&mut self, limits: &Limits) -> Result<(), Option<Status>> {
        self.patience.be_fair().await;
        self.input.release();
        let is_idle = self.input.is_empty();
        let until = match self.head_since {
            Some(since) => Until::At(since + limits.header_timeout),
            None if is_idle => Until::After(limits.idle_timeout),
            None => {
                let since = self.patience.now();
                self.head_since = Some(since);
                Until::At(since + limits.header_timeout)
            }
        };
        let mut arrival = self.receive(until, is_idle).await;
        if let Arrival::Stopped = arrival {
            arrival = self.receive(Until::After(LAST_CALL), false).await;
        }
        match arrival {
            Arrival::Bytes => Ok(()),
            // The client may have closed its side only, and want to know.
            Arrival::End if !is_idle => Err(Some(Status::BadRequest)),
            Arrival::TimedOut if !is_idle => Err(Some(Status::RequestTimeout)),
            _ => Err(None),
        }
    }

    /// Waits for more input; if `or_stop`, also for the runtime's stop.
    pub(crate) async fn receive(&mut self, until: Until, or_stop: bool) -> Arrival {
        let received = pin!(self.stream.recv());
        match self.patience.wait(until, or_stop, received).await {
            Waited::Done(Ok(chunk)) if chunk.bytes().is_empty() => Arrival::End,
            Waited::Done(Ok(chunk)) => {
                self.input.push(chunk);
                Arrival::Bytes
            }
            Waited::TimedOut => Arrival::TimedOut,
            Waited::Stopped => Arrival::Stopped,
            Waited::Done(Err(_)) => Arrival::Failed,
        }
    }
}
