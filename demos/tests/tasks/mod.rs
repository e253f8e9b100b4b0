//! `demos tasks`: what it prints and draws, and how it takes a system that gives less than it asks for.

use crate::process::{Demos, admits_its_build, demos, engines};

#[test]
fn every_kind_is_measured_and_drawn_beside_the_claims() {
    let file = std::env::temp_dir().join(format!("demos-tasks-{}.html", std::process::id()));
    let shown = demos(&format!("tasks --tasks 2000 --threads 20 --processes 3 --html {}", file.display()));
    assert!(shown.status.success(), "{shown:?}");
    let page = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let mut rows: Vec<_> = engines().iter().map(|engine| (format!("task, {engine}"), "2,000")).collect();
    rows.extend([("thread".to_owned(), "20"), ("process".to_owned(), "3")]);
    for (name, number) in rows {
        let row = shown.stdout.lines().find(|line| line.starts_with(&format!("│ {name} "))).expect("a row for each");
        let cells: Vec<_> = row.split(['│', '┆']).map(str::trim).collect();
        assert_eq!(cells[2], number, "{row}");
        // To make one, memory, and a switch.
        for figure in [cells[3], cells[4], cells[6]] {
            assert!(figure.replace(',', "").parse::<u64>().is_ok_and(|figure| figure > 0), "{row}");
        }
        assert!(page.matches(&name).count() >= 4, "{name} is not in three plots and the table");
    }
    assert!(
        shown.stdout.contains("The claim: 120 ns against 3,500") && shown.stdout.contains("megabytes"),
        "{shown:?}"
    );
    admits_its_build(&shown.stdout);
    admits_its_build(&page);
    assert_eq!(page.matches("<svg ").count(), 3);
}

#[test]
fn each_engine_can_be_asked_alone() {
    for engine in engines() {
        let shown = demos(&format!("tasks --on {engine} --tasks 100 --threads 2 --processes 1"));
        assert!(shown.status.success(), "{shown:?}");
        let tasks: Vec<_> = shown.stdout.lines().filter(|line| line.starts_with("│ task, ")).collect();
        assert!(tasks.len() == 2 && tasks[0].contains(&engine) && tasks[1].contains("claimed"), "{shown:?}");
    }
}

#[test]
fn a_system_that_gives_less_is_named() {
    // Address space for some threads, and not for all. The C library keeps some of it for small allocations, of which one
    // that fails would end the process.
    let limits = "export MALLOC_ARENA_MAX=1 MALLOC_TOP_PAD_=8388608 && ulimit -v 1000000";
    let shown = Demos::start_after(limits, "tasks --on reactor-edge --tasks 100 --threads 2000 --processes 1").end();
    assert!(shown.status.success(), "{shown:?}");
    assert!(shown.stdout.contains(" threads, not 2000: "), "{shown:?}");
}
