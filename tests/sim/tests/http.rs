//! Goal: the HTTP demo, as it is, answers every request once, in order and whole, in any weather.
//!
//! Method: clients send random requests (with bodies of a length or in chunks, HEAD, errors) in pieces of random
//! sizes, without waiting for answers, and compare what they get with what a server owes them: up to the
//! request that ends the connection, because it asks for that, or is one too many, or can't be answered. A client
//! that the network resets gets the first of these answers, and all others get all of theirs. Clients that send or
//! read too slowly are let go when their time is up, to the nanosecond.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use demos::http::{Limits, Site, connection};
use demos::serve::{self, serve};
use fastrand::Rng;
use sim::{IoBuf, ListenOptions, Listener, Reader, Runtime, Sim, Stream, TcpStream, Weather, Writer};

/// What a client expects: the status, the body if one comes, and whether this is the last answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    is_last: bool,
}

/// Requests that somebody else may read differently.
const AMBIGUOUS: [&str; 4] = [
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "GET /plaintext HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
];

/// A request and the answer to it. The body of an answer to HEAD does not come, so it is `None` here.
fn request(random: &mut Rng) -> (Vec<u8>, u16, Option<Vec<u8>>, bool) {
    if random.u8(..) < 8 {
        let bytes = AMBIGUOUS[random.usize(0..AMBIGUOUS.len())].into();
        return (bytes, 400, Some(b"400 Bad Request\n".to_vec()), true);
    }
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
    // Others may have a body, too, that nobody wants.
    if head != "POST /echo" && random.u8(..) < 200 {
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

/// Runs a server and its clients to the end; returns how many clients were reset.
fn world(seed: u64, weather: Weather) -> u64 {
    fastrand::seed(seed);
    let sim = sim::Builder::new(seed).weather(weather).build();
    let resets = sim.block_on(async {
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
        let mut resets = 0;
        for client in clients {
            resets += u64::from(client.await.unwrap());
        }
        sim.stop();
        assert_eq!(server.await.unwrap().cut, 0);
        resets
    });
    let stats = sim.stats();
    assert_eq!((stats.tasks_now, stats.timers_now, stats.driver.chunks_lent_now), (0, 0, 0), "{stats}");
    sim.finish();
    resets
}

/// One client's whole life; returns whether it was reset.
async fn client(sim: Sim, address: SocketAddr, mut random: Rng, requests: u64) -> bool {
    let (output, answers, heads) = conversation(&mut random, requests);
    let stream = sim.connect(address).await.unwrap();
    let probe = sim.probe(&stream);
    let (mut reader, mut writer) = stream.split();
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
    let end = loop {
        match reader.recv().await {
            Ok(chunk) if chunk.bytes().is_empty() => break Ok(()),
            Ok(chunk) => input.extend_from_slice(chunk.bytes()),
            Err(error) => break Err(error),
        }
    };
    writing.await.unwrap();
    let (received, rest) = parse(&input, &heads);
    if probe.was_reset() {
        assert_eq!(received, answers[..received.len().min(answers.len())]);
        return true;
    }
    end.expect("the server lets its clients read to the end");
    assert_eq!((received, rest.len()), (answers, 0), "answers, and bytes that are none");
    false
}

/// The whole answers in a server's output, and what comes after them. `heads`: which of them are to HEAD, and so
/// have no body.
fn parse<'o>(output: &'o [u8], heads: &[bool]) -> (Vec<Answer>, &'o [u8]) {
    let (mut answers, mut heads, mut output) = (Vec::new(), heads.iter(), output);
    while let Some(end) = output.windows(4).position(|window| window == b"\r\n\r\n") {
        let (head, rest) = output.split_at(end + 4);
        let head = std::str::from_utf8(head).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").expect("an answer")[..3].parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let length = if heads.next() == Some(&true) { 0 } else { length.parse().unwrap() };
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        let is_last = head.contains("\r\nConnection: close\r\n");
        answers.push(Answer { status, body: body.to_vec(), is_last });
        output = rest;
    }
    (answers, output)
}

#[test]
fn every_request_is_answered_once_in_order_and_whole() {
    sim::for_each_seed(500, |seed| assert_eq!(world(seed, Weather::stormy()), 0));
}

#[test]
fn a_reset_takes_one_connection_and_nothing_else() {
    let resets = Cell::new(0);
    sim::for_each_seed(200, |seed| {
        resets.set(resets.get() + world(seed, Weather { resets: 0.01, ..Weather::stormy() }));
    });
    assert!(resets.get() > 0 || sim::seed_to_replay().is_some(), "no connection was reset");
}

/// A head that comes slowly, and never to its end. Returns when the server has to be done.
async fn trickle(sim: &Sim, stream: TcpStream, mut random: Rng, limits: &Limits) -> Duration {
    let (mut reader, mut writer) = stream.split();
    let pause = limits.header_timeout.as_nanos() as u64 / 4;
    let trickling = sim.spawn({
        let sim = sim.clone();
        async move {
            let head = "GET / HTTP/1.1\r\nHost: a\r\n".to_owned() + &"X: y\r\n".repeat(50);
            for byte in head.into_bytes() {
                let _ = writer.write_all(vec![byte]).await;
                sim.sleep(Duration::from_nanos(random.u64(0..pause))).await;
            }
        }
    });
    let answer = reader.recv().await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&answer));
    trickling.abort();
    limits.header_timeout
}

/// A client that wants back more than finds room, and after a while reads no more of it. Returns when the server has
/// to be done.
async fn read_no_more(sim: &Sim, mut stream: TcpStream, mut random: Rng, limits: &Limits) -> Duration {
    let body = vec![b'x'; 500_000];
    stream
        .write_all(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()))
        .await
        .0
        .unwrap();
    stream.write_all(body).await.0.unwrap();
    let mut last = sim.elapsed();
    for _ in 0..random.u32(0..10) {
        sim.sleep(Duration::from_nanos(random.u64(0..limits.stall_timeout.as_nanos() as u64))).await;
        stream.read(vec![0; random.usize(1..10_000)]).await.0.unwrap();
        last = sim.elapsed();
    }
    // It keeps its end open for longer than anybody waits.
    sim.sleep(100 * limits.stall_timeout).await;
    last + limits.stall_timeout
}

#[test]
fn who_is_too_slow_is_let_go_in_time() {
    sim::for_each_seed(100, |seed| {
        let sim = Sim::calm(seed);
        let mut random = Rng::with_seed(seed);
        let mut time = || Duration::from_nanos(random.u64(1_000_000..20_000_000_000));
        let limits = Limits { header_timeout: time(), stall_timeout: time(), ..Limits::default() };
        let (ended, due) = sim.block_on(async {
            let (client, server) = sim.pair().await.unwrap();
            let site = Rc::new(Site::new(limits.clone(), None).unwrap());
            let serving = sim.spawn({
                let sim = sim.clone();
                async move {
                    connection(sim.clone(), server, site).await;
                    sim.elapsed()
                }
            });
            let due = if random.bool() {
                trickle(&sim, client, random, &limits).await
            } else {
                read_no_more(&sim, client, random, &limits).await
            };
            (serving.await.unwrap(), due)
        });
        assert_eq!(ended, due);
        sim.finish();
    });
}

#[test]
fn small_buffers_are_enough() {
    sim::for_each_seed(5, |seed| {
        let weather =
            Weather { buffer: 1..=200, chunk: 50, latency: Duration::ZERO..=Duration::ZERO, ..Weather::stormy() };
        assert_eq!(world(seed, weather), 0);
    });
}
