//! One connection, from accept to close.
//!
//! ```text
//!                +------------------- more wanted <-------------+
//!                v                                              |
//!   accept --> receive --> answer what is buffered --> write --+--> last one: say so, linger, close
//!                |                  |      ^            ^       |
//!                |                  v      |            |       v
//!                |               work that waits -------+   client stalls: close
//!                v
//!    end of stream, idle too long, stop: close
//! ```
//!
//! *Answer what is buffered* is a plain function: it parses requests out of the received chunk and
//! appends their responses to one buffer, for as many as there are, and the buffer is written once. It
//! stops when a request isn't complete, when a lot of output is pending, or at *work*: a body that
//! hasn't arrived, a sleep, a file. So requests are answered strictly one after the other, in order, and
//! a client that doesn't read its responses isn't read from either.
//!
//! While it waits for a request, a connection holds neither input nor output memory. The rare kinds of
//! work are boxed, because the future of a connection is as big as the biggest thing it may do.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;

use executor::{Files, IoBuf, Stream, Writer};

use crate::serve::linger;

use super::access::Access;
use super::body::Body;
use super::patience::{Patience, Until, Waited};
use super::request::{Framing, Parsed, Request, is_head, parse};
use super::requests::{Arrival, End, Requests};
use super::response::{Persistence, Response, Status};
use super::routes::{Answer, answer};
use super::site::Site;

/// A body longer than this is written from where it lies, not copied behind its head.
const COPIED_BODY: usize = 16 * 1024;

/// Serves one connection to its end. Whatever goes wrong with it ends it and nothing else.
///
/// # Cancel safety
/// Dropping this future closes the connection.
#[expect(clippy::manual_async_fn, reason = "an async fn keeps what it moves in its future twice")]
pub fn connection<R: Files>(rt: R, mut stream: R::Stream, site: Rc<Site>) -> impl Future<Output = ()> {
    async move {
        let stopped = pin!(rt.stopped());
        let access = site.access.map(|log| Access::new(log, stream.peer_addr().ok().map(|client| client.ip())));
        let mut connection = Connection {
            rt: &rt,
            site: &site,
            requests: Requests::new(&rt, &mut stream, Patience::new(&rt, stopped)),
            out: Vec::new(),
            served: 0,
        };
        connection.requests.access = access;
        let ControlFlow::Break(end) = connection.serve().await;
        if end == End::Linger {
            Box::pin(connection.linger()).await;
        }
    }
}

pub(super) struct Connection<'a, R: Files> {
    pub rt: &'a R,
    pub site: &'a Site,
    pub requests: Requests<'a, R, R::Stream>,
    /// Responses that are still to be written.
    pub out: Vec<u8>,
    served: u64,
}

/// What is to be done after all that could be done at once.
enum Next {
    Receive,
    /// Enough output is pending.
    Write,
    Work(Box<Work>),
    Close,
}

/// A request whose answer has to wait.
struct Work {
    exchange: Exchange,
    answer: Answer,
    body: Body,
    /// The body, if the answer needs it.
    kept: Option<Vec<u8>>,
}

/// What the answer to a request depends on, beside what was asked.
#[derive(Clone, Copy)]
pub(super) struct Exchange {
    pub is_head: bool,
    is_http10: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl<R: Files> Connection<'_, R> {
    /// Goes on until something ends it.
    async fn serve(&mut self) -> ControlFlow<End, Infallible> {
        loop {
            let is_stopping = self.requests.patience.is_stopping().await;
            match self.answer_buffered(is_stopping) {
                Next::Receive => {
                    self.write_out().await?;
                    self.receive().await?;
                }
                Next::Write => {
                    self.write_out().await?;
                    self.requests.patience.yield_now().await;
                }
                Next::Work(work) => Box::pin(self.work(work)).await?,
                Next::Close => {
                    self.write_out().await?;
                    return ControlFlow::Break(End::Linger);
                }
            }
        }
    }

    /// Answers the requests that are there as a whole.
    fn answer_buffered(&mut self, is_stopping: bool) -> Next {
        loop {
            if self.requests.input.is_empty() {
                return Next::Receive;
            }
            if self.out.len() > self.site.limits.pending_output {
                return Next::Write;
            }
            let request = match parse(self.requests.input.bytes(), &self.site.limits) {
                Parsed::Partial => return Next::Receive,
                Parsed::Refused(status) => {
                    let is_head = is_head(self.requests.input.bytes());
                    return self.refuse(status, is_head);
                }
                Parsed::Complete(request) => request,
            };
            let answer = answer(&request, self.rt, self.site);
            let (exchange, framing) = (Exchange::new(&request), request.framing);
            let head_len = request.head_len;
            self.requests.consume_head(head_len);
            let response = match answer {
                Answer::Now(response) if framing == Framing::None => response,
                answer => match self.take_body(exchange, framing, answer) {
                    Ok(Answer::Now(response)) => response,
                    Ok(answer) => return self.work_later(exchange, answer),
                    Err(next) => return next,
                },
            };
            if self.respond(exchange, &response, is_stopping).is_break() {
                return Next::Close;
            }
        }
    }

    /// Takes the request's body out of the input. The answer comes back if it can be given, else what
    /// is to be done first.
    fn take_body(&mut self, exchange: Exchange, framing: Framing, answer: Answer) -> Result<Answer, Next> {
        if framing == Framing::None && !matches!(answer, Answer::Echo(_)) {
            return Ok(answer);
        }
        let mut work = Work::new(exchange, framing, answer);
        match work.take_body(self) {
            Err(status) => Err(self.refuse(status, exchange.is_head)),
            Ok(true) => Ok(work.answer()),
            Ok(false) if exchange.expects_continue && work.kept.is_none() => {
                // The client asks whether to send the body: nobody needs it. But it may send it all
                // the same, so there is no telling where the next request begins.
                let exchange = Exchange { keep_alive: false, ..exchange };
                match work.answer {
                    Answer::Now(response) => {
                        let _ = self.respond(exchange, &response, false);
                        Err(Next::Close)
                    }
                    answer => Err(self.work_later(exchange, answer)),
                }
            }
            Ok(false) => Err(Next::Work(Box::new(work))),
        }
    }

    fn work_later(&self, exchange: Exchange, answer: Answer) -> Next {
        Next::Work(Box::new(Work::new(exchange, Framing::None, answer)))
    }

    /// Appends a response that ends the connection, to a request that has no other answer.
    fn refuse(&mut self, status: Status, is_head: bool) -> Next {
        let exchange = Exchange { is_head, is_http10: false, keep_alive: false, expects_continue: false };
        let _ = self.respond(exchange, &Response::plain(status), false);
        Next::Close
    }

    /// Appends a response; breaks if it is the connection's last.
    fn respond(&mut self, exchange: Exchange, response: &Response, is_stopping: bool) -> ControlFlow<()> {
        let flow = self.write_head(exchange, response, response.body.len() as u64, is_stopping);
        if !exchange.is_head {
            self.out.extend_from_slice(&response.body);
        }
        flow
    }

    pub(super) fn write_head(
        &mut self,
        exchange: Exchange,
        response: &Response,
        length: u64,
        is_stopping: bool,
    ) -> ControlFlow<()> {
        self.served += 1;
        let persistence = if !exchange.keep_alive || is_stopping || self.served >= self.site.limits.requests {
            Persistence::Close
        } else if exchange.is_http10 || response.file.is_some() {
            Persistence::KeepAlive(self.site.limits.idle_timeout.as_secs())
        } else {
            Persistence::Implied
        };
        self.prepare_out();
        let stamp = self.site.stamp(self.requests.patience.now());
        response.write_head(&mut self.out, &stamp, length, persistence);
        self.requests.answered(response.status, if exchange.is_head { 0 } else { length });
        match persistence {
            Persistence::Close => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Sees to it that there is memory to write a response to.
    pub(super) fn prepare_out(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.site.take_buffer();
        }
    }

    /// Waits for more of the next request.
    async fn receive(&mut self) -> ControlFlow<End> {
        match self.requests.receive_head(&self.site.limits).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(None) => ControlFlow::Break(End::Now),
            Err(Some(status)) => {
                let is_head = is_head(self.requests.input.bytes());
                Box::pin(self.refuse_finally(status, is_head)).await
            }
        }
    }

    async fn refuse_finally(&mut self, status: Status, is_head: bool) -> ControlFlow<End> {
        self.refuse(status, is_head);
        self.write_out().await?;
        ControlFlow::Break(End::Linger)
    }

    /// Writes what is pending. It may take long, if only it goes on.
    pub(super) async fn write_out(&mut self) -> ControlFlow<End> {
        if self.out.is_empty() {
            return ControlFlow::Continue(());
        }
        self.requests.input.release();
        let len = self.out.len();
        let until = Until::After(self.site.limits.stall_timeout);
        let (count, out) = {
            let write = pin!(self.requests.stream.write(std::mem::take(&mut self.out)));
            match self.requests.patience.wait(until, false, write).await {
                Waited::Done((Ok(count), out)) => (count, out),
                _ => return ControlFlow::Break(End::Now),
            }
        };
        self.out = out;
        if count < len {
            Box::pin(self.write_rest(count)).await?;
        }
        self.site.give_buffer(std::mem::take(&mut self.out));
        ControlFlow::Continue(())
    }

    /// Goes on with a write that was short.
    async fn write_rest(&mut self, already: usize) -> ControlFlow<End> {
        let (mut written, len) = (already, self.out.len());
        while written < len {
            let until = Until::After(self.site.limits.stall_timeout);
            let rest = std::mem::take(&mut self.out).slice(written..len);
            let write = pin!(self.requests.stream.write(rest));
            match self.requests.patience.wait(until, false, write).await {
                Waited::Done((Ok(count @ 1..), rest)) => {
                    written += count;
                    self.out = rest.into_inner();
                }
                _ => return ControlFlow::Break(End::Now),
            }
        }
        ControlFlow::Continue(())
    }

    /// Carries out what could not be done at once. What was answered before goes out first.
    async fn work(&mut self, mut work: Box<Work>) -> ControlFlow<End> {
        if !work.body.is_done() {
            self.receive_body(&mut work).await?;
        }
        let exchange = work.exchange;
        let response = match work.answer() {
            Answer::File(wanted) => return self.send_file(exchange, wanted).await,
            Answer::Later(duration, response) => {
                self.write_out().await?;
                self.requests.patience.sleep(duration).await;
                response
            }
            Answer::Now(response) => response,
            // `Work::answer` has turned it into a response.
            Answer::Echo(_) => return ControlFlow::Break(End::Now),
        };
        let is_stopping = self.requests.patience.is_stopping().await;
        let flow = if response.body.len() <= COPIED_BODY {
            self.respond(exchange, &response, is_stopping)
        } else {
            self.send_large(exchange, response, is_stopping).await?
        };
        self.end_after(flow).await
    }

    /// Goes on, or closes after the last response.
    pub(super) async fn end_after(&mut self, flow: ControlFlow<()>) -> ControlFlow<End> {
        if flow.is_continue() {
            return ControlFlow::Continue(());
        }
        self.write_out().await?;
        ControlFlow::Break(End::Linger)
    }

    async fn receive_body(&mut self, work: &mut Work) -> ControlFlow<End> {
        if work.exchange.expects_continue && self.requests.input.is_empty() {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.write_out().await?;
        let is_head = work.exchange.is_head;
        let start = self.requests.patience.now();
        loop {
            self.requests.patience.be_fair().await;
            let limits = &self.site.limits;
            let stalls = self.requests.patience.now() + limits.stall_timeout;
            let until = Until::At(stalls.min(start + limits.body_time(work.body.received())));
            match self.requests.receive(until, false).await {
                Arrival::Bytes => {}
                Arrival::End => return self.refuse_finally(Status::BadRequest, is_head).await,
                Arrival::TimedOut => return self.refuse_finally(Status::RequestTimeout, is_head).await,
                Arrival::Stopped | Arrival::Failed => return ControlFlow::Break(End::Now),
            }
            match work.take_body(self) {
                Ok(true) => return ControlFlow::Continue(()),
                Ok(false) => {}
                Err(status) => return self.refuse_finally(status, is_head).await,
            }
        }
    }

    /// A response with a body that isn't worth copying.
    async fn send_large(
        &mut self,
        exchange: Exchange,
        response: Response,
        is_stopping: bool,
    ) -> ControlFlow<End, ControlFlow<()>> {
        let flow = self.write_head(exchange, &response, response.body.len() as u64, is_stopping);
        if !exchange.is_head {
            self.write_out().await?;
            self.out = response.body.into_owned();
            self.write_out().await?;
        }
        ControlFlow::Continue(flow)
    }

    /// Closes so that the client gets the last response: no more output, and its input is read for a while.
    async fn linger(&mut self) {
        if self.requests.stream.shutdown().await.is_ok() {
            let limits = &self.site.limits;
            linger(self.rt, self.requests.stream, limits.linger_idle, limits.linger_time).await;
        }
    }
}

impl Exchange {
    fn new(request: &Request<'_>) -> Self {
        Exchange {
            is_head: request.method == super::request::Method::Head,
            is_http10: request.is_http10,
            keep_alive: request.keep_alive,
            expects_continue: request.expects_continue,
        }
    }
}

impl Work {
    fn new(exchange: Exchange, framing: Framing, answer: Answer) -> Self {
        let kept = matches!(answer, Answer::Echo(_)).then(Vec::new);
        Work { exchange, answer, body: Body::new(framing), kept }
    }

    /// Reads on in the body; whether that was all of it.
    fn take_body<R: Files>(&mut self, connection: &mut Connection<'_, R>) -> Result<bool, Status> {
        let limits = &connection.site.limits;
        let progress = self.body.decode(connection.requests.input.bytes(), limits, self.kept.as_mut())?;
        connection.requests.input.consume(progress.consumed);
        Ok(progress.is_done)
    }

    /// The answer, once the body is there.
    fn answer(self) -> Answer {
        match (self.answer, self.kept) {
            (Answer::Echo(content_type), Some(body)) => {
                Answer::Now(Response { nosniff: true, ..Response::new(content_type, body) })
            }
            (answer, _) => answer,
        }
    }
}
