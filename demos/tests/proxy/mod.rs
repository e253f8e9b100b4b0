//! `demos proxy` between clients and servers that nobody here wrote, and servers that are killed.

mod endings;
mod label;
mod rivals;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{
    Demos, PATIENCE, admits_its_build, client, connect, demos, engines, has_client, wait_until_closed,
};
use crate::{end_of, exchange};
use label::Label;

/// So that no check disturbs the counting.
const NO_CHECKS: &str = "--check-every 3600";
const QUICK_CHECKS: &str = "--check-every 0.02";

fn proxy(engine: &str, servers: &[SocketAddr], options: &str) -> Demos {
    let servers: String = servers.iter().map(|server| format!(" --to {server}")).collect();
    Demos::start(&format!("proxy --on {engine} --listen 127.0.0.1:0 {options}{servers}"))
}

fn start(service: &str, engine: &str, address: &str) -> (Demos, SocketAddr) {
    let server = Demos::start(&format!("{service} --on {engine} --listen {address}"));
    let address = server.address();
    (server, address)
}

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends this, and listens to the end. Without a request it ends its side: with HTTP that would mean that it is gone.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).unwrap();
    if request.is_empty() {
        client.shutdown(Shutdown::Write).unwrap();
    }
    String::from_utf8(end_of(&mut client)).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
}

/// The line that the proxy says about a server.
fn event(proxy: &Demos, server: SocketAddr, what: &str) {
    let line = proxy.complaint();
    assert!(line.starts_with(&format!("server {server} is {what}")), "{line}");
}

#[test]
fn round_robin_serves_by_weight_to_the_last_connection() {
    let labels = ["a", "b", "c"].map(Label::start_anywhere);
    for engine in engines() {
        let targets: String =
            labels.iter().zip([3, 1, 2]).map(|(label, w)| format!(" --to {}={w}", label.address)).collect();
        let proxy = Demos::start(&format!("proxy --on {engine} --listen 127.0.0.1:0 {NO_CHECKS}{targets}"));
        let address = proxy.address();
        let said: String = (0..24).map(|_| ask(address, "")).collect();
        assert_eq!(said, "acabca".repeat(4), "{engine}");
        proxy.signal(Signal::TERM);
        let ended = proxy.end();
        for (label, served) in labels.iter().zip([12, 4, 8]) {
            let line = format!("server {} in served={served} failures=0\n", label.address);
            assert!(ended.stdout.contains(&line), "{engine}: {ended:?}");
        }
    }
}

#[test]
fn with_a_hash_only_the_clients_of_a_server_that_is_killed_move_and_they_come_back() {
    if !has_client("python3") {
        return;
    }
    const CLIENTS: usize = 60;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/clients.py");
    let [a, b, c] = ["a", "b", "c"].map(Label::start_anywhere);
    let mut b = Some(b);
    let (at_b, servers) = (b.as_ref().unwrap().address, [a.address, b.as_ref().unwrap().address, c.address]);
    let mut first = None;
    for engine in engines() {
        let proxy = proxy(&engine, &servers, &format!("--policy hash {QUICK_CHECKS}"));
        let port = proxy.address().port().to_string();
        let map = || {
            let python = client(Command::new("python3").args([script, &port, &CLIENTS.to_string()]), b"");
            assert!(python.status.success(), "{engine}: {python:?}");
            let map: Vec<_> = python.stdout.lines().map(str::to_owned).collect();
            assert_eq!(map.len(), CLIENTS, "{engine}: {python:?}");
            map
        };
        let before = map();
        for label in ["a", "b", "c"] {
            assert!(before.iter().any(|server| server == label), "{engine}: nobody at {label}: {before:?}");
        }
        drop(b.take());
        event(&proxy, at_b, "out");
        for (number, (before, after)) in before.iter().zip(map()).enumerate() {
            let has_moved = *before != after;
            assert_eq!(has_moved, before == "b", "{engine}: client {number} was at {before} and is at {after}");
        }
        b = Some(Label::start("b", at_b));
        event(&proxy, at_b, "back");
        assert_eq!(map(), before, "{engine}");
        // It depends on addresses alone: all engines, and all proxies, agree.
        assert_eq!(*first.get_or_insert_with(|| before.clone()), before, "{engine}");
    }
}

#[test]
fn least_connections_goes_where_the_least_is_to_do() {
    for engine in engines() {
        let [(one, at_one), (two, at_two)] = [(); 2].map(|()| start("echo", &engine, "127.0.0.1:0"));
        let proxy = proxy(&engine, &[at_one, at_two], &format!("--policy least-connections {NO_CHECKS}"));
        let address = proxy.address();
        // The first holds its server, so all that come and go after it get the other one.
        let mut first = connect(address);
        exchange(&mut first);
        for _ in 0..5 {
            let mut next = connect(address);
            exchange(&mut next);
            next.shutdown(Shutdown::Write).unwrap();
            assert_eq!(end_of(&mut next), b"", "{engine}");
        }
        drop(first);
        let served = [one, two].map(|server| {
            server.signal(Signal::TERM);
            server.end().stdout
        });
        assert!(served[0].starts_with("served connections=1 "), "{engine}: {served:?}");
        assert!(served[1].starts_with("served connections=5 "), "{engine}: {served:?}");
    }
}

#[test]
fn netcat_gets_its_bytes_back_after_it_has_ended_its_side() {
    if !has_client("nc") {
        return;
    }
    let text = "over and over\n".repeat(20_000);
    for engine in engines() {
        let (_echo, server) = start("echo", &engine, "127.0.0.1:0");
        let proxy = proxy(&engine, &[server], NO_CHECKS);
        let port = proxy.address().port().to_string();
        let netcat = client(Command::new("nc").args(["-N", "127.0.0.1", &port]), text.as_bytes());
        assert!(netcat.status.success() && netcat.stdout == text, "{engine}: {} bytes", netcat.stdout.len());
    }
}

#[test]
fn who_does_not_read_is_not_read_from_and_loses_nothing() {
    if !has_client("python3") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/pressure.py");
    for engine in engines() {
        let (_echo, server) = start("echo", &engine, "127.0.0.1:0");
        let proxy = proxy(&engine, &[server], NO_CHECKS);
        let port = proxy.address().port().to_string();
        let python = client(Command::new("python3").args([script, &port]), b"");
        assert!(python.status.success() && python.stdout == "all is well\n", "{engine}: {python:?}");
    }
}

#[test]
fn a_server_that_is_not_there_costs_no_client_anything() {
    let label = Label::start_anywhere("a");
    for engine in engines() {
        let gone = nowhere();
        let proxy = proxy(&engine, &[gone, label.address, nowhere()], &format!("--fall 1000 {NO_CHECKS}"));
        let address = proxy.address();
        assert!((0..20).all(|_| ask(address, "") == "a"), "{engine}");
    }
}

#[test]
fn a_silent_connection_is_closed() {
    for engine in engines() {
        let (_echo, server) = start("echo", &engine, "127.0.0.1:0");
        let proxy = proxy(&engine, &[server], &format!("--idle-timeout 0.2 {NO_CHECKS}"));
        let mut client = connect(proxy.address());
        exchange(&mut client);
        // By a reset: nobody has said that this was all.
        let end = client.read(&mut [0]).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::ConnectionReset, "{engine}");
    }
}

#[test]
fn no_request_is_lost_when_a_server_is_killed_and_started_again() {
    const CLIENTS: u64 = 4;
    for engine in engines() {
        let (one, at_one) = start("http", &engine, "127.0.0.1:0");
        let (_two, at_two) = start("http", &engine, "127.0.0.1:0");
        let proxy = proxy(&engine, &[at_one, at_two], &format!("--http {QUICK_CHECKS}"));
        let url = format!("http://{}/plaintext", proxy.address());
        let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let some_answers = || {
            let (enough, deadline) = (answered.load(Ordering::Relaxed) + 10 * CLIENTS, Instant::now() + PATIENCE);
            while answered.load(Ordering::Relaxed) < enough {
                assert!(Instant::now() < deadline, "{engine}: nobody is answered");
                thread::sleep(Duration::from_millis(1));
            }
        };
        thread::scope(|scope| {
            let clients = [(); CLIENTS as usize].map(|()| {
                scope.spawn(|| {
                    let agent: ureq::Agent =
                        ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
                    while !is_over.load(Ordering::Relaxed) {
                        let mut answer = agent.get(&url).call()?;
                        assert_eq!(answer.body_mut().read_to_string()?, "Hello, World!");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, ureq::Error>(())
                })
            });
            some_answers();
            one.signal(Signal::KILL);
            drop(one.end());
            event(&proxy, at_one, "out");
            some_answers();
            let (one, _) = start("http", &engine, &at_one.to_string());
            event(&proxy, at_one, "back");
            some_answers();
            is_over.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().unwrap().unwrap_or_else(|error| panic!("{engine}: a request was lost: {error}"));
            }
            one.signal(Signal::TERM);
            let counts = one.end().stdout;
            assert!(!counts.starts_with("served connections=0 "), "{engine}: it is back and gets nothing: {counts}");
        });
    }
}

#[test]
fn curl_and_python_see_each_other_and_not_what_is_between_neighbours() {
    if !has_client("python3") || !has_client("curl") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/server.py");
    let server = Demos::run(Command::new("python3").arg(script));
    let server_address: SocketAddr = format!("127.0.0.1:{}", server.first_line()).parse().unwrap();
    for engine in engines() {
        let proxy = proxy(&engine, &[server_address], &format!("--http {NO_CHECKS}"));
        let url = format!("http://{}/a?b=c", proxy.address());
        let headers = ["X-Forwarded-For: 192.0.2.1", "Connection: X-Secret", "X-Secret: 1", "TE: trailers", "X-Own: 2"];
        let mut curl = Command::new("curl");
        curl.args(["-s", "-i", &url, &url]).args(headers.iter().flat_map(|header| ["-H", header]));
        let curl = client(&mut curl, b"");
        assert!(curl.status.success(), "{engine}: {curl:?}");
        for hidden in ["Keep-Alive", "X-Private", "Connection:"] {
            assert!(!curl.stdout.contains(hidden), "{engine}: {hidden} in {}", curl.stdout);
        }
        let bodies: Vec<_> =
            curl.stdout.lines().filter_map(|line| line.find("{\"line\"").map(|at| &line[at..])).collect();
        assert_eq!(bodies.len(), 2, "{engine}: {curl:?}");
        for body in bodies {
            // The second answer's status line follows the first body at once.
            let mut values = serde_json::Deserializer::from_str(body).into_iter::<serde_json::Value>();
            let seen = values.next().unwrap().unwrap();
            assert_eq!(seen["line"], "GET /a?b=c HTTP/1.1", "{engine}");
            let names: Vec<_> =
                seen["headers"].as_array().unwrap().iter().map(|header| header[0].as_str().unwrap()).collect();
            assert_eq!(names, ["Host", "User-Agent", "Accept", "X-Own", "X-Forwarded-For", "Via"], "{engine}");
            assert_eq!(seen["headers"][4][1], "192.0.2.1, 127.0.0.1", "{engine}");
        }
    }
}

#[test]
fn what_can_be_read_in_two_ways_reaches_no_server() {
    let requests = [
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
        "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: host\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\r\n X: folded\r\n\r\n",
    ];
    for engine in engines() {
        let (server, address) = start("http", &engine, "127.0.0.1:0");
        let proxy = proxy(&engine, &[address], &format!("--http {NO_CHECKS}"));
        let front = proxy.address();
        for request in requests {
            let answer = ask(front, request);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{engine}: {request:?} was answered {answer:?}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{engine}: {request:?} was answered {answer:?}");
        }
        server.signal(Signal::TERM);
        assert!(server.end().stdout.starts_with("served connections=0 "), "{engine}");
    }
}

#[test]
fn who_gets_no_answer_is_told_why() {
    // It accepts, by way of the backlog, and never says anything.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    for engine in engines() {
        let gone = nowhere();
        let front = proxy(&engine, &[gone], &format!("--http {NO_CHECKS}"));
        let address = front.address();
        // It is tried also when it is out, because there is no other.
        for _ in 0..3 {
            let answer = ask(address, &get("/"));
            assert!(answer.starts_with("HTTP/1.1 502 "), "{engine}: {answer}");
        }
        event(&front, gone, "out");
        let options = format!("--http --response-timeout 0.1 {NO_CHECKS}");
        let front = proxy(&engine, &[mute.local_addr().unwrap()], &options);
        let answer = ask(front.address(), &get("/"));
        assert!(answer.starts_with("HTTP/1.1 504 "), "{engine}: {answer}");
    }
}

#[test]
fn a_full_server_gets_no_more() {
    for engine in engines() {
        let (_server, server) = start("http", &engine, "127.0.0.1:0");
        let proxy = proxy(&engine, &[server], &format!("--http --max-per-server 1 {NO_CHECKS}"));
        let address = proxy.address();
        let mut first = connect(address);
        first.write_all(get("/sleep?ms=300").as_bytes()).unwrap();
        let full = std::iter::repeat_with(|| ask(address, &get("/plaintext")));
        let refused = full.take(1000).find(|answer| !answer.starts_with("HTTP/1.1 200 ")).expect("it is full");
        assert!(refused.starts_with("HTTP/1.1 503 "), "{engine}: {refused}");
        assert!(String::from_utf8(end_of(&mut first)).unwrap().starts_with("HTTP/1.1 200 "), "{engine}");
        assert!(ask(address, &get("/plaintext")).starts_with("HTTP/1.1 200 "), "{engine}");
    }
}

#[test]
fn draining_lets_those_finish_who_are_here() {
    for engine in engines() {
        let (_server, server) = start("http", &engine, "127.0.0.1:0");
        let front = proxy(&engine, &[server], &format!("--http --grace 20 {NO_CHECKS}"));
        let address = front.address();
        let mut idle = connect(address);
        idle.write_all(b"GET /plaintext HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200", "{engine}");
        let mut busy = connect(address);
        busy.write_all(b"GET /sleep?ms=300 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        // It has been passed on when another one that came later has been answered.
        assert!(ask(address, &get("/plaintext")).starts_with("HTTP/1.1 200 "), "{engine}");
        front.signal(Signal::TERM);
        wait_until_closed(address);
        end_of(&mut idle);
        let answer = String::from_utf8(end_of(&mut busy)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("slept 300 ms\n"), "{engine}: {answer}");
        let ended = front.end();
        assert!(ended.status.success() && ended.stdout.contains(" cut=0 "), "{engine}: {ended:?}");
    }
}

#[test]
fn draining_moves_bytes_until_both_sides_are_done_or_the_grace_period_is() {
    for engine in engines() {
        let (_echo, server) = start("echo", &engine, "127.0.0.1:0");
        for (grace, cut) in [("20", 0), ("0.2", 1)] {
            let front = proxy(&engine, &[server], &format!("--grace {grace} {NO_CHECKS}"));
            let address = front.address();
            let mut client = connect(address);
            exchange(&mut client);
            front.signal(Signal::TERM);
            wait_until_closed(address);
            if cut == 0 {
                exchange(&mut client);
                client.shutdown(Shutdown::Write).unwrap();
            }
            let rest = client.read(&mut [0; 1]);
            let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
            assert!(
                rest.as_ref().is_ok_and(|count| *count == 0) || rest.is_err_and(|error| is_reset(&error)),
                "{engine}"
            );
            let ended = front.end();
            assert!(ended.stdout.contains(&format!(" cut={cut} ")), "{engine}: {ended:?}");
        }
    }
}

#[test]
fn it_is_compared_with_what_is_installed() {
    let ended = demos("proxy --compare --seconds 0.5");
    assert!(ended.status.success(), "{ended:?}");
    let rows: Vec<_> = ended.stdout.lines().filter(|line| line.contains("HTTP: ") || line.contains("TCP: ")).collect();
    for engine in engines() {
        assert_eq!(rows.iter().filter(|row| row.contains(&engine)).count(), 2, "{}", ended.stdout);
    }
    for (rival, kinds) in [("nginx", 1), ("haproxy", 2)] {
        let is_missing = ended.stdout.contains(&format!("{rival} is not installed"));
        let count = rows.iter().filter(|row| row.contains(rival)).count();
        assert_eq!(count, if is_missing { 0 } else { kinds }, "{}", ended.stdout);
    }
    admits_its_build(&ended.stdout);
}
