//! `demos framing`: its output, and its server against Python's socket, which knows none of our codecs.

use std::process::Command;

use crate::process::{Demos, Ended, client, demos, engines, has_client};

#[test]
fn the_problem_is_seen_and_every_cure_cures_it() {
    for engine in engines() {
        // On a busy machine the kernel may bring the words one by one now and then.
        let show = || demos(&format!("framing --on {engine}"));
        let is_stuck = |shown: &Ended| shown.stdout.contains("\"onetwothree\"");
        let shown = std::iter::repeat_with(show).take(10).find(is_stuck).expect("they stick together");
        assert!(shown.status.success(), "{shown:?}");
        let line = |word: &str| {
            let found = shown.stdout.lines().find(|line| line.contains(word));
            found.unwrap_or_else(|| panic!("{engine}: no {word} in {}", shown.stdout)).to_owned()
        };
        assert!(line("\"onetwothree\"").trim_end().ends_with(" 1 receive"), "{engine}: {}", shown.stdout);
        assert!(line("│ none ").contains(" NO "), "{engine}: {}", shown.stdout);
        for cure in ["delimiter", "fixed", "prefix"] {
            let row = line(&format!("│ {cure} "));
            assert!(row.contains("3 | 3 | 5 | 100,000") && row.contains(" yes "), "{engine}: {row}");
        }
        assert!(shown.stdout.contains("a message of 4294967295 bytes is longer than the limit"), "{}", shown.stdout);
    }
}

#[test]
fn python_gets_every_message_back_however_it_cuts_them() {
    if !has_client("python3") {
        return;
    }
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/framing/peer.py");
    for engine in engines() {
        for codec in ["delimiter", "fixed", "prefix"] {
            // At least as long as the words that refuse a message.
            let server =
                Demos::start(&format!("framing serve --codec {codec} --len 100 --on {engine} --listen 127.0.0.1:0"));
            let port = server.address().port().to_string();
            let python = client(Command::new("python3").args([peer, &port, codec, "100"]), b"");
            assert!(python.status.success() && python.stdout == "all is well\n", "{engine} {codec}: {python:?}");
        }
    }
}

#[test]
fn netcat_sees_what_a_codec_is_for() {
    if !has_client("nc") {
        return;
    }
    for engine in engines() {
        for (codec, expected) in [("none", "\nowt\neno"), ("delimiter", "eno\nowt\n")] {
            let server = Demos::start(&format!("framing serve --codec {codec} --on {engine} --listen 127.0.0.1:0"));
            let port = server.address().port().to_string();
            let netcat = client(Command::new("nc").args(["-N", "127.0.0.1", &port]), b"one\ntwo\n");
            // The lines of its output have an end each here, also if it wrote none.
            assert!(netcat.status.success() && netcat.stdout.trim_end() == expected.trim_end(), "{engine}: {netcat:?}");
        }
    }
}
