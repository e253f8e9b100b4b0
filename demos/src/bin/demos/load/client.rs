//! The client that measures: one implementation for every engine under test.
//!
//! Each connection is a task in a closed loop. It writes a batch of requests in one piece, reads until
//! all are answered, checks every byte, and starts over. A batch of one is the usual request and
//! answer; a larger one is pipelining. The latency of a request is the time from the write of its batch
//! to the arrival of its last byte, so in a pipeline it includes the wait for those before it.
//!
//! What is expected is never taken from an answer. Echo messages are pieces of a block of random bytes,
//! each from a random place, so bytes that were lost, repeated, or sent to the wrong connection do not
//! go unnoticed.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use executor::{IoBuf, JoinHandle, Reader, Runtime, Slice, Stream, Writer};
use hdrhistogram::Histogram;

/// How long the server may leave everybody without an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest latency the histogram can hold, in ns; [`PATIENCE`] and the longest run lie below it.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Bytes of a response's head at most.
const LONGEST_HEAD: usize = 16 * 1024;

/// What is asked, and what must be answered.
pub enum Dialogue {
    Echo(EchoDialogue),
    Http(HttpDialogue),
}

impl Dialogue {
    fn next_batch(&mut self) -> Slice<Rc<[u8]>> {
        match self {
            Dialogue::Echo(echo) => echo.next_batch(),
            Dialogue::Http(http) => Rc::clone(&http.requests).slice(0..http.requests.len()),
        }
    }

    /// Whether the server has said that it closes the connection.
    fn is_over(&self) -> bool {
        matches!(self, Dialogue::Http(http) if http.is_over)
    }

    /// Forgets the connection that is over.
    fn start_over(&mut self) {
        if let Dialogue::Http(http) = self {
            (http.is_over, http.known_head, http.partial) = (false, Vec::new(), Vec::new());
        }
    }

    /// Checks bytes that arrived; returns how many answers they completed.
    fn check(&mut self, bytes: &[u8]) -> anyhow::Result<u64> {
        match self {
            Dialogue::Echo(echo) => echo.check(bytes),
            Dialogue::Http(http) => http.check(bytes),
        }
    }
}

/// Sends pieces of `block`, and expects them back.
pub struct EchoDialogue {
    block: Rc<[u8]>,
    message: usize,
    batch: usize,
    /// What of the block is yet to come back.
    expected: std::ops::Range<usize>,
}

impl EchoDialogue {
    /// Messages of `message` bytes, `depth` in a batch, out of `block`.
    pub fn new(block: Rc<[u8]>, message: usize, depth: usize) -> EchoDialogue {
        EchoDialogue { block, message, batch: message * depth, expected: 0..0 }
    }

    fn next_batch(&mut self) -> Slice<Rc<[u8]>> {
        let start = fastrand::usize(..=self.block.len() - self.batch);
        self.expected = start..start + self.batch;
        Rc::clone(&self.block).slice(self.expected.clone())
    }

    fn check(&mut self, bytes: &[u8]) -> anyhow::Result<u64> {
        let expected = &self.block[self.expected.clone()];
        ensure!(bytes.len() <= expected.len(), "{} bytes more than were sent came back", bytes.len() - expected.len());
        if bytes != &expected[..bytes.len()] {
            let place = bytes.iter().zip(expected).take_while(|(one, other)| one == other).count();
            let done = self.batch - expected.len();
            bail!("byte {} is {:#04x} instead of {:#04x}", done + place, bytes[place], expected[place]);
        }
        let unanswered = self.expected.len().div_ceil(self.message);
        self.expected.start += bytes.len();
        Ok((unanswered - self.expected.len().div_ceil(self.message)) as u64)
    }
}

/// A look at a body: whether it is right.
pub type Check = Rc<dyn Fn(&[u8]) -> bool>;

/// Sends the same request again and again, and expects status 200 and a body that is right.
pub struct HttpDialogue {
    requests: Rc<[u8]>,
    length: usize,
    is_right: Check,
    /// The head of the last response, checked. Only the date in it changes, and only once a second.
    known_head: Vec<u8>,
    /// The beginning of a response that is not complete.
    partial: Vec<u8>,
    /// Whether the known head says that its response is the last.
    is_last: bool,
    /// Whether the last response has come.
    is_over: bool,
}

impl HttpDialogue {
    /// `GET path`, `depth` in a batch; the answers must have this `body`.
    pub fn new(path: &str, body: &'static str, depth: usize) -> HttpDialogue {
        let is_right = Rc::new(|found: &[u8]| found == body.as_bytes());
        HttpDialogue::checked(&get("localhost", path), body.len(), is_right, depth)
    }

    /// The same for any request, whose answers have a body of this `length`, which `is_right` looks at.
    pub fn checked(request: &str, length: usize, is_right: Check, depth: usize) -> HttpDialogue {
        HttpDialogue {
            requests: request.repeat(depth).into_bytes().into(),
            length,
            is_right,
            known_head: Vec::new(),
            partial: Vec::new(),
            is_last: false,
            is_over: false,
        }
    }

    fn check(&mut self, bytes: &[u8]) -> anyhow::Result<u64> {
        let mut partial = std::mem::take(&mut self.partial);
        let mut rest = if partial.is_empty() {
            bytes
        } else {
            partial.extend_from_slice(bytes);
            &partial
        };
        let mut answers = 0;
        while let Some(len) = self.response(rest)? {
            rest = &rest[len..];
            answers += 1;
        }
        self.partial = rest.to_vec();
        Ok(answers)
    }

    /// The length of the response that `bytes` start with; `None` if it is not complete.
    fn response(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        if self.known_head.is_empty() || !bytes.starts_with(&self.known_head) {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                ensure!(bytes.len() < LONGEST_HEAD, "the head of the response does not end");
                return Ok(None);
            };
            let head = &bytes[..end + 4];
            let length = content_length(head)?;
            ensure!(length == self.length, "the response has {length} bytes instead of {}", self.length);
            self.is_last = says_close(head);
            self.known_head = head.to_vec();
        }
        let start = self.known_head.len();
        let end = start + self.length;
        let Some(body) = bytes.get(start..end) else { return Ok(None) };
        ensure!((self.is_right)(body), "the body is {:?}", String::from_utf8_lossy(body));
        self.is_over = self.is_last;
        Ok(Some(end))
    }
}

/// The request for a path.
pub fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// The content length of a response, which must be the only one, and have status 200.
fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head).context("the head of the response is not text")?;
    let wrong = |what: &str| anyhow!("{what} in the response {head:?}");
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(wrong("a status other than 200"));
    }
    let lengths: Vec<_> = fields(head, "content-length").map(str::parse).collect();
    let [Ok(length)] = lengths[..] else { return Err(wrong("no content-length, or several,")) };
    Ok(length)
}

/// The values of a field.
fn fields<'h>(head: &'h str, name: &str) -> impl Iterator<Item = &'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Whether a checked head says that the connection ends.
fn says_close(head: &[u8]) -> bool {
    let head = std::str::from_utf8(head).unwrap_or_default();
    let mut options = fields(head, "connection").flat_map(|value| value.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("close"))
}

/// Asks once, and returns the length of the body.
pub async fn length_of_answer<R: Runtime>(rt: &R, server: SocketAddr, request: &str) -> anyhow::Result<usize> {
    let asking = async {
        let mut stream = rt.connect(server).await.context("cannot connect")?;
        stream.write_all(request.as_bytes().to_vec()).await.0.context("cannot send")?;
        let mut head = Vec::new();
        loop {
            let chunk = stream.recv().await.context("cannot receive")?;
            ensure!(!chunk.bytes().is_empty(), "the server ended the connection before the end of a head");
            head.extend_from_slice(chunk.bytes());
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                return content_length(&head[..end + 4]);
            }
            ensure!(head.len() < LONGEST_HEAD, "the head of the response does not end");
        }
    };
    rt.timeout(PATIENCE, asking).await.map_err(|_| anyhow!("no answer for {PATIENCE:?}"))?
}

/// A connection and what is said on it.
pub struct Peer<S> {
    server: SocketAddr,
    stream: S,
    dialogue: Dialogue,
    depth: u64,
}

/// What came of a run.
pub struct Tally {
    /// Requests that were answered, all of them rightly.
    pub requests: u64,
    /// From the start to the last answer.
    pub elapsed: Duration,
    /// In ns.
    pub latency: Histogram<u64>,
    /// Connections that were opened anew, because the server had said that it closes the one before.
    pub reconnects: u64,
    /// Bytes received.
    pub bytes: u64,
}

/// Opens `number` connections.
pub async fn connect<R: Runtime>(
    rt: &R,
    server: SocketAddr,
    number: usize,
    dialogue: impl Fn() -> (Dialogue, usize),
) -> anyhow::Result<Vec<Peer<R::Stream>>> {
    let connecting = (0..number).map(|_| {
        let (dialogue, depth) = dialogue();
        let runtime = rt.clone();
        rt.spawn(async move {
            let stream = open(&runtime, server).await?;
            Ok(Peer { server, stream, dialogue, depth: depth as u64 })
        })
    });
    all(connecting.collect()).await
}

async fn open<R: Runtime>(rt: &R, server: SocketAddr) -> anyhow::Result<R::Stream> {
    let connected = rt.timeout(PATIENCE, rt.connect(server)).await;
    let stream = connected.unwrap_or_else(|elapsed| Err(elapsed.into()));
    stream.with_context(|| format!("cannot connect to {server}"))
}

/// Lets all peers exchange batches until `end`, and one at least.
pub async fn run<R: Runtime>(
    rt: &R,
    peers: Vec<Peer<R::Stream>>,
    end: Instant,
) -> anyhow::Result<(Vec<Peer<R::Stream>>, Tally)> {
    let latency = Histogram::new_with_max(LONGEST_NS, 3).context("the histogram's bounds are wrong")?;
    let start = rt.now();
    let tally = Rc::new(RefCell::new(Tally { requests: 0, elapsed: Duration::ZERO, latency, reconnects: 0, bytes: 0 }));
    let running = peers.into_iter().enumerate().map(|(number, mut peer)| {
        let (rt_, tally) = (rt.clone(), Rc::clone(&tally));
        rt.spawn(async move {
            loop {
                let exchanged = peer.exchange(&rt_, &tally).await;
                exchanged.with_context(|| format!("connection {number}"))?;
                if rt_.now() >= end {
                    return Ok(peer);
                }
            }
        })
    });
    let running = all(running.collect());
    let time = end.saturating_duration_since(start) + PATIENCE;
    let Ok(peers) = rt.timeout(time, running).await else {
        let answered = tally.borrow().requests;
        bail!("the server left a request unanswered for {PATIENCE:?}, after {answered} answers");
    };
    let peers = peers?;
    let mut tally = Rc::into_inner(tally).expect("all tasks have ended").into_inner();
    tally.elapsed = rt.now() - start;
    Ok((peers, tally))
}

impl<S: Stream> Peer<S> {
    /// Sends one batch and takes the answers, or those up to the last that the server gives on this connection.
    async fn exchange<R: Runtime<Stream = S>>(&mut self, rt: &R, tally: &RefCell<Tally>) -> anyhow::Result<()> {
        if self.dialogue.is_over() {
            self.stream = open(rt, self.server).await?;
            self.dialogue.start_over();
            tally.borrow_mut().reconnects += 1;
        }
        let sent = rt.now();
        let (written, _batch) = self.stream.write_all(self.dialogue.next_batch()).await;
        written.context("cannot send")?;
        let mut open = self.depth;
        while open > 0 && !self.dialogue.is_over() {
            let chunk = self.stream.recv().await.context("cannot receive")?;
            ensure!(!chunk.bytes().is_empty(), "the server ended the connection, {open} requests are unanswered");
            let answers = self.dialogue.check(chunk.bytes()).context("a wrong answer")?;
            open = open.checked_sub(answers).context("more answers than requests")?;
            let took = u64::try_from((rt.now() - sent).as_nanos()).unwrap_or(LONGEST_NS);
            let mut tally = tally.borrow_mut();
            tally.requests += answers;
            tally.bytes += chunk.bytes().len() as u64;
            tally.latency.saturating_record_n(took, answers);
        }
        Ok(())
    }
}

/// What all tasks return, or the first error.
async fn all<T>(tasks: Vec<JoinHandle<anyhow::Result<T>>>) -> anyhow::Result<Vec<T>> {
    let mut outputs = Vec::with_capacity(tasks.len());
    for task in tasks {
        outputs.push(task.await.map_err(|error| anyhow!("{error}"))??);
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\n";

    fn echo() -> (EchoDialogue, Vec<u8>) {
        let block: Rc<[u8]> = (0..=255).collect();
        let mut echo = EchoDialogue::new(block, 4, 3);
        let batch = echo.next_batch().bytes().to_vec();
        (echo, batch)
    }

    #[test]
    fn an_echo_counts_when_its_last_byte_has_come() {
        let (mut echo, batch) = echo();
        let answers: Vec<_> = batch.chunks(3).map(|bytes| echo.check(bytes).unwrap()).collect();
        assert_eq!(answers, [0, 1, 1, 1]);
    }

    #[test]
    fn an_echo_with_a_wrong_byte_or_one_too_many_is_an_error() {
        for place in 0..12 {
            let (mut echo, mut batch) = echo();
            batch[place] ^= 0x10;
            let error = echo.check(&batch).unwrap_err().to_string();
            assert!(error.starts_with(&format!("byte {place} is ")), "{error}");
        }
        let (mut echo, mut batch) = echo();
        batch.push(0);
        assert!(echo.check(&batch).is_err());
    }

    #[test]
    fn responses_may_be_cut_anywhere() {
        let bytes = format!("{HEAD}hello").repeat(3).into_bytes();
        for cut in 0..bytes.len() {
            let mut http = HttpDialogue::new("/", "hello", 3);
            let answers = http.check(&bytes[..cut]).unwrap() + http.check(&bytes[cut..]).unwrap();
            assert_eq!((answers, http.partial.len()), (3, 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_server_that_closes_has_said_so_with_its_last_response() {
        let last = HEAD.replace("Date", "Connection: keep-alive, Close\r\nDate");
        let bytes = format!("{HEAD}hello{last}hello").into_bytes();
        for cut in 0..bytes.len() {
            let mut http = HttpDialogue::new("/", "hello", 2);
            http.check(&bytes[..cut]).unwrap();
            assert!(!http.is_over, "cut at {cut}");
            http.check(&bytes[cut..]).unwrap();
            assert!(http.is_over, "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_response_is_an_error() {
        let right = format!("{HEAD}hello");
        for (from, to) in [("200", "404"), ("5\r", "6\r"), ("hello", "hellO"), ("Content", "Kontent")] {
            let wrong = right.replace(from, to);
            assert!(HttpDialogue::new("/", "hello", 1).check(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
