//! Runs against servers of a few lines, right ones and wrong ones. They count what they did, and the
//! figures of the client must agree.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use clap::Parser;

use super::*;

const REQUEST: &str = "GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

/// A server with a thread per connection, until it is dropped.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    /// Bytes that came in.
    bytes: Arc<AtomicU64>,
    is_ending: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

/// What a server answers to bytes that came after `u64` others on the connection; `None` closes it.
type Answer = fn(&[u8], u64) -> Option<Vec<u8>>;

impl Server {
    fn new(answer: Answer) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Server {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            bytes: Arc::default(),
            is_ending: Arc::default(),
            accepting: None,
        };
        let (connections, bytes) = (Arc::clone(&server.connections), Arc::clone(&server.bytes));
        let is_ending = Arc::clone(&server.is_ending);
        server.accepting = Some(std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if is_ending.load(Ordering::Relaxed) {
                    return;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let bytes = Arc::clone(&bytes);
                std::thread::spawn(move || serve(stream, answer, &bytes));
            }
        }));
        server
    }

    /// Runs `peers load` with these options. It sleeps when it has nothing to do: the server is here, too.
    fn load(&self, options: &str) -> anyhow::Result<Outcome> {
        let address = self.address;
        let line = format!("load {address} --warm-up 0 --seconds 0.1 --block --patience 2 {options}");
        let load = Line::try_parse_from(line.split_whitespace())?.load;
        measure(&load)
    }

    /// What was wrong with this server.
    fn found(&self, options: &str) -> String {
        format!("{:#}", self.load(options).unwrap_err())
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().expect("it is dropped once").join();
    }
}

fn serve(mut stream: TcpStream, answer: Answer, bytes: &AtomicU64) {
    let mut buffer = [0; 64 * 1024];
    let mut before = 0;
    stream.set_nodelay(true).unwrap();
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        bytes.fetch_add(len as u64, Ordering::Relaxed);
        let Some(answer) = answer(&buffer[..len], before) else { return };
        before += len as u64;
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

#[derive(Parser)]
#[command(args_override_self = true)]
struct Line {
    #[command(flatten)]
    load: Load,
}

fn echo(bytes: &[u8], _before: u64) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

/// As many answers as requests are complete. The client sends nothing else, so counting is enough.
fn http(bytes: &[u8], before: u64) -> Option<Vec<u8>> {
    let requests = |bytes: u64| bytes as usize / REQUEST.len();
    Some(RESPONSE.repeat(requests(before + bytes.len() as u64) - requests(before)).into_bytes())
}

/// The index in `bytes` of byte `place` of the connection.
fn index(place: u64, bytes: &[u8], before: u64) -> Option<usize> {
    let index = usize::try_from(place.checked_sub(before)?).ok()?;
    (index < bytes.len()).then_some(index)
}

/// Each of `active` connections exchanged a batch before the window, one perhaps in the warm-up, and one
/// perhaps was on its way at the end: nothing else may be missing in the count.
fn assert_counted(counted: u64, served: u64, connections: u64, active: u64, depth: u64) {
    let uncounted = served.checked_sub(counted).expect("nothing is counted that was not served");
    let most = (connections + 2 * active) * depth;
    assert!((connections * depth..=most).contains(&uncounted), "{counted} counted of {served}");
    assert!(counted > 0);
}

#[test]
fn a_closed_loop_counts_every_message() {
    let server = Server::new(echo);
    let outcome = server.load("--connections 3 --depth 4 --message 100").unwrap();
    assert_counted(outcome.requests, server.bytes() / 100, 3, 3, 4);
    assert_eq!(server.connections(), 3);
}

#[test]
fn a_client_that_spins_counts_every_message() {
    let server = Server::new(echo);
    let address = server.address;
    let line = format!("load {address} --warm-up 0.01 --seconds 0.05 --connections 1");
    let outcome = measure(&Line::parse_from(line.split_whitespace()).load).unwrap();
    assert!(outcome.requests > 0 && outcome.requests < server.bytes() / 64);
}

#[test]
fn large_batches_arrive_in_pieces() {
    let server = Server::new(echo);
    let outcome = server.load("--connections 2 --depth 64 --message 16384").unwrap();
    assert!(outcome.requests <= server.bytes() / 16384);
}

#[test]
fn http_is_counted_by_responses() {
    let server = Server::new(http);
    let outcome = server.load("--service http --connections 3 --depth 5").unwrap();
    assert_counted(outcome.requests, server.bytes() / REQUEST.len() as u64, 3, 3, 5);
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = Server::new(echo);
    let outcome = server.load("--shape open --rate 3000 --connections 4").unwrap();
    let due = 3000.0 * outcome.elapsed_ns as f64 / 1e9;
    // Those on their way when the window began count, too.
    assert!(outcome.requests > 0 && outcome.requests as f64 <= due + 5.0, "{} of {due}", outcome.requests);
}

#[test]
fn an_open_loop_counts_from_when_a_request_was_due() {
    // 20 ms for each request, and one is due every millisecond: the n-th waits for the others.
    let server = Server::new(|bytes, before| {
        std::thread::sleep(Duration::from_millis(20));
        echo(bytes, before)
    });
    let outcome = server.load("--shape open --rate 1000 --connections 1 --seconds 0.3").unwrap();
    let waited = 20_000_000 * outcome.requests.saturating_sub(2);
    assert!(outcome.latency_ns.max + outcome.requests * 1_000_000 >= waited, "{outcome:?}");
    assert!(outcome.overload > 0, "{outcome:?}");
}

#[test]
fn churn_counts_connections() {
    let server = Server::new(echo);
    let outcome = server.load("--shape churn --connections 3").unwrap();
    let more = server.connections().checked_sub(outcome.requests).unwrap();
    assert!(outcome.requests > 0 && more <= 6, "{} of {}", outcome.requests, server.connections());
}

#[test]
fn churn_takes_messages_in_pieces() {
    let server = Server::new(echo);
    let outcome = server.load("--shape churn --connections 2 --message 100000").unwrap();
    assert!(outcome.requests > 0 && outcome.requests <= server.bytes() / 100_000);
}

#[test]
fn idle_connections_are_open_and_silent() {
    let server = Server::new(echo);
    let pid = std::process::id();
    let outcome = server.load(&format!("--shape idle --connections 200 --active 2 --server-pid {pid}")).unwrap();
    assert_eq!((server.connections(), outcome.connections), (200, 200));
    assert_counted(outcome.requests, server.bytes() / 64, 200, 2, 1);
    // The server is this process: each connection has a thread, and on its stack a buffer of 64 KiB.
    let bytes = outcome.idle_bytes_per_connection.unwrap();
    assert!((4096.0..1024.0 * 1024.0).contains(&bytes), "{bytes}");
    assert!(outcome.server_rss_bytes.is_some() && outcome.server_voluntary_switches.is_some());
    assert!(outcome.server_cpu_ns.unwrap() > 0);
}

#[test]
fn a_wrong_byte_is_found() {
    let server = Server::new(|bytes, before| {
        let mut answer = bytes.to_vec();
        if let Some(index) = index(7_001, bytes, before) {
            answer[index] ^= 1;
        }
        Some(answer)
    });
    let found = server.found("--message 1000");
    assert!(found.contains("a wrong answer: byte 1 is "), "{found}");
    let found = server.found("--message 7002 --shape churn");
    assert!(found.contains("a wrong answer: byte 7001 is "), "{found}");
}

#[test]
fn a_lost_byte_is_found() {
    let server = Server::new(|bytes, before| {
        let mut answer = bytes.to_vec();
        if let Some(index) = index(1_500, bytes, before) {
            answer.remove(index);
        }
        Some(answer)
    });
    let found = server.found("--message 1000");
    assert!(found.contains("a wrong answer: byte 5"), "{found}");
}

#[test]
fn silence_is_found() {
    let server = Server::new(|bytes, before| Some(if before == 0 { bytes.to_vec() } else { Vec::new() }));
    let found = server.found("--connections 3 --patience 0.1 --seconds 2");
    assert!(found.contains("said nothing for 100ms, and 3 connections wait"), "{found}");
}

#[test]
fn one_silent_connection_among_others_is_found() {
    let server = Server::new(|bytes, before| {
        let is_silent = before > 0 && bytes[0] < 16;
        Some(if is_silent { Vec::new() } else { bytes.to_vec() })
    });
    // Some connection comes by such a byte soon, all of them hardly.
    let found = server.found("--connections 100 --patience 0.2 --seconds 0.02");
    assert!(found.contains("said nothing for 200ms"), "{found}");
}

#[test]
fn a_repeated_byte_is_found() {
    let server = Server::new(|bytes, before| {
        let mut answer = bytes.to_vec();
        if let Some(index) = index(999, bytes, before) {
            answer.insert(index, bytes[index]);
        }
        Some(answer)
    });
    let found = server.found("--message 1000");
    assert!(found.contains("1 bytes more than were sent came back"), "{found}");
}

#[test]
fn an_early_end_is_found() {
    let server = Server::new(|bytes, before| (before < 10_000).then(|| bytes.to_vec()));
    let found = server.found("--message 1000 --connections 2");
    assert!(found.contains("ended it too early") || found.contains("Connection reset"), "{found}");
    let server = Server::new(|_, _| None);
    let found = server.found("--shape churn");
    assert!(found.contains("ended it too early") || found.contains("Connection reset"), "{found}");
}

#[test]
fn another_status_is_found() {
    let server = Server::new(|bytes, before| {
        let answer = http(bytes, before)?;
        let is_wrong = before > 1000;
        Some(if is_wrong { RESPONSE.replace("200 OK", "404 Not Found").into_bytes() } else { answer })
    });
    let found = server.found("--service http");
    assert!(found.contains("a status other than 200"), "{found}");
}

#[test]
fn another_body_is_found() {
    let server = Server::new(|_, before| {
        let answer = if before > 1000 { RESPONSE.replace("World", "Wrold") } else { RESPONSE.to_owned() };
        Some(answer.into_bytes())
    });
    let found = server.found("--service http");
    assert!(found.contains("the body is \"Hello, Wrold!\""), "{found}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let server = Server::new(echo);
    let address = server.address;
    drop(server);
    for shape in ["closed", "churn"] {
        let line = format!("load {address} --shape {shape}");
        let error = measure(&Line::parse_from(line.split_whitespace()).load).unwrap_err();
        assert!(format!("{error:#}").contains("Connection refused"), "{error:#}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_a_remedy() {
    let server = Server::new(echo);
    let wrong = [
        ("--connections 0", "from 1 to"),
        ("--connections 20001", "from 1 to"),
        ("--message 0", "one byte at least"),
        ("--message 65536 --depth 65", "4194304 bytes at most"),
        ("--depth 0", "1..="),
        ("--path plaintext", "such as /plaintext"),
        ("--path /a%20b\u{e9}", "such as /plaintext"),
        ("--seconds 0", "such as 0.5"),
        ("--seconds -1", "'-1'"),
        ("--seconds forever", "a number of seconds"),
        ("--patience 0", "such as 5"),
        ("--shape open", "such as --rate 50000"),
        ("--shape open --rate 0", "from 1 to"),
        ("--shape open --rate nan", "from 1 to"),
        ("--rate 5", "is for --shape open"),
        ("--shape idle", "such as --active 64"),
        ("--shape idle --active 64", "fewer than the 64"),
        ("--shape idle --active 0", "at least 1"),
        ("--active 5", "is for --shape idle"),
        ("--shape churn --depth 2", "leave --depth out"),
        ("--server-pid 0", "number of the server's process"),
    ];
    for (options, remedy) in wrong {
        let found = server.found(options);
        assert!(found.contains(remedy), "{options}: {found}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn an_outcome_survives_json() {
    let outcome = Server::new(echo).load("--connections 2").unwrap();
    let json = serde_json::to_value(&outcome).unwrap();
    let read: Outcome = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
    assert!(read.distribution.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1));
    let latency = &read.latency_ns;
    let sorted = [latency.min, latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max];
    assert!(sorted.is_sorted() && latency.min > 0, "{latency:?}");
}

#[test]
fn the_distribution_ends_where_the_requests_do() {
    let mut latency = Histogram::<u64>::new(3).unwrap();
    latency.record_n(1000, 100).unwrap();
    let points = distribution(&latency);
    assert_eq!((points.len(), points[0].0), (2 * POINTS_PER_NINE as usize + 1, 0.0));
    latency.record_n(1000, 1_000_000).unwrap();
    assert_eq!(distribution(&latency).len(), (NINES * POINTS_PER_NINE) as usize + 1);
}
