//! Goal: the HTTP demo, as it is, answers every request once, in order and whole, in any weather.
//!
//! Method: clients send random requests (with bodies of a length or in chunks, HEAD, errors) in pieces of random
//! sizes, without waiting for answers, and compare what they get with what a server owes them: up to the
//! request that ends the connection, because it asks for that, or is one too many, or can't be answered.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use demos::http::{Limits, Site, connection};
use demos::serve::{self, serve};
use fastrand::Rng;
use sim::{IoBuf, ListenOptions, Listener, Reader, Runtime, Sim, Stream, Weather, Writer};

/// What a client expects: the status, the body if one comes, and whether this is the last answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    is_last: bool,
}

/// A request and the answer to it. The body of an answer to HEAD does not come, so it is `None` here.
fn request(random: &mut Rng) -> (Vec<u8>, u16, Option<Vec<u8>>, bool) {
    let asks_close = random.u8(..) < 20;
    let close = if asks_close { "Connection: close\r\n" } else { "" };
    let body: Vec<u8> = (0..random.usize(0..2000)).map(|_| random.u8(..)).collect();
    let (head, status, answer) = match random.u8(0..8) {
        0 | 1 => ("GET /plaintext", 200, Some(b"Hello, World!".to_vec())),
        2 => ("GET /json", 200, Some(br#"{"message":"Hello, World!"}"#.to_vec())),
        3 => ("HEAD /plaintext", 200, None),
        4 => ("GET /sleep?ms=2", 200, Some(b"slept 2 ms\n".to_vec())),
        5 => ("GET /nowhere", 404, Some(b"404 Not Found\n".to_vec())),
        _ => ("POST /echo", 200, Some(body.clone())),
    };
    let mut bytes = format!("{head} HTTP/1.1\r\nHost: a\r\n{close}").into_bytes();
    if head != "POST /echo" {
        bytes.extend_from_slice(b"\r\n");
    } else if random.bool() {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(&body);
    } else {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut rest = &body[..];
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(random.usize(1..=rest.len()));
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            rest = later;
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    (bytes, status, answer, asks_close)
}

/// The whole output of a client and all that a server owes it.
fn conversation(random: &mut Rng, requests: u64) -> (Vec<u8>, Vec<Answer>, Vec<bool>) {
    let (mut output, mut answers, mut heads) = (Vec::new(), Vec::<Answer>::new(), Vec::new());
    for _ in 0..random.usize(0..16) {
        let (bytes, status, body, asks_close) = request(random);
        output.extend_from_slice(&bytes);
        if !answers.last().is_some_and(|last| last.is_last) {
            let is_last = asks_close || answers.len() as u64 + 1 == requests;
            heads.push(body.is_none());
            answers.push(Answer { status, body: body.unwrap_or_default(), is_last });
        }
    }
    (output, answers, heads)
}

fn world(seed: u64, weather: Weather) {
    fastrand::seed(seed);
    let sim = sim::Builder::new(seed).weather(weather).build();
    sim.block_on(async {
        let mut random = Rng::with_seed(seed);
        let listener = sim.listen("127.0.0.1:80".parse().unwrap(), &ListenOptions::default()).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { requests: 12, pending_output: random.usize(1..8000), ..Limits::default() };
        let requests = limits.requests;
        let server = sim.spawn({
            let (sim, site) = (sim.clone(), Rc::new(Site::new(limits, None).unwrap()));
            async move {
                let handle = sim.clone();
                let connection = move |stream| connection(handle.clone(), stream, Rc::clone(&site));
                let limits = serve::Limits { connections: 3, per_address: None, grace: Duration::from_secs(60) };
                serve(&sim, listener, &limits, connection).await.unwrap()
            }
        });
        let clients: Vec<_> =
            (0..random.u64(1..6)).map(|_| sim.spawn(client(sim.clone(), address, random.fork(), requests))).collect();
        for client in clients {
            client.await.unwrap();
        }
        sim.stop();
        assert_eq!(server.await.unwrap().cut, 0);
    });
    sim.finish();
}

async fn client(sim: Sim, address: SocketAddr, mut random: Rng, requests: u64) {
    let (output, answers, heads) = conversation(&mut random, requests);
    let (mut reader, mut writer) = sim.connect(address).await.unwrap().split();
    let writing = sim.spawn({
        let sim = sim.clone();
        async move {
            let mut rest = &output[..];
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(random.usize(1..=rest.len().min(1500)));
                // The server may have said its last word.
                if writer.write_all(piece.to_vec()).await.0.is_err() {
                    return;
                }
                rest = later;
                if random.u8(..) < 64 {
                    sim.sleep(Duration::from_micros(random.u64(0..3000))).await;
                }
            }
            let _ = writer.shutdown().await;
        }
    });
    let mut input = Vec::new();
    loop {
        let chunk = reader.recv().await.expect("the server lets its clients read to the end");
        if chunk.bytes().is_empty() {
            break;
        }
        input.extend_from_slice(chunk.bytes());
    }
    writing.await.unwrap();
    assert_eq!(parse(&input, &heads), answers);
}

/// The answers in a server's output. `heads`: which of them are to HEAD, and so have no body.
fn parse(mut rest: &[u8], heads: &[bool]) -> Vec<Answer> {
    let (mut answers, mut heads) = (Vec::new(), heads.iter());
    while !rest.is_empty() {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end..];
        let status = head.strip_prefix("HTTP/1.1 ").expect("an answer")[..3].parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let length = if heads.next() == Some(&true) { 0 } else { length.parse().unwrap() };
        assert!(length <= rest.len(), "{length} bytes promised, {} came", rest.len());
        let is_last = head.contains("\r\nConnection: close\r\n");
        answers.push(Answer { status, body: rest[..length].to_vec(), is_last });
        rest = &rest[length..];
    }
    answers
}

#[test]
fn every_request_is_answered_once_in_order_and_whole() {
    sim::for_each_seed(500, |seed| world(seed, Weather::stormy()));
}

#[test]
fn small_buffers_are_enough() {
    sim::for_each_seed(5, |seed| {
        world(
            seed,
            Weather { buffer: 1..=200, chunk: 50, latency: Duration::ZERO..=Duration::ZERO, ..Weather::stormy() },
        );
    });
}
