//! Goal: every line is answered once and in order, whatever is lost; and what is cut or lost can be seen.
//! Method: the built binary on both sides and on every engine; the server with nc, socat and Python's socket, the client
//! with a server in Python that loses, delays and repeats.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use rustix::process::Signal;

use crate::process::{Demos, Ended, PATIENCE, client, demos, engines, has_client};

fn server(engine: &str, options: &str) -> Demos {
    Demos::start(&format!("udp serve --on {engine} --listen 127.0.0.1:0 {options}"))
}

/// Ends a server as its user would; what it said after its first line.
fn end(server: Demos) -> String {
    server.signal(Signal::TERM);
    let ended = server.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    ended.stdout
}

fn ask(engine: &str, server: SocketAddr, options: &str, input: &str) -> Ended {
    Demos::feed(&format!("udp ask {server} --on {engine} {options}"), input.as_bytes()).end()
}

/// A number in a line of `name=number`.
fn figure(line: &str, name: &str) -> u64 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("{name}=")));
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn datagrams_of_others_come_back_in_capitals() {
    for engine in engines() {
        let server = server(&engine, "");
        let address = server.address();
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let python = "import socket, sys\n\
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)\n\
            for text in (b'', b'a', b'\\xff\\x00z' * 600):\n\
            \x20   s.sendto(text, (sys.argv[1], int(sys.argv[2])))\n\
            \x20   assert s.recv(65536) == text.upper(), text\n\
            print('right')";
        let target = format!("UDP:{ip}:{port}");
        let clients = [
            ("nc", vec!["-u", "-W", "1", "-w", "20", &ip, &port], "hello\n", "HELLO\n"),
            ("socat", vec!["-t", "0.3", "-", &target], "hello\n", "HELLO\n"),
            ("python3", vec!["-c", python, &ip, &port], "", "right\n"),
        ];
        let mut asked = 0;
        for (program, arguments, input, expected) in clients {
            if has_client(program) {
                let ended = client(Command::new(program).args(arguments), input.as_bytes());
                assert_eq!(ended.stdout, expected, "{engine}, {program}: {ended:?}");
                asked += if program == "python3" { 3 } else { 1 };
            }
        }
        let said = end(server);
        assert!(said.starts_with(&format!("served datagrams={asked} answered={asked} dropped=0 cut=0 ")), "{said}");
    }
}

#[test]
fn every_line_is_answered_in_order_although_a_third_is_lost() {
    let lines: String = (0..100).map(|number| format!("line {number}\n")).chain(["\n".to_owned()]).collect();
    for engine in engines() {
        let server = server(&engine, "--drop 0.3 --seed 7");
        let asked = ask(&engine, server.address(), "--timeout 0.005 --retries 40", &lines);
        assert!(asked.status.success(), "{engine}: {asked:?}");
        assert_eq!(asked.stdout, lines.to_uppercase(), "{engine}");
        let said = end(server);
        // The client has counted what it did, the server what it lost.
        let (sent, received) = (figure(&asked.stderr, "sent"), figure(&said, "datagrams"));
        assert_eq!((sent, figure(&asked.stderr, "answered")), (received, 101), "{engine}: {} {said}", asked.stderr);
        assert!(figure(&said, "dropped") > 30, "{engine}: {said}");
        assert!(figure(&asked.stderr, "timeouts") >= figure(&said, "dropped"), "{engine}: {} {said}", asked.stderr);
        assert_eq!(figure(&said, "answered") + figure(&said, "dropped"), received, "{engine}: {said}");
    }
}

#[test]
fn what_is_too_long_is_cut_and_seen_on_both_sides_and_pieces_are_the_cure() {
    let line = "abcdefghij".repeat(100) + "\n";
    for engine in engines() {
        let server = server(&engine, "--room 100");
        let address = server.address();
        let cut = ask(&engine, address, "", &line);
        assert_eq!(cut.status.code(), Some(1), "{engine}: {cut:?}");
        assert!(cut.stderr.contains("of a datagram of 1002 bytes the server answered 100"), "{engine}: {cut:?}");
        assert!(cut.stderr.contains("--piece"), "{engine}: {cut:?}");
        assert!(server.complaint().starts_with("cut bytes=1002 room=100 from=127.0.0.1:"), "{engine}");
        let whole = ask(&engine, address, "--piece 90", &line);
        assert!(whole.status.success() && whole.stdout == line.to_uppercase(), "{engine}: {whole:?}");
        assert_eq!(figure(&whole.stderr, "answered"), 12, "{engine}");
        assert!(end(server).contains(" cut=1 "), "{engine}");
    }
}

#[test]
fn answers_that_are_late_or_doubled_are_not_taken_for_others() {
    for engine in engines() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = socket.local_addr().unwrap();
        let client = Demos::feed(&format!("udp ask {address} --on {engine} --timeout 0.1 --retries 20"), b"a\nb\nc\n");
        let (mut before, mut answered, mut buffer) = (Vec::new(), 0, [0; 100]);
        // Before each answer comes the one to the question before, twice, and something that is none.
        while answered < 3 {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let answer = buffer[..length].to_ascii_uppercase();
            if answer == before {
                continue;
            }
            for noise in [&before[..], &before, b"9999 noise"] {
                socket.send_to(noise, from).unwrap();
            }
            socket.send_to(&answer, from).unwrap();
            (before, answered) = (answer, answered + 1);
        }
        let ended = client.end();
        assert!(ended.status.success() && ended.stdout == "A\nB\nC\n", "{engine}: {ended:?}");
        assert!(figure(&ended.stderr, "late") >= 9, "{engine}: {ended:?}");
    }
}

#[test]
fn a_client_without_a_server_gives_up_and_says_so() {
    let (closed, silent) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    for engine in engines() {
        for (address, why) in [(nobody, "refused"), (silent.local_addr().unwrap(), "no answer came (is a server")] {
            let ended = ask(&engine, address, "--timeout 0.001 --retries 3", "hello\n");
            assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(1), ""), "{engine}: {ended:?}");
            assert!(ended.stderr.contains("asked 4 times") && ended.stderr.contains(why), "{engine}: {ended:?}");
        }
    }
}

#[test]
fn a_client_that_has_to_wait_says_so_and_for_how_long() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let options = format!("{} --timeout 0.5 --retries 1", silent.local_addr().unwrap());
    // Side by side: all they do is wait.
    let clients: Vec<_> =
        engines().iter().map(|engine| Demos::feed(&format!("udp ask {options} --on {engine}"), b"hello\n")).collect();
    for client in clients {
        let ended = client.end();
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{ended:?}");
        // Once half a second, and once twice as long.
        assert_eq!(lines[0], "no answer for 1s; asking again, for 1.5 s at most (--timeout, --retries)");
        assert!(lines[1].contains("asked 2 times"), "{ended:?}");
    }
}

#[test]
fn options_without_sense_are_refused() {
    let cases = [
        ("udp serve --drop 2", 2, "from 0 to 1"),
        ("udp serve --room 0", 2, "from 1 to 65507"),
        ("udp serve --listen 0.0.0.0:0", 1, "--allow-remote"),
        ("udp ask nowhere", 2, "give HOST:PORT"),
    ];
    for (arguments, code, why) in cases {
        let ended = demos(arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments}: {ended:?}");
    }
}
