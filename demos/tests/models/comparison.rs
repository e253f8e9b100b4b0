//! Goal: the comparison shows every rung it was asked for, or says why not. Method: the built binary, a fraction of a second
//! for each rung, where io_uring is open and where it is closed.

use std::net::SocketAddr;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::rungs;
use crate::process::{Demos, admits_its_build, demos};

#[test]
fn the_comparison_shows_every_rung_it_was_asked_for() {
    let [json, html] =
        ["json", "html"].map(|kind| std::env::temp_dir().join(format!("demos-models-{}.{kind}", std::process::id())));
    let rungs: Vec<_> =
        rungs().into_iter().filter(|rung| ["blocking", "poll", "proactor"].contains(&&rung[..])).collect();
    let (only, json_, html_) = (rungs.join(","), json.display(), html.display());
    let ended = demos(&format!("models --only {only} --seconds 0.3 --json {json_} --html {html_}"));
    assert!(ended.status.success(), "{ended:?}");
    let [json, html] = [json, html].map(|file| {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        text
    });
    for word in ["Columns:", "What to look at:", "What to try next:", "ns of 1,000"] {
        assert!(ended.stdout.contains(word), "{word}: {ended:?}");
    }
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let models = report["models"].as_array().unwrap();
    let names: Vec<_> = models.iter().map(|model| model["model"].as_str().unwrap()).collect();
    assert_eq!(names, rungs);
    for model in models {
        let figures = |figures: &serde_json::Value| {
            for figure in ["requests_per_second", "p50_us", "p99_us", "server_cpu_ns_per_request"] {
                assert!(figures[figure].as_f64().unwrap() > 0.0, "{figure} of {model}");
            }
        };
        figures(&model["echo"]);
        figures(&model["web"]);
        let points = if model["model"] == "blocking" { 1 } else { 3 };
        assert_eq!(model["curve"].as_array().unwrap().len(), points, "{model}");
        assert_eq!(model["bytes_per_idle_connection"].is_null(), points == 1, "{model}");
        let name = model["model"].as_str().unwrap();
        assert!(ended.stdout.contains(&format!("│ {name} ")) && html.contains(name), "{name}");
    }
    admits_its_build(&ended.stdout);
    admits_its_build(&html);
    assert!(!html.contains("No figures."), "a family that was not asked for has a heading");
    assert!(html.matches("<svg ").count() > 8 && !html.replace("http://www.w3.org/2000/svg", "").contains("://"));
}

#[test]
fn rungs_that_cannot_run_here_are_left_out_with_the_reason() {
    let close_io_uring = || {
        let rules = [(libc::SYS_io_uring_setup, Vec::new())].into_iter().collect();
        let closed = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, closed, arch).unwrap();
        apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    };
    let ended = Demos::start_by(close_io_uring, "models --only poll,uring-polls,proactor --seconds 0.1").end();
    assert!(ended.status.success() && ended.stdout.contains("│ poll "), "{ended:?}");
    let left_out = ended.stdout.split("Left out:").nth(1).unwrap();
    assert!(left_out.contains("- uring-polls: ") && left_out.contains("- proactor: "), "{ended:?}");
    assert!(left_out.contains("io_uring") && left_out.contains("demos doctor"), "{ended:?}");
    let ended = Demos::start_by(close_io_uring, "models serve uring-oneshot --listen 127.0.0.1:0").end();
    assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("seccomp"), "{ended:?}");
}

#[test]
fn bad_options_of_the_ladder_are_refused_with_their_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let cases = [
        ("models serve kqueue".to_owned(), 2, "the rungs are blocking, processes"),
        ("models --only poll,kqueue".to_owned(), 2, "the rungs are blocking, processes"),
        ("models --seconds soon".to_owned(), 2, "give a number of seconds"),
        ("models serve poll --max-connections 0".to_owned(), 2, "not in 1.."),
        ("models --html /nowhere/at/all.html".to_owned(), 1, "give a file in a folder that exists"),
        ("web --on poll --listen 0.0.0.0:0".to_owned(), 1, "--allow-remote"),
        (format!("models serve select --listen {address}"), 1, "choose another port"),
    ];
    for (arguments, code, remedy) in cases {
        let ended = demos(&arguments);
        assert_eq!(ended.status.code(), Some(code), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(remedy), "{arguments}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments}");
    }
}
