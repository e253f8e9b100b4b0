//! `demos queue`: its picture, and its events as Python's queue sees them.

use std::process::Command;

use crate::process::{client, demos, engines, has_client};

#[test]
fn who_is_held_up_is_seen() {
    for engine in engines() {
        for (options, held_up, word) in [
            ("--produce 0 --consume 40 --items 2 --capacity 1", "producer 1", "back-pressure"),
            ("--produce 40 --consume 0 --items 3 --capacity 4", "consumer 1", "consumers wait"),
            // Most of them never get an item: they have waited all the same.
            ("--produce 40 --consume 0 --items 3 --capacity 4 --consumers 16", "consumer 16", "consumers wait"),
        ] {
            let shown = demos(&format!("queue --on {engine} {options}"));
            assert!(shown.status.success() && shown.stdout.contains(word), "{engine}: {shown:?}");
            let line = shown.stdout.lines().find(|line| line.starts_with(held_up)).expect("a line for everybody");
            assert!(line.contains("###"), "{engine}: {}", shown.stdout);
        }
    }
}

#[test]
fn a_queue_with_room_for_all_holds_nobody_up_and_says_where_the_items_are() {
    for engine in engines() {
        let shown = demos(&format!("queue --on {engine} --produce 1 --consume 20 --items 10 --capacity 1000"));
        assert!(shown.status.success() && shown.stdout.contains("which is memory"), "{engine}: {shown:?}");
        assert!(!shown.stdout.contains("back-pressure") && !shown.stdout.contains("consumers wait"), "{shown:?}");
    }
}

#[test]
fn python_finds_every_item_once_and_in_order() {
    if !has_client("python3") {
        return;
    }
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/queue/check.py");
    for engine in engines() {
        let file = std::env::temp_dir().join(format!("demos-queue-{engine}-{}.json", std::process::id()));
        let file = file.to_str().unwrap();
        let options = "--producers 5 --consumers 3 --capacity 4 --items 200 --produce 0 --consume 0";
        let shown = demos(&format!("queue --on {engine} {options} --json {file}"));
        assert!(shown.status.success(), "{engine}: {shown:?}");
        let python = client(Command::new("python3").args([check, file]), b"");
        std::fs::remove_file(file).unwrap();
        assert!(python.status.success() && python.stdout == "all is well\n", "{engine}: {python:?}");
    }
}
