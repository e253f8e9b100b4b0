//! Goal: clients read stdin and write stdout as what they are: an error of reading is no end, a pipe that another program
//! has made non-blocking is waited for, and a file that may not grow is an error and not the end of a server.
//! Method: the built binary with a directory, a descriptor for writing and non-blocking pipes in the places of its stdin
//! and stdout, and under `ulimit -f`.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Demos, PATIENCE, demos, engines};

/// More than a pipe holds.
const LENGTH: usize = 500_000;

#[test]
fn a_stdin_that_cannot_be_read_is_an_error() {
    for engine in engines() {
        let echo = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0"));
        let udp = Demos::start(&format!("udp serve --on {engine} --listen 127.0.0.1:0"));
        let clients = [format!("echo --client {}", echo.address()), format!("udp ask {}", udp.address())];
        for client in &clients {
            for (stdin, why) in [("< /", "Is a directory"), ("0> /dev/null", "Bad file descriptor")] {
                let ended = Demos::start_after(&format!("exec {stdin}"), &format!("{client} --on {engine}")).end();
                assert_eq!(ended.status.code(), Some(1), "{client} {stdin}: {ended:?}");
                assert!(ended.stderr.contains(&format!("cannot read stdin: {why}")), "{client} {stdin}: {ended:?}");
            }
            // One that is empty is none.
            let ended = Demos::start_after("exec < /dev/null", &format!("{client} --on {engine}")).end();
            assert!(ended.status.success() && ended.stdout.is_empty(), "{client}: {ended:?}");
        }
    }
}

#[test]
fn pipes_that_do_not_block_are_waited_for() {
    for engine in engines() {
        let server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0"));
        let sent: Vec<u8> = (0..LENGTH).map(|place| (place % 251) as u8).collect();
        let (received, succeeded) = echo_by_pipes(&engine, server.address(), sent.clone());
        assert!(received == sent, "{engine}: {} bytes came back", received.len());
        assert!(succeeded, "{engine}");
    }
}

/// What a client prints, whose stdin is late and whose stdout is read late.
fn echo_by_pipes(engine: &str, server: SocketAddr, sent: Vec<u8>) -> (Vec<u8>, bool) {
    const LATE: Duration = Duration::from_millis(50);
    let (stdin, mut input) = std::io::pipe().unwrap();
    let (mut output, stdout) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(stdin.as_fd(), true).unwrap();
    rustix::io::ioctl_fionbio(stdout.as_fd(), true).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_demos"));
    command.args(["echo", "--on", engine, "--client", &server.to_string()]);
    let mut client = command.stdin(stdin).stdout(stdout).stderr(Stdio::inherit()).spawn().unwrap();
    // It holds the client's ends.
    drop(command);
    thread::spawn(move || {
        thread::sleep(LATE);
        input.write_all(&sent)
    });
    let (sender, receiver) = channel();
    thread::spawn(move || {
        thread::sleep(3 * LATE);
        let mut all = Vec::new();
        output.read_to_end(&mut all).map(|_| sender.send(all))
    });
    let received = receiver.recv_timeout(PATIENCE);
    if received.is_err() {
        client.kill().unwrap();
    }
    let succeeded = client.wait().unwrap().success();
    (received.unwrap_or_default(), succeeded)
}

/// Without more, the signal SIGXFSZ ends a program that writes beyond the limit.
#[test]
fn a_file_that_may_not_grow_ends_no_receiver() {
    for engine in engines() {
        let folder = std::env::temp_dir().join(format!("demos-streams-{:016x}", fastrand::u64(..)));
        fs::create_dir_all(folder.join("in")).unwrap();
        fs::write(folder.join("large"), vec![b'x'; LENGTH]).unwrap();
        fs::write(folder.join("small"), "some text").unwrap();
        let place = folder.display();
        let options = format!("files receive --on {engine} --listen 127.0.0.1:0 --folder {place}/in");
        let server = Demos::start_after("ulimit -f 100", &options);
        let address = server.address();
        let send = |name| demos(&format!("files send {place}/{name} --to {address} --retries 0 --on {engine}"));
        let large = send("large");
        assert_eq!(large.status.code(), Some(1), "{engine}: {large:?}");
        assert!(large.stderr.contains("File too large"), "{engine}: {large:?}");
        let small = send("small");
        assert!(small.status.success(), "{engine}: {small:?}");
        server.signal(Signal::TERM);
        let ended = server.end();
        assert!(ended.status.success(), "{engine}: {ended:?}");
        // So it is with any other file.
        let doctor = Demos::start_after(&format!("ulimit -f 0 && exec > {place}/out"), "doctor").end();
        assert!(doctor.stderr.contains("cannot write to stdout: File too large"), "{doctor:?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
