//! `demos rpc`: its output, and its server against Python's socket, struct and json.

use std::process::Command;

use rustix::process::Signal;

use crate::process::{Demos, PATIENCE, client, demos, engines, has_client};

#[test]
fn python_gets_what_the_table_of_messages_promises() {
    if !has_client("python3") {
        return;
    }
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rpc/peer.py");
    for engine in engines() {
        let server = Demos::start(&format!("rpc serve --max-calls 4 --max-time 20 --on {engine} --listen 127.0.0.1:0"));
        let port = server.address().port().to_string();
        let python = client(Command::new("python3").args([peer, &port]), b"");
        assert!(python.status.success() && python.stdout == "all is well\n", "{engine}: {python:?}");
        server.signal(Signal::TERM);
        let ended = server.end();
        assert!(ended.status.success() && ended.stdout.contains(" cut=0 "), "{engine}: {ended:?}");
        assert!(ended.stderr.contains("this procedure has a bug, on purpose"), "{engine}: {ended:?}");
    }
}

/// The numbers of the steps that lines tell of.
fn steps(lines: &str) -> Vec<u8> {
    let number = |line: &str| line.split_once("step ")?.1.get(..1)?.parse().ok();
    lines.lines().filter_map(number).collect()
}

#[test]
fn the_nine_steps_come_in_their_order() {
    for engine in engines() {
        let shown = demos(&format!("rpc --trace --on {engine}"));
        assert!(shown.status.success(), "{engine}: {shown:?}");
        assert_eq!(steps(&shown.stdout), [1, 2, 3, 4, 5, 6, 7, 8, 9], "{engine}: {}", shown.stdout);
    }
}

#[test]
fn each_side_tells_its_own_steps() {
    for engine in engines() {
        let server = Demos::start(&format!("rpc serve --trace --on {engine} --listen 127.0.0.1:0"));
        let address = server.address();
        let call = |rest: &str| demos(&format!("rpc call {address} --on {engine} --trace {rest}"));
        let called = call("Hello.SayHello {\"name\":\"Ada\"}");
        assert_eq!(
            (called.status.code(), called.stdout.as_str()),
            (Some(0), "\"Hello, Ada!\"\n"),
            "{engine}: {called:?}"
        );
        assert_eq!(steps(&called.stderr), [1, 2, 3, 9], "{engine}: {called:?}");
        let served: String = (0..5).map(|_| server.complaint() + "\n").collect();
        assert_eq!(steps(&served), [4, 5, 6, 7, 8], "{engine}: {served}");
        let cases = [
            ("Hello.SayGoodbye", "there is no method Hello.SayGoodbye: there are Hello.SayHello, "),
            ("Hello.SayHello", "missing field `name`"),
            ("Hello.SayHelloLater {\"name\":\"Ada\",\"ms\":60000} --timeout 0.05", "no reply within 50ms"),
        ];
        for (rest, reason) in cases {
            let failed = call(rest);
            assert_eq!(failed.status.code(), Some(1), "{engine}: {failed:?}");
            assert!(failed.stderr.contains(reason), "{engine}: {failed:?}");
        }
        // Who gives up says so, also when it is the last thing it does.
        let is_cancelled = || call("Hello.Count").stdout == "{\"begun\":2,\"done\":1,\"cancelled\":1}\n";
        assert!(std::iter::repeat_with(is_cancelled).take(100).any(|is| is), "{engine}: the procedure runs on");
    }
}

#[test]
fn the_show_tells_of_order_errors_and_the_cancel() {
    for engine in engines() {
        let shown = demos(&format!("rpc --on {engine}"));
        assert!(shown.status.success(), "{engine}: {shown:?}");
        let place = |words: &str| {
            shown.stdout.find(words).unwrap_or_else(|| panic!("{engine}: no {words:?} in {}", shown.stdout))
        };
        assert!(place("Hello, Cleo, after 40 ms!") < place("Hello, Bob, after 80 ms!"), "{engine}");
        assert!(place("Hello, Bob, after 80 ms!") < place("Hello, Ada, after 120 ms!"), "{engine}");
        for words in ["UnknownMethod", "BadArguments", "Failed: who is there?", "Panicked", "no reply within 20ms"] {
            place(words);
        }
        place("5 greetings begun, 4 done, 1 cancelled");
    }
}

#[test]
fn nobody_there_is_said_with_the_remedy() {
    let start = std::time::Instant::now();
    let failed = demos("rpc call 127.0.0.1:1 Hello.Count --on reactor-edge");
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(failed.stderr.contains("is `demos rpc serve` running there?"), "{failed:?}");
    assert!(start.elapsed() < PATIENCE);
    for other in ["http", "echo", "framing serve --codec delimiter"] {
        let server = Demos::start(&format!("{other} --on reactor-edge --listen 127.0.0.1:0"));
        let failed = demos(&format!("rpc call {} Hello.Count --timeout 0.5", server.address()));
        assert_eq!(failed.status.code(), Some(1), "{other}: {failed:?}");
        assert!(failed.stderr.contains("Is it `demos rpc serve` that runs at "), "{other}: {failed:?}");
    }
    let wrong = demos("rpc call 127.0.0.1:1 Hello.Count nonsense");
    assert!(wrong.status.code() == Some(2) && wrong.stderr.contains("give the arguments as JSON"), "{wrong:?}");
}
