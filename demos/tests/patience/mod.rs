//! Goal: a peer that takes its bytes slowly is served to the end, and a peer that is gone or silent gives its place back.
//! Method: the built binary; a reader of 20 MB that takes 80 kB a second at first; the timers that the kernel keeps for a
//! connection; servers with room for two, and clients that say nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::exchange;
use crate::process::{Demos, PATIENCE, connect, engines};

fn end(what: &str, server: Demos) {
    server.signal(Signal::TERM);
    let ended = server.end();
    assert!(ended.status.success(), "{what}: {ended:?}");
}

/// The kernel reports room in a large buffer only when a third of it is free. A server that waits for that takes a slow
/// reader for one that takes nothing.
#[test]
fn a_slow_reader_gets_all_of_a_file_through_a_short_patience() {
    const SIZE: usize = 20_000_000;
    let root = std::env::temp_dir().join(format!("demos-patience-{:016x}", fastrand::u64(..)));
    fs::create_dir(&root).unwrap();
    fs::File::create(root.join("large")).unwrap().set_len(SIZE as u64).unwrap();
    let readers: Vec<_> = engines()
        .into_iter()
        .map(|engine| {
            let options = format!("--on {engine} --listen 127.0.0.1:0 --root {} --stall-timeout 4", root.display());
            thread::spawn(move || {
                let server = Demos::start(&format!("http {options}"));
                let mut client = connect(server.address());
                let request = b"GET /files/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                client.write_all(request).unwrap();
                let (mut received, mut piece) = (0, vec![0; 40_000]);
                for _ in 0..20 {
                    thread::sleep(Duration::from_millis(500));
                    client.read_exact(&mut piece).unwrap();
                    received += piece.len();
                }
                received += client.read_to_end(&mut Vec::new()).unwrap_or_else(|error| panic!("{engine}: {error}"));
                assert!(received > SIZE, "{engine}: only {received} bytes");
                end(&engine, server);
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    fs::remove_dir_all(&root).unwrap();
}

/// The kernel asks whether the peer of an idle connection is there. It says so in /proc: timer 2.
#[test]
fn a_machine_that_is_gone_is_noticed_by_every_server() {
    let folder = std::env::temp_dir();
    let files = format!("files receive --folder {}", folder.display());
    // It says nothing, and so the proxy's client has nothing to read.
    let behind = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("proxy --to {}", behind.local_addr().unwrap());
    let on_engines = ["echo", "chat", "http", "rpc serve", "framing serve --codec prefix", &files, &proxy];
    let of_runtimes =
        on_engines.iter().flat_map(|server| engines().into_iter().map(move |on| format!("{server} --on {on}")));
    let of_rungs = ["blocking", "threads", "poll", "epoll-edge"].map(|rung| format!("models serve {rung}"));
    for server in of_runtimes.chain(of_rungs) {
        let process = Demos::start(&format!("{server} --listen 127.0.0.1:0"));
        let address = process.address();
        let client = connect(address);
        let deadline = Instant::now() + PATIENCE;
        while timer(address, client.local_addr().unwrap()) != Some(2) {
            assert!(Instant::now() < deadline, "{server}: the kernel does not ask for the peer");
            thread::sleep(Duration::from_millis(10));
        }
        drop(client);
        end(&server, process);
    }
}

/// The timer that runs for this connection.
fn timer(server: SocketAddr, client: SocketAddr) -> Option<u8> {
    let number = |word: &str| u16::from_str_radix(word.split(':').nth(1)?, 16).ok();
    fs::read_to_string("/proc/net/tcp").unwrap().lines().skip(1).find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let is_it = number(words[1]) == Some(server.port()) && number(words[2]) == Some(client.port());
        is_it.then(|| words[5].split(':').next()?.parse().ok())?
    })
}

#[test]
fn clients_that_say_nothing_give_their_places_back() {
    for engine in engines() {
        for (server, question, answer) in [
            ("framing serve --codec delimiter", &b"abc\n"[..], &b"cba\n"[..]),
            ("rpc serve", b"\0\0\0\x2b{\"call\":1,\"method\":\"No.No\",\"arguments\":{}} ", b"\0\0"),
        ] {
            let what = format!("{engine}, {server}");
            let options = format!("--on {engine} --listen 127.0.0.1:0 --max-connections 2 --idle-timeout 0.5");
            let process = Demos::start(&format!("{server} {options}"));
            let address = process.address();
            let mut silent: Vec<TcpStream> = (0..2).map(|_| connect(address)).collect();
            let mut polite = connect(address);
            polite.write_all(question).unwrap();
            let mut heard = vec![0; answer.len()];
            polite.read_exact(&mut heard).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(heard, answer, "{what}");
            for client in &mut silent {
                assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "{what}");
            }
            end(&what, process);
        }
    }
}

/// An echo is no question. Without this rule two servers would answer each other for ever.
#[test]
fn a_udp_server_does_not_talk_to_an_echo() {
    let rung = std::iter::once("models serve sigio".to_owned());
    for server in engines().into_iter().map(|engine| format!("udp serve --on {engine}")).chain(rung) {
        let process = Demos::start(&format!("{server} --listen 127.0.0.1:0"));
        let (address, echo) = (process.address(), UdpSocket::bind("127.0.0.1:0").unwrap());
        echo.connect(address).unwrap();
        echo.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut datagram = [0; 64];
        echo.send(b"HELLO").unwrap();
        let mut rounds = 0;
        while rounds < 100 {
            let count = echo.recv(&mut datagram).unwrap();
            if datagram[..count] == *b"ANOTHER" {
                break;
            }
            rounds += 1;
            echo.send(&datagram[..count]).unwrap();
            // After each echo a question of its own, once the echoes are over.
            if rounds >= 17 {
                echo.send(b"ANOTHER").unwrap();
            }
        }
        assert!(rounds <= 18, "{server}: {rounds} echoes were answered");
        if !server.starts_with("udp") {
            exchange(&mut connect(address));
        }
        end(&server, process);
    }
}
