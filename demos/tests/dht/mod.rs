//! Goal: every look-up that is answered is answered rightly, in few steps; and what a dead node costs whom can be seen.
//! Method: the built binary on every engine; its own figures, and a program in Python that walks the ring and looks keys
//! up, from the help text.

use std::process::Command;
use std::thread;

use rustix::process::Signal;

use crate::process::{Demos, client, demos, engines, has_client};

/// The cells of the lines of the table below its titles.
fn rows(table: &str) -> Vec<Vec<String>> {
    let lines = table.lines().filter(|line| line.contains('┆')).skip(1);
    lines.map(|line| line.trim_matches('│').split('┆').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap_or_else(|_| panic!("{cell:?} is no number"))
}

#[test]
fn all_is_found_while_all_live_and_the_dead_are_met_by_those_who_should() {
    // Side by side, for most of the time they wait for the dead.
    thread::scope(|scope| {
        for engine in engines() {
            scope.spawn(move || check_table(&engine));
        }
    });
}

fn check_table(engine: &str) {
    let ended = demos(&format!("dht --nodes 60 --dead 12 --lookups 32 --delay 0.0005 --timeout 0.4 --on {engine}"));
    assert!(ended.status.success() && ended.stderr.is_empty(), "{engine}: {ended:?}");
    let rows = rows(&ended.stdout);
    let names: Vec<_> = rows.iter().map(|row| &row[0][..]).collect();
    assert_eq!(names, ["iterative", "recursive", "blind"].repeat(3), "{engine}: {}", ended.stdout);
    for row in &rows {
        let [routing, dead, found, wrong, messages, hops, ..] = &row[..] else { panic!("{row:?}") };
        assert_eq!(wrong, "0", "{engine}: {row:?}");
        let (in_vain, by_askers, by_others) = (number(&row[8]), number(&row[9]), number(&row[10]));
        let is_blind = routing == "blind";
        if dead == "0" || dead == "12, repaired" {
            assert_eq!((&found[..], in_vain + by_askers + by_others), ("32", 0.0), "{engine}: {row:?}");
            assert!(number(hops) < 6.0, "{engine}: {row:?}");
            // Two messages for each hop, or one; and the answer. The figures are rounded.
            let each = number(messages) / number(hops);
            let (least, most) = if is_blind { (1.0, 1.9) } else { (1.9, 3.0) };
            assert!(each >= least && each <= most, "{engine}: {row:?}");
            continue;
        }
        assert_eq!(dead, "12", "{engine}: {row:?}");
        match &routing[..] {
            "iterative" => assert!(by_askers > 0.0 && by_others == 0.0, "{engine}: {row:?}"),
            "recursive" => assert!(by_others > 0.0, "{engine}: {row:?}"),
            _ => assert!(in_vain > 0.0 && by_askers + by_others == 0.0, "{engine}: {row:?}"),
        }
        assert!(is_blind || found == "32", "{engine}: {row:?}");
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
