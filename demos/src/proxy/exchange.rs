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
//!
//! A client that closes or resets its connection while its answer is awaited is noticed at once: the server's
//! connection is closed, and its place is free. A client that only ends its side looks the same, and is taken for gone
//! (so does nginx). Clients of HTTP do not do that; those of the relay may.

use std::cell::Cell;
use std::future::pending;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::time::SystemTime;

use executor::{IoBuf, Reader, Runtime, Writer};
use futures_lite::future::or;

use super::idle::Link;
use super::pair::{Chunk, Pair, ReadHalf, WriteHalf};
use super::passing::{Passed, Passing, Receiving};
use super::reply::Asked;
use super::request::Ask;
use super::sending::{Sending, Sent, send_body};
use super::shared::Proxy;
use crate::http::OK_LINE;
use crate::http::{
    Access, End, Framing, Input, Limits, Parsed, Patience, Persistence, Requests, Response, Status, Until, Waited,
    is_head, parse,
};
use crate::serve::linger;

/// A client that closed before its answer came, in the access log: nginx's number.
const CLIENT_GONE: u16 = 499;

/// The methods that are passed on: what the proxy says of itself.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Serves one client to its end.
pub(crate) async fn converse<R: Runtime>(
    proxy: &Proxy<R>,
    rt: &R,
    stream: R::Stream,
    address: IpAddr,
    limits: &Limits,
) {
    let stopped = pin!(rt.stopped());
    let mut pair: Pair<R> = Pair::new(stream);
    let (reader, writer, is_midway) = pair.parts();
    let mut requests = Requests::new(rt, reader, Patience::new(rt, stopped));
    requests.access = proxy.settings.access.map(|log| Access::new(log, Some(address)));
    let mut conversation = Conversation { proxy, rt, limits, address, requests, writer, is_midway, served: 0 };
    let ControlFlow::Break(end) = conversation.go_on().await else { return };
    if end == End::Linger && conversation.writer.shutdown().await.is_ok() {
        linger(rt, conversation.requests.stream, limits.linger_idle, limits.linger_time).await;
    }
}

/// Waits until the client is gone. The proxy then closes the server's connection, so that the server does not work for
/// an answer that no client awaits. The end of the client's side counts, for a client that closes sends nothing else (nginx does
/// the same, and logs 499). What the client sends of its next request is kept, up to a whole head.
async fn until_gone<R: Runtime>(reader: &mut ReadHalf<R>, input: &mut Input<Chunk<R>>, limits: &Limits) -> Passed {
    while input.bytes().len() < limits.request_line + limits.header_block {
        match reader.recv().await {
            Ok(chunk) if !chunk.bytes().is_empty() => input.push(chunk),
            _ => return Passed::ClientGone,
        }
    }
    pending().await
}

struct Conversation<'a, R: Runtime> {
    proxy: &'a Proxy<R>,
    rt: &'a R,
    limits: &'a Limits,
    address: IpAddr,
    requests: Requests<'a, R, ReadHalf<R>>,
    writer: &'a mut WriteHalf<R>,
    /// Whether the client has a part of an answer only.
    is_midway: &'a Rc<Cell<bool>>,
    served: u64,
}

/// What came of handing a request to a server.
enum Outcome {
    /// The client got its answer.
    Answered(ControlFlow<End>),
    /// No byte of an answer came; this is to be said if nobody else gives one.
    Silent(Status),
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
            match parse(self.requests.input.bytes(), self.limits) {
                Parsed::Refused(status) => return self.refuse_next(status).await,
                Parsed::Partial => self.receive().await?,
                Parsed::Complete(request) => {
                    let head_len = request.head_len;
                    match Ask::new(self.requests.input.bytes(), &request, self.address, &self.proxy.settings.name) {
                        Err(status) => return self.refuse_next(status).await,
                        Ok(ask) => {
                            self.requests.consume_head(head_len);
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
        match self.requests.receive_head(self.limits).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(None) => ControlFlow::Break(End::Now),
            Err(Some(status)) => self.refuse_next(status).await,
        }
    }

    /// Ends the connection with an answer of our own.
    async fn refuse_next<T>(&mut self, status: Status) -> ControlFlow<End, T> {
        let is_head = is_head(self.requests.input.bytes());
        ControlFlow::Break(self.say(&Response::plain(status), is_head, false).await)
    }

    /// Gives an answer of our own; the connection ends after it unless it `stays`.
    async fn say(&mut self, response: &Response, is_head: bool, stays: bool) -> End {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let stamp = format!("{OK_LINE}Date: {date}\r\nContent-Type: ");
        let mut out = Vec::new();
        let persistence = if stays { Persistence::Implied } else { Persistence::Close };
        response.write_head(&mut out, stamp.as_bytes(), response.body.len() as u64, persistence);
        self.requests.answered(response.status, if is_head { 0 } else { response.body.len() as u64 });
        if !is_head {
            out.extend_from_slice(&response.body);
        }
        let until = Until::After(self.limits.stall_timeout);
        self.is_midway.set(true);
        match self.requests.patience.wait(until, false, pin!(self.writer.write_all(out))).await {
            Waited::Done((Ok(()), _)) => {
                self.is_midway.set(false);
                End::Linger
            }
            _ => End::Now,
        }
    }

    /// Has a request answered: by a server, or if there is none by ourselves.
    async fn answer(&mut self, ask: &mut Ask) -> ControlFlow<End> {
        if ask.ends_here {
            let response = Response { allow: Some(METHODS), body: (&b""[..]).into(), ..Response::plain(Status::Ok) };
            return self.give(ask, &response).await;
        }
        let (mut tried, mut failure, mut is_new) = (Vec::new(), None, !ask.may_repeat);
        loop {
            let link = match self.proxy.reach(self.rt, self.address, &mut tried, is_new).await {
                Ok(link) => link,
                Err(reason) => {
                    return self.refuse(ask, failure.unwrap_or(reason.status())).await;
                }
            };
            let (server, was_kept) = (link.place.server(), link.was_kept);
            let status = match self.exchange(ask, link).await {
                Outcome::Answered(flow) => return flow,
                Outcome::Silent(status) => status,
            };
            if was_kept {
                // The server has closed it while nobody looked: all that are kept may be as old.
                self.proxy.idle.clear(server);
                is_new = true;
            } else {
                self.proxy.servers.failed(server);
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
        self.give(ask, &Response::plain(status)).await
    }

    /// Answers a request here. A body that it has is not read, and so ends the connection.
    async fn give(&mut self, ask: &Ask, response: &Response) -> ControlFlow<End> {
        let stays = self.may_stay(ask).await && ask.framing == Framing::None && !ask.is_http10;
        match self.say(response, ask.is_head, stays).await {
            End::Linger if stays => ControlFlow::Continue(()),
            end => ControlFlow::Break(end),
        }
    }

    async fn may_stay(&mut self, ask: &Ask) -> bool {
        ask.keep_alive && self.served < self.limits.requests && !self.requests.patience.is_stopping().await
    }

    /// Hands the request to the server, and the answer to the client.
    async fn exchange(&mut self, ask: &mut Ask, mut link: Link<R>) -> Outcome {
        link.place.count();
        let until = Until::After(self.limits.stall_timeout);
        let head = std::mem::take(&mut ask.head);
        let (_, to_server, is_midway) = link.pair.parts();
        is_midway.set(true);
        let sent = match self.requests.patience.wait(until, false, pin!(to_server.write_all(head))).await {
            Waited::Done((sent, head)) => {
                ask.head = head;
                sent
            }
            _ => return self.give_up(ask, Status::GatewayTimeout).await,
        };
        if sent.is_err() {
            return Outcome::Silent(Status::BadGateway);
        }
        let may_stay = self.may_stay(ask).await;
        let sending = Sending {
            is_midway: Rc::clone(link.is_midway()),
            last: Cell::new(self.requests.patience.now()),
            has_begun: Rc::clone(self.is_midway),
            passed: Cell::default(),
        };
        if ask.framing == Framing::None {
            sending.is_midway.set(false);
            return self.pass_reply(ask, link, may_stay, &sending).await;
        }
        if ask.expects_continue && self.requests.input.is_empty() {
            let word = b"HTTP/1.1 100 Continue\r\n\r\n";
            let until = Until::After(self.limits.stall_timeout);
            let Waited::Done((Ok(()), _)) =
                self.requests.patience.wait(until, false, pin!(self.writer.write_all(&word[..]))).await
            else {
                return Outcome::Answered(ControlFlow::Break(End::Now));
            };
        }
        Box::pin(self.exchange_with_body(ask, link, may_stay, &sending)).await
    }

    /// The same for a request with a body: it is sent while the answer is waited for.
    async fn exchange_with_body(
        &mut self,
        ask: &mut Ask,
        mut link: Link<R>,
        may_stay: bool,
        sending: &Sending,
    ) -> Outcome {
        let (rt, limits) = (self.rt, self.limits);
        let (reader, to_server, _) = link.pair.parts();
        let mut receiving = Receiving { reader, input: &mut link.input };
        let Requests { stream, input: came, patience, .. } = &mut self.requests;
        let mut passing = Passing { limits, proxy: self.proxy, writer: self.writer, patience };
        let sent = async {
            match send_body(rt, limits, stream, came, to_server, ask.framing, sending).await {
                // The client may have more to say for a server that takes no more: it is not listened to.
                Sent::Enough if !sending.is_whole() => pending().await,
                Sent::Enough => Ok(until_gone::<R>(stream, came, limits).await),
                Sent::Refused(status) => Err(status),
                Sent::ClientGone => Err(Status::BadRequest),
            }
        };
        let asked = Asked { is_head: ask.is_head, is_http10: ask.is_http10, may_stay, now: SystemTime::now() };
        let replied = async { Ok(passing.pass(asked, &mut receiving, sending).await) };
        match or(replied, sent).await {
            Ok(passed) => self.settle(ask, link, passed, sending).await,
            // The body cannot be passed on: the server gets a part of it, and a reset.
            Err(_) if sending.has_begun.get() => {
                self.note(sending);
                Outcome::Answered(ControlFlow::Break(End::Now))
            }
            Err(status) => {
                drop(link);
                Outcome::Answered(self.refuse(ask, status).await)
            }
        }
    }

    /// Passes the answer to a request without a body.
    async fn pass_reply(&mut self, ask: &mut Ask, mut link: Link<R>, may_stay: bool, sending: &Sending) -> Outcome {
        let mut receiving = Receiving { reader: link.pair.parts().0, input: &mut link.input };
        let Requests { stream, input: came, patience, .. } = &mut self.requests;
        let mut passing = Passing { limits: self.limits, proxy: self.proxy, writer: self.writer, patience };
        let asked = Asked { is_head: ask.is_head, is_http10: ask.is_http10, may_stay, now: SystemTime::now() };
        let gone = until_gone::<R>(stream, came, self.limits);
        let passed = or(passing.pass(asked, &mut receiving, sending), gone).await;
        self.settle(ask, link, passed, sending).await
    }

    /// What is to be done after an answer, or after none.
    async fn settle(&mut self, ask: &Ask, link: Link<R>, passed: Passed, sending: &Sending) -> Outcome {
        let server = link.place.server();
        match passed {
            Passed::Whole { server_stays, client_stays } => {
                self.note(sending);
                sending.has_begun.set(false);
                if server_stays && sending.is_whole() && link.input.is_empty() {
                    self.proxy.idle.keep(self.rt, link);
                }
                let flow = if client_stays { ControlFlow::Continue(()) } else { ControlFlow::Break(End::Linger) };
                Outcome::Answered(flow)
            }
            // The client has a part of an answer, and learns by a reset that this is not all.
            Passed::Cut | Passed::ClientGone => {
                self.note(sending);
                Outcome::Answered(ControlFlow::Break(End::Now))
            }
            Passed::Silent => Outcome::Silent(Status::BadGateway),
            Passed::Nonsense => {
                drop(link);
                self.proxy.servers.failed(server);
                Outcome::Answered(self.refuse(ask, Status::BadGateway).await)
            }
            Passed::TimedOut => {
                drop(link);
                self.proxy.servers.failed(server);
                self.give_up(ask, Status::GatewayTimeout).await
            }
        }
    }

    /// Notes what was passed on. Nothing was if the client has gone before.
    fn note(&mut self, sending: &Sending) {
        let Requests { access: Some(access), input, .. } = &mut self.requests else { return };
        let (code, bytes) = sending.passed.get();
        access.answered(if code == 0 { CLIENT_GONE } else { code }, bytes, input.bytes());
    }

    /// The server may be at work still, so nobody else is asked.
    async fn give_up(&mut self, ask: &Ask, status: Status) -> Outcome {
        Outcome::Answered(self.refuse(ask, status).await)
    }
}
