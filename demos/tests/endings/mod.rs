//! Goal: a server that is told to end under load ends in order, and one that is stopped and continued goes on
//! as if nothing had been: no answer is cut off, none is given twice.
//! Method: the built binary, real signals, clients that ask as fast as they can and look at every byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Demos, PATIENCE, connect, engines};

const CLIENTS: usize = 8;
const PLAIN: &str = "/plaintext";
const NAP: &str = "/sleep?ms=20";

/// What a client met.
#[derive(Debug, Default)]
struct Account {
    /// Questions answered in full.
    answered: u64,
    /// Questions to which not one byte came back: the connection, or the server, was gone before they arrived.
    unheard: u64,
}

/// How one question went.
enum Outcome {
    Answered {
        is_last: bool,
    },
    /// Not a byte came back.
    Unheard,
}

/// Asks, and reads one answer to its last byte.
///
/// # Panics
/// If the answer is cut off, or another.
fn ask(stream: &mut TcpStream, path: &str, closes: bool) -> Outcome {
    let connection = if closes { "close" } else { "keep-alive" };
    let question = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
    let ending = if path == PLAIN { "Hello, World!" } else { "slept 20 ms\n" };
    if stream.write_all(question.as_bytes()).is_err() {
        return Outcome::Unheard;
    }
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(ending.as_bytes()) {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => answer.extend_from_slice(&buffer[..count]),
            Ok(0) | Err(_) if answer.is_empty() => return Outcome::Unheard,
            end => panic!("an answer is cut off by {end:?}: {}", String::from_utf8_lossy(&answer)),
        }
    }
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    Outcome::Answered { is_last: answer.contains("\r\nConnection: close\r\n") }
}

/// Asks on one connection until it ends.
fn ask_until_the_end(address: SocketAddr, path: &str) -> Account {
    let (mut stream, mut account) = (connect(address), Account::default());
    loop {
        match ask(&mut stream, path, false) {
            Outcome::Answered { is_last } => {
                account.answered += 1;
                if is_last {
                    assert_eq!(stream.read(&mut [0; 1]).expect("an orderly end"), 0);
                    return account;
                }
            }
            Outcome::Unheard => {
                account.unheard += 1;
                return account;
            }
        }
    }
}

/// Asks on a new connection each time until there is no server.
fn come_until_the_end(address: SocketAddr) -> Account {
    let mut account = Account::default();
    loop {
        let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return account,
            // Reset in the queue, by the end of the listener.
            Err(_) => continue,
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        match ask(&mut stream, PLAIN, true) {
            Outcome::Answered { .. } => account.answered += 1,
            Outcome::Unheard => account.unheard += 1,
        }
    }
}

#[test]
fn under_load_a_signal_cuts_no_answer_off() {
    for engine in engines() {
        for workers in [1, 2] {
            let server =
                Demos::start(&format!("http --on {engine} --workers {workers} --listen 127.0.0.1:0 --grace 60"));
            let address = server.address();
            let (accounts, took) = thread::scope(|scope| {
                let at_work = (0..CLIENTS).map(|number| {
                    let path = if number % 2 == 0 { PLAIN } else { NAP };
                    scope.spawn(move || ask_until_the_end(address, path))
                });
                let coming = (0..2).map(|_| scope.spawn(move || come_until_the_end(address)));
                let clients: Vec<_> = at_work.chain(coming).collect();
                thread::sleep(Duration::from_millis(150));
                let told = Instant::now();
                server.signal(Signal::TERM);
                let accounts: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
                (accounts, told.elapsed())
            });
            let ended = server.end();
            assert!(ended.status.success() && ended.stderr.is_empty(), "{engine}: {ended:?}");
            assert!(ended.stdout.contains(" cut=0 "), "{engine}: {ended:?}");
            assert!(took < Duration::from_secs(60), "{engine}: it waited for the grace period");
            let answered: u64 = accounts.iter().map(|account| account.answered).sum();
            let unheard: u64 = accounts.iter().map(|account| account.unheard).sum();
            assert!(answered > 0, "{engine}: {accounts:?}");
            println!("{engine}, {workers} workers: {answered} answered, {unheard} unheard, ended in {took:?}");
        }
    }
}

#[test]
fn whoever_is_stopped_and_continued_loses_nothing() {
    for engine in engines() {
        let server = Demos::start(&format!("http --on {engine} --listen 127.0.0.1:0"));
        let address = server.address();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                let is_over = &is_over;
                scope.spawn(move || {
                    let path = if number % 2 == 0 { PLAIN } else { NAP };
                    let mut stream = connect(address);
                    while !is_over.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        let outcome = ask(&mut stream, path, false);
                        assert!(matches!(outcome, Outcome::Answered { is_last: false }));
                        assert!(path == PLAIN || asked.elapsed() >= Duration::from_millis(20), "a timer was early");
                    }
                });
            }
            for _ in 0..10 {
                server.signal(Signal::STOP);
                thread::sleep(Duration::from_millis(30));
                server.signal(Signal::CONT);
                thread::sleep(Duration::from_millis(10));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        server.signal(Signal::TERM);
        let ended = server.end();
        assert!(ended.status.success() && ended.stdout.contains(" cut=0 "), "{engine}: {ended:?}");
    }
}

#[test]
fn the_end_of_the_terminal_is_an_orderly_end() {
    let rungs = ["threads", "processes", "epoll-edge"].map(|rung| format!("models serve {rung}"));
    let servers = engines().into_iter().map(|engine| format!("http --on {engine}")).chain(rungs);
    for server in servers {
        let running = Demos::start(&format!("{server} --listen 127.0.0.1:0"));
        let _address = running.address();
        running.signal(Signal::HUP);
        let ended = running.end();
        assert!(ended.status.success() && ended.stdout.starts_with("served "), "{server}: {ended:?}");
    }
}

#[test]
fn what_the_starter_ignores_stays_ignored() {
    for server in ["echo --on reactor-edge", "udp serve", "models serve threads"] {
        // As nohup does, and a shell for what runs in the background.
        let mut running = Demos::start_after("trap '' HUP INT", &format!("{server} --listen 127.0.0.1:0"));
        let _address = running.address();
        running.signal(Signal::HUP);
        running.signal(Signal::INT);
        assert!(running.runs_for(Duration::from_millis(300)), "{server}");
        running.signal(Signal::TERM);
        let ended = running.end();
        assert!(ended.status.success(), "{server}: {ended:?}");
    }
}

#[test]
fn a_starter_that_ignores_the_end_of_children_does_no_harm() {
    for command in ["compare --seconds 1", "models --only threads --seconds 1", "ipc --way pipe --seconds 0.5"] {
        let ended = Demos::start_after("trap '' CHLD", command).end();
        assert!(ended.status.success() && !ended.stdout.is_empty(), "{command}: {ended:?}");
    }
}
