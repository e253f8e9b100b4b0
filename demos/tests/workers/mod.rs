//! Goal: with `--workers` a server is one server: one port, one line that says where, one stop, one
//! summary that adds up.
//! Method: the built binary with three workers, more than many machines have cores, real signals, real
//! connections, on every engine that runs here.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::process::{self, BODY, Demos, Ended, ask_for_long, connect, demos, engines};
use rustix::process::Signal;

const WORKERS: usize = 3;
/// So many that they all end up with one worker once in 3^59 times.
const CONNECTIONS: usize = 60;

fn start(service: &str, engine: &str, address: SocketAddr) -> Demos {
    Demos::start(&format!("{service} --on {engine} --workers {WORKERS} --listen {address} --grace 20"))
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Connections that have all been answered.
fn open(address: SocketAddr, number: usize) -> Vec<TcpStream> {
    let mut streams: Vec<_> = (0..number).map(|_| connect(address)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        let message = format!("message {number}");
        stream.write_all(message.as_bytes()).unwrap();
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, message.as_bytes());
    }
    streams
}

/// The counters of a line such as `worker=0 core=0 connections=1`, without its first word.
fn counters(line: &str) -> BTreeMap<String, u64> {
    let words = line.split(' ').filter_map(|word| word.split_once('='));
    words.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

/// The counters of each worker and of all, after having checked that they belong together.
fn summary(ended: &Ended) -> (Vec<BTreeMap<String, u64>>, BTreeMap<String, u64>) {
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), WORKERS + 1, "{ended:?}");
    let mut workers: Vec<_> = lines[..WORKERS].iter().map(|line| counters(line)).collect();
    assert!(lines[WORKERS].starts_with("served connections="), "{ended:?}");
    let all = counters(lines[WORKERS]);
    let mut sums = BTreeMap::new();
    for (number, worker) in workers.iter_mut().enumerate() {
        assert_eq!(worker.remove("worker"), Some(number as u64), "{ended:?}");
        assert!(worker.remove("core").is_some(), "{ended:?}");
        worker.iter().for_each(|(name, value)| *sums.entry(name.clone()).or_default() += value);
    }
    assert_eq!(sums, all, "{ended:?}");
    (workers, all)
}

#[test]
fn all_connections_are_served_and_counted_once() {
    for engine in engines() {
        let server = start("echo", &engine, any_port());
        let mut streams = open(server.address(), CONNECTIONS);
        server.signal(Signal::TERM);
        for stream in &mut streams {
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "{engine}: the stream ends, and not by a reset");
        }
        let (workers, all) = summary(&server.end());
        assert_eq!((all["connections"], all["cut"]), (CONNECTIONS as u64, 0), "{engine}");
        assert_eq!(all["tasks_spawned"], CONNECTIONS as u64, "{engine}");
        let busy = workers.iter().filter(|worker| worker["connections"] > 0).count();
        assert!(busy > 1, "{engine}: one worker got all: {workers:?}");
    }
}

#[test]
fn running_requests_are_answered_before_the_end() {
    const REQUESTS: usize = 20;
    for engine in engines() {
        let server = start("http", &engine, any_port());
        let address = server.address();
        let mut clients: Vec<_> = (0..REQUESTS).map(|_| connect(address)).collect();
        clients.iter_mut().for_each(ask_for_long);
        server.signal(Signal::INT);
        for client in &mut clients {
            client.write_all(BODY.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{engine}: {answer}");
        }
        let (_, all) = summary(&server.end());
        assert_eq!((all["connections"], all["cut"]), (REQUESTS as u64, 0), "{engine}");
    }
}

#[test]
fn a_second_signal_ends_all_at_once() {
    for engine in engines() {
        let mut server = start("http", &engine, any_port());
        let mut client = connect(server.address());
        client.write_all(b"GET /sleep?ms=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        server.signal(Signal::TERM);
        assert!(server.runs_for(Duration::from_millis(200)), "{engine}: it did not wait");
        server.signal(Signal::TERM);
        assert_eq!(server.end().status.code(), Some(143), "{engine}");
    }
}

#[test]
fn it_names_its_address_once() {
    for engine in engines() {
        let server = start("http", &engine, SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)));
        let line = server.first_line();
        assert!(line.starts_with("listening on [::1]:") && line.ends_with(&format!(" ({engine})")), "{line}");
        server.signal(Signal::TERM);
        let (workers, _) = summary(&server.end());
        assert!(workers.iter().all(|worker| worker["connections"] == 0));
    }
}

#[test]
fn no_second_server_gets_onto_its_port() {
    for engine in engines() {
        let several = start("echo", &engine, any_port());
        let one = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0"));
        let addresses = [several.address(), one.address()];
        for (address, workers) in addresses.into_iter().flat_map(|address| [(address, 1), (address, WORKERS)]) {
            let ended = demos(&format!("echo --on {engine} --workers {workers} --listen {address}"));
            assert_eq!(ended.status.code(), Some(1), "{ended:?}");
            assert_eq!(ended.stdout, "", "{ended:?}");
            for word in [&address.to_string()[..], "in use", "--listen"] {
                assert!(ended.stderr.contains(word), "{word} is missing: {ended:?}");
            }
        }
    }
}

#[test]
fn of_servers_started_at_the_same_time_one_gets_the_port() {
    for engine in engines() {
        let server = start("echo", &engine, any_port());
        let address = server.address();
        server.signal(Signal::TERM);
        summary(&server.end());
        let servers: Vec<_> = (0..4).map(|_| start("echo", &engine, address)).collect();
        // The others give up within a fraction of a second.
        let winners = servers.iter().filter(|server| server.says_something()).count();
        assert_eq!(winners, 1, "{engine}");
    }
}

#[test]
fn killed_it_can_be_started_again_on_its_port() {
    for engine in engines() {
        let mut address = any_port();
        for _ in 0..5 {
            let server = start("echo", &engine, address);
            address = server.address();
            let streams = open(address, 5);
            server.signal(Signal::KILL);
            assert!(!server.end().status.success());
            drop(streams);
        }
    }
}

#[test]
fn the_limit_of_connections_is_shared() {
    for engine in engines() {
        let options =
            format!("echo --on {engine} --workers {WORKERS} --max-connections {WORKERS} --listen 127.0.0.1:0");
        let server = Demos::start(&options);
        let address = server.address();
        let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(address)).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(b"hello").unwrap());
        streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
        let mut newly_served = || {
            let counts = streams.iter_mut().map(|stream| match stream.read(&mut [0; 8]) {
                Ok(count) => usize::from(count == 5),
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => panic!("{engine}: {error}"),
            });
            counts.sum::<usize>()
        };
        // One each. That a worker gets no connection at all happens once in 10^10 times.
        let (start, mut served) = (Instant::now(), 0);
        while served < WORKERS {
            assert!(start.elapsed() < process::PATIENCE, "{engine}: {served}");
            served += newly_served();
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(served + newly_served(), WORKERS, "{engine}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cases = [
        ("echo --workers 0", 2, "give a number from 1 to 1024"),
        ("echo --workers 1025", 2, "give a number from 1 to 1024"),
        ("http --workers all", 2, "give a number from 1 to 1024"),
        ("echo --client 127.0.0.1:1 --workers 2", 2, "cannot be used with"),
        ("echo --on reactor-edge --workers 2 --control --listen 127.0.0.1:0", 1, "--workers 1"),
        ("http --on reactor-edge --workers 2 --listen 0.0.0.0:0", 1, "--allow-remote"),
        ("http --on reactor-edge --workers 2 --listen 127.0.0.1:0 --root /nowhere/at/all", 1, "--root"),
        ("echo --on reactor-edge --workers 2 --listen 192.0.2.1:0 --allow-remote", 1, "--listen"),
    ];
    for (arguments, code, remedy) in cases {
        let ended = demos(arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(remedy), "{arguments}: {ended:?}");
        assert_eq!((&ended.stdout[..], ended.stderr.matches("demos: ").count()), ("", usize::from(code == 1)));
    }
}
