//! Goal: every rung of the ladder is the same echo server and the same web server to its clients, keeps to its limits,
//! and ends without a trace; the comparison shows them all.
//! Method: the built binary, rung by rung, with clients that nobody here wrote (nc, curl, python's sockets) where they are
//! installed, and hostile ones of our own.

mod comparison;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::process::{Demos, Ended, PATIENCE, client, connect, demos, has_client};
use crate::{end_of, exchange};

/// Rungs that serve clients one by one, or by threads that are bounded: others wait there.
const WAITING: [&str; 5] = ["blocking", "pool", "reactor-level", "reactor-edge", "proactor"];

/// So many clients at once, each of which sends in pieces, says that it has said all, and reads to the end.
const PYTHON: &str = "
import socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
peers = [socket.create_connection(('127.0.0.1', port), 30) for _ in range(count)]
for piece in range(5):
    for number, peer in enumerate(peers):
        peer.sendall(b'%d:%d;' % (number, piece))
for number, peer in enumerate(peers):
    peer.shutdown(socket.SHUT_WR)
    wanted = b''.join(b'%d:%d;' % (number, piece) for piece in range(5))
    got = b''
    while chunk := peer.recv(3):
        got += chunk
    assert got == wanted, (number, got)
print('all', count)
";

/// The rungs that run here: the ladder as `demos models list` tells it.
fn rungs() -> Vec<String> {
    let list = demos("models list").stdout;
    let lines: Vec<_> = list.lines().collect();
    let is_there = |place: &usize| lines.get(place + 1).is_none_or(|next| !next.contains("not here"));
    let rung = |place: usize| Some((place, lines[place].split_whitespace().nth(1)?.to_owned()));
    let rungs = (0..lines.len()).filter(|place| !lines[*place].contains("not here")).filter(is_there).filter_map(rung);
    rungs.map(|(_, name)| name).collect()
}

fn start(rung: &str, options: &str) -> Demos {
    Demos::start(&format!("models serve {rung} --listen 127.0.0.1:0 {options}"))
}

/// Ends it, and sees that it says what it did, and that its children have ended, too.
fn end(rung: &str, server: Demos, signal: Signal) -> Ended {
    let children = children(server.id());
    server.signal(signal);
    let ended = server.end();
    assert!(ended.status.success() && ended.stdout.starts_with("served connections="), "{rung}: {ended:?}");
    for child in children {
        assert!(!Path::new(&format!("/proc/{child}")).exists(), "{rung} leaves the process {child}");
    }
    ended
}

fn children(process: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_ladder_is_complete_and_its_files_are_there() {
    let list = demos("models list").stdout;
    let lines: Vec<_> = list.lines().filter(|line| !line.contains("not here")).collect();
    assert_eq!(lines.len(), 17, "{list}");
    for line in lines {
        let file = line.split_whitespace().last().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file).is_file(), "{line}");
    }
}

#[test]
fn every_rung_echoes_to_netcat_and_python_and_ends_while_clients_are_connected() {
    let (has_netcat, has_python) = (has_client("nc"), has_client("python3"));
    for (place, rung) in rungs().iter().enumerate() {
        let server = start(rung, "");
        let address = server.address();
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        if has_netcat {
            // -N: the end of its stdin ends its side of the connection.
            let netcat = client(Command::new("nc").args(["-N", &ip, &port]), b"one\ntwo\n");
            assert!(netcat.status.success() && netcat.stdout == "one\ntwo\n", "{rung}: {netcat:?}");
        }
        if has_python {
            let count = match &rung[..] {
                "blocking" => "1",
                // As many as it has threads: more could come faster than threads take them out of the queue.
                "pool" => "64",
                _ => "100",
            };
            let python = client(Command::new("python3").args(["-c", PYTHON, &port, count]), b"");
            assert_eq!(python.stdout, format!("all {count}\n"), "{rung}: {python:?}");
        }
        let mut talking = connect(address);
        exchange(&mut talking);
        let silent = connect(address);
        let signal = [Signal::INT, Signal::TERM][place % 2];
        assert_eq!(children(server.id()).is_empty(), rung != "processes", "{rung}");
        end(rung, server, signal);
        assert_eq!(end_of(&mut talking), b"", "{rung}");
        drop(silent);
    }
}

/// A signal may meet a child before it has become its own process in all respects.
#[test]
fn children_end_even_if_they_have_just_begun() {
    for _ in 0..30 {
        let server = start("processes", "");
        let address = server.address();
        exchange(&mut connect(address));
        let _silent = [connect(address), connect(address), connect(address)];
        server.signal(Signal::TERM);
        let ended = server.end();
        assert!(ended.status.success() && ended.stdout.starts_with("served connections="), "{ended:?}");
    }
}

#[test]
fn every_rung_serves_the_page_to_curl() {
    if !has_client("curl") {
        return;
    }
    for rung in &rungs() {
        let server = Demos::start(&format!("web --on {rung} --listen 127.0.0.1:0"));
        let address = server.address();
        let url = format!("http://{address}/");
        let options = ["--silent", "--show-error", "--max-time", "30"];
        // Two requests on one connection, five times: so that one client is gone when the next comes.
        let pages: String = (0..5)
            .map(|_| {
                let curl = client(Command::new("curl").args(options).args([&url, &url]), b"");
                assert!(curl.status.success(), "{rung}: {curl:?}");
                assert_eq!(curl.stdout.matches(&format!("Served by: <b>{rung}</b>")).count(), 2, "{rung}: {curl:?}");
                curl.stdout
            })
            .collect();
        let mut numbers: Vec<_> = pages.lines().filter(|line| line.contains("random number")).collect();
        assert_eq!(numbers.len(), 10, "{rung}: {pages}");
        numbers.dedup();
        assert!(numbers.len() > 1, "{rung}: {numbers:?}");
        let head = client(Command::new("curl").args(options).args(["--head", &url]), b"");
        assert!(head.stdout.contains("200 OK") && !head.stdout.contains("<html"), "{rung}: {head:?}");
        let post = client(Command::new("curl").args(options).args(["-i", "-d", "x=1", &url]), b"");
        assert!(post.stdout.starts_with("HTTP/1.1 413 "), "{rung}: {post:?}");
        end(rung, server, Signal::TERM);
    }
}

/// Requests that come in single bytes, several at once, and with the end of the stream.
#[test]
fn every_rung_takes_requests_however_they_are_cut() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for rung in &rungs() {
        let server = start(rung, "--service web");
        let address = server.address();
        let mut stream = connect(address);
        stream.set_nodelay(true).unwrap();
        for byte in request.as_bytes() {
            stream.write_all(&[*byte]).unwrap();
        }
        stream.write_all(request.repeat(100).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answers = String::from_utf8(end_of(&mut stream)).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 101, "{rung}");
        assert_eq!(answers.matches("</html>").count(), 101, "{rung}");
        drop(stream);
        // The server ends the conversation when the client asks for that.
        let mut stream = connect(address);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(end_of(&mut stream).ends_with(b"</html>\n"), "{rung}");
        end(rung, server, Signal::TERM);
    }
}

/// Who sends and does not read stops itself, and nobody else; and gets everything in the end.
#[test]
fn a_client_that_does_not_read_holds_up_nobody_else() {
    for rung in &rungs() {
        let server = start(rung, "");
        let address = server.address();
        let mut stuck = connect(address);
        let sent = fill(&mut stuck);
        if rung != "blocking" {
            exchange(&mut connect(address));
        }
        stuck.shutdown(Shutdown::Write).unwrap();
        let received = end_of(&mut stuck);
        assert_eq!(received.len(), sent, "{rung}");
        assert!(received.chunks(BLOCK.len()).all(|chunk| *chunk == BLOCK[..chunk.len()]), "{rung}");
        // One that is stuck for good does not keep a server from ending. (The runtimes give it some time.)
        let mut stuck = connect(address);
        if !WAITING[2..].contains(&&rung[..]) {
            fill(&mut stuck);
        }
        end(rung, server, Signal::TERM);
    }
}

/// What [`fill`] sends, again and again. No two parts of it are alike within a period that is no power of two.
static BLOCK: [u8; 251 * 256] = {
    let mut block = [0; 251 * 256];
    let mut place = 0;
    while place < block.len() {
        block[place] = (place % 251) as u8;
        place += 1;
    }
    block
};

/// Sends until the server stops reading, as its client does not read. Returns how many bytes went out.
fn fill(stream: &mut TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut sent = 0;
    while sent < crate::TOO_MUCH {
        match stream.write(&BLOCK[sent % BLOCK.len()..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                return sent;
            }
        }
    }
    panic!("the server has taken {sent} bytes that nobody reads");
}

#[test]
fn connections_above_the_limit_are_refused_with_the_reason() {
    for rung in rungs().iter().filter(|rung| !WAITING.contains(&&rung[..])) {
        for (service, word) in [("echo", "refused: "), ("web", "HTTP/1.1 503 Service Unavailable\r\n")] {
            let server = start(rung, &format!("--max-connections 2 --service {service}"));
            let address = server.address();
            let mut first = connect(address);
            let second = connect(address);
            let refusal = String::from_utf8(end_of(&mut connect(address))).unwrap();
            assert!(refusal.starts_with(word), "{rung}: {refusal}");
            assert!(refusal.contains(&format!("{rung} serves 2 connections at a time")), "{rung}: {refusal}");
            // A place that has become free is given to the next who comes, as soon as the server knows.
            drop(second);
            let start = Instant::now();
            let mut third = loop {
                let mut third = connect(address);
                third.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                match third.read(&mut [0; 256]) {
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break third,
                    _ => assert!(start.elapsed() < PATIENCE, "{rung}: the place stays taken"),
                }
            };
            if service == "echo" {
                exchange(&mut first);
                third.set_read_timeout(Some(PATIENCE)).unwrap();
                exchange(&mut third);
            }
            let ended = end(rung, server, Signal::TERM);
            assert!(!ended.stdout.contains("refused=0"), "{rung}: {ended:?}");
            assert_eq!(ended.stderr.matches("refused a connection").count(), 1, "{rung}: {ended:?}");
        }
    }
}

#[test]
fn a_blocked_server_leaves_the_second_client_waiting() {
    let server = start("blocking", "");
    let address = server.address();
    let mut first = connect(address);
    exchange(&mut first);
    let mut second = connect(address);
    second.write_all(b"hello").unwrap();
    exchange(&mut first);
    assert!(is_silent(&mut second));
    drop(first);
    let mut answer = [0; 5];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    end("blocking", server, Signal::TERM);
}

#[test]
fn a_pool_serves_as_many_as_it_has_threads_and_lets_as_many_wait() {
    let server = start("pool", "--max-connections 2");
    let address = server.address();
    let mut served = [connect(address), connect(address)];
    served.iter_mut().for_each(exchange);
    let mut waiting = [connect(address), connect(address)];
    let refusal = String::from_utf8(end_of(&mut connect(address))).unwrap();
    assert_eq!(refusal, "refused: 2 clients are served, and 2 wait already\n");
    waiting[0].write_all(b"hello").unwrap();
    assert!(is_silent(&mut waiting[0]));
    drop(served);
    let mut answer = [0; 5];
    waiting[0].read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    exchange(&mut waiting[1]);
    end("pool", server, Signal::TERM);
}

#[test]
fn who_comes_while_a_thread_is_free_is_not_refused_however_many_come_at_once() {
    for _ in 0..20 {
        let server = start("pool", "--max-connections 2");
        let address = server.address();
        let mut clients: Vec<_> = (0..5).map(|_| connect(address)).collect();
        // They are let in in their order.
        let refusal = String::from_utf8(end_of(&mut clients.pop().unwrap())).unwrap();
        assert_eq!(refusal, "refused: 2 clients are served, and 2 wait already\n");
        for mut client in clients {
            exchange(&mut client);
        }
        end("pool", server, Signal::TERM);
    }
}

/// Nothing comes for a moment.
fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let read = stream.read(&mut [0; 8]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn select_refuses_what_it_cannot_see() {
    const CLIENTS: usize = 1_025;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|files| files < 4 * CLIENTS as u64) {
        eprintln!("not tested: so many files may not be open here");
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let server = start("select", "");
    let address = server.address();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(address)).collect();
    let refusal = String::from_utf8(end_of(&mut clients[CLIENTS - 1])).unwrap();
    assert!(
        refusal.starts_with("refused: select(2) sees descriptors 0 to 1023 only, and this one would be "),
        "{refusal}"
    );
    // The first thousand are served all the same.
    clients[..1000].iter_mut().for_each(exchange);
    let ended = end("select", server, Signal::TERM);
    assert!(ended.stderr.contains("refused a connection: select(2)"), "{ended:?}");
}

#[test]
fn signals_announce_datagrams_too() {
    let server = start("sigio", "");
    let address = server.address();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // All are on their way before the first answer is read, so signals queue up.
    let messages: Vec<_> = (0..50).map(|number| format!("datagram {number}")).collect();
    for message in &messages {
        socket.send(message.as_bytes()).unwrap();
    }
    for message in &messages {
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], message.as_bytes());
    }
    end("sigio", server, Signal::TERM);
}

/// With a queue of signals that is always full, the kernel says only that something has happened.
#[test]
fn signals_that_are_lost_are_made_up_for() {
    if !has_client("prlimit") {
        return;
    }
    let prlimit = format!("prlimit --sigpending=0 {}", env!("CARGO_BIN_EXE_demos"));
    let server = Demos::start_with(&prlimit, "models serve sigio --listen 127.0.0.1:0");
    let address = server.address();
    let mut clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
    for _ in 0..5 {
        clients.iter_mut().for_each(exchange);
    }
    end("sigio", server, Signal::TERM);
}

/// The rungs count their own calls; somebody else counts the same.
#[test]
fn the_calls_are_counted_rightly() {
    if !has_client("strace") {
        return;
    }
    for rung in rungs().iter().filter(|rung| !WAITING[2..].contains(&&rung[..])) {
        let trace = std::env::temp_dir().join(format!("demos-models-{}-{rung}", std::process::id()));
        let binary = env!("CARGO_BIN_EXE_demos");
        let script = format!("strace -f -qq -e signal=none -o {} {binary}", trace.display());
        let options = format!("models serve {rung} --listen 127.0.0.1:0");
        let server = Demos::start_with(&script, &options);
        let address = server.address();
        for _ in 0..3 {
            let mut stream = connect(address);
            (0..20).for_each(|_| exchange(&mut stream));
        }
        let process = children(server.id());
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(process[0].parse().unwrap()).unwrap(),
            Signal::TERM,
        )
        .unwrap();
        let ended = server.end();
        let seen = std::fs::read_to_string(&trace).unwrap();
        std::fs::remove_file(&trace).unwrap();
        let counted: BTreeMap<_, _> = ended.stdout.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        // The C library makes some by their newer forms.
        let calls = [
            ("accept4", "accept4"),
            ("recvfrom", "recvfrom"),
            ("sendto", "sendto"),
            ("epoll_pwait", "epoll_pwait"),
            ("epoll_ctl", "epoll_ctl"),
            ("poll", "ppoll"),
            ("select", "pselect6"),
            ("io_uring_enter", "io_uring_enter"),
        ];
        for (call, newer) in calls {
            let own: usize = counted.get(&format!("call.{call}")[..]).map_or(0, |count| count.parse().unwrap());
            // What comes before the first client is not counted: std looks at the standard streams with a poll, the first
            // line and the last one look for room, and the listener and the end have to be watched.
            let before = match call {
                "poll" => 3,
                "epoll_ctl" if own > 0 => 2,
                _ => 0,
            };
            let traced = if call == newer { 0 } else { traced(&seen, newer) } + traced(&seen, call);
            assert_eq!(traced, own + before, "{rung}: {call}: {ended:?}");
        }
    }
}

/// How often a call stands in a trace, without those of the thread that waits for signals, which is the first that the
/// program starts, and without those that a signal had the kernel make anew. (One that ended the process had not.)
fn traced(trace: &str, call: &str) -> usize {
    let lines = trace.lines().filter_map(|line| line.split_once(' ')).map(|(thread, line)| (thread, line.trim_start()));
    // Its number is what the first clone returns.
    let is_clone = |line: &str| line.starts_with("clone") || line.starts_with("<... clone");
    let mut started = lines.clone().filter(|(_, line)| is_clone(line)).filter_map(|(_, line)| line.rsplit_once(" = "));
    let waits_for_signals = started.next().map(|(_, thread)| thread);
    let killed = lines.clone().filter(|(_, line)| line.starts_with("+++ killed")).map(|(thread, _)| thread);
    let killed: BTreeSet<_> = killed.collect();
    let lines = lines.filter(|(thread, _)| Some(*thread) != waits_for_signals);
    // A signal's handler sends one byte to that thread, on whatever thread it runs.
    let lines = lines.filter(|(_, line)| !line.contains("\"X\", 1, "));
    let is_begun = |line: &str| line.strip_prefix(call).is_some_and(|rest| rest.starts_with('('));
    let begun = lines.clone().filter(|(_, line)| is_begun(line)).count();
    let lines = lines.filter(|(thread, _)| !killed.contains(thread)).map(|(_, line)| line);
    let resumed = format!("<... {call} resumed>");
    let is_of_call = |line: &&str| line.starts_with(&format!("{call}(")) || line.starts_with(&resumed);
    begun - lines.filter(is_of_call).filter(|line| line.contains("ERESTARTSYS")).count()
}
