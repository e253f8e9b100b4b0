//! Goal: the comparison measures every engine in every scenario, and says so as text, as JSON and as a page.
//! Method: the built binary, for about a second, and a look at what it wrote.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Demos, admits_its_build, demos, engines};

#[test]
fn compare_measures_every_engine_that_runs() {
    let [json, html] =
        ["json", "html"].map(|kind| std::env::temp_dir().join(format!("demos-compare-{}.{kind}", std::process::id())));
    let ended = demos(&format!("compare --seconds 1 --json {} --html {}", json.display(), html.display()));
    assert!(ended.status.success(), "{ended:?}");
    let [json, html] = [json, html].map(|file| {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        text
    });
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let expected = engines();
    page_holds_everything(&html, &report, &expected);
    for scenario in report["scenarios"].as_array().unwrap() {
        let measured = scenario["engines"].as_array().unwrap();
        let names: Vec<_> = measured.iter().map(|engine| engine["engine"].as_str().unwrap()).collect();
        assert_eq!(names, expected);
        for engine in measured {
            let median = &engine["median"];
            for figure in ["requests_per_second", "p50_us", "p99_us", "server_cpu_ns_per_request"] {
                assert!(median[figure].as_f64().unwrap() > 0.0, "{figure} of {engine}");
            }
        }
    }
    for engine in expected {
        assert!(ended.stdout.contains(&engine), "{}", ended.stdout);
    }
    admits_its_build(&ended.stdout);
    admits_its_build(&html);
    assert_eq!(report["origin"]["debug_build"], cfg!(debug_assertions));
}

#[test]
fn what_is_compared_can_be_chosen_and_compared_with_an_earlier_run() {
    let file = std::env::temp_dir().join(format!("demos-baseline-{:016x}.json", fastrand::u64(..)));
    for engine in engines() {
        let choice = format!("compare --only echo,idle --on {engine} --connections 1,3 --payload 100 --seconds 0.3");
        let ended = demos(&format!("{choice} --json {}", file.display()));
        assert!(ended.status.success(), "{ended:?}");
        let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let names: Vec<_> = report["scenarios"].as_array().unwrap().iter().map(|found| &found["name"]).collect();
        assert_eq!(names, ["echo, 1 connection, 100 bytes", "echo, 3 connections, 100 bytes"]);
        assert!(report["idle"][0]["bytes_per_connection"].is_number(), "{report}");
        let ended = demos(&format!("{choice} --baseline {}", file.display()));
        assert!(
            ended.stdout.contains("\nCompared with ") && ended.stdout.contains("\necho, 3 connections, 100 bytes\n")
        );
        // Twice: in the table of now, and with what it was.
        assert!(ended.stdout.matches(&engine).count() >= 3, "{ended:?}");
    }
    std::fs::write(&file, "{}").unwrap();
    for baseline in [file.display().to_string(), "/nope".to_owned()] {
        let ended = demos(&format!("compare --baseline {baseline}"));
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stderr.contains("give a file that `demos compare --json FILE` has written"), "{ended:?}");
    }
    std::fs::remove_file(&file).unwrap();
    for wrong in [
        "--payload 5 --only http",
        "--connections 5 --only idle",
        "--on proactor,proactor",
        "--connections 0",
        "--only nope",
    ] {
        let ended = demos(&format!("compare {wrong}"));
        assert!(!ended.status.success() && ended.stdout.is_empty(), "{wrong}: {ended:?}");
    }
}

/// The page needs nothing from elsewhere, and shows every engine in every scenario.
fn page_holds_everything(html: &str, report: &serde_json::Value, engines: &[String]) {
    // The only address in it is the name of SVG, which nobody loads.
    let html = html.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["://", "src=", "<script", "<link", "@import", "url("] {
        assert!(!html.contains(foreign), "{foreign} in {html}");
    }
    let sections: Vec<_> = html.split("<h2 ").skip(1).collect();
    let scenarios = report["scenarios"].as_array().unwrap();
    // One more for the memory of idle connections.
    assert_eq!(sections.len(), scenarios.len() + 1);
    for (section, scenario) in sections.iter().zip(scenarios) {
        assert!(section.contains(scenario["name"].as_str().unwrap()), "{section}");
    }
    for engine in engines {
        for section in &sections {
            // In a plot and in the table.
            assert!(section.contains("<svg ") && section.matches(engine.as_str()).count() >= 2, "{engine}: {section}");
        }
    }
}

#[test]
fn a_report_that_does_not_fit_on_the_disk_leaves_what_was_there() {
    let folder = std::env::temp_dir().join(format!("demos-report-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let (old, new) = (folder.join("old.html"), folder.join("new.html"));
    std::fs::write(&old, "the last one").unwrap();
    for page in [&old, &new] {
        // No file may grow beyond a few blocks; a full disk is the same to who writes.
        let ended = Demos::start_after("ulimit -f 4", &format!("compare --seconds 1 --html {}", page.display())).end();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("cannot write the file given with --html"), "{ended:?}");
    }
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "the last one");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is half there");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_signal_ends_a_command_that_measures() {
    for command in ["ipc --way signal --seconds 20", "ipc --way named-pipe --seconds 20", "compare --seconds 20"] {
        let mut measuring = Demos::start(command);
        assert!(measuring.runs_for(Duration::from_millis(500)), "{command}");
        measuring.signal(Signal::TERM);
        let ended = measuring.end();
        assert_eq!(ended.status.signal(), Some(Signal::TERM.as_raw()), "{command}: {ended:?}");
    }
}
