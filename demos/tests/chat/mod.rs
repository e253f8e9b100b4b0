//! `demos chat` with netcat, and with somebody who doesn't read.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::process::{Demos, PATIENCE, client, connect, engines, has_client};

/// Bytes of a line in a flood, and how many lines are more than all buffers of a connection hold.
const LINE: usize = 1000;
const FLOOD: usize = 6_000;

fn start(engine: &str, options: &str) -> Demos {
    Demos::start(&format!("chat --on {engine} --listen 127.0.0.1:0 {options}"))
}

/// Somebody in the room who reads.
struct Guest {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Guest {
    fn new(address: SocketAddr, name: &str) -> Guest {
        let stream = connect(address);
        let mut guest = Guest { lines: BufReader::new(stream.try_clone().unwrap()), stream };
        guest.say(name);
        assert!(guest.hears().contains("your name"));
        assert!(guest.hears().starts_with(&format!("* hello {name}")));
        guest
    }

    fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hears(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the server has ended the connection");
        line.trim_end().to_owned()
    }

    /// Reads until this is said; returns what was said before.
    fn hears_until(&mut self, line: &str) -> Vec<String> {
        std::iter::repeat_with(|| self.hears()).take_while(|heard| heard != line).collect()
    }
}

/// Somebody who comes and doesn't read, with as small a buffer as there is.
fn silent(address: SocketAddr, name: &str) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{name}\n").as_bytes()).unwrap();
    stream
}

#[test]
fn netcat_takes_part() {
    if !has_client("nc") {
        return;
    }
    for engine in engines() {
        let server = start(&engine, "");
        let address = server.address();
        let mut ann = Guest::new(address, "ann");
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let netcat = client(Command::new("nc").args(["-N", &ip, &port]), b"bob\nhello from nc\n/who\n");
        let expected = "* welcome: what is your name?\n* hello bob; here: ann; /who, /quit\n* here: ann, bob\n";
        assert!(netcat.status.success() && netcat.stdout == expected, "{engine}: {netcat:?}");
        for line in ["* bob has come", "bob: hello from nc", "* bob has left"] {
            assert_eq!(ann.hears(), line, "{engine}");
        }
    }
}

/// A guest says very much, and then "last". Another one hears each line before the next is said: so it is never slow, however
/// busy the machine is. Returns the guest, and what the other one heard.
fn flood(address: SocketAddr, other: &mut Guest) -> (Guest, Vec<String>) {
    let mut speaker = Guest::new(address, "speaker");
    let (line, mut heard) = ("x".repeat(LINE), Vec::new());
    for _ in 0..FLOOD {
        speaker.say(&line);
        heard.extend(other.hears_until(&format!("speaker: {line}")));
        heard.push("speaker: x".to_owned());
    }
    speaker.say("last");
    heard.extend(other.hears_until("speaker: last"));
    (speaker, heard)
}

#[test]
fn who_does_not_read_is_closed_and_holds_up_nobody() {
    for engine in engines() {
        let server = start(&engine, "--when-full close --queue 16");
        let address = server.address();
        let mut ann = Guest::new(address, "ann");
        let _slow = silent(address, "slow");
        assert_eq!(ann.hears(), "* slow has come");
        let (_speaker, heard) = flood(address, &mut ann);
        let lines = heard.iter().filter(|line| line.starts_with("speaker: x")).count();
        assert_eq!(lines, FLOOD, "{engine}");
        let closed = "* slow read too slowly and was closed".to_owned();
        // It may come a moment after the last line.
        assert!(heard.contains(&closed) || ann.hears() == closed, "{engine}");
    }
}

#[test]
fn who_reads_late_is_told_what_is_lost() {
    for engine in engines() {
        let server = start(&engine, "--queue 16");
        let address = server.address();
        let mut ann = Guest::new(address, "ann");
        let slow = silent(address, "slow");
        assert_eq!(ann.hears(), "* slow has come");
        let (_speaker, heard) = flood(address, &mut ann);
        assert_eq!(heard.iter().filter(|line| line.starts_with("speaker: x")).count(), FLOOD, "{engine}");
        let mut slow = Guest { lines: BufReader::new(slow.try_clone().unwrap()), stream: slow };
        let heard = slow.hears_until("speaker: last");
        let lost: usize =
            heard.iter().filter_map(|line| line.strip_prefix("* you read too slowly: ")).map(number).sum();
        let lines = heard.iter().filter(|line| line.starts_with("speaker: x")).count();
        // Of the announcements that were made, one may be among the lines that are lost.
        assert!(lost > 0 && (lines + lost == FLOOD || lines + lost == FLOOD + 1), "{engine}: {lines} and {lost}");
    }
}

/// The number at the beginning of a text.
fn number(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}
