//! Goal: the house rules hold: unsafe code only where it is declared, functions that fit a screen, a
//! core that can be read in an afternoon, tests that say what they are for.
//!
//! Method: a look at the source, with comments and the contents of strings blanked out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tests::Suite;

/// Where unsafe code may stand. Everything else is free of it.
const UNSAFE_FILES: &[&str] = &[
    "demos/src/bin/demos/models/counters.rs",
    "demos/src/bin/demos/models/poll.rs",
    "demos/src/bin/demos/models/processes.rs",
    "demos/src/bin/demos/models/ring.rs",
    "demos/src/bin/demos/models/sigio.rs",
    "demos/src/bin/demos/models/uring_multishot.rs",
    "demos/src/bin/demos/models/uring_oneshot.rs",
    "reactor/src/epoll.rs",
    "reactor/src/sys.rs",
    "reactor/src/sys/datagram.rs",
    "proactor/src/ring.rs",
    "proactor/src/ring/buffers.rs",
    "proactor/src/ring/completion.rs",
    "proactor/src/ring/judge.rs",
    "proactor/src/ring/message.rs",
    "proactor/src/ring/restrict.rs",
    "proactor/src/ring/setup.rs",
    "proactor/src/op/connect.rs",
    "proactor/src/op/receive.rs",
    "proactor/src/sys.rs",
    "proactor/src/submit.rs",
    "demos/src/bin/demos/ipc/shared_memory.rs",
    "demos/tests/process/mod.rs",
    "tests/tests/connects.rs",
    "tests/tests/error_queue.rs",
    "tests/tests/feed_hostile.rs",
    "tests/tests/foreign_wakers.rs",
    "tests/tests/lossy.rs",
    "tests/tests/threads.rs",
    "tests/oracles/src/fork.rs",
    "tests/oracles/src/pages.rs",
    "tests/oracles/src/quarantine.rs",
    "tests/oracles/src/stall.rs",
    "tests/oracles/tests/sight.rs",
    "tests/tests/memory_shortage.rs",
];
const CORE: [&str; 3] = ["executor/src", "reactor/src", "proactor/src"];
/// What the three core crates may take together, in lines of code.
const CORE_LINES: usize = 7400;
/// What stands before code that only tests have. The core has one feature, `faults`, which no release build has.
const FOR_TESTS: [&str; 3] = ["#[cfg(test)]", "#[cfg(all(test", "#[cfg(feature ="];
/// What a file of them may take: more is more than one idea.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The Rust files under a folder of the workspace, by their path in it, with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{folder:?}: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        for path in entries {
            // The peers are a workspace of their own, with other people's ways.
            let skipped = path.file_name().is_some_and(|name| name == "target" || name == "peers");
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {folder}");
    found.sort();
    found
}

fn all_sources() -> Vec<(String, String)> {
    ["executor", "reactor", "proactor", "demos", "tests"].into_iter().flat_map(sources).collect()
}

/// The text with comments, strings and character literals blanked out, line by line as before.
fn blank(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut place = 0;
    while place < text.len() {
        let end = literal_end(&text, place);
        if end > place {
            out.extend(text[place..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
            place = end;
        } else {
            out.push(text[place]);
            place += 1;
        }
    }
    out
}

/// Where the comment or literal that begins at `place` ends; `place` if none does.
fn literal_end(text: &[char], place: usize) -> usize {
    let at = |offset: usize| text.get(place + offset).copied().unwrap_or('\0');
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    match (at(0), at(1)) {
        ('/', '/') => (place..text.len()).find(|next| text[*next] == '\n').unwrap_or(text.len()),
        ('/', '*') => block_comment_end(text, place),
        ('"', _) => string_end(text, place + 1),
        ('r', '"' | '#') if place == 0 || !is_word(text[place - 1]) || text[place - 1] == 'b' => raw_end(text, place),
        // A character, not a lifetime.
        ('\'', '\\') => (place + 3..text.len()).find(|next| text[*next] == '\'').map_or(place, |end| end + 1),
        ('\'', _) if at(2) == '\'' => place + 3,
        _ => place,
    }
}

fn block_comment_end(text: &[char], mut place: usize) -> usize {
    let mut depth = 0;
    while place + 1 < text.len() {
        match (text[place], text[place + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                place += 1;
                continue;
            }
        }
        place += 2;
        if depth == 0 {
            return place;
        }
    }
    text.len()
}

fn string_end(text: &[char], mut place: usize) -> usize {
    while place < text.len() && text[place] != '"' {
        place += if text[place] == '\\' { 2 } else { 1 };
    }
    (place + 1).min(text.len())
}

fn raw_end(text: &[char], place: usize) -> usize {
    let hashes = text[place + 1..].iter().take_while(|letter| **letter == '#').count();
    if text.get(place + 1 + hashes) != Some(&'"') {
        return place;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let start = place + 2 + hashes;
    let found = text[start..].windows(closing.len()).position(|window| window == closing);
    found.map_or(text.len(), |offset| start + offset + closing.len())
}

/// The line on which the item that begins on line `first` ends: its braces close, or it has none.
fn item_end(lines: &[&str], first: usize) -> usize {
    let mut depth = 0;
    for (number, line) in lines.iter().enumerate().skip(first) {
        for letter in line.chars() {
            match letter {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        return number;
                    }
                }
                ';' if depth == 0 => return number,
                _ => {}
            }
        }
    }
    lines.len() - 1
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|found| found == word)
}

fn unsafe_code_only_where_declared() {
    for (name, source) in all_sources() {
        let is_unsafe = blank(&source).lines().any(|line| has_word(line, "unsafe"));
        let may_be = UNSAFE_FILES.contains(&name.as_str());
        assert!(!is_unsafe || may_be, "{name} has unsafe code");
        assert!(is_unsafe || !may_be, "{name} has no unsafe code any more: strike it from the list");
    }
    for library in ["executor/src/lib.rs", "tests/src/lib.rs", "tests/sim/src/lib.rs"] {
        let source = fs::read_to_string(root().join(library)).unwrap();
        assert!(source.contains("#![forbid(unsafe_code)]"), "{library}");
    }
}

fn functions_fit_a_screen() {
    let mut seen = 0;
    for (name, source) in all_sources() {
        let blanked = blank(&source);
        let lines: Vec<&str> = blanked.lines().collect();
        for first in (0..lines.len()).filter(|number| has_word(lines[*number], "fn")) {
            let is_item = lines[first].split("fn ").nth(1).is_some_and(|rest| rest.contains(['(', '<']));
            let length = item_end(&lines, first) + 1 - first;
            assert!(!is_item || length <= FUNCTION_LINES, "{name}:{} has {length} lines", first + 1);
            seen += usize::from(is_item);
        }
    }
    assert!(seen > 500, "only {seen} functions found");
}

fn the_core_stays_small() {
    let sources: Vec<_> = CORE.into_iter().flat_map(sources).collect();
    let for_tests: Vec<_> = sources.iter().flat_map(|(name, source)| files_for_tests(name, source)).collect();
    assert!(for_tests.contains(&"executor/src/tasks/queue_loom.rs".to_owned()), "{for_tests:?}");
    let code = sources.into_iter().filter(|(name, _)| !for_tests.contains(name));
    let counts: Vec<_> = code.map(|(name, source)| (name, lines_of_code(&source))).collect();
    for (name, count) in &counts {
        assert!(*count <= FILE_LINES, "{name} has {count} lines of code: it holds more than one idea");
    }
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    assert!((2000..CORE_LINES).contains(&total), "{total} lines of code in the core: {counts:#?}");
}

/// The files of the modules that a file declares for tests only, by itself or in a module that stands for a folder.
fn files_for_tests(name: &str, source: &str) -> Vec<String> {
    let root = name.strip_suffix("/lib.rs").or(name.strip_suffix(".rs")).expect("a Rust file");
    let (mut folder, mut found, mut is_for_tests) = (root.to_owned(), Vec::new(), false);
    for line in source.lines() {
        let declared = line.trim_start().trim_start_matches("pub(crate) ").strip_prefix("mod ");
        if line == "}" {
            root.clone_into(&mut folder);
        } else if let Some(inner) = declared.and_then(|module| module.strip_suffix(" {")) {
            folder = format!("{root}/{inner}");
        } else if let Some(module) = declared.and_then(|module| module.strip_suffix(';')).filter(|_| is_for_tests) {
            found.push(format!("{folder}/{module}.rs"));
        }
        is_for_tests = FOR_TESTS.iter().any(|attribute| line.trim_start().starts_with(attribute));
    }
    found
}

/// Without blank lines, comments, what is compiled only for tests, and what only says where names come from or where files
/// are: that would set a price on files that hold one idea.
fn lines_of_code(source: &str) -> usize {
    let blanked = blank(source);
    let lines: Vec<&str> = blanked.lines().collect();
    let (mut count, mut number) = (0, 0);
    while number < lines.len() {
        let line = lines[number].trim();
        if FOR_TESTS.iter().any(|attribute| line.starts_with(attribute)) {
            // A field, or an entry of a list, ends with its line.
            let is_line = lines.get(number + 1).is_some_and(|line| line.ends_with(','));
            number = if is_line { number + 2 } else { item_end(&lines, number) + 1 };
            continue;
        }
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        let is_import = words.first() == Some(&"use") || words.get(1) == Some(&"use");
        let is_declaration = line.ends_with(';') && (words.first() == Some(&"mod") || words.get(1) == Some(&"mod"));
        if is_import || is_declaration {
            number += 1 + lines[number..].iter().position(|line| line.trim_end().ends_with(';')).expect("its end");
            continue;
        }
        count += usize::from(!line.is_empty());
        number += 1;
    }
    count
}

fn tests_open_with_goal_and_method() {
    for (name, source) in ["tests/tests", "tests/oracles/tests", "tests/sim/tests"].into_iter().flat_map(sources) {
        let opening: String = source.lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(opening.starts_with("//! Goal: ") && opening.contains("//! Method: "), "{name}");
        assert!(!source.contains(concat!("#[", "ignore")), "{name}: an ignored test is no test");
    }
}

/// What a drop means is part of what a function does. So every public function that gives a future says it, or names
/// in a line that begins with "See" the one that does.
fn futures_say_what_dropping_them_means() {
    let mut seen = 0;
    for (name, source) in CORE.into_iter().flat_map(sources) {
        let (found, silent) = futures(&source);
        assert!(silent.is_empty(), "{name}: no \"# Cancel safety\" at {silent:?}");
        seen += found;
    }
    assert!(seen > 25, "only {seen} functions found");
}

/// How many public functions give a future, and those among them that don't say what dropping it means. A public type
/// that is a future counts as a function.
fn futures(source: &str) -> (usize, Vec<String>) {
    let blanked = blank(source);
    let (lines, raw): (Vec<&str>, Vec<&str>) = (blanked.lines().collect(), source.lines().collect());
    let tests = lines.iter().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(lines.len());
    let (mut found, mut silent, mut public_until) = (0, Vec::new(), 0);
    for number in 0..tests {
        if lines[number].starts_with("pub trait ") {
            public_until = item_end(&lines, number);
        }
        let line = lines[number].trim_start();
        let is_public = line.starts_with("pub ") || number < public_until;
        let signature: String = lines[number..].iter().take_while(|line| !line.trim().is_empty()).copied().collect();
        let signature = signature.split(['{', ';']).next().expect("the first part");
        let is_future = line.contains("async fn ") || line.contains("fn ") && signature.contains("-> impl Future");
        let own = is_public && is_future && has_word(line, "fn");
        let future = line.strip_prefix("impl").and_then(|rest| rest.split("Future for ").nth(1));
        let target = future.and_then(|name| public_type(&lines, name));
        for documented in own.then_some(number).into_iter().chain(target) {
            found += 1;
            let end = if future.is_some() { item_end(&lines, number) } else { number };
            let says = |line: &str| line.contains("/// # Cancel safety") || line.contains("See [`");
            if !docs_above(&raw, documented).any(says) && !raw[number..end].iter().any(|line| says(line)) {
                silent.push(format!("line {}: {}", documented + 1, raw[documented].trim()));
            }
        }
    }
    (found, silent)
}

/// The line that declares the public type whose name `text` begins with.
fn public_type(lines: &[&str], text: &str) -> Option<usize> {
    let name = text.split(|letter: char| !letter.is_alphanumeric()).next().expect("the first part");
    lines.iter().position(|line| line.starts_with("pub struct ") && has_word(line, name))
}

/// The documentation of what is on a line, from the last line up.
fn docs_above<'a>(raw: &'a [&'a str], number: usize) -> impl Iterator<Item = &'a str> {
    let above = raw[..number].iter().rev().map(|line| line.trim_start());
    above.take_while(|line| line.starts_with("///") || line.starts_with("#["))
}

fn the_measures_themselves_work() {
    let source = r##"fn a() { /* fn b() { */ let _ = "unsafe { } \" {"; let _ = '{'; let _: &'static str = r#"}"{"#; }
// unsafe
#[cfg(test)]
mod tests {
    fn c() {}
}
"##;
    let blanked = blank(source);
    assert!(!has_word(&blanked, "unsafe") && !blanked.contains("fn b"), "{blanked}");
    assert_eq!(blanked.lines().count(), source.lines().count());
    assert_eq!(lines_of_code(source), 1);
    assert_eq!(lines_of_code("struct A {\n    #[cfg(test)]\n    b: u8,\n    c: u8,\n}\n"), 3);
    let modules = "mod a {\n    #[cfg(test)]\n    mod b;\n    mod c;\n}\n#[cfg(test)]\nmod d;\nmod e;\n";
    assert_eq!(files_for_tests("a/src/lib.rs", modules), ["a/src/a/b.rs", "a/src/d.rs"]);
    let lines: Vec<&str> = blanked.lines().collect();
    assert_eq!((item_end(&lines, 0), item_end(&lines, 2)), (0, 5));
    let source = "/// Says it.\n///\n/// # Cancel safety\n/// None.\npub async fn a() {}\n
/// Silent.\npub async fn b() {}\n
/// Private.\nasync fn c() {}\n
/// A trait.\npub trait D {\n    /// Silent.\n    async fn e();\n    /// See [`a`].\n    fn f(\n    ) -> impl Future;\n}\n
/// Silent.\npub struct G;\nimpl Future for G {\n    fn poll() {}\n}\n
/// A type.\npub struct H<T>;\nimpl<T> Future for H<T> {\n    /// # Cancel safety\n    fn poll() {}\n}\n";
    let (found, silent) = futures(source);
    let names: Vec<_> = silent.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!((found, names), (6, vec!["pub async fn b() {}", "async fn e();", "pub struct G;"]));
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let cases: [(&str, fn()); 6] = [
        ("unsafe_code_only_where_declared", unsafe_code_only_where_declared),
        ("functions_fit_a_screen", functions_fit_a_screen),
        ("the_core_stays_small", the_core_stays_small),
        ("tests_open_with_goal_and_method", tests_open_with_goal_and_method),
        ("futures_say_what_dropping_them_means", futures_say_what_dropping_them_means),
        ("the_measures_themselves_work", the_measures_themselves_work),
    ];
    for (name, body) in cases {
        suite.add_plain(name, body);
    }
    suite.run()
}
