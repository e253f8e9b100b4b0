//! Goal: the command runs what it is told to, says what came of it, and leaves nothing running.
//!
//! Method: the built binary, with the shortest scenario there is.

use std::fs::DirEntry;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

fn soak(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
    command.args(arguments.split(' ')).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts one that goes on for long; returns its process, and that of the scenario.
fn start() -> (Child, Pid) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
    command.args("P18 --engine reactor-level --duration 5m".split(' '));
    let mut soak = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    // When it says so, it begins.
    BufReader::new(soak.stdout.as_mut().expect("piped")).read_line(&mut String::new()).expect("a line");
    let children = format!("/proc/{0}/task/{0}/children", soak.id());
    let child = wait_for(|| std::fs::read_to_string(&children).ok()?.trim().parse().ok());
    (soak, Pid::from_raw(child).expect("a process"))
}

fn wait_for<T>(mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(there) = there() {
            return there;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn it_ends_quietly_when_nobody_reads() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_soak"));
    let output = command.arg("--list").stdout(writer).stderr(Stdio::piped()).output().expect("the binary starts");
    assert_eq!((output.status.signal(), text(&output.stderr)), (Some(Signal::PIPE.as_raw()), String::new()));
}

#[test]
fn it_runs_for_about_as_long_as_it_is_told_to() {
    let file = std::env::temp_dir().join(format!("soak-{:016x}.json", fastrand::u64(..)));
    let start = Instant::now();
    let output = soak(&format!("P18 --engine reactor-level --duration 300ms --seed 7 --json {}", file.display()));
    assert!(output.status.success(), "{output:?}");
    assert!(start.elapsed() >= Duration::from_millis(300));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("1 runs, 300ms in all, --seed 7\n") && stdout.contains("┆ holds"), "{stdout}");
    let json: Value = serde_json::from_slice(&std::fs::read(&file).expect("the file")).expect("JSON");
    std::fs::remove_file(&file).expect("the file");
    let run = &json["runs"][0];
    assert_eq!((&json["seed"], &run["scenario"], &run["verdict"]), (&7.into(), &"P18".into(), &"holds".into()));
    assert!(run["rounds"].as_u64() > Some(0) && run["command"].as_str().unwrap().contains("--seed 7"), "{json}");
}

#[test]
fn what_it_cannot_do_it_says_before_it_starts() {
    for (arguments, remedy) in [
        ("Z1", "--list"),
        ("--engine none", "reactor-level"),
        ("--duration 5", "such as 30s"),
        ("P18 --json /nonexistent/file", "another --json FILE"),
    ] {
        let output = soak(arguments);
        assert!(!output.status.success() && text(&output.stderr).contains(remedy), "{arguments}: {output:?}");
    }
    let output = soak("--list");
    assert!(output.status.success() && text(&output.stdout).contains("\nP18: "), "{output:?}");
}

#[test]
fn ctrl_c_ends_the_scenario_and_shows_the_table() {
    let (soak, child) = start();
    kill_process(Pid::from_child(&soak), Signal::INT).expect("it runs");
    let output = soak.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130));
    assert!(text(&output.stdout).contains("┆ interrupted"), "{output:?}");
    wait_for(|| test_kill_process(child).err());
}

#[test]
fn however_it_ends_the_scenario_ends_with_it() {
    let (mut soak, child) = start();
    // Before it starts its watchdog, the child has asked the kernel to let it follow.
    let tasks = format!("/proc/{}/task", child.as_raw_nonzero());
    let name = |task: std::io::Result<DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    wait_for(|| std::fs::read_dir(&tasks).ok()?.filter_map(name).find(|name| name.trim() == "watchdog"));
    soak.kill().expect("it runs");
    soak.wait().expect("an end");
    wait_for(|| test_kill_process(child).err());
}
