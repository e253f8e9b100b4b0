//! Goal: `peers run` measures, saves, renders again, refuses what makes no sense, and leaves nothing behind.
//! Method: the built binary in a process of its own, with two servers and one round.

mod common;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use common::{children, command_line, path, text};

/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(30);

fn peers(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peers")).args(arguments).output().unwrap()
}

#[test]
fn what_was_measured_is_saved_and_can_be_rendered_again() {
    let [html, json, markdown, again] = ["html", "json", "md", "again.html"].map(path);
    let choice = ["run", "--servers", "epoll-edge,reactor-edge", "--scenarios", "echo-64,http-64", "--rounds", "1"];
    let ended = peers(&[&choice[..], &["--html", &html, "--json", &json, "--markdown", &markdown]].concat());
    assert!(ended.status.success(), "{ended:?}");
    let saved: serde_json::Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let scenarios = saved["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 2);
    for scenario in scenarios {
        for server in scenario["servers"].as_array().unwrap() {
            let runs = server["runs"].as_array().unwrap();
            assert_eq!(runs.len(), 1);
            for figure in ["requests", "server_cpu_ns"] {
                assert!(runs[0]["outcome"][figure].as_u64().unwrap() > 0, "{figure} of {server}");
            }
        }
    }
    let rendered = peers(&["run", "--from", &json, "--html", &again]);
    assert!(rendered.status.success(), "{rendered:?}");
    let page = fs::read_to_string(&html).unwrap();
    assert_eq!(fs::read_to_string(&again).unwrap(), page);
    for place in [page, fs::read_to_string(&markdown).unwrap(), text(&ended.stdout)] {
        for word in ["epoll-edge", "reactor-edge", "Echo, 64 connections", "HTTP, 64 connections"] {
            assert!(place.contains(word), "{word} is missing in {place}");
        }
    }
    for file in [html, json, markdown, again] {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_remedy() {
    let broken = path("broken.json");
    fs::write(&broken, "{}").unwrap();
    let cases = [
        (&["--servers", "epoll"][..], 1, "choose from epoll-level, epoll-edge"),
        (&["--scenarios", "echo"], 1, "choose from echo-1, echo-64"),
        (&["--servers", "hyper", "--scenarios", "echo-64"], 1, "none of the chosen servers"),
        (&["--rounds", "0"], 1, "--rounds 1"),
        (&["--rounds", "few"], 2, "invalid"),
        (&["--html", "/nowhere/at/all.html"], 1, "give a file in a folder that exists"),
        (&["--from", "/nowhere/at/all.json"], 1, "cannot read"),
        (&["--from", &broken], 1, "give a file written with --json"),
        (&["--from", &broken, "--quick"], 2, "cannot be used with"),
    ];
    for (arguments, code, remedy) in cases {
        let ended = peers(&[&["run"], arguments].concat());
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {ended:?}");
        assert!(text(&ended.stderr).contains(remedy), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    }
    fs::remove_file(&broken).unwrap();
}

#[test]
fn an_interrupted_run_leaves_no_server_behind() {
    let choice = ["run", "--servers", "epoll-edge", "--scenarios", "echo-64", "--rounds", "1000"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_peers"));
    let mut run = command.args(choice).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let (server, line) = loop {
        let children = children(run.id());
        // There is a client, too: the run is under way.
        if let [server, _client] = &children[..] {
            break server.clone();
        }
        assert!(start.elapsed() < PATIENCE, "it does not start anything");
        thread::sleep(Duration::from_millis(1));
    };
    assert!(line.contains("serve"), "{line}");
    // Not SIGINT, which whoever is started in the background of a shell ignores.
    kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    assert!(!run.wait().unwrap().success());
    let interrupted = Instant::now();
    while command_line(server) == line {
        assert!(interrupted.elapsed() < PATIENCE, "the server runs on");
        thread::sleep(Duration::from_millis(1));
    }
}
