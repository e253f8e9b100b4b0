//! Goal: every look-up that is answered is answered rightly, in few steps; and what a dead node costs whom can be seen.
//! Method: the built binary on every engine; its own figures, and a program in Python that walks the ring and looks keys
//! up, from the help text.

use std::process::Command;

use rustix::process::Signal;

use crate::process::{Demos, client, demos, engines, has_client};

/// The cells of the lines of the table.
fn rows(table: &str) -> Vec<Vec<String>> {
    let lines = table.lines().filter(|line| line.contains(" of ") && line.contains('┆'));
    lines.map(|line| line.trim_matches('│').split('┆').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap_or_else(|_| panic!("{cell:?} is no number"))
}

#[test]
fn all_is_found_while_all_live_and_the_dead_are_met_by_those_who_should() {
    for engine in engines() {
        let ended =
            demos(&format!("dht --nodes 60 --dead 12 --lookups 100 --delay 0.0005 --timeout 0.2 --on {engine}"));
        assert!(ended.status.success() && ended.stderr.is_empty(), "{engine}: {ended:?}");
        let rows = rows(&ended.stdout);
        let names: Vec<_> = rows.iter().map(|row| &row[0][..]).collect();
        assert_eq!(names, ["iterative", "recursive", "recursive, blind"].repeat(2), "{engine}: {}", ended.stdout);
        for row in &rows {
            let [routing, dead, found, wrong, messages, hops, ..] = &row[..] else { panic!("{row:?}") };
            assert_eq!(wrong, "0", "{engine}: {row:?}");
            let (by_askers, by_others) = (number(&row[9]), number(&row[10]));
            if dead == "0" {
                assert_eq!((&found[..], by_askers + by_others), ("100 of 100", 0.0), "{engine}: {row:?}");
                assert!(number(hops) < 6.0, "{engine}: {row:?}");
                // Each hop but the first, which may be the asker's own, and the answer: what a hop costs differs.
                let each = number(messages) / number(hops);
                let (least, most) = if routing == "recursive, blind" { (1.0, 2.0) } else { (2.0, 3.0) };
                assert!(each >= least && each <= most, "{engine}: {row:?}");
            } else if routing != "recursive, blind" {
                assert_eq!(&found[..], "100 of 100", "{engine}: {row:?}");
                assert!(by_askers > 0.0 && (by_others > 0.0) == (routing == "recursive"), "{engine}: {row:?}");
            } else {
                assert_eq!((by_askers, by_others), (0.0, 0.0), "{engine}: {row:?}");
                assert!(number(&row[8]) > 0.0, "nobody waited in vain: {engine}: {row:?}");
            }
        }
    }
}

#[test]
fn a_program_of_another_language_walks_the_ring_and_finds_every_key() {
    if !has_client("python3") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dht/asker.py");
    for engine in engines() {
        let server = Demos::start(&format!("dht serve --nodes 40 --delay 0 --listen 127.0.0.1:0 --on {engine}"));
        let port = server.address().port().to_string();
        let ended = client(Command::new("python3").args([script, &port, "40"]), b"");
        assert!(ended.status.success() && ended.stdout == "found 200\n", "{engine}: {ended:?}");
        server.signal(Signal::TERM);
        let ended = server.end();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{engine}: {ended:?}");
    }
}

#[test]
fn rings_that_cannot_be_are_refused() {
    let cases = [
        ("dht --nodes 1", 2, "2..=1000"),
        ("dht --nodes 10 --dead 9", 1, "two have to live"),
        ("dht serve --listen 0.0.0.0:0", 1, "listen on 127.0.0.1"),
    ];
    for (arguments, code, why) in cases {
        let ended = demos(arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments}: {ended:?}");
    }
}
