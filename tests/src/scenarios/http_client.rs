//! An honest HTTP client that asks for anything, in any order and any pieces, and knows every answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::net::{Pattern, any_size};

/// Requests that are sent before an answer is read.
const PIPELINED: usize = 6;
/// Bytes of a request's body at most.
const BODY: usize = 48 * 1024;

/// What a client knows of the server.
#[derive(Debug)]
pub(super) struct Known {
    engine: &'static str,
    files: Vec<(String, Vec<u8>)>,
    pattern: Pattern,
}

impl Known {
    /// The server runs on this engine, and has these files.
    pub(super) fn new(engine: &'static str, files: Vec<(String, Vec<u8>)>, seed: u64) -> Known {
        Known { engine, files, pattern: Pattern::new(seed) }
    }
}

/// One connection.
pub(super) struct HttpClient {
    known: Arc<Known>,
    stream: TcpStream,
    /// What has been received and not been looked at.
    input: Vec<u8>,
}

/// What has to come back.
struct Expected {
    status: u16,
    answer: Content,
    /// Whether the body stays away, because only the head was asked for.
    is_head: bool,
    /// Whether the server says that it closes.
    is_last: bool,
}

enum Content {
    Exactly(Vec<u8>),
    /// Something in it can't be known.
    With(String),
}

impl Content {
    fn exactly(text: &str) -> Content {
        Content::Exactly(text.as_bytes().to_vec())
    }
}

impl HttpClient {
    /// Connects; nothing may take longer than `patience`.
    pub(super) fn connect(addr: SocketAddr, patience: Duration, known: &Arc<Known>) -> HttpClient {
        let stream = TcpStream::connect(addr).expect("connect");
        // Its requests come in pieces, none of which is to wait for the others.
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        stream.set_write_timeout(Some(patience)).expect("a timeout");
        HttpClient { known: Arc::clone(known), stream, input: Vec::new() }
    }

    /// Asks for this and that, and ends in one of the ways there are; returns how many answers were right.
    pub(super) fn talk(mut self, random: &mut Rng) -> u64 {
        let mut answers = 0;
        for _ in 0..random.usize(0..5) {
            answers += self.batch(random, false);
        }
        match random.u8(0..3) {
            0 => {
                answers += self.batch(random, true);
                self.expect_end();
            }
            1 => {
                self.stream.shutdown(Shutdown::Write).expect("shutdown");
                self.expect_end();
            }
            _ => {}
        }
        answers
    }

    /// Some requests at once, then their answers. The last may ask the server to close.
    fn batch(&mut self, random: &mut Rng, and_close: bool) -> u64 {
        let (mut output, mut expected) = (Vec::new(), Vec::new());
        let count = random.usize(1..=PIPELINED);
        for number in 1..=count {
            let is_last = and_close && number == count;
            expected.push(self.known.request(random, is_last, &mut output));
        }
        // In pieces that know nothing of where a request ends.
        let mut rest = &output[..];
        while !rest.is_empty() {
            let size = if random.bool() { rest.len() } else { random.usize(1..=rest.len()) };
            self.stream.write_all(&rest[..size]).expect("write");
            rest = &rest[size..];
        }
        for expected in &expected {
            self.receive(expected);
        }
        expected.len() as u64
    }

    fn receive(&mut self, expected: &Expected) {
        let (head, status, length, closes) = loop {
            if let Some(head) = head(&self.input) {
                break head;
            }
            self.read_more();
        };
        assert_eq!(status, expected.status, "{:?}", String::from_utf8_lossy(&self.input));
        assert_eq!(closes, expected.is_last, "whether it is the last");
        let len = if expected.is_head { 0 } else { length };
        while self.input.len() < head + len {
            self.read_more();
        }
        let body = &self.input[head..head + len];
        match &expected.answer {
            Content::Exactly(content) if expected.is_head => assert_eq!(length, content.len()),
            Content::Exactly(content) => assert!(body == content, "the body of {length} bytes is wrong"),
            Content::With(text) => assert!(String::from_utf8_lossy(body).contains(text), "no {text} in the body"),
        }
        self.input.drain(..head + len);
    }

    fn read_more(&mut self) {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece).expect("read");
        assert!(count > 0, "the server ends the connection before its answer");
        self.input.extend_from_slice(&piece[..count]);
    }

    fn expect_end(&mut self) {
        assert!(self.input.is_empty(), "more than was asked for");
        assert_eq!(self.stream.read(&mut [0]).expect("read"), 0, "nothing is left but the end");
    }
}

/// Of a response: the length of its head, its status, the length of its body, and whether it says it is the last.
fn head(input: &[u8]) -> Option<(usize, u16, usize, bool)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(len) = response.parse(input).expect("a response") else { return None };
    let value = |name: &str| {
        let mut found = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let first = found.next().map(|header| std::str::from_utf8(header.value).expect("text"));
        assert!(found.next().is_none(), "{name} twice");
        first
    };
    let length = value("content-length").expect("a length").parse().expect("a number");
    Some((len, response.code.expect("a status"), length, value("connection") == Some("close")))
}

impl Known {
    /// Appends any request; what has to come back.
    fn request(&self, random: &mut Rng, is_last: bool, output: &mut Vec<u8>) -> Expected {
        let Request { line, headers, body, status, answer } = match random.u8(0..9) {
            0 => Request::get("/json", Content::exactly("{\"message\":\"Hello, World!\"}")),
            1 => Request { line: "HEAD /plaintext".into(), ..Request::get("", Content::exactly("Hello, World!")) },
            2 => Request::get("/", Content::With(format!("Served by <code>{}</code>", self.engine))),
            3 => Request { status: 404, ..Request::get("/nothing", Content::With("404".into())) },
            4 => Request { status: 405, ..Request::post("/plaintext", b"body", Content::With("405".into())) },
            5 => {
                let ms = random.u8(0..3);
                Request::get(&format!("/sleep?ms={ms}"), Content::exactly(&format!("slept {ms} ms\n")))
            }
            6 => {
                let (name, content) = &self.files[random.usize(0..self.files.len())];
                Request::get(&format!("/files/{name}"), Content::Exactly(content.clone()))
            }
            7 => {
                let body = self.body(random);
                Request::post("/echo", &body, Content::Exactly(body.clone()))
            }
            _ => {
                let body = self.body(random);
                let headers = "Transfer-Encoding: chunked\r\n".into();
                Request { headers, ..Request::post("/echo", &in_chunks(&body, random), Content::Exactly(body)) }
            }
        };
        let close = if is_last { "Connection: close\r\n" } else { "" };
        output.extend_from_slice(format!("{line} HTTP/1.1\r\nHost: localhost\r\n{close}{headers}\r\n").as_bytes());
        output.extend_from_slice(&body);
        Expected { status, answer, is_head: line.starts_with("HEAD"), is_last }
    }

    fn body(&self, random: &mut Rng) -> Vec<u8> {
        self.pattern.bytes(random.usize(0..1 << 20), any_size(random, BODY + 1) - 1)
    }
}

/// A request and its answer.
struct Request {
    line: String,
    headers: String,
    body: Vec<u8>,
    status: u16,
    answer: Content,
}

impl Request {
    fn get(path: &str, answer: Content) -> Request {
        Request { line: format!("GET {path}"), headers: String::new(), body: Vec::new(), status: 200, answer }
    }

    fn post(path: &str, body: &[u8], answer: Content) -> Request {
        let headers = format!("Content-Length: {}\r\n", body.len());
        Request { line: format!("POST {path}"), headers, body: body.to_vec(), status: 200, answer }
    }
}

/// The body in chunks of any size.
fn in_chunks(body: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut output = Vec::with_capacity(body.len() + 64);
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, others) = rest.split_at(random.usize(1..=rest.len()));
        output.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        output.extend_from_slice(chunk);
        output.extend_from_slice(b"\r\n");
        rest = others;
    }
    output.extend_from_slice(b"0\r\n\r\n");
    output
}
