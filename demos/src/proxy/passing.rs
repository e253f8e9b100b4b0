//! A server's answer on its way to the client.

use std::ops::ControlFlow;
use std::pin::pin;

use executor::{IoBuf, Reader, Runtime, Writer};

use super::pair::{Chunk, ReadHalf, WriteHalf};
use super::reply::{Asked, Reply, Taken, take_reply};
use super::sending::Sending;
use super::shared::Proxy;
use crate::http::{Input, Limits, Patience, Until, Waited};

/// Bytes of an answer's head at most, "103 Early Hints" before it included.
const LONGEST_REPLY_HEAD: usize = 32 * 1024;

/// A server's sending side.
pub(super) struct Receiving<'a, R: Runtime> {
    pub(super) reader: &'a mut ReadHalf<R>,
    pub(super) input: &'a mut Input<Chunk<R>>,
}

/// The way of an answer to the client.
pub(super) struct Passing<'a, 'p, R: Runtime> {
    pub(super) limits: &'a Limits,
    pub(super) proxy: &'a Proxy<R>,
    pub(super) writer: &'a mut WriteHalf<R>,
    pub(super) patience: &'a mut Patience<'p, R>,
}

/// What came of an answer.
pub(super) enum Passed {
    Whole {
        server_stays: bool,
        client_stays: bool,
    },
    /// The client has a part of it, and gets no more; or it is gone.
    Cut,
    /// Not one byte came.
    Silent,
    /// What came is no answer, and at most interim answers were passed on.
    Nonsense,
    /// The head did not come in time.
    TimedOut,
    /// The client has gone before it had all.
    ClientGone,
}

impl<R: Runtime> Passing<'_, '_, R> {
    /// Passes the answer on, from its head to its end.
    pub(super) async fn pass(&mut self, asked: Asked, server: &mut Receiving<'_, R>, sending: &Sending) -> Passed {
        let mut out = Vec::new();
        let mut reply = match self.receive_head(asked, server, sending, &mut out).await {
            Ok(reply) => reply,
            Err(passed) => return passed,
        };
        sending.has_begun.set(true);
        sending.passed.set((reply.code, 0));
        loop {
            let before = out.len();
            let Some((consumed, is_done)) = reply.pass(server.input.bytes(), &self.proxy.reply_limits, &mut out) else {
                return Passed::Cut;
            };
            server.input.consume(consumed);
            sending.passed.update(|(code, bytes)| (code, bytes + (out.len() - before) as u64));
            if self.write(&mut out).await.is_break() {
                return Passed::Cut;
            }
            if is_done {
                return whole(&reply, sending);
            }
            self.patience.be_fair().await;
            let until = Until::After(self.proxy.settings.pause_timeout);
            match self.patience.wait(until, false, pin!(server.reader.recv())).await {
                Waited::Done(Ok(chunk)) if !chunk.bytes().is_empty() => server.input.push(chunk),
                Waited::Done(Ok(_)) if reply.end(&mut out) => {
                    let written = self.write(&mut out).await;
                    return if written.is_break() { Passed::Cut } else { whole(&reply, sending) };
                }
                _ => return Passed::Cut,
            }
        }
    }

    /// The head of the answer, in `out` as the client gets it.
    async fn receive_head(
        &mut self,
        asked: Asked,
        server: &mut Receiving<'_, R>,
        sending: &Sending,
        out: &mut Vec<u8>,
    ) -> Result<Reply, Passed> {
        let mut received = 0;
        loop {
            // Who has not sent all of a request cannot send another after it.
            let asked = Asked { may_stay: asked.may_stay && sending.is_whole(), ..asked };
            match take_reply(server.input.bytes(), asked, out) {
                Taken::Final(reply) => {
                    server.input.consume(reply.head_len);
                    return Ok(reply);
                }
                // It is no answer yet: if none follows, the client still gets one of ours.
                Taken::Interim(head_len) => {
                    server.input.consume(head_len);
                    if self.write(out).await.is_break() {
                        return Err(Passed::Cut);
                    }
                    continue;
                }
                Taken::Partial if received <= LONGEST_REPLY_HEAD => {}
                Taken::Partial | Taken::Wrong => return Err(Passed::Nonsense),
            }
            server.input.release();
            let chunk = match self.recv_by_deadline(server, sending).await {
                Ok(chunk) => chunk,
                Err(Passed::Silent) if received > 0 => return Err(Passed::Nonsense),
                Err(passed) => return Err(passed),
            };
            received += chunk.bytes().len();
            server.input.push(chunk);
        }
    }

    /// More of the head, or why there is no more. The time runs from when the server got
    /// something last.
    async fn recv_by_deadline(&mut self, server: &mut Receiving<'_, R>, sending: &Sending) -> Result<Chunk<R>, Passed> {
        loop {
            let last = sending.last.get();
            let until = Until::At(last + self.proxy.settings.response_timeout);
            match self.patience.wait(until, false, pin!(server.reader.recv())).await {
                Waited::Done(Ok(chunk)) if !chunk.bytes().is_empty() => return Ok(chunk),
                Waited::Done(_) => return Err(Passed::Silent),
                _ if sending.last.get() > last => {}
                _ => return Err(Passed::TimedOut),
            }
        }
    }

    /// Writes what there is to the client.
    async fn write(&mut self, out: &mut Vec<u8>) -> ControlFlow<()> {
        if out.is_empty() {
            return ControlFlow::Continue(());
        }
        let until = Until::After(self.limits.stall_timeout);
        match self.patience.wait(until, false, pin!(self.writer.write_all(std::mem::take(out)))).await {
            Waited::Done((Ok(()), buffer)) => {
                *out = buffer;
                out.clear();
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }
}

/// The client has it all.
fn whole(reply: &Reply, sending: &Sending) -> Passed {
    // What is left of a body would be the beginning of the server's next request.
    Passed::Whole { server_stays: reply.server_stays && sending.is_whole(), client_stays: reply.client_stays }
}
