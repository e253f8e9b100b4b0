//! Goal: what a server says is never a reason to stop. Method: the built binary, with outputs that take nothing: a pipe
//! that is full, a terminal that nothing reads, a pipe whose reader is gone, a full disk; and clients that make it say much.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use crate::exchange;
use crate::process::{Demos, PATIENCE, connect, demos, engines};

/// Outputs that take nothing, or too little. They stay so as long as the other end is kept.
fn outputs() -> Vec<(&'static str, OwnedFd, Option<OwnedFd>)> {
    let (reader, gone) = pipe().unwrap();
    drop(reader);
    let full = || {
        let (reader, mut writer) = pipe().unwrap();
        let flags = fcntl_getfl(&writer).unwrap();
        fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        (reader, writer, flags)
    };
    let (full_reader, full_writer, flags) = full();
    fcntl_setfl(&full_writer, flags).unwrap();
    let (other_reader, non_blocking, _) = full();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let peer = ioctl_tiocgptpeer(&terminal, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let disk = File::options().write(true).open("/dev/full").unwrap();
    vec![
        ("no reader", gone.into(), None),
        ("a full pipe", full_writer.into(), Some(full_reader.into())),
        ("a full pipe that does not block", non_blocking.into(), Some(other_reader.into())),
        ("a terminal that nothing reads", peer, Some(terminal)),
        ("a full disk", disk.into(), None),
    ]
}

/// A server whose address is known although it cannot be read: no other test has it.
fn own_address() -> SocketAddr {
    let [a, b, c] = [fastrand::u8(1..), fastrand::u8(..), fastrand::u8(1..=254)];
    (Ipv4Addr::new(127, a, b, c), 7777).into()
}

fn start(arguments: &str, stdout: Stdio, stderr: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
    let command = command.args(arguments.split_whitespace()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.spawn().expect("the binary starts")
}

fn end(what: &str, mut server: Child) {
    kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match server.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            None => {
                server.kill().unwrap();
                panic!("{what}: it does not end");
            }
        }
    };
    assert!(status.success(), "{what}: {status}");
}

#[test]
fn a_server_that_cannot_say_what_happens_serves_and_ends() {
    for engine in engines() {
        for (what, stderr, reader) in outputs() {
            let (what, address) = (format!("{engine}, {what}"), own_address());
            let arguments = format!("udp serve --on {engine} --listen {address} --room 10");
            let server = start(&arguments, Stdio::null(), stderr.into());
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            ask(&what, &client, address);
            // Each of them is worth a line, and all together do not fit into a pipe.
            for burst in 0..150 {
                (0..20).for_each(|_| drop(client.send_to(b"twelve bytes", address)));
                if burst % 10 == 9 {
                    ask(&what, &client, address);
                }
            }
            end(&what, server);
            drop(reader);
        }
    }
}

/// Asks until it is answered: a datagram may be lost, and the server may still be on its way.
fn ask(what: &str, client: &UdpSocket, address: SocketAddr) {
    let (question, deadline) = (fastrand::u32(..).to_string(), Instant::now() + PATIENCE);
    let question = &question.as_bytes()[..question.len().min(9)];
    let mut answer = [0; 64];
    while Instant::now() < deadline {
        let _ = client.send_to(question, address);
        while let Ok(count) = client.recv(&mut answer) {
            if answer[..count] == *question {
                return;
            }
        }
    }
    panic!("{what}: it does not answer");
}

#[test]
fn a_server_that_cannot_say_where_it_listens_serves_and_ends() {
    let rungs = ["threads", "epoll-edge"].map(|rung| format!("models serve {rung}"));
    for server in engines().into_iter().map(|engine| format!("echo --on {engine}")).chain(rungs) {
        for (what, stdout, reader) in outputs() {
            let (what, address) = (format!("{server}, {what}"), own_address());
            let process = start(&format!("{server} --listen {address}"), stdout.into(), Stdio::null());
            let deadline = Instant::now() + PATIENCE;
            while std::net::TcpStream::connect(address).is_err() {
                assert!(Instant::now() < deadline, "{what}: it does not listen");
                std::thread::sleep(Duration::from_millis(5));
            }
            exchange(&mut connect(address));
            end(&what, process);
            drop(reader);
        }
    }
}

#[test]
fn the_log_goes_where_it_is_told_to() {
    let folder = std::env::temp_dir().join(format!("demos-log-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("log");
    for (option, is_written) in [(format!("--log {}", file.display()), true), ("--quiet".to_owned(), false)] {
        let server = Demos::start(&format!("udp serve --listen 127.0.0.1:0 --room 3 {option}"));
        let (client, address) = (UdpSocket::bind("127.0.0.1:0").unwrap(), server.address());
        client.send_to(b"long\x1b[2J", address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.recv(&mut [0; 64]).unwrap();
        server.signal(Signal::TERM);
        let ended = server.end();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{option}: {ended:?}");
        let logged = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(logged.starts_with("cut bytes=8 room=3 from=127.0.0.1:"), is_written, "{option}: {logged:?}");
        let _ = std::fs::remove_file(&file);
    }
    // A log that cannot be written ends the program before it listens.
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    for place in ["missing/log", ".", "fifo"] {
        let refused = demos(&format!("echo --listen 127.0.0.1:0 --log {}", folder.join(place).display()));
        assert_eq!(refused.status.code(), Some(1), "{place}: {refused:?}");
        assert!(refused.stderr.contains("give a file in a folder that exists with --log"), "{place}: {refused:?}");
    }
    // An error that ends the program is said nevertheless.
    let failed = demos(&format!("echo --client 127.0.0.1:1 --quiet --log {}", file.display()));
    assert!(failed.status.code() == Some(1) && failed.stderr.starts_with("demos: "), "{failed:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The lines of an access log, without the time.
fn answers(log: &str) -> Vec<String> {
    let line = |line: &str| {
        let (client, rest) = line.split_once(" - - [").unwrap();
        let (_time, answer) = rest.split_once("] ").unwrap();
        format!("{client} {answer}")
    };
    log.lines().map(line).collect()
}

fn send(address: SocketAddr, request: &str) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn an_access_log_has_a_line_for_each_answer() {
    let folder = std::env::temp_dir().join(format!("demos-access-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("page"), "0123456789").unwrap();
    let expected = [
        r#"127.0.0.1 "GET /plaintext HTTP/1.1" 200 13"#,
        r#"127.0.0.1 "POST /echo HTTP/1.1" 200 3"#,
        r#"127.0.0.1 "HEAD /json?a=\"b HTTP/1.1" 200 0"#,
        r#"127.0.0.1 "GET /files/page HTTP/1.0" 200 10"#,
        r#"127.0.0.1 "\x1b[2J" 400 16"#,
    ];
    let ask = |address| {
        let first = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n\
                     POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                     HEAD /json?a=\"b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        send(address, first);
        send(address, "GET /files/page HTTP/1.0\r\n\r\n");
        send(address, "\x1b[2J\r\nHost: a\r\n\r\n");
    };
    for engine in engines() {
        let file = |name: &str| folder.join(format!("{engine}-{name}"));
        let (own, proxys) = (file("server"), file("proxy"));
        let root = folder.display();
        let server = Demos::start(&format!(
            "http --on {engine} --listen 127.0.0.1:0 --workers 2 --root {root} --access-log {}",
            own.display()
        ));
        let server_address = server.address();
        let proxy = Demos::start(&format!(
            "proxy --http --on {engine} --listen 127.0.0.1:0 --check-every 60 --to {server_address} --access-log {}",
            proxys.display()
        ));
        for (address, file) in [(server_address, &own), (proxy.address(), &proxys)] {
            let before = std::fs::read_to_string(file).unwrap().len();
            ask(address);
            let log = std::fs::read_to_string(file).unwrap();
            assert_eq!(answers(&log[before..]), expected, "{engine}");
        }
        for server in [proxy, server] {
            server.signal(Signal::TERM);
            let ended = server.end();
            assert!(ended.status.success() && ended.stderr.is_empty(), "{engine}: {ended:?}");
        }
    }
    let refused = demos(&format!("http --listen 127.0.0.1:0 --access-log {}/missing/log", folder.display()));
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("with --access-log"), "{refused:?}");
    let refused = demos("proxy --listen 127.0.0.1:0 --to 127.0.0.1:1 --access-log -");
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("needs --http"), "{refused:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_access_log_that_takes_nothing_stops_no_server() {
    for engine in engines() {
        for (what, stdout, reader) in outputs() {
            let (what, address) = (format!("{engine}, {what}"), own_address());
            let arguments = format!("http --on {engine} --listen {address} --access-log -");
            let server = start(&arguments, stdout.into(), Stdio::null());
            let deadline = Instant::now() + PATIENCE;
            while std::net::TcpStream::connect(address).is_err() {
                assert!(Instant::now() < deadline, "{what}: it does not listen");
                std::thread::sleep(Duration::from_millis(5));
            }
            let many = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
            send(address, &(many + "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
            end(&what, server);
            drop(reader);
        }
    }
}

/// With a backtrace, which is many lines.
#[test]
fn a_panic_that_cannot_be_said_ends_one_call() {
    for engine in engines() {
        for (what, stderr, reader) in outputs() {
            let (what, address) = (format!("{engine}, {what}"), own_address());
            let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
            let arguments = format!("rpc serve --trace --on {engine} --listen {address}");
            let command = command.args(arguments.split_whitespace()).env("RUST_BACKTRACE", "1");
            let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
            let deadline = Instant::now() + PATIENCE;
            while std::net::TcpStream::connect(address).is_err() {
                assert!(Instant::now() < deadline, "{what}: it does not listen");
                std::thread::sleep(Duration::from_millis(5));
            }
            let crashed = demos(&format!("rpc call {address} Hello.Crash"));
            assert!(crashed.status.code() == Some(1) && crashed.stderr.contains("Panicked"), "{what}: {crashed:?}");
            let counted = demos(&format!("rpc call {address} Hello.Count"));
            assert!(counted.status.success(), "{what}: {counted:?}");
            end(&what, server);
            drop(reader);
        }
    }
}
