//! Goal: `bench` counts right answers and nothing else, and every command that measures writes where its figures come from.
//! Method: the built binary against servers of ours, and against one that answers wrongly.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use serde_json::Value;

use crate::process::{Demos, Ended, admits_its_build, demos, engines};

/// A file that is gone at the end.
struct Report(PathBuf);

impl Report {
    fn new() -> Report {
        Report(std::env::temp_dir().join(format!("demos-report-{:016x}.json", fastrand::u64(..))))
    }

    /// Runs a command that writes it.
    fn of(&self, command: &str) -> (Ended, Value) {
        let ended = demos(&format!("{command} --json {}", self.0.display()));
        assert!(ended.status.success(), "{ended:?}");
        let report = std::fs::read_to_string(&self.0).expect("a report");
        (ended, serde_json::from_str(&report).expect("JSON"))
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn an_echo_server_is_measured_on_every_engine() {
    let file = Report::new();
    for engine in engines() {
        let server = Demos::start(&format!("echo --on {engine} --listen 127.0.0.1:0"));
        let address = server.address();
        let load = "--connections 5 --depth 3 --payload 1000 --seconds 0.3";
        let (ended, report) = file.of(&format!("bench {address} --on {engine} {load}"));
        assert!(ended.stdout.contains("every byte checked"), "{ended:?}");
        admits_its_build(&ended.stdout);
        let (requests, bytes) = (report["requests"].as_u64().unwrap(), report["bytes_received"].as_u64().unwrap());
        assert!(requests > 0 && bytes >= requests * 1000, "{report}");
        assert_eq!((&report["client"], &report["server"]), (&engine.into(), &address.to_string().into()), "{report}");
        let latency = |name: &str| report["latency_us"][name].as_f64().unwrap();
        assert!(
            latency("p50") > 0.0 && latency("p50") <= latency("p99") && latency("p99") <= latency("max"),
            "{report}"
        );
    }
}

#[test]
fn a_server_that_closes_connections_gets_new_ones() {
    let file = Report::new();
    for engine in engines() {
        let server = Demos::start(&format!("http --on {engine} --listen 127.0.0.1:0 --max-requests 10"));
        let address = server.address();
        for depth in [1, 4] {
            let load = format!("--connections 3 --seconds 0.5 --depth {depth} --on {engine}");
            let (ended, report) = file.of(&format!("bench {address} --http /plaintext {load}"));
            let (requests, anew) = (report["requests"].as_u64().unwrap(), report["reconnects"].as_u64().unwrap());
            assert!(requests <= 10 * (anew + 3), "ten answers a connection at most: {report}");
            assert!(requests < 50 || anew > 0, "{report}");
            assert!(ended.stdout.contains("status and length checked"), "{ended:?}");
        }
    }
}

#[test]
fn wrong_answers_are_no_answers() {
    let server = Demos::start("http --listen 127.0.0.1:0");
    let address = server.address();
    for (command, why) in [
        (format!("bench {address} --http /nope"), "a status other than 200"),
        (format!("bench {address} --payload 100"), "a wrong answer"),
        ("bench 127.0.0.1:1".to_owned(), "is a server running there?"),
        (format!("bench {address} --payload 1000000 --depth 2"), "more than 1 MiB"),
    ] {
        let ended = demos(&format!("{command} --seconds 0.2"));
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains(why), "{ended:?}");
    }
    // The second answer is another one than the first.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for body in ["", "one", "longer"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1000];
            // The first connection only looks whether a server is there.
            if !body.is_empty() && stream.read(&mut request).unwrap() > 0 {
                let length = body.len();
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
                    .unwrap();
            }
        }
    });
    let ended = demos(&format!("bench {address} --http / --connections 1 --seconds 0.2"));
    server.join().unwrap();
    assert!(ended.status.code() == Some(1) && ended.stderr.contains("6 bytes instead of 3"), "{ended:?}");
}

#[test]
fn every_report_says_where_it_comes_from() {
    let file = Report::new();
    for command in [
        "tasks --tasks 10 --threads 2 --processes 2",
        "ipc --way pipe --seconds 0.1",
        "dht --nodes 4 --lookups 3 --delay 0",
        "proxy --compare --seconds 0.5",
        "models --only poll --seconds 0.5",
        "queue --items 2",
    ] {
        let (_, report) = file.of(command);
        let origin = &report["origin"];
        assert!(origin["command"].as_str().unwrap().starts_with(&format!("demos {command} --json ")), "{origin}");
        for key in ["date", "version", "commit", "kernel"] {
            assert!(origin[key].as_str().is_some_and(|word| !word.is_empty()), "{command}, {key}: {origin}");
        }
        assert_eq!(origin["debug_build"], cfg!(debug_assertions));
        assert!(origin["cores"].is_number(), "{origin}");
        let figures = report.as_object().unwrap().iter().filter(|(name, _)| *name != "origin");
        assert!(
            figures.map(|(_, value)| value).any(|value| value.as_array().is_some_and(|rows| !rows.is_empty())),
            "{report}"
        );
    }
}
