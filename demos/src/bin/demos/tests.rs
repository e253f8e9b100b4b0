//! Goal: what the documents tell a reader to type is understood, and what they tell a reader to read is there.
//!
//! Method: the commands are picked out of the README files, of the comments and messages of all sources, and of the
//! help, and given to the parser of the command line. Nothing is run.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::cli::Cli;

/// The main files of the demonstrations. Each opens with how to see it.
const DEMOS: [&str; 16] = [
    "bin/demos/compare/mod.rs",
    "echo.rs",
    "http/mod.rs",
    "bin/demos/models/mod.rs",
    "bin/demos/commands/web.rs",
    "udp/mod.rs",
    "framing/mod.rs",
    "files/mod.rs",
    "tasks/mod.rs",
    "blocking/mod.rs",
    "queue/mod.rs",
    "bin/demos/ipc/mod.rs",
    "chat/mod.rs",
    "proxy/mod.rs",
    "rpc/mod.rs",
    "dht/mod.rs",
];
/// Commands that are no step of the course.
const TOOLS: [&str; 5] = ["compare", "bench", "doctor", "completions", "man"];
/// What is mentioned in place of some command.
const STANDS_FOR_ANY: [&str; 2] = ["demos {name}", "demos COMMAND..."];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The files that tell a reader what to type.
const READMES: [&str; 3] = ["README.md", "demos/README.md", "tests/README.md"];

fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn readmes() -> impl Iterator<Item = (String, String)> {
    READMES.into_iter().map(|path| (path.to_owned(), document(path)))
}

/// The program's sources without its tests, each with its path below `demos/src`.
fn sources() -> Vec<(String, String)> {
    let top = root().join("demos/src");
    let (mut folders, mut found) = (vec![top.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        let paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
                let source = fs::read_to_string(&path).unwrap();
                found.push((name, source.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()));
            }
        }
    }
    found.retain(|(name, _)| name != "bin/demos/tests.rs");
    found
}

/// A source's opening comment.
fn head(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

/// The commands in a line of a shell or of examples, without what is around them.
fn in_line(line: &str) -> Vec<String> {
    let line = line.replace("cargo run --release -- ", "demos ");
    let starts = line.match_indices("demos ").map(|(place, _)| place);
    let is_command = |place: &usize| {
        let before = line[..*place].trim_end();
        before.is_empty() || before.ends_with(['|', '&', ';', '$'])
    };
    starts.filter(is_command).map(|place| line[place..].to_owned()).collect()
}

/// The commands between fences.
fn fenced(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.flat_map(str::lines).flat_map(|line| in_line(line.trim())).collect()
}

/// The commands between backticks, in comments and in messages.
fn quoted(source: &str) -> Vec<String> {
    let mut text = String::new();
    for line in source.lines() {
        let line = line.trim_start().trim_start_matches(['/', '!']).trim_start();
        match line.strip_suffix('\\') {
            Some(line) => text.push_str(line),
            None => text.extend([line, " "]),
        }
    }
    let text = text.replace("\\\"", "\"");
    let spans = text.match_indices("`demos ").filter_map(|(place, _)| text[place + 1..].split('`').next());
    spans.map(str::to_owned).collect()
}

/// The words up to the end of the command: a comment, another program, or two spaces, after which prose begins.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut characters = command.chars().peekable();
    while let Some(character) = characters.next() {
        match quote {
            Some(end) if character == end => quote = None,
            Some(_) => word.push(character),
            None if character == '\'' || character == '"' => quote = Some(character),
            None if character == ' ' => {
                words.push(std::mem::take(&mut word));
                if characters.peek().is_none_or(|next| " #|&;<>".contains(*next)) {
                    return words;
                }
            }
            None => word.push(character),
        }
    }
    words.push(word);
    words
}

/// What stands for something else.
fn filled_in(word: &str) -> String {
    if word.starts_with('{') && word.ends_with('}') && !word.contains('"') {
        return "100".to_owned();
    }
    word.replace("HOST:PORT", "127.0.0.1:1").replace("ADDR:PORT", "127.0.0.1:1").replace("NAME", "poll")
}

/// Why the parser doesn't understand a command, if it doesn't.
fn refusal(command: &str) -> Option<clap::Error> {
    let asks = |error: &clap::Error| matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let parsed = Cli::try_parse_from(words(command).iter().map(|word| filled_in(word)));
    parsed.err().filter(|error| !asks(error))
}

fn assert_understood<'a>(place: &str, commands: impl IntoIterator<Item = &'a String>) {
    for command in commands {
        if let Some(error) = refusal(command) {
            panic!("{place} says `{command}`: {error}");
        }
    }
}

#[test]
fn every_line_to_type_is_understood() {
    let mut found = 0;
    for (file, text) in readmes() {
        let commands = fenced(&text);
        assert_understood(&file, &commands);
        found += commands.len();
    }
    assert!(found > 6, "{found}");
    for (file, source) in sources() {
        assert_understood(&file, &fenced(&head(&source)));
    }
}

#[test]
fn every_command_that_is_mentioned_is_understood() {
    let mut mentioned = 0;
    for (file, source) in sources().into_iter().chain(readmes()) {
        let quoted = quoted(&source);
        for command in quoted.iter().filter(|command| !STANDS_FOR_ANY.contains(&&command[..])) {
            // A command may be mentioned by its name alone, without what it needs.
            let lacks = [ErrorKind::MissingRequiredArgument, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
            if let Some(error) = refusal(command).filter(|error| !lacks.contains(&error.kind())) {
                panic!("{file} says `{command}`: {error}");
            }
            mentioned += 1;
        }
    }
    assert!(mentioned > 80, "{mentioned}");
}

#[test]
fn every_example_of_the_help_is_understood() {
    let (mut commands, mut examples) = (vec![Cli::command()], 0);
    while let Some(command) = commands.pop() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<_> = help.lines().flat_map(|line| in_line(line.trim())).collect();
        examples += lines.len();
        assert_understood(&format!("the help of {}", command.get_name()), &lines);
        commands.extend(command.get_subcommands().cloned());
    }
    assert!(examples > 60, "{examples}");
}

#[test]
fn each_demo_opens_with_two_ways_to_see_it() {
    let sources = sources();
    for demo in DEMOS {
        let (_, source) = sources.iter().find(|(file, _)| file == demo).expect("it is there");
        assert!(fenced(&head(source)).len() >= 2, "{demo}");
    }
}

/// The rows of the map: what is to be typed, and what is to be read.
fn map() -> Vec<(Vec<String>, Vec<String>)> {
    let readme = document("demos/README.md");
    let (_, map) = readme.split_once("| topic | command | file to read |").expect("the map");
    let rows = map.lines().skip(2).take_while(|line| line.starts_with('|'));
    let spans = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        (spans(cells[2]), spans(cells[3]))
    })
    .collect()
}

#[test]
fn the_map_leads_to_every_command_and_to_files_that_are_there() {
    let clients = ["nc", "curl"];
    let mut missing: Vec<_> = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    missing.retain(|name| !TOOLS.contains(&&name[..]));
    for (commands, files) in map() {
        let ours = commands.iter().filter(|command| !clients.contains(&command.split(' ').next().unwrap()));
        for command in ours {
            assert_understood("the map of demos/README.md", [&format!("demos {command}")]);
            missing.retain(|name| name != command.split(' ').next().unwrap());
        }
        let mut folder = PathBuf::new();
        assert!(!files.is_empty(), "{commands:?} has no file to read");
        for file in files {
            // A name without a folder is a neighbour of the one before.
            let path = if file.contains('/') { root().join(&file) } else { folder.join(&file) };
            assert!(path.exists(), "the map of demos/README.md names {file}");
            folder = if path.is_dir() { path } else { path.parent().unwrap().to_owned() };
        }
    }
    assert_eq!(missing, [""; 0], "commands that the map of demos/README.md lacks");
}

/// The lines of Rust that a reader reads: without blank ones, without the examples in the documentation, and
/// without the tests at a file's end.
fn lines_to_read(source: &str) -> usize {
    let is_test = |line: &&str| line.starts_with("#[cfg(") && line.contains("test");
    let has_tests = source.contains("\nmod tests {");
    let lines = source.lines().take_while(|line| !has_tests || !is_test(line)).map(str::trim);
    let mut is_example = false;
    let is_read = |line: &&str| {
        let is_fence = line.starts_with("/// ```");
        is_example ^= is_fence;
        !line.is_empty() && !is_example && !is_fence
    };
    lines.filter(is_read).count()
}

#[test]
fn the_reading_order_leads_to_files_that_are_there_and_is_as_long_as_it_says() {
    let readme = document("README.md");
    let (_, section) = readme.split_once("## Read it").expect("the reading order");
    let (intro, _) = section.split_once("\n1. ").expect("a numbered list");
    let items = section.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    let files: Vec<_> = items.map(|line| line.split('`').nth(1).expect("a file")).collect();
    let lines = |files: &[&str]| -> usize { files.iter().map(|file| lines_to_read(&document(file))).sum() };
    let number = |text: &str| text.replace(',', "").parse::<usize>().ok();
    let said: Vec<_> = intro.split_whitespace().filter_map(number).collect();
    let [count, in_all, an_hour, first, of_first] = said[..] else { panic!("files, lines, an hour: {said:?}") };
    assert_eq!(count, files.len());
    for (says, lines) in [(in_all, lines(&files)), (of_first, lines(&files[..first]))] {
        assert!(lines.abs_diff(says) <= says / 20, "README.md says {says} lines, and there are {lines}");
    }
    assert!((3..=4).contains(&(of_first / an_hour)), "no afternoon: {of_first} lines, {an_hour} an hour");
    assert!(files[..first].iter().all(|file| file.starts_with("executor/")), "{files:?}");
}

#[test]
fn the_program_to_embed_is_the_example() {
    let readme = document("README.md");
    let program = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a program");
    for engine in ["reactor", "proactor"] {
        let example = document(&format!("{engine}/examples/echo.rs"));
        let (head, body) = program.split_once('\n').expect("lines");
        assert!(example.ends_with(body), "{engine}: the program of README.md is another one");
        let line = example.lines().find(|line| line.starts_with("use ")).expect("an import");
        assert!(readme.contains(line), "{engine}: README.md lacks {line}");
        assert_eq!(line == head, engine == "reactor");
    }
}

#[test]
fn links_lead_to_files_that_are_there() {
    for (file, text) in readmes() {
        let folder = root().join(&file).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(folder.join(link).exists(), "{file} links to {link}");
        }
    }
}

#[test]
fn a_command_ends_where_a_shell_or_a_reader_would_end_it() {
    let command = |line: &str| in_line(line).iter().map(|command| words(command).join(" ")).collect::<Vec<_>>();
    assert_eq!(command("demos web --on poll    the page"), ["demos web --on poll"]);
    assert_eq!(command("seq 9 | demos udp ask a:1 --retries 2 # often"), ["demos udp ask a:1 --retries 2"]);
    assert_eq!(command("cargo run --release -- echo & demos http &"), ["demos echo", "demos http"]);
    assert_eq!(command("demos rpc call '{\"a\": 1}'"), ["demos rpc call {\"a\": 1}"]);
    assert!(command("the demos try again").is_empty());
    assert!(refusal("demos web --on kqueue").is_some() && refusal("demos udp ask").is_some());
}
