//! Goal: `peers instructions` counts, saves, compares with a record, refuses what makes no sense, and leaves
//! nothing behind.
//! Method: the built binary in a process of its own, with a hand-written loop; what is compared is an example.

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use common::{children, command_line, path, text};

/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(120);

fn peers(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peers"));
    command.arg("instructions").args(arguments);
    command
}

/// Whether valgrind is here. It has to be where the independent clients have to be.
fn has_valgrind() -> bool {
    let is_here = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(is_here || env::var_os("DEMOS_TESTS_NEED_CLIENTS").is_none(), "valgrind is missing: install it");
    if !is_here {
        eprintln!("skipped: valgrind is missing");
    }
    is_here
}

#[test]
fn what_was_counted_is_the_same_each_time_and_is_saved() {
    if !has_valgrind() {
        return;
    }
    let [html, json, markdown] = ["html", "json", "md"].map(path);
    let choice = ["--servers", "epoll-edge", "--scenarios", "echo-64,churn-64"];
    let figures = || {
        let ended = peers(&[&choice[..], &["--html", &html, "--json", &json, "--markdown", &markdown]].concat());
        assert!(ended.status.success(), "{ended:?}");
        for place in [fs::read_to_string(&html).unwrap(), fs::read_to_string(&markdown).unwrap(), text(&ended.stdout)] {
            for word in ["epoll-edge", "echo-64", "churn-64", "System calls per request"] {
                assert!(place.contains(word), "{word} is missing in {place}");
            }
        }
        let saved: serde_json::Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(saved["left_out"].as_array().unwrap().len(), 0, "{saved}");
        let figures = saved["figures"].as_array().unwrap().clone();
        let names: Vec<_> = figures.iter().map(|figure| figure["scenario"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names, ["echo-64", "churn-64"]);
        figures
    };
    let (once, again) = (figures(), figures());
    for (one, other) in once.iter().zip(&again) {
        let count = |figure: &serde_json::Value| figure["instructions"].as_f64().unwrap();
        assert!((count(one) / count(other) - 1.0).abs() < 0.02, "{one} {other}");
    }
    // A `recv`, a `send`, and a share of two waits: one that the stop interrupts, and one that finds all requests.
    // A connection of its own takes four more at least.
    let calls = |place: usize| once[place]["system_calls"].as_f64().unwrap();
    assert!((calls(0) - (2.0 + 2.0 / 64.0)).abs() < 0.005 && calls(1) > 6.0, "{once:?}");
    assert!(once[0]["allocations"].as_f64().unwrap() < 0.01, "{once:?}");
    for file in [html, json, markdown] {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_figure_above_the_record_fails_and_is_named() {
    if !has_valgrind() {
        return;
    }
    let file = path("record.json");
    let compiler = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-V").output().unwrap();
    let compiler = text(&compiler.stdout).trim().to_owned();
    let check = |instructions: u64, compiler: &str| {
        let figure =
            serde_json::json!({ "server": "reactor-echo", "scenario": "echo-64", "instructions": instructions });
        let record = serde_json::json!({ "format": 1, "compiler": compiler, "figures": [figure] });
        fs::write(&file, record.to_string()).unwrap();
        peers(&["--check", &file, "--servers", "reactor-echo"])
    };
    let ended = check(1_000_000, "another compiler");
    assert!(ended.status.success(), "{ended:?}");
    let said = text(&ended.stdout);
    assert!(said.contains("another compiler") && said.contains("instead of 3 %"), "{said}");
    let ended = check(1, &compiler);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = text(&ended.stderr);
    assert!(said.contains("reactor-echo, echo-64: recorded 1, found ") && said.contains("--record"), "{said}");
    assert!(!text(&ended.stdout).contains("instead of"), "{ended:?}");
    fs::remove_file(&file).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_with_its_remedy() {
    let broken = path("broken.json");
    fs::write(&broken, "{}").unwrap();
    let cases = [
        (&["--servers", "epoll"][..], 1, "choose from epoll-level, epoll-edge"),
        (&["--servers", "uring-spin"], 1, "choose from epoll-level"),
        (&["--scenarios", "open-50k"], 1, "choose from echo-1, echo-64"),
        (&["--servers", "hyper", "--scenarios", "echo-64"], 1, "none of the chosen servers"),
        (&["--check", "--servers", "tokio"], 1, "none of the chosen servers"),
        (&["--check", "/nowhere/at/all.json"], 1, "peers instructions --record"),
        (&["--check", &broken], 1, "peers instructions --record"),
        (&["--record", "--servers", "reactor-echo"], 2, "cannot be used with"),
        (&["--record", "--check"], 2, "cannot be used with"),
    ];
    for (arguments, code, remedy) in cases {
        let ended = peers(arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
        assert!(text(&ended.stderr).contains(remedy), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    }
    fs::remove_file(&broken).unwrap();
}

#[test]
fn without_valgrind_it_says_how_to_get_it() {
    let ended = command(&["--servers", "epoll-edge"]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(text(&ended.stderr).contains("install it from your distribution"), "{ended:?}");
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    if !has_valgrind() {
        return;
    }
    // A loop on a ring: while it sleeps under valgrind, it hears no signal but the last.
    for signal in [Signal::TERM, Signal::KILL] {
        let mut command = command(&["--servers", "uring,uring-direct", "--scenarios", "echo-1"]);
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let folder = env::temp_dir().join(format!("peers-instructions-{}", run.id()));
        let start = Instant::now();
        let (server, line) = loop {
            // The count is under way: what comes before is written down.
            let children = children(run.id());
            if let [server] = &children[..]
                && server.1.contains("serve")
                && folder.join("run/out.1").exists()
            {
                break server.clone();
            }
            assert!(start.elapsed() < PATIENCE, "it does not start anything");
            thread::sleep(Duration::from_millis(1));
        };
        kill_process(Pid::from_child(&run), signal).unwrap();
        assert!(!run.wait().unwrap().success());
        let interrupted = Instant::now();
        let is_left = |folder: &Path| command_line(server) == line || signal == Signal::TERM && folder.exists();
        while is_left(&folder) {
            assert!(interrupted.elapsed() < PATIENCE, "the server runs on, or its files are left");
            thread::sleep(Duration::from_millis(1));
        }
        // A program that is killed cannot clean up its files.
        let _ = fs::remove_dir_all(&folder);
    }
}
