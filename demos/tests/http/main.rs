//! The HTTP server over real sockets, on every engine.
//!
//! Goal: what the unit tests show in simulated time holds with a kernel, with other people's clients,
//! and with nasty ones. Method: each test starts the server on a free port, talks to it by an independent
//! client library or by plain sockets, stops it, and checks that nothing is left: no task, no timer, no
//! registration, no lent buffer. Whatever hangs fails.

mod files;
mod server;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use demos::http::Limits;
use demos::http::limits::BODY;

use files::{Scratch, large};
use server::{
    Server, on_every_engine, read_response, read_to_end, read_to_end_or_reset, statuses, write_until_it_stops,
};

const GET: &str = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST: &str = "GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

/// The server still serves.
fn assert_alive(server: &Server) {
    assert!(server.talk(LAST).ends_with("\r\n\r\nHello, World!"));
}

#[test]
fn an_independent_client_is_content() {
    on_every_engine(Limits::default(), None, |server| {
        let agent = agent();
        let page =
            |agent: &ureq::Agent| agent.get(server.url("/")).call().unwrap().body_mut().read_to_string().unwrap();
        assert!(page(&agent).contains(&format!("<code>{}</code>", server.engine.name())));
        assert_ne!(page(&agent), page(&agent));
        let mut plain = agent.get(server.url("/plaintext")).call().unwrap();
        assert_eq!(plain.headers()["content-type"], "text/plain");
        assert!(plain.headers().contains_key("date") && plain.headers().contains_key("server"));
        assert_eq!(plain.body_mut().read_to_string().unwrap(), "Hello, World!");
        let mut json = agent.get(server.url("/json")).call().unwrap();
        assert_eq!(json.headers()["content-type"], "application/json");
        assert_eq!(json.body_mut().read_to_string().unwrap(), r#"{"message":"Hello, World!"}"#);
        let head = agent.head(server.url("/plaintext")).call().unwrap();
        assert_eq!(head.headers()["content-length"], "13");
        let mut none = agent.get(server.url("/none")).call().unwrap();
        assert_eq!(
            (none.status().as_u16(), none.body_mut().read_to_string().unwrap()),
            (404, "404 Not Found\n".into())
        );
        let mut wrong = agent.delete(server.url("/echo")).call().unwrap();
        // Its connections are used again once a response has been read to the end.
        wrong.body_mut().read_to_string().unwrap();
        assert_eq!((wrong.status().as_u16(), &wrong.headers()["allow"]), (405, &"POST, OPTIONS".parse().unwrap()));
        let body = large()[..usize::try_from(BODY).unwrap()].to_vec();
        let mut sized = agent.post(server.url("/echo")).content_type("a/b").send(&body[..]).unwrap();
        assert_eq!(sized.headers()["content-type"], "a/b");
        assert!(sized.body_mut().read_to_vec().unwrap() == body);
        let chunks = ureq::SendBody::from_owned_reader(std::io::Cursor::new(body.clone()));
        let mut chunked = agent.post(server.url("/echo")).send(chunks).unwrap();
        assert!(chunked.body_mut().read_to_vec().unwrap() == body);
        let stats = agent.get(server.url("/stats")).call().unwrap().body_mut().read_to_string().unwrap();
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        assert_eq!(stats["tasks_spawned"], 1, "the client's connection was kept: {stats}");
    });
}

#[test]
fn however_the_bytes_arrive_the_outcome_is_the_same() {
    on_every_engine(Limits::default(), None, |server| {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for (input, expected) in cases() {
            let bytes = input.as_bytes();
            assert_eq!(deliver(server, bytes.chunks(1)), expected, "byte by byte: {input}");
            for _ in 0..5 {
                let pieces = bytes.chunk_by(|_, _| random.u8(..) > 20);
                assert_eq!(deliver(server, pieces), expected, "in pieces, seed {seed}: {input}");
            }
        }
    });
}

/// Requests, each followed by an honest one that ends the connection, and what comes of them.
fn cases() -> Vec<(String, Vec<u16>)> {
    let post = |lines: &str, body: &str| format!("POST /echo HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}{LAST}");
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    vec![
        (post("Content-Length: 5\r\n", "hello"), vec![200, 200]),
        (chunked("5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n"), vec![200, 200]),
        (chunked("5\nhello\r\n0\r\n\r\n"), vec![400]),
        (chunked("+5\r\nhello\r\n0\r\n\r\n"), vec![400]),
        (post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), vec![400]),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), vec![400]),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), vec![400]),
        (GET.replace("\r\nHost", "\nHost") + LAST, vec![400]),
        (GET.replace("Host: a", "Host : a") + LAST, vec![400]),
        (GET.replace("1.1", "1.2") + LAST, vec![505]),
    ]
}

/// The statuses that come back for what arrives in these pieces.
fn deliver<'p>(server: &Server, pieces: impl Iterator<Item = &'p [u8]>) -> Vec<u16> {
    let mut stream = server.connect();
    for piece in pieces {
        // The server may have heard enough.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    statuses(&read_to_end_or_reset(&mut stream))
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    on_every_engine(Limits::default(), None, |server| {
        let paths = ["/plaintext", "/none", "/sleep?ms=1", "/json"].iter().cycle().take(16);
        let mut input: String = paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        input +=
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\nGET /none HTTP/1.1\r\nHost: smuggled\r\n\r\n";
        input += LAST;
        let expected = [[200, 404, 200, 200].repeat(4), vec![200, 200]].concat();
        assert_eq!(statuses(&server.talk(&input).replace("GET /none HTTP/1.1", "")), expected);
        // And byte by byte, each in a packet of its own.
        let mut stream = server.connect();
        for byte in input.as_bytes() {
            stream.write_all(&[*byte]).unwrap();
        }
        assert_eq!(statuses(&read_to_end(&mut stream).replace("GET /none HTTP/1.1", "")), expected);
    });
}

#[test]
fn whoever_sleeps_keeps_nobody_waiting() {
    on_every_engine(Limits::default(), None, |server| {
        let mut sleeper = server.connect();
        sleeper.write_all(b"GET /sleep?ms=300 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let asked = Instant::now();
        for _ in 0..20 {
            assert_alive(server);
        }
        sleeper.set_nonblocking(true).unwrap();
        if asked.elapsed() < Duration::from_millis(300) {
            assert_eq!(sleeper.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        sleeper.set_nonblocking(false).unwrap();
        assert!(read_response(&mut sleeper).ends_with("slept 300 ms\n"));
        assert!(asked.elapsed() >= Duration::from_millis(300));
    });
}

#[test]
fn a_client_may_close_its_side_first() {
    on_every_engine(Limits::default(), None, |server| {
        for (input, expected) in [
            (GET.repeat(3), vec![200; 3]),
            ("GET /sleep?ms=50 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned() + GET, vec![200; 2]),
            ("GET /plaintext HTTP/1.1\r\nHo".to_owned(), vec![400]),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf".to_owned(), vec![400]),
            (String::new(), vec![]),
        ] {
            let mut stream = server.connect();
            stream.write_all(input.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(statuses(&read_to_end(&mut stream)), expected, "{input}");
        }
    });
}

#[test]
fn old_clients_and_cautious_ones_are_understood() {
    on_every_engine(Limits::default(), None, |server| {
        let response = server.talk("GET /plaintext HTTP/1.0\r\n\r\n");
        assert!(response.contains("\r\nConnection: close\r\n") && response.ends_with("Hello, World!"));
        let response = server.talk("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n");
        assert_eq!(response.matches("\r\nConnection: keep-alive\r\n").count(), 1);
        assert_eq!(statuses(&response), [200, 200]);
        let mut cautious = server.connect();
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        cautious.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_response(&mut cautious), "HTTP/1.1 100 Continue\r\n\r\n");
        cautious.write_all(b"hello").unwrap();
        assert!(read_response(&mut cautious).ends_with("\r\n\r\nhello"));
        let refused = server.talk(head.replace("/echo", "/none"));
        assert_eq!(statuses(&refused), [404]);
    });
}

#[test]
fn slow_and_silent_clients_are_sent_away() {
    let time = Duration::from_millis(300);
    let limits = Limits {
        header_timeout: time,
        idle_timeout: time,
        stall_timeout: time,
        body_grace: time,
        linger_time: time,
        ..Limits::default()
    };
    on_every_engine(limits, None, |server| {
        let (time, most) = (Duration::from_millis(300), Duration::from_secs(3));
        let body = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n";
        for (input, expected) in [("", &[][..]), (GET, &[200]), ("G", &[408]), (body, &[408])] {
            let start = Instant::now();
            let output = server.talk(input);
            let took = start.elapsed();
            assert_eq!(statuses(&output), expected, "{input}");
            assert!(time <= took && took < most, "{input}: {took:?}");
        }
        let (start, mut trickle) = (Instant::now(), server.connect());
        for byte in GET.as_bytes().iter().cycle() {
            if trickle.write_all(&[*byte]).is_err() || start.elapsed() > most {
                break;
            }
            std::thread::sleep(Duration::from_millis(40));
        }
        assert!(start.elapsed() < most);
        assert_eq!(statuses(&read_to_end_or_reset(&mut trickle)), [408]);
    });
}

/// Waits until the server has no connection but the one that asks.
fn wait_until_alone(server: &Server) {
    while !server.talk(LAST.replace("/plaintext", "/stats")).contains("\"tasks_now\":1,") {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clients_that_do_not_read_are_given_up() {
    let scratch = Scratch::new();
    // Not so few requests that the last one comes, after which the server throws the rest away.
    let limits = Limits { stall_timeout: Duration::from_millis(500), requests: u64::MAX, ..Limits::default() };
    on_every_engine(limits, scratch.root(), |server| {
        let mut downloading = server.connect();
        downloading.write_all(b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut pipelining = server.connect();
        let most = 500 << 20;
        let written = write_until_it_stops(&mut pipelining, GET.repeat(1000).as_bytes(), most);
        assert!(written < most, "it reads on and on");
        assert_alive(server);
        wait_until_alone(server);
        let received = read_to_end_or_reset(&mut downloading).len();
        assert!(received < 20_000_000, "it was not given up: {received}");
        assert!(read_to_end_or_reset(&mut pipelining).starts_with("HTTP/1.1 200 OK\r\n"));
        assert_alive(server);
    });
}

#[test]
fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    on_every_engine(Limits::default(), None, |server| {
        for body in [BODY + 1, 4 * BODY, 20 * BODY] {
            let mut stream = server.connect();
            let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            // Many clients look at the answer only when all is sent.
            stream.write_all(&vec![b'x'; usize::try_from(body).unwrap()]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(statuses(&read_to_end(&mut stream)), [413]);
        }
        let wrong = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n";
        assert_eq!(statuses(&server.talk([&wrong[..], &[b'x'; 60_000]].concat())), [400]);
        assert_alive(server);
    });
}

#[test]
fn limits_hold_to_the_byte() {
    on_every_engine(Limits::default(), None, |server| {
        let close = "Host: a\r\nConnection: close\r\n";
        let line = |len: usize| format!("GET /{} HTTP/1.1\r\n{close}\r\n", "a".repeat(len - 14));
        assert_eq!(statuses(&server.talk(line(8192))), [404]);
        assert_eq!(statuses(&server.talk(line(8193))), [414]);
        let block = |len: usize| {
            let filler = "x".repeat(len - close.len() - 5);
            format!("GET /plaintext HTTP/1.1\r\n{close}X: {filler}\r\n\r\n")
        };
        assert_eq!(statuses(&server.talk(block(16384))), [200]);
        assert_eq!(statuses(&server.talk(block(16385))), [431]);
        let lines = |count: usize| format!("GET / HTTP/1.1\r\n{close}{}\r\n", "X: y\r\n".repeat(count - 2));
        assert_eq!(statuses(&server.talk(lines(100))), [200]);
        assert_eq!(statuses(&server.talk(lines(101))), [431]);
        let chunked = |len: usize| {
            let body = "x".repeat(len);
            format!("POST /echo HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n0\r\n\r\n")
        };
        assert_eq!(statuses(&server.talk(chunked(1 << 20))), [200]);
        let mut stream = server.connect();
        let _ = stream.write_all(chunked((1 << 20) + 1).as_bytes());
        assert_eq!(statuses(&read_to_end_or_reset(&mut stream)), [413]);
    });
}

#[test]
fn a_stop_lets_running_requests_finish() {
    on_every_engine(Limits::default(), None, |server| {
        let (mut idle, mut fresh, mut busy) = (server.connect(), server.connect(), server.connect());
        idle.write_all(GET.as_bytes()).unwrap();
        read_response(&mut idle);
        busy.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst").unwrap();
        assert_alive(server);
        server.remote.stop();
        // They do not wait for the busy one, which is not finished before its body is.
        assert_eq!(read_to_end(&mut idle), "");
        assert_eq!(read_to_end(&mut fresh), "");
        busy.write_all(b" last").unwrap();
        let response = read_to_end(&mut busy);
        assert!(response.contains("\r\nConnection: close\r\n") && response.ends_with("first last"), "{response}");
    });
}

#[test]
fn nonsense_harms_nobody() {
    on_every_engine(Limits::default(), None, |server| {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..200 {
            let mut bytes = GET.repeat(random.usize(1..4)).into_bytes();
            for _ in 0..random.usize(1..20) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            let mut stream = server.connect();
            // The server may be done with it before we are.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let answers = statuses(&read_to_end(&mut stream));
            assert!(answers.len() <= 4, "seed {seed}, round {round}: {answers:?}");
        }
        assert_alive(server);
    });
}
