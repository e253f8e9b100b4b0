//! Every server does what it says, on every service, each in a process of its own.
//!
//! The benchmark compares servers, so they have to be servers: a peer that sends a byte at a time, that
//! doesn't read, that resets, that comes and goes three thousand times, must not break any of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

/// How long anything may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the big transfer: more than all socket buffers between the two hold, so sends are cut.
const BIG: usize = 16 * 1024 * 1024;
/// Connections that come and go.
const CHURN: usize = 3_000;
/// Those at the same time.
const CROWD: usize = 50;

const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BODY: &[u8] = b"Hello, World!";

/// Servers that need io_uring.
const ON_URING: [&str; 9] =
    ["uring", "uring-direct", "uring-spin", "proactor", "demo-proactor", "monoio", "monoio-defer", "compio", "glommio"];

/// Descriptors a server may have, fewer than connections come and go: who leaks them runs out. Direct
/// descriptors, which can't be counted from outside, are as many.
const FILES: usize = 300;

/// A running server. Dropping it kills it.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str, service: &str) -> Server {
        let script = format!("ulimit -n {FILES}; exec \"$0\" serve {name} --service {service}");
        let mut command = Command::new("sh");
        let command = command.args(["-c", &script, env!("CARGO_BIN_EXE_peers")]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.trim_end().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{name} said {line:?}"));
        Server { process, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Descriptors the process has open.
    fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// The end of stdin ends it.
    fn stop(mut self) {
        drop(self.process.stdin.take());
        let give_up = Instant::now() + PATIENCE;
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > give_up => panic!("it did not end with stdin"),
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Name and services of every server.
fn servers() -> Vec<(String, Vec<String>)> {
    let output = Command::new(env!("CARGO_BIN_EXE_peers")).args(["serve", "--list"]).output().unwrap();
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| {
        let mut columns = line.split_whitespace();
        let name = columns.next().unwrap().to_owned();
        (name, columns.next().unwrap().split(',').map(str::to_owned).collect())
    };
    list.lines().map(parse).collect()
}

/// Runs `test` for all servers that have the service and can run here, a few at a time.
fn with_each(service: &str, test: impl Fn(&str, &Server) + Sync) {
    let has_uring = proactor::Proactor::new().is_ok();
    let mut names: Vec<_> = servers().into_iter().filter(|(_, all)| all.iter().any(|has| has == service)).collect();
    assert!(!names.is_empty());
    names.retain(|(name, _)| {
        let can_run = has_uring || !ON_URING.contains(&name.as_str());
        if !can_run {
            eprintln!("skipped: {name} needs io_uring, which is closed here");
        }
        can_run
    });
    let names = Mutex::new(names.into_iter());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((name, _)) = { names.lock().unwrap().next() } {
                        eprintln!("{name} {service}");
                        let server = Server::start(&name, service);
                        test(&name, &server);
                        server.stop();
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("no test failed"));
    });
}

/// Bytes that don't repeat soon.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        // Numerical Recipes' linear congruential generator.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn expect_echo(stream: &mut TcpStream, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("all comes back");
    assert!(back == bytes, "what comes back is what was sent");
}

/// Reads one response, and checks it.
fn expect_response(stream: &mut impl BufRead) {
    let mut line = String::new();
    stream.read_line(&mut line).expect("a status line");
    assert_eq!(line, "HTTP/1.1 200 OK\r\n");
    let mut len = None;
    loop {
        line.clear();
        stream.read_line(&mut line).expect("a header line");
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(": ").expect("a header line");
        if name.eq_ignore_ascii_case("content-length") {
            len = value.trim_end().parse().ok();
        }
    }
    let mut body = vec![0; len.expect("a length")];
    stream.read_exact(&mut body).expect("a body");
    assert!(body.starts_with(b"Hello, World!"), "{}", String::from_utf8_lossy(&body));
    assert!(body.len() <= BODY.len() + 1);
}

fn expect_end(stream: &mut impl Read) {
    assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// One byte, a split message, sixteen in one go.
fn small(server: &Server) {
    let mut stream = server.connect();
    for bytes in [&b"x"[..], b"two", &noise(16 * 64), &noise(100_000)] {
        stream.write_all(bytes).unwrap();
        expect_echo(&mut stream, bytes);
    }
    let message = noise(64);
    stream.write_all(&message[..10]).unwrap();
    expect_echo(&mut stream, &message[..10]);
    stream.write_all(&message[10..]).unwrap();
    expect_echo(&mut stream, &message[10..]);
    stream.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut stream);
}

/// Sends far more than fits between the two before anything is read.
fn big(server: &Server) {
    let stream = server.connect();
    let bytes = noise(BIG);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (&stream).write_all(&bytes).expect("it is read in the end");
            stream.shutdown(Shutdown::Write).unwrap();
        });
        // Time for all buffers to fill.
        thread::sleep(Duration::from_millis(100));
        expect_echo(&mut stream.try_clone().unwrap(), &bytes);
        writer.join().unwrap();
    });
    expect_end(&mut &stream);
}

fn crowd(server: &Server) {
    let mut streams: Vec<_> = (0..CROWD).map(|_| server.connect()).collect();
    for round in 0..3usize {
        let message = |index: usize| noise(1000)[(index + round) % 500..][..64].to_vec();
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&message(index)).unwrap();
        }
        for (index, stream) in streams.iter_mut().enumerate().rev() {
            expect_echo(stream, &message(index));
        }
    }
    // Half of them leave unfriendly, some with bytes on the way.
    for (index, mut stream) in streams.into_iter().enumerate() {
        if index % 4 == 0 {
            stream.write_all(&noise(20_000)).unwrap();
        }
        if index % 2 == 0 {
            reset(stream);
        }
    }
}

/// Peers that send all the time and never read don't keep others waiting.
fn mutes(server: &Server) {
    let bytes = noise(64 * 1024);
    let mutes: Vec<_> = (0..CROWD)
        .map(|_| {
            let mut stream = server.connect();
            stream.set_nonblocking(true).unwrap();
            while stream.write(&bytes).is_ok() {}
            stream
        })
        .collect();
    small(server);
    mutes.into_iter().enumerate().filter(|(index, _)| index % 2 == 0).for_each(|(_, stream)| reset(stream));
    small(server);
}

/// Connections that come and go leave nothing behind.
fn churn(server: &Server, exchange: impl Fn(&mut TcpStream)) {
    exchange(&mut server.connect());
    let settled = |most: usize| {
        let give_up = Instant::now() + PATIENCE;
        while server.files() > most {
            assert!(Instant::now() < give_up, "{} descriptors are open, and there were {most}", server.files());
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::sleep(Duration::from_millis(20));
    let before = server.files();
    for _ in 0..CHURN {
        let mut stream = server.connect();
        exchange(&mut stream);
        reset(stream);
    }
    settled(before);
}

#[test]
fn echo() {
    with_each("echo", |_, server| {
        small(server);
        big(server);
        crowd(server);
        mutes(server);
        churn(server, |stream| {
            stream.write_all(b"once").unwrap();
            expect_echo(stream, b"once");
        });
        small(server);
    });
}

#[test]
fn http() {
    with_each("http", |_, server| {
        let mut stream = BufReader::new(server.connect());
        let all = REQUEST.repeat(16);
        for cut in [1, REQUEST.len() - 1, REQUEST.len(), 5 * REQUEST.len() + 7] {
            stream.get_mut().write_all(&all[..cut]).unwrap();
            thread::sleep(Duration::from_millis(5));
            stream.get_mut().write_all(&all[cut..]).unwrap();
            (0..16).for_each(|_| expect_response(&mut stream));
        }
        // A whole buffer of them, whose responses don't fit into one.
        stream.get_mut().write_all(&REQUEST.repeat(2000)).unwrap();
        (0..2000).for_each(|_| expect_response(&mut stream));
        stream.get_mut().shutdown(Shutdown::Write).unwrap();
        expect_end(&mut stream);
        churn(server, |stream| {
            stream.write_all(REQUEST).unwrap();
            expect_response(&mut BufReader::new(stream));
        });
    });
}

/// What is no HTTP ends the connection, sooner or later with an answer that is no 200.
#[test]
fn what_is_no_http_is_refused() {
    with_each("http", |name, server| {
        let mut stream = server.connect();
        stream.write_all(b"EHLO example.org\r\n\r\n").unwrap();
        let mut answer = String::new();
        // A reset is as good an end.
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("200"), "{name} said {answer:?}");
        let mut stream = BufReader::new(server.connect());
        stream.get_mut().write_all(REQUEST).unwrap();
        expect_response(&mut stream);
    });
}

/// Of so many connections one is tried: meanwhile some servers are slow.
const SAMPLE: usize = 16;

/// More come than there are descriptors for. Those who got in are served; the others when those have left.
fn too_many(server: &Server, exchange: impl Fn(&mut TcpStream)) {
    let mut inside: Vec<_> = (0..FILES).map(|_| server.connect()).collect();
    let mut waiting = inside.split_off(FILES / 2);
    inside.iter_mut().step_by(SAMPLE).for_each(&exchange);
    // Time to find that there are none left, again and again.
    thread::sleep(Duration::from_millis(50));
    inside.iter_mut().step_by(SAMPLE).for_each(&exchange);
    drop(inside);
    waiting.iter_mut().step_by(SAMPLE).for_each(&exchange);
}

#[test]
fn who_finds_no_descriptor_left_waits() {
    with_each("echo", |name, server| {
        // The kernel resets whom it has no direct descriptor for.
        if name != "uring-direct" {
            too_many(server, |stream| {
                stream.write_all(b"once").unwrap();
                expect_echo(stream, b"once");
            });
        }
    });
}

#[test]
fn an_unknown_server_is_an_error_that_lists_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_peers")).args(["serve", "no-such"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("epoll-edge, "), "{text}");
}
