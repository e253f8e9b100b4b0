//! Goal: each way for processes to talk carries every message to the other side and back, and says so in figures.
//! Method: the built binary on both ends; and on the far end only, with a program at the near one that was written from
//! the help text, in another language.

use std::process::Command;

use crate::process::{Demos, admits_its_build, client, demos, engines, has_client};

const WAYS: [&str; 7] =
    ["pipe", "named-pipe", "unix-socket", "unix-datagram", "shared-memory", "message-queue", "signal"];
/// Those that a task can await.
const AWAITED: [&str; 5] = ["pipe", "named-pipe", "unix-socket", "unix-datagram", "shared-memory"];

#[test]
fn every_way_is_measured_between_threads_processes_and_with_every_engine() {
    let ended = demos("ipc --seconds 0.5");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    for way in WAYS {
        let mut ends = vec!["thread, thread".to_owned(), "process, process".to_owned()];
        if AWAITED.contains(&way) {
            ends.extend(engines().iter().map(|engine| format!("{engine}, process")));
        }
        for ends in ends {
            let row = ended.stdout.lines().find(|line| line.contains(&format!(" {way} ")) && line.contains(&ends));
            let row = row.unwrap_or_else(|| panic!("{way}, {ends} is missing: {}", ended.stdout));
            let figures: Vec<f64> = row.split('┆').skip(3).take(2).map(|cell| cell.trim().parse().unwrap()).collect();
            assert!(figures[0] > 0.0 && figures[1] >= figures[0], "{row}");
        }
    }
    admits_its_build(&ended.stdout);
}

#[test]
fn a_program_of_another_language_is_answered_on_every_way() {
    if !has_client("python3") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ipc/partner.py");
    for way in WAYS {
        let ended = client(Command::new("python3").args([script, env!("CARGO_BIN_EXE_demos"), way]), b"");
        assert!(ended.status.success() && ended.stdout == "answered 1000\n", "{way}: {ended:?}");
    }
}

#[test]
fn what_the_far_end_lacks_is_said() {
    let cases = [
        ("named-pipe", "two names"),
        ("named-pipe --at /nowhere/a,/nowhere/b", "No such file"),
        ("message-queue --at /demos-none-a,/demos-none-b", "No such file"),
        ("shared-memory --at /demos-none", "No such file"),
        ("signal --at me", "number of a process"),
    ];
    for (arguments, why) in cases {
        let ended = demos(&format!("ipc --answer {arguments}"));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(why) && ended.stderr.contains("demos ipc --help"), "{ended:?}");
    }
}

#[test]
fn a_far_end_whose_other_side_is_gone_ends() {
    // Its stdin has ended.
    let ended = Demos::start("ipc --answer pipe").end();
    assert!(ended.status.success() && ended.stdout.is_empty() && ended.stderr == "ready\n", "{ended:?}");
}
