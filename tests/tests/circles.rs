//! Goal: no files of a crate go round in a circle, so that each can be read after those it builds on.
//!
//! Method: a look at the source. One file builds on another if its code names an item of that other by a path. A path is
//! followed to the file that defines the item, through the `use` of every module on the way. So neither `mod child;` nor
//! `pub use child::Item;` alone makes a parent build on its child: they only say where things are. Code that only tests
//! have (`#[cfg(test)]`) does not count, nor do comments and strings. A method that is called without a path is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use tests::Suite;

/// The roots of the crates.
const ROOTS: [&str; 5] = [
    "executor/src/lib.rs",
    "reactor/src/lib.rs",
    "proactor/src/lib.rs",
    "demos/src/lib.rs",
    "demos/src/bin/demos/main.rs",
];
/// How the attribute of code that only tests have begins.
const FOR_TESTS: [&[&str]; 2] = [&["#", "[", "cfg", "(", "test"], &["#", "[", "cfg", "(", "all", "(", "test"]];
/// What an item begins with that ends with its braces or a semicolon. Everything else in a list ends with a comma.
const ITEMS: [&str; 13] =
    ["pub", "fn", "mod", "impl", "use", "struct", "enum", "const", "static", "trait", "type", "unsafe", "let"];
/// The words of a declaration of a module, and of the feature that it may need.
const DECLARATION: [&str; 6] = ["pub", "crate", "mod", "cfg", "feature", "all"];
/// How many `use` lines a path is followed through.
const MOST_STEPS: usize = 32;

/// A module or an item, by the names on the way from the root of the crate.
type Place = Vec<String>;

/// A module: a file, or a folder that another file declares.
struct Module {
    file: String,
    children: BTreeSet<String>,
    /// Modules without a file of their own, which hold others and nothing else.
    folders: BTreeMap<String, BTreeSet<String>>,
    uses: Vec<Use>,
    /// The paths in its code, of one name or more.
    paths: BTreeSet<Vec<String>>,
}

/// What a `use` line brings in, a name each.
struct Use {
    path: Vec<String>,
    /// Under this name; `*` for all there is.
    name: String,
    is_public: bool,
}

/// The modules of a crate by their places.
struct Crate(BTreeMap<Place, Module>);

/// The files that files build on, each with a path that says so.
type Arrows = BTreeMap<String, BTreeMap<String, String>>;

impl Crate {
    /// Reads a crate from its root on.
    fn read(root: &str, text: &dyn Fn(&str) -> Option<String>) -> Crate {
        let mut modules = BTreeMap::new();
        let mut open = vec![(Place::new(), root.to_owned())];
        while let Some((place, file)) = open.pop() {
            let source = text(&file).unwrap_or_else(|| panic!("{file} cannot be read"));
            let module = module(&file, &source);
            let folder = match file.rsplit_once('/').expect("a folder") {
                (folder, "lib.rs" | "main.rs" | "mod.rs") => folder.to_owned(),
                _ => file.trim_end_matches(".rs").to_owned(),
            };
            let mut declare = |place: &[String], folder: &str, child: &String| {
                let files = [format!("{folder}/{child}.rs"), format!("{folder}/{child}/mod.rs")];
                let found = files.into_iter().find(|file| text(file).is_some());
                let file = found.unwrap_or_else(|| panic!("{file} declares {child}, which has no file"));
                open.push(([place, std::slice::from_ref(child)].concat(), file));
            };
            for child in module.children.iter().filter(|child| !module.folders.contains_key(*child)) {
                declare(&place, &folder, child);
            }
            for (name, children) in &module.folders {
                let place = [&place[..], std::slice::from_ref(name)].concat();
                children.iter().for_each(|child| declare(&place, &format!("{folder}/{name}"), child));
                modules.insert(place, Module::folder(&file, children.clone()));
            }
            modules.insert(place, module);
        }
        Crate(modules)
    }

    /// Where an item is defined that a path in a module names; `None` if that is another crate, or a module.
    fn definition(&self, from: &Place, path: &[String], steps: usize) -> Option<&Module> {
        let module = &self.0[from];
        let is_ours = matches!(path[0].as_str(), "crate" | "super" | "self")
            || module.children.contains(&path[0])
            || module.uses.iter().any(|import| import.name == path[0]);
        if !is_ours || steps == MOST_STEPS {
            return None;
        }
        let mut place = from.clone();
        for (number, name) in path.iter().enumerate() {
            let module = &self.0[&place];
            match name.as_str() {
                "crate" => place.clear(),
                "super" => drop(place.pop()),
                "self" => {}
                "*" => return Some(module),
                name if module.children.contains(name) => place.push(name.to_owned()),
                name => {
                    let Some(import) = module.uses.iter().find(|import| import.name == name) else {
                        return Some(module);
                    };
                    let rest = [&import.path[..], &path[number + 1..]].concat();
                    return self.definition(&place, &rest, steps + 1);
                }
            }
        }
        None
    }

    /// What builds on what.
    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (place, module) in &self.0 {
            let onto = arrows.entry(module.file.clone()).or_default();
            let private = module.uses.iter().filter(|import| !import.is_public).map(|import| &import.path);
            for path in module.paths.iter().chain(private) {
                let target = self.definition(place, path, 0);
                if let Some(target) = target.filter(|target| target.file != module.file) {
                    onto.entry(target.file.clone()).or_insert_with(|| path.join("::"));
                }
            }
        }
        arrows
    }
}

impl Module {
    fn folder(file: &str, children: BTreeSet<String>) -> Module {
        let (folders, uses, paths) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Module { file: file.to_owned(), children, folders, uses, paths }
    }
}

/// What a file says about its module.
fn module(file: &str, source: &str) -> Module {
    let mut all = Vec::new();
    let stream: TokenStream = source.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
    flatten(stream, &mut all);
    let tokens = without_tests(&all);
    let Module { mut children, mut folders, mut uses, mut paths, .. } = Module::folder(file, BTreeSet::new());
    let mut place = 0;
    while place < tokens.len() {
        match tokens[place] {
            "mod" if tokens[place + 2] == ";" => {
                children.insert(tokens[place + 1].to_owned());
                place += 3;
            }
            "mod" => {
                let (name, end) = (tokens[place + 1], group_end(&tokens, place + 2));
                let inner = &tokens[place + 3..end - 1];
                let declares = |place: &usize| inner[*place] == "mod" && inner[place + 2] == ";";
                let found: BTreeSet<_> = (0..inner.len()).filter(declares).map(|at| inner[at + 1].to_owned()).collect();
                let rest = inner.iter().filter(|token| is_name(token) && !found.contains(**token));
                let is_folder = !found.is_empty() && rest.clone().all(|token| DECLARATION.contains(token));
                assert!(is_folder, "{file}: the module {name} has no file of its own, and holds more than modules");
                children.insert(name.to_owned());
                folders.insert(name.to_owned(), found);
                place = end;
            }
            "use" if tokens[place + 1] != "<" => {
                let end = place + tokens[place..].iter().position(|token| *token == ";").expect("the end of a use");
                let is_public = place > 0 && matches!(tokens[place - 1], "pub" | ")");
                expand(&tokens[place + 1..end], &[], is_public, &mut uses);
                place = end + 1;
            }
            name if is_name(name) => {
                let is_whole = place == 0 || !matches!(tokens[place - 1], "::" | ".");
                let mut path = vec![name.to_owned()];
                place += 1;
                while place + 1 < tokens.len() && tokens[place] == "::" && is_name(tokens[place + 1]) {
                    path.push(tokens[place + 1].to_owned());
                    place += 2;
                }
                if is_whole {
                    paths.insert(path);
                }
            }
            _ => place += 1,
        }
    }
    Module { file: file.to_owned(), children, folders, uses, paths }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// The source as a row of tokens. What strings and numbers say is left out.
fn flatten(stream: TokenStream, tokens: &mut Vec<String>) {
    let mut is_joint = false;
    for token in stream {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(open.to_owned());
                flatten(group.stream(), tokens);
                tokens.push(close.to_owned());
            }
            TokenTree::Ident(name) => tokens.push(name.to_string()),
            TokenTree::Punct(sign)
                if is_joint && sign.as_char() == ':' && tokens.last().is_some_and(|last| last == ":") =>
            {
                tokens.pop();
                tokens.push("::".to_owned());
                is_joint = false;
                continue;
            }
            TokenTree::Punct(sign) => {
                tokens.push(sign.as_char().to_string());
                is_joint = sign.spacing() == Spacing::Joint;
                continue;
            }
            TokenTree::Literal(_) => tokens.push("0".to_owned()),
        }
        is_joint = false;
    }
}

/// Leaves out what only tests have.
fn without_tests(tokens: &[String]) -> Vec<&str> {
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let (mut kept, mut place) = (Vec::new(), 0);
    while place < tokens.len() {
        if FOR_TESTS.iter().any(|attribute| tokens[place..].starts_with(attribute)) {
            while tokens[place] == "#" {
                place = group_end(&tokens, place + 1);
            }
            place = end(&tokens, place);
        } else {
            kept.push(tokens[place]);
            place += 1;
        }
    }
    kept
}

/// The place behind the group that begins here.
fn group_end(tokens: &[&str], start: usize) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate().skip(start) {
        match *token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return place + 1;
        }
    }
    tokens.len()
}

/// The place behind the item, the field or the entry of a list that begins here.
fn end(tokens: &[&str], start: usize) -> usize {
    let is_item = ITEMS.contains(&tokens[start]);
    let mut place = start;
    while place < tokens.len() {
        match tokens[place] {
            ";" => return place + 1,
            "," if !is_item => return place + 1,
            "}" | ")" | "]" => return place,
            "{" if is_item => return group_end(tokens, place),
            "{" | "(" | "[" => place = group_end(tokens, place),
            _ => place += 1,
        }
    }
    place
}

/// Turns what stands behind `use` into a path for each name.
fn expand(tree: &[&str], before: &[String], is_public: bool, uses: &mut Vec<Use>) {
    let mut path = before.to_vec();
    for (place, token) in tree.iter().enumerate() {
        match *token {
            "{" => return branches(&tree[place + 1..group_end(tree, place) - 1], &path, is_public, uses),
            "::" => {}
            "as" => break,
            name => path.push(name.to_owned()),
        }
    }
    path.pop_if(|last| last == "self");
    let other = tree.iter().position(|token| *token == "as").map(|place| tree[place + 1].to_owned());
    let name = other.or(path.last().cloned()).expect("a name behind `use`");
    uses.push(Use { path, name, is_public });
}

/// The same for each of what stands between braces.
fn branches(trees: &[&str], before: &[String], is_public: bool, uses: &mut Vec<Use>) {
    let (mut start, mut place) = (0, 0);
    while place < trees.len() {
        place = if trees[place] == "{" { group_end(trees, place) } else { place + 1 };
        if place == trees.len() || trees[place] == "," {
            expand(&trees[start..place], before, is_public, uses);
            place += 1;
            start = place;
        }
    }
}

/// The circles: files each of which builds on all others in it, if only by way of others.
fn circles(arrows: &Arrows) -> BTreeSet<Vec<&str>> {
    let reached = |file: &str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![file.to_owned()]);
        while let Some(file) = open.pop() {
            let new = arrows.get(&file).into_iter().flat_map(BTreeMap::keys);
            open.extend(new.filter(|file| reached.insert((*file).clone())).cloned());
        }
        reached
    };
    let reached: BTreeMap<&str, _> = arrows.keys().map(|file| (file.as_str(), reached(file))).collect();
    let both_ways = |one: &str, other: &str| reached[one].contains(other) && reached[other].contains(one);
    let circle = |file: &&str| reached.keys().copied().filter(|other| both_ways(file, other)).collect::<Vec<_>>();
    reached.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// The arrows from one file of a circle to another, as lines.
fn within(circle: &[&str], arrows: &Arrows) -> Vec<String> {
    let mut lines = Vec::new();
    for file in circle {
        let inner = arrows[*file].iter().filter(|(onto, _)| circle.contains(&onto.as_str()));
        lines.extend(inner.map(|(onto, path)| format!("{file} -> {onto}: {path}")));
    }
    lines
}

fn on_disk(file: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join(file)).ok()
}

fn no_files_go_round_in_a_circle() {
    let (mut found, mut files, mut why) = (BTreeSet::new(), 0, Vec::new());
    for root in ROOTS {
        let arrows = Crate::read(root, &on_disk).arrows();
        files += arrows.len();
        for circle in circles(&arrows) {
            why.extend(within(&circle, &arrows));
            found.insert(circle.into_iter().map(str::to_owned).collect::<Vec<_>>());
        }
    }
    assert!(found.is_empty(), "files in a circle: {found:#?}\nby these arrows: {why:#?}");
    assert!(files > 150, "only {files} files found");
}

/// The circles of a crate that is given as text.
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let text = |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
    let arrows = Crate::read("src/lib.rs", &text).arrows();
    circles(&arrows).into_iter().map(|circle| circle.into_iter().map(str::to_owned).collect()).collect()
}

fn a_circle_is_found_however_it_is_written() {
    let root = "mod a; pub mod b; mod c; pub use a::{A, other::{self as more, O}}; // mod d;";
    for (a, b, c) in [
        // By `use`, by a path, by a name of the root's, by another module's name.
        ("mod other; use crate::b::B; pub struct A;", "use super::A; pub struct B;", ""),
        ("mod other; pub struct A(crate::b::B);", "pub struct B(super::a::A);", ""),
        ("mod other; use super::b; fn a() { b::b() }", "pub fn b() { crate::a::a() }", ""),
        ("mod other; use crate::c::B; pub struct A;", "use crate::{more, A}; pub struct B;", "pub use crate::b::B;"),
        ("mod other; use crate::b::*; pub struct A;", "use crate::{c::{self}, A};", ""),
    ] {
        let files = [
            ("src/lib.rs", root),
            ("src/a.rs", a),
            ("src/a/other.rs", "pub struct O;"),
            ("src/b.rs", b),
            ("src/c.rs", c),
        ];
        assert_eq!(circles_of(&files), [["src/a.rs", "src/b.rs"]], "{a} {b} {c}");
    }
    let files = [
        ("src/lib.rs", "mod a; mod b; use a::A; pub struct Root;"),
        ("src/a.rs", "use crate::b::B; pub struct A;"),
        ("src/b.rs", "use crate::Root; pub struct B;"),
    ];
    assert_eq!(circles_of(&files), [["src/a.rs", "src/b.rs", "src/lib.rs"]]);
}

fn what_is_no_circle_is_none() {
    let root = "mod a; mod b; #[cfg(test)] mod tests; pub use a::A; pub use b::B;";
    for (a, b) in [
        ("use super::B; pub struct A;", "pub struct B; #[cfg(test)] mod tests { use super::super::a::A; }"),
        ("use crate::{B}; pub struct A;", "// crate::a::A\npub struct B(&str); const C: B = B(\"crate::a::A\");"),
        ("use crate::b::B; pub struct A;", "pub struct B { #[cfg(test)] a: crate::a::A, b: u8 }"),
        ("use crate::b::B; pub struct A;", "#[cfg(all(test, loom))] use crate::A; pub struct B; use std::a::A;"),
    ] {
        assert_eq!(circles_of(&[("src/lib.rs", root), ("src/a.rs", a), ("src/b.rs", b)]), [[""; 0]; 0], "{a} {b}");
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let cases: [(&str, fn()); 3] = [
        ("no_files_go_round_in_a_circle", no_files_go_round_in_a_circle),
        ("a_circle_is_found_however_it_is_written", a_circle_is_found_however_it_is_written),
        ("what_is_no_circle_is_none", what_is_no_circle_is_none),
    ];
    for (name, body) in cases {
        suite.add_plain(name, body);
    }
    suite.run()
}
