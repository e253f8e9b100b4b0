//! One client's connection, with HTTP: a request, its answer, the next.
//!
//! ```text
//!   receive a head --> choose a server, connect --> send head, body --> head of the answer --> its body --+
//!         ^                  |     ^                    |                    |                            |
//!         |                  |     +-- may be repeated -+--------------------+                            |
//!         |                  v                          v                                                 |
//!         |             503, 502, 504              502, 504                                               |
//!         +----------------------------------------------------------------------------- both stay -------+
//! ```
//!
//! A server may answer before it has read the whole request. So while a body is sent, the answer is waited for, and
//! passed on when it comes; what the client still sends then is of no use to anybody, and its connection is closed.

use std::cell::Cell;
use std::future::pending;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Instant;

use executor::{IoBuf, Reader, Runtime, Stream, Writer};
use futures_lite::future::or;

use crate::http::{
    Body, Framing, Input, Limits, Parsed, Patience, Persistence, Response, Status, Until, Waited, parse,
};
use crate::serve::LAST_CALL;

use super::idle::{Chunk, Link};
use super::reply::{Asked, CHUNK_HEAD, LAST_CHUNK, Reply, Taken, end_chunk, take_reply};
use super::request::Ask;
use super::shared::Proxy;

/// How answers of the proxy's own begin, up to the content type's value.
const STAMP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: ";
/// Bytes of an answer's head at most, "103 Early Hints" before it included.
const LONGEST_REPLY_HEAD: usize = 32 * 1024;

/// Serves one client to its end.
pub(crate) async fn converse<R: Runtime>(
    proxy: &Proxy<R>,
    rt: &R,
    stream: R::Stream,
    address: IpAddr,
    limits: &Limits,
) {
    let stopped = pin!(rt.stopped());
    let (reader, writer) = stream.split();
    let mut conversation = Conversation {
        proxy,
        rt,
        limits,
        address,
        client: Client { reader, input: Input::new() },
        writer,
        patience: Patience::new(rt, stopped),
        head_since: Some(rt.turn_time()),
        served: 0,
    };
    let ControlFlow::Break(end) = conversation.go_on().await else { return };
    if end == End::Linger {
        conversation.linger().await;
    }
}

struct Conversation<'a, R: Runtime> {
    proxy: &'a Proxy<R>,
    rt: &'a R,
    limits: &'a Limits,
    address: IpAddr,
    client: Client<R>,
    writer: <R::Stream as Stream>::WriteHalf,
    patience: Patience<'a, R>,
    /// Since when the client owes a head: the accept, or the first byte of the next request.
    head_since: Option<Instant>,
    served: u64,
}

/// The client's sending side.
struct Client<R: Runtime> {
    reader: <R::Stream as Stream>::ReadHalf,
    input: Input<Chunk<R>>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There is nobody to be kind to, or nothing that could still be said.
    Now,
    /// The client may be sending still, and should get the last answer nevertheless.
    Linger,
}

/// What came of handing a request to a server.
enum Outcome {
    /// The client got its answer.
    Answered(ControlFlow<End>),
    /// No byte of an answer came; this is to be said if nobody else gives one.
    Silent(Status, String),
}

/// What came of sending a body.
enum Sent {
    /// All of it, or as much as the server wanted: it has the word.
    Enough,
    /// The client has sent what is no body, or nothing for too long.
    Refused(Status),
    ClientGone,
}

/// The state of a request's body, seen by who waits for the answer.
struct Sending {
    is_whole: Cell<bool>,
    /// When something was sent last.
    last: Cell<Instant>,
    /// Whether the client has got the first byte of an answer.
    has_begun: Cell<bool>,
}

impl<R: Runtime> Conversation<'_, R> {
    /// Goes on until something ends it.
    async fn go_on(&mut self) -> ControlFlow<End> {
        loop {
            let mut ask = self.receive_head().await?;
            self.answer(&mut ask).await?;
        }
    }

    /// The next request's head.
    async fn receive_head(&mut self) -> ControlFlow<End, Ask> {
        loop {
            match parse(self.client.input.bytes(), self.limits) {
                Parsed::Refused(status) => return self.refuse_next(status).await,
                Parsed::Partial => self.receive().await?,
                Parsed::Complete(request) => {
                    let head_len = request.head_len;
                    match Ask::new(self.client.input.bytes(), &request, self.address) {
                        Err(status) => return self.refuse_next(status).await,
                        Ok(ask) => {
                            self.client.input.consume(head_len);
                            self.head_since = None;
                            self.served += 1;
                            return ControlFlow::Continue(ask);
                        }
                    }
                }
            }
        }
    }

    /// Waits for more of the next head.
    async fn receive(&mut self) -> ControlFlow<End> {
        self.patience.be_fair().await;
        let input = &mut self.client.input;
        input.release();
        let is_idle = input.is_empty();
        let until = match self.head_since {
            None if is_idle => Until::After(self.limits.idle_timeout),
            since => {
                let since = since.unwrap_or_else(|| self.patience.now());
                self.head_since = Some(since);
                Until::At(since + self.limits.header_timeout)
            }
        };
        let mut waited = self.patience.wait(until, is_idle, pin!(self.client.reader.recv())).await;
        if let Waited::Stopped = waited {
            let last_call = Until::After(LAST_CALL);
            waited = self.patience.wait(last_call, false, pin!(self.client.reader.recv())).await;
        }
        match waited {
            Waited::Done(Ok(chunk)) if !chunk.bytes().is_empty() => {
                self.client.input.push(chunk);
                ControlFlow::Continue(())
            }
            Waited::TimedOut if !is_idle => self.refuse_next(Status::RequestTimeout).await,
            Waited::Done(Ok(_)) if !is_idle => self.refuse_next(Status::BadRequest).await,
            _ => ControlFlow::Break(End::Now),
        }
    }

    /// Ends the connection with an answer of our own.
    async fn refuse_next<T>(&mut self, status: Status) -> ControlFlow<End, T> {
        ControlFlow::Break(self.say(status, false, false).await)
    }

    /// Gives an answer of our own; the connection ends after it unless it `stays`.
    async fn say(&mut self, status: Status, is_head: bool, stays: bool) -> End {
        let response = Response::plain(status);
        let mut out = Vec::new();
        let persistence = if stays { Persistence::Implied } else { Persistence::Close };
        response.write_head(&mut out, STAMP, response.body.len() as u64, persistence);
        if !is_head {
            out.extend_from_slice(&response.body);
        }
        let until = Until::After(self.limits.stall_timeout);
        match self.patience.wait(until, false, pin!(self.writer.write_all(out))).await {
            Waited::Done((Ok(()), _)) => End::Linger,
            _ => End::Now,
        }
    }

    /// Has a request answered: by a server, or if there is none by ourselves.
    async fn answer(&mut self, ask: &mut Ask) -> ControlFlow<End> {
        let (mut tried, mut failure, mut is_new) = (Vec::new(), None, !ask.may_repeat);
        loop {
            let link = match self.proxy.reach(self.rt, self.address, &mut tried, is_new).await {
                Ok(link) => link,
                Err(reason) => {
                    return self.refuse(ask, failure.unwrap_or(reason.status())).await;
                }
            };
            let (server, was_kept) = (link.place.server(), link.was_kept);
            let (status, reason) = match self.exchange(ask, link).await {
                Outcome::Answered(flow) => return flow,
                Outcome::Silent(status, reason) => (status, reason),
            };
            if was_kept {
                // The server has closed it while nobody looked: all that are kept may be as old.
                self.proxy.idle.clear(server);
                is_new = true;
            } else {
                self.proxy.fail(server, reason);
                tried.push(server);
            }
            failure = Some(status);
            if !ask.may_repeat {
                return self.refuse(ask, status).await;
            }
        }
    }

    /// No server has answered.
    async fn refuse(&mut self, ask: &Ask, status: Status) -> ControlFlow<End> {
        let stays = self.may_stay(ask).await && ask.framing == Framing::None && !ask.is_http10;
        match self.say(status, ask.is_head, stays).await {
            End::Linger if stays => ControlFlow::Continue(()),
            end => ControlFlow::Break(end),
        }
    }

    async fn may_stay(&mut self, ask: &Ask) -> bool {
        ask.keep_alive && self.served < self.limits.requests && !self.patience.is_stopping().await
    }

    /// Hands the request to the server, and the answer to the client.
    async fn exchange(&mut self, ask: &mut Ask, mut link: Link<R>) -> Outcome {
        link.place.count();
        let until = Until::After(self.limits.stall_timeout);
        let head = std::mem::take(&mut ask.head);
        let sent = match self.patience.wait(until, false, pin!(link.writer.write_all(head))).await {
            Waited::Done((sent, head)) => {
                ask.head = head;
                sent
            }
            _ => return self.give_up(ask, Status::GatewayTimeout).await,
        };
        if let Err(error) = sent {
            return Outcome::Silent(Status::BadGateway, error.to_string());
        }
        let may_stay = self.may_stay(ask).await;
        let sending = Sending {
            is_whole: Cell::new(ask.framing == Framing::None),
            last: Cell::new(self.patience.now()),
            has_begun: Cell::new(false),
        };
        if sending.is_whole.get() {
            return self.pass_reply(ask, link, may_stay, &sending).await;
        }
        if ask.expects_continue && self.client.input.is_empty() {
            let word = b"HTTP/1.1 100 Continue\r\n\r\n";
            let until = Until::After(self.limits.stall_timeout);
            let Waited::Done((Ok(()), _)) =
                self.patience.wait(until, false, pin!(self.writer.write_all(&word[..]))).await
            else {
                return Outcome::Answered(ControlFlow::Break(End::Now));
            };
        }
        Box::pin(self.exchange_with_body(ask, link, may_stay, &sending)).await
    }

    /// The same for a request with a body: it is sent while the answer is waited for.
    async fn exchange_with_body(&mut self, ask: &mut Ask, link: Link<R>, may_stay: bool, sending: &Sending) -> Outcome {
        let Link { reader, mut writer, input, place, was_kept } = link;
        let (rt, limits) = (self.rt, self.limits);
        let mut receiving = Receiving { reader, input };
        let (reply_writer, patience) = (&mut self.writer, &mut self.patience);
        let mut passing = Passing { limits, proxy: self.proxy, writer: reply_writer, patience };
        let sent = async {
            match send_body(rt, limits, &mut self.client, &mut writer, ask.framing, sending).await {
                Sent::Enough => pending().await,
                Sent::Refused(status) => Err(status),
                Sent::ClientGone => Err(Status::BadRequest),
            }
        };
        let asked = Asked { is_head: ask.is_head, is_http10: ask.is_http10, may_stay };
        let replied = async { Ok(passing.pass(asked, &mut receiving, sending).await) };
        match or(replied, sent).await {
            Ok(passed) => {
                let link = Link { reader: receiving.reader, writer, input: receiving.input, place, was_kept };
                self.settle(ask, link, passed, sending).await
            }
            // The body cannot be passed on: the server gets a part of it, and the end of its connection.
            Err(_) if sending.has_begun.get() => Outcome::Answered(ControlFlow::Break(End::Now)),
            Err(status) => Outcome::Answered(self.refuse(ask, status).await),
        }
    }

    /// Passes the answer to a request without a body.
    async fn pass_reply(&mut self, ask: &mut Ask, link: Link<R>, may_stay: bool, sending: &Sending) -> Outcome {
        let Link { reader, writer, input, place, was_kept } = link;
        let mut receiving = Receiving { reader, input };
        let mut passing =
            Passing { limits: self.limits, proxy: self.proxy, writer: &mut self.writer, patience: &mut self.patience };
        let asked = Asked { is_head: ask.is_head, is_http10: ask.is_http10, may_stay };
        let passed = passing.pass(asked, &mut receiving, sending).await;
        let link = Link { reader: receiving.reader, writer, input: receiving.input, place, was_kept };
        self.settle(ask, link, passed, sending).await
    }

    /// What is to be done after an answer, or after none.
    async fn settle(&mut self, ask: &Ask, link: Link<R>, passed: Passed, sending: &Sending) -> Outcome {
        let server = link.place.server();
        match passed {
            Passed::Whole { server_stays, client_stays } => {
                self.proxy.servers.report(server, Ok(()));
                if server_stays && sending.is_whole.get() && link.input.is_empty() {
                    self.proxy.idle.keep(self.rt, link);
                }
                let flow = if client_stays { ControlFlow::Continue(()) } else { ControlFlow::Break(End::Linger) };
                Outcome::Answered(flow)
            }
            // The client has a part of an answer, and learns by the end of its connection that this is not all.
            Passed::Cut => Outcome::Answered(ControlFlow::Break(End::Now)),
            Passed::Silent(reason) => Outcome::Silent(Status::BadGateway, reason),
            Passed::Nonsense => {
                self.proxy.fail(server, "what it answered is no HTTP".to_owned());
                Outcome::Answered(self.refuse(ask, Status::BadGateway).await)
            }
            Passed::TimedOut => {
                self.proxy.fail(server, "it did not answer in time".to_owned());
                self.give_up(ask, Status::GatewayTimeout).await
            }
        }
    }

    /// The server may be at work still, so nobody else is asked.
    async fn give_up(&mut self, ask: &Ask, status: Status) -> Outcome {
        Outcome::Answered(self.refuse(ask, status).await)
    }

    /// Closes so that the client gets the last answer: see `http::connection`.
    async fn linger(&mut self) {
        if self.writer.shutdown().await.is_err() {
            return;
        }
        let until = Until::At(self.patience.now() + self.limits.linger_timeout);
        let mut left = self.limits.linger_bytes;
        while left > 0 {
            match self.patience.wait(until, false, pin!(self.client.reader.recv())).await {
                Waited::Done(Ok(chunk)) if !chunk.bytes().is_empty() => left = left.saturating_sub(chunk.bytes().len()),
                _ => return,
            }
        }
    }
}

/// Sends the client's body to the server, read strictly and written anew.
async fn send_body<R: Runtime>(
    rt: &R,
    limits: &Limits,
    client: &mut Client<R>,
    writer: &mut <R::Stream as Stream>::WriteHalf,
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
        let progress = match body.decode(client.input.bytes(), limits, Some(&mut out)) {
            Ok(progress) => progress,
            Err(status) => return Sent::Refused(status),
        };
        client.input.consume(progress.consumed);
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
            sending.is_whole.set(true);
            return Sent::Enough;
        }
        patience.be_fair().await;
        let stalls = patience.now() + limits.stall_timeout;
        let until = Until::At(stalls.min(begun + limits.body_time(body.received())));
        match patience.wait(until, false, pin!(client.reader.recv())).await {
            Waited::Done(Ok(chunk)) if !chunk.bytes().is_empty() => client.input.push(chunk),
            Waited::TimedOut => return Sent::Refused(Status::RequestTimeout),
            _ => return Sent::ClientGone,
        }
    }
}

/// A server's sending side.
struct Receiving<R: Runtime> {
    reader: <R::Stream as Stream>::ReadHalf,
    input: Input<Chunk<R>>,
}

/// The way of an answer to the client.
struct Passing<'a, 'p, R: Runtime> {
    limits: &'a Limits,
    proxy: &'a Proxy<R>,
    writer: &'a mut <R::Stream as Stream>::WriteHalf,
    patience: &'a mut Patience<'p, R>,
}

/// What came of an answer.
enum Passed {
    Whole {
        server_stays: bool,
        client_stays: bool,
    },
    /// The client has a part of it, and gets no more; or it is gone.
    Cut,
    /// Not one byte came; why.
    Silent(String),
    /// What came is no answer, and nothing of it was passed on.
    Nonsense,
    /// The head did not come in time.
    TimedOut,
}

impl<R: Runtime> Passing<'_, '_, R> {
    async fn pass(&mut self, asked: Asked, server: &mut Receiving<R>, sending: &Sending) -> Passed {
        let mut out = Vec::new();
        let mut reply = match self.receive_head(asked, server, sending, &mut out).await {
            Ok(reply) => reply,
            Err(passed) => return passed,
        };
        sending.has_begun.set(true);
        loop {
            let Some((consumed, is_done)) = reply.pass(server.input.bytes(), &self.proxy.reply_limits, &mut out) else {
                return Passed::Cut;
            };
            server.input.consume(consumed);
            if self.write(&mut out).await.is_break() {
                return Passed::Cut;
            }
            if is_done {
                return whole(&reply, sending);
            }
            self.patience.be_fair().await;
            let until = Until::After(self.limits.stall_timeout);
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
        server: &mut Receiving<R>,
        sending: &Sending,
        out: &mut Vec<u8>,
    ) -> Result<Reply, Passed> {
        let mut received = 0;
        loop {
            // Who has not sent all of a request cannot send another after it.
            let asked = Asked { may_stay: asked.may_stay && sending.is_whole.get(), ..asked };
            match take_reply(server.input.bytes(), asked, out) {
                Taken::Final(reply) => {
                    server.input.consume(reply.head_len);
                    return Ok(reply);
                }
                Taken::Interim(head_len) => {
                    server.input.consume(head_len);
                    sending.has_begun.set(true);
                    if self.write(out).await.is_break() {
                        return Err(Passed::Cut);
                    }
                    continue;
                }
                Taken::Partial if received <= LONGEST_REPLY_HEAD => {}
                Taken::Partial | Taken::Wrong if sending.has_begun.get() => return Err(Passed::Cut),
                Taken::Partial | Taken::Wrong => return Err(Passed::Nonsense),
            }
            server.input.release();
            let chunk = match self.recv_by_deadline(server, sending).await {
                Some(Ok(chunk)) => chunk,
                None if sending.has_begun.get() => return Err(Passed::Cut),
                None => return Err(Passed::TimedOut),
                Some(Err(reason)) if received == 0 => return Err(Passed::Silent(reason)),
                Some(Err(_)) if sending.has_begun.get() => return Err(Passed::Cut),
                Some(Err(_)) => return Err(Passed::Nonsense),
            };
            received += chunk.bytes().len();
            server.input.push(chunk);
        }
    }

    /// More of the head, or why there is no more; `None` if it takes too long. The time runs from when the server got
    /// something last.
    async fn recv_by_deadline(
        &mut self,
        server: &mut Receiving<R>,
        sending: &Sending,
    ) -> Option<Result<Chunk<R>, String>> {
        loop {
            let last = sending.last.get();
            let until = Until::At(last + self.proxy.settings.response_timeout);
            match self.patience.wait(until, false, pin!(server.reader.recv())).await {
                Waited::Done(Ok(chunk)) if chunk.bytes().is_empty() => {
                    return Some(Err("it closed the connection instead of answering".to_owned()));
                }
                Waited::Done(Ok(chunk)) => return Some(Ok(chunk)),
                Waited::Done(Err(error)) => return Some(Err(error.to_string())),
                _ if sending.last.get() > last => {}
                _ => return None,
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
    Passed::Whole { server_stays: reply.server_stays && sending.is_whole.get(), client_stays: reply.client_stays }
}
