//! Goal: the record of what is promised (`RELIABILITY.md`) names every scenario once, and no test that is not there;
//! and cargo knows every file of tests.
//!
//! Method: its table, row by row, against the sources and the list of scenarios; the folder against the manifest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use tests::{Suite, scenarios};

/// The letters of the scenarios, and how many there are of each.
const GROUPS: [(&str, u32); 15] = [
    ("T", 18),
    ("Q", 8),
    ("M", 10),
    ("L", 8),
    ("ET", 7),
    ("P", 37),
    ("S", 17),
    ("H", 22),
    ("X", 14),
    ("N", 7),
    ("G", 6),
    ("K", 4),
    ("Y", 5),
    ("B", 8),
    ("U", 11),
];
/// How a verdict begins.
const VERDICTS: [&str; 4] = ["holds", "in part: ", "not run: ", "open"];

/// A line of the table.
struct Row {
    id: String,
    promise: String,
    tests: Vec<String>,
    engines: String,
    verdict: String,
}

fn table() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("RELIABILITY.md");
    let text = fs::read_to_string(&path).expect("the record");
    let lines = text.lines().skip_while(|line| !line.starts_with("| id |")).skip(2);
    lines.take_while(|line| line.starts_with('|')).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let [id, promise, tests, engines, verdict] = <[String; 5]>::try_from(cells).expect("five columns");
    // Every other piece stands between two backticks.
    let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Row { id, promise, tests, engines, verdict }
}

/// Why there is no such test; `None` if there is.
fn missing(test: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let Some((file, name)) = test.rsplit_once("::") else {
        let is_command = test.contains('/') && root.join(test).is_file();
        return (!is_command).then(|| "it is neither a function nor a command".to_owned());
    };
    if file == "scenarios" {
        return (!scenarios::all().iter().any(|scenario| scenario.id == name)).then(|| "no such scenario".to_owned());
    }
    let path = match file.contains('/') {
        true => root.join(file),
        false => root.join("tests/tests").join(file).with_extension("rs"),
    };
    match fs::read_to_string(&path) {
        Err(error) => Some(format!("{}: {error}", path.display())),
        Ok(source) => {
            let is_there = [format!("fn {name}("), format!("fn {name}<")].iter().any(|head| source.contains(head));
            (!is_there).then(|| format!("no such function in {}", path.display()))
        }
    }
}

fn every_scenario_has_one_row() {
    let named: Vec<_> = table().into_iter().map(|row| row.id).collect();
    let all = GROUPS.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}")));
    assert_eq!(named, all.collect::<Vec<_>>());
}

fn every_row_is_complete() {
    for Row { id, promise, tests, engines, verdict } in table() {
        assert!(promise.ends_with('.') && !engines.is_empty(), "{id}");
        assert!(VERDICTS.iter().any(|begin| verdict.starts_with(begin)), "{id}: {verdict}");
        let needs_test = !verdict.starts_with("open") && !verdict.starts_with("not run");
        assert!(!needs_test || !tests.is_empty(), "{id}: {verdict}, and no test");
    }
}

fn every_test_it_names_is_there() {
    for Row { id, tests, .. } in table() {
        for test in tests {
            if let Some(why) = missing(&test) {
                panic!("{id}: {test} is not there: {why}");
            }
        }
    }
    assert!(missing("tasks::no_such_test").is_some() && missing("scenarios::Z1").is_some(), "the check works");
}

fn every_scenario_with_rounds_is_named() {
    let named: BTreeSet<_> = table().into_iter().flat_map(|row| row.tests).collect();
    for scenario in scenarios::all() {
        assert!(named.contains(&format!("scenarios::{}", scenario.id)), "no row names {}", scenario.id);
    }
}

/// Cargo takes a file without an entry for one with the usual harness, which finds no test in it.
fn every_file_has_an_entry() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("the manifest");
    let mut seen = 0;
    for entry in fs::read_dir(folder.join("tests")).expect("the tests") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy();
        let entry = format!("[[test]]\nname = \"{name}\"\nharness = false\n");
        assert!(manifest.contains(&entry), "tests/Cargo.toml lacks this entry:\n{entry}");
        seen += 1;
    }
    assert!(seen > 50, "only {seen} files found");
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let cases: [(&str, fn()); 5] = [
        ("every_scenario_has_one_row", every_scenario_has_one_row),
        ("every_row_is_complete", every_row_is_complete),
        ("every_test_it_names_is_there", every_test_it_names_is_there),
        ("every_scenario_with_rounds_is_named", every_scenario_with_rounds_is_named),
        ("every_file_has_an_entry", every_file_has_an_entry),
    ];
    for (name, body) in cases {
        suite.add_plain(name, body);
    }
    suite.run()
}
