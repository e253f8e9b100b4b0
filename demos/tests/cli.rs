//! Goal: the binary is to its users what its help says: what it prints, what it refuses, how it ends.
//! Method: the built binary in a process of its own, real signals, real connections, on every engine
//! that runs here.

mod bench;
mod blocking;
mod browser;
mod chat;
mod compare;
mod crowd;
mod dht;
mod endings;
mod files;
mod filters;
mod framing;
mod ipc;
mod log;
mod memory;
mod models;
mod patience;
mod process;
mod proxy;
mod queue;
mod rfc;
mod rpc;
mod sandbox;
mod streams;
mod tasks;
mod udp;
mod usage;
mod workers;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use process::{BODY, Demos, ask_for_long, client, connect, demos, engines, has_client, wait_until_closed};
use rustix::process::Signal;

const SERVICES: [&str; 2] = ["echo", "http"];

/// More than the buffers of both sockets hold, so that a server whose client doesn't read is stuck.
const TOO_MUCH: usize = 64 << 20;

/// All of them, and the program itself.
const COMMANDS: &str = "|compare|bench|echo|http|models|models serve|web|udp|udp serve|udp ask|framing|framing serve|files|\
                        files send|files receive|tasks|blocking|queue|ipc|chat|proxy|rpc|rpc serve|rpc call|dht|\
                        dht serve|doctor|completions|man";

#[test]
fn every_command_explains_itself_with_examples() {
    for command in COMMANDS.split('|') {
        let help = demos(&format!("{command} --help"));
        assert!(help.status.success(), "{help:?}");
        assert!(help.stdout.contains("Usage:") && help.stdout.contains("Examples:"), "{help:?}");
        let example = format!("demos {command}");
        assert!(help.stdout.matches(example.trim_end()).count() > 1, "{help:?}");
        assert!(!help.stdout.contains("--control"), "an inner option is shown: {help:?}");
    }
}

#[test]
fn netcat_gets_back_what_it_says() {
    if !has_client("nc") {
        return;
    }
    for engine in engines() {
        let server = Demos::start(&format!("echo --listen 127.0.0.1:0 --on {engine}"));
        let address = server.address();
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        // -N: the end of its stdin ends its side of the connection.
        let netcat = client(Command::new("nc").args(["-N", &ip, &port]), b"one\ntwo\n");
        assert!(netcat.status.success() && netcat.stdout == "one\ntwo\n", "{netcat:?}");
    }
}

#[test]
fn bad_options_are_refused_with_their_remedy() {
    let cases = [
        ("serve", 2, "unrecognized subcommand"),
        ("echo --on kqueue", 2, "reactor-level, reactor-edge, proactor"),
        ("echo --listen 127.0.0.1", 2, "give ADDR:PORT"),
        ("echo --listen 127.0.0.1:65536", 2, "give ADDR:PORT"),
        ("echo --grace soon", 2, "give a number of seconds"),
        ("echo --grace=-1", 2, "give a number of seconds"),
        ("echo --max-connections 0", 2, "not in 1.."),
        ("echo --max-per-address 0", 2, "not in 1.."),
        ("echo --client 127.0.0.1:1 --listen 127.0.0.1:0", 2, "cannot be used with"),
        ("framing serve", 2, "--codec"),
        ("framing serve --codec morse", 2, "none, delimiter, fixed, prefix"),
        ("framing serve --codec fixed --len 0", 2, "--len"),
        ("framing --on reactor-edge serve --codec fixed", 2, "cannot be used with"),
        ("tasks --tasks 1000001", 2, "not in 1..=1000000"),
        ("tasks --html /nowhere/at/all.html", 1, "give a file in a folder that exists"),
        ("blocking --tick 0", 2, "not in 1..=1000"),
        ("queue --capacity 0", 2, "not in 1.."),
        ("queue --json /nowhere/at/all.json", 1, "give a file in a folder that exists"),
        ("framing serve --codec fixed --len 16777217", 2, "from 1 to 16777216"),
        ("chat --queue 0", 2, "not in 1..=10000"),
        ("chat --line 0", 2, "from 1 to 16777216"),
        ("chat --when-full wait", 2, "drop-oldest, close"),
        ("chat --workers 2", 2, "unexpected argument"),
        ("echo --client nowhere", 2, "the port is missing"),
        ("rpc call nowhere Hello.Count", 2, "the port is missing"),
        ("udp ask 127.0.0.1:65536", 2, "a port is a number up to 65535"),
        ("echo --listen 127.0.0.1", 2, "the port is missing"),
        ("http --max-connections none", 2, "invalid value"),
        ("proxy", 2, "--to <HOST:PORT[=WEIGHT]>"),
        ("proxy --to 127.0.0.1:80=0", 2, "weights from 1 to 100"),
        ("proxy --to 127.0.0.1:80 --check-path /", 2, "--http"),
        ("proxy --to 127.0.0.1:80 --check-every 0", 1, "--check-every"),
        ("proxy --compare --to 127.0.0.1:80", 2, "cannot be used with"),
        ("compare --seconds 0s", 2, "give a number of seconds"),
        ("compare --seconds 0", 2, "give more than 0 seconds"),
        ("compare --seconds -3", 2, "give a number of seconds"),
        ("echo --grace -1", 2, "give a number of seconds"),
        ("udp serve --drop -1", 2, "give a number from 0 to 1"),
        ("queue --capacity -1", 2, "-1 is not in 1.."),
        ("http --root /nowhere", 1, "demos: --root: cannot serve files from /nowhere: No such file"),
        ("compare --seconds 3600 --html /nowhere/at/all.html", 1, "give a file in a folder that exists"),
        ("compare --seconds 3600 --json /nowhere/at/all.json", 1, "give a file in a folder that exists"),
        ("echo --on reactor-edge --listen 0.0.0.0:0", 1, "--allow-remote"),
        ("http --on reactor-edge --listen [::]:0", 1, "--allow-remote"),
        ("echo --on reactor-edge --listen 192.0.2.1:0 --allow-remote", 1, "--listen"),
    ];
    for (arguments, code, remedy) in cases {
        let ended = demos(arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(remedy), "{arguments}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments}");
    }
}

#[test]
fn no_line_of_the_help_is_wider_than_a_terminal() {
    for command in COMMANDS.split('|') {
        for help in ["-h", "--help"] {
            let ended = demos(&format!("{command} {help}"));
            let wide = ended.stdout.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{command} {help}");
        }
    }
}

#[test]
fn the_environment_chooses_the_engine_where_the_command_line_does_not() {
    for engine in engines() {
        let server = Demos::start_after(&format!("export DEMOS_ON={engine}"), "echo --listen 127.0.0.1:0");
        assert!(server.first_line().ends_with(&format!("({engine})")), "{engine}");
    }
    let server = Demos::start_after("export DEMOS_ON=proactor", "echo --on reactor-level --listen 127.0.0.1:0");
    assert!(server.first_line().ends_with("(reactor-level)"));
    let refused = Demos::start_after("export DEMOS_ON=epoll", "echo --listen 127.0.0.1:0").end();
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("give one of reactor-level"), "{refused:?}");
}

#[test]
fn more_connections_than_can_be_had_are_said() {
    let server = Demos::start_with_files(100, "echo --on reactor-edge --listen 127.0.0.1:0 --max-connections 50");
    let said = server.complaint();
    let compare = "compare --seconds 0.2 --only echo --connections 64 --on reactor-edge";
    let refused = Demos::start_after("ulimit -n 64", compare).end();
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("ulimit -n 256"), "{refused:?}");
    let measured = Demos::start_after("ulimit -n 256", compare).end();
    assert!(measured.status.success(), "{measured:?}");
    assert_eq!(said, "demos: 36 connections at the same time, and not 50: 100 files may be open (ulimit -n)");
}

#[test]
fn a_port_in_use_is_named_and_the_way_out_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for engine in engines() {
        let ended = demos(&format!("echo --on {engine} --listen {address}"));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        for word in [&address.to_string()[..], "in use", "--listen"] {
            assert!(ended.stderr.contains(word), "{word} is missing: {ended:?}");
        }
    }
}

#[test]
fn a_server_that_was_killed_can_be_started_again_on_its_port() {
    for engine in engines() {
        let mut address = "127.0.0.1:0".parse().unwrap();
        for _ in 0..20 {
            let server = Demos::start(&format!("echo --on {engine} --listen {address}"));
            address = server.address();
            let mut client = connect(address);
            exchange(&mut client);
            server.signal(Signal::KILL);
            assert_eq!(server.end().status.signal(), Some(Signal::KILL.as_raw()));
        }
    }
}

#[test]
fn other_machines_are_let_in_when_allowed() {
    let server = Demos::start("echo --on reactor-edge --listen 0.0.0.0:0 --allow-remote");
    assert!(server.first_line().starts_with("listening on 0.0.0.0:"));
}

#[test]
fn a_server_names_its_address_and_its_engine() {
    for engine in engines() {
        for service in SERVICES {
            let server = Demos::start(&format!("{service} --on {engine} --listen [::1]:0"));
            let line = server.first_line();
            assert!(line.starts_with("listening on [::1]:"), "{line}");
            assert!(line.ends_with(&format!(" ({engine})")), "{line}");
        }
    }
}

#[test]
fn an_idle_server_ends_at_once_on_either_signal() {
    for (engine, service, signal) in on_every_engine_service_and_signal() {
        let mut server = Demos::start(&format!("{service} --on {engine} --listen 127.0.0.1:0 --grace 60"));
        let mut idle = connect(server.address());
        assert!(server.runs_for(Duration::from_millis(50)), "{engine} {service}");
        server.signal(signal);
        assert_eq!(end_of(&mut idle), b"", "{engine} {service}");
        // It does not wait for the grace period: that is longer than this waits.
        let ended = server.end();
        assert!(ended.status.success(), "{engine} {service}: {ended:?}");
        assert!(ended.stdout.starts_with("served connections=1 cut=0 "), "{engine} {service}: {ended:?}");
        assert_eq!((ended.stdout.lines().count(), &ended.stderr[..]), (1, ""), "{engine} {service}");
    }
}

#[test]
fn what_was_sent_before_the_signal_is_echoed_after_it() {
    for engine in engines() {
        let server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0 --grace 60"));
        let mut client = connect(server.address());
        let sent = send_until_stuck(&mut client);
        server.signal(Signal::TERM);
        wait_until_closed(client.peer_addr().unwrap());
        client.shutdown(Shutdown::Write).unwrap();
        let echoed = end_of(&mut client);
        assert_eq!(echoed.len(), sent, "{engine}");
        assert!(echoed.iter().enumerate().all(|(place, byte)| *byte == byte_at(place)), "{engine}");
        let ended = server.end();
        assert!(ended.status.success() && ended.stdout.contains(" cut=0 "), "{engine}: {ended:?}");
    }
}

#[test]
fn a_running_request_is_answered_before_the_end() {
    for engine in engines() {
        let server = Demos::start(&format!("http --on {engine} --listen 127.0.0.1:0 --grace 60"));
        let mut client = connect(server.address());
        ask_for_long(&mut client);
        server.signal(Signal::TERM);
        wait_until_closed(client.peer_addr().unwrap());
        client.write_all(BODY.as_bytes()).unwrap();
        let answer = String::from_utf8(end_of(&mut client)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(BODY), "{engine}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{engine}: {answer}");
        let ended = server.end();
        assert!(ended.status.success() && ended.stdout.contains(" cut=0 "), "{engine}: {ended:?}");
    }
}

#[test]
fn a_stuck_client_is_cut_when_the_grace_period_is_over() {
    for engine in engines() {
        let server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0 --grace 0.3"));
        let mut client = connect(server.address());
        send_until_stuck(&mut client);
        let start = Instant::now();
        server.signal(Signal::INT);
        let ended = server.end();
        let took = start.elapsed();
        assert!(ended.status.success() && ended.stdout.contains(" cut=1 "), "{engine}: {ended:?}");
        assert!(took >= Duration::from_millis(300), "{engine}: {took:?}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for engine in engines() {
        for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let mut server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0 --grace 60"));
            let mut client = connect(server.address());
            send_until_stuck(&mut client);
            server.signal(Signal::TERM);
            assert!(server.runs_for(Duration::from_millis(200)), "{engine}: it did not wait");
            server.signal(second);
            let ended = server.end();
            assert_eq!(ended.status.code(), Some(code), "{engine}: {ended:?}");
        }
    }
}

#[test]
fn whoever_comes_when_the_server_is_full_is_served_when_somebody_leaves() {
    for engine in engines() {
        let options = format!("echo --on {engine} --listen 127.0.0.1:0 --max-connections 1");
        let server = Demos::start(&options);
        let address = server.address();
        let mut first = connect(address);
        exchange(&mut first);
        let mut second = connect(address);
        second.write_all(b"hello").unwrap();
        second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let early = second.read(&mut [0; 8]).unwrap_err();
        assert!(matches!(early.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{engine}: {early}");
        drop(first);
        second.set_read_timeout(Some(process::PATIENCE)).unwrap();
        let mut answer = [0; 5];
        second.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello", "{engine}");
    }
}

#[test]
fn whoever_has_as_many_connections_as_an_address_may_have_is_sent_away() {
    for engine in engines() {
        let server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0 --max-per-address 1"));
        let address = server.address();
        let mut first = connect(address);
        exchange(&mut first);
        let mut second = connect(address);
        assert_eq!(second.read(&mut [0; 8]).unwrap(), 0, "{engine}");
        exchange(&mut first);
        server.signal(Signal::TERM);
        let ended = server.end();
        assert!(ended.stdout.contains("served connections=1 cut=0 refused=1 "), "{engine}: {ended:?}");
    }
}

#[test]
fn with_few_descriptors_it_serves_or_says_what_is_missing() {
    for engine in engines() {
        for files in (6..20).chain([24, 32, 64]) {
            let options = format!("echo --on {engine} --listen 127.0.0.1:0");
            let server = Demos::start_with_files(files, &options);
            server.signal_when_started();
            let ended = server.end();
            assert!(ended.status.signal().is_none(), "{engine}, {files} files: {ended:?}");
            assert!(!ended.stderr.contains("panicked"), "{engine}, {files} files: {ended:?}");
            let is_explained = ended.stderr.starts_with("demos: ") && ended.status.code() == Some(1);
            assert!(ended.status.success() || is_explained, "{engine}, {files} files: {ended:?}");
        }
    }
}

/// Clients that wait at the limit of connections leave the descriptors alone that are kept for files.
#[test]
fn what_is_kept_in_reserve_is_not_for_those_who_wait() {
    const FILES: u32 = 200;
    let root = std::env::temp_dir().join(format!("demos-reserve-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("f"), "in the file").unwrap();
    for engine in engines() {
        let path = root.display();
        let server = Demos::start_with_files(FILES, &format!("http --on {engine} --listen 127.0.0.1:0 --root {path}"));
        let address = server.address();
        let mut inside = connect(address);
        let mut get = || {
            inside.write_all(b"GET /files/f HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"in the file") {
                let mut piece = [0; 1024];
                let count = inside.read(&mut piece).unwrap();
                answer.extend_from_slice(&piece[..count]);
                assert!(count > 0 && answer.starts_with(b"HTTP/1.1 200"), "{engine}: {answer:?}");
            }
        };
        get();
        let waiting: Vec<_> = (0..300).map(|_| connect(address)).collect();
        // The server has met them all, as far as it does, when it has answered some more.
        (0..20).for_each(|_| get());
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count();
        assert!(open < FILES as usize - 40, "{engine}: {open} descriptors of {FILES}");
        drop(waiting);
        server.signal(Signal::TERM);
        assert!(server.end().status.success(), "{engine}");
    }
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn the_echo_client_prints_what_the_server_returns() {
    for engine in engines() {
        let server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0"));
        let address = server.address();
        let lines: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
        for input in ["", "hi\n", "no end of line", &lines] {
            let client = Demos::feed(&format!("echo --on {engine} --client {address}"), input.as_bytes());
            let ended = client.end();
            assert!(ended.status.success(), "{engine}: {}", ended.stderr);
            assert!(ended.stdout.trim_end() == input.trim_end(), "{engine}: {} bytes", ended.stdout.len());
        }
    }
}

#[test]
fn the_echo_client_says_why_it_cannot_go_on() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for engine in engines() {
        let ended = demos(&format!("echo --on {engine} --client {closed}"));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("is a server running there?"), "{ended:?}");
    }
}

#[test]
fn doctor_tells_what_runs_by_text_json_and_exit_code() {
    let (text, json) = (demos("doctor"), demos("doctor --json"));
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let all_run = engines().len() == 3;
    assert_eq!(report["all_engines"], all_run);
    for ended in [&text, &json] {
        assert_eq!(ended.status.code(), Some(if all_run { 0 } else { 1 }), "{ended:?}");
    }
    for word in ["reactor-level", "proactor", "epoll_pwait2", "kernel.io_uring_disabled", "seccomp", "open files"] {
        assert!(text.stdout.contains(word) && json.stdout.contains(word), "{word}: {text:?}");
    }
}

fn on_every_engine_service_and_signal() -> Vec<(String, &'static str, Signal)> {
    let signals = [Signal::INT, Signal::TERM];
    let pairs = SERVICES.iter().flat_map(|service| signals.map(|signal| (*service, signal)));
    let with = |engine: String| {
        pairs.clone().map(move |(service, signal)| (engine.clone(), service, signal)).collect::<Vec<_>>()
    };
    engines().into_iter().flat_map(with).collect()
}

/// All that still comes, to the end of the stream.
fn end_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the stream ends, and not by a reset");
    rest
}

fn exchange(stream: &mut TcpStream) {
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

/// The byte at this place of what [`send_until_stuck`] sends.
fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}

/// Sends and reads nothing, until the server stops reading. Returns how many bytes went out.
fn send_until_stuck(stream: &mut TcpStream) -> usize {
    let bytes: Vec<u8> = (0..TOO_MUCH).map(byte_at).collect();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut sent = 0;
    while sent < TOO_MUCH {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                return sent;
            }
        }
    }
    panic!("the server has taken {TOO_MUCH} bytes that nobody reads");
}
