//! An exhibit: a patch that puts one bug in, and at its head what is to be known about it.
//!
//! ```text
//! Subject: what the bug is, in one line
//! Seen-in: projects in which it happened, with their numbers for it
//! Killed-by: package target test
//! Not-simulated: why no seed of the simulation finds it
//!
//! What it is, where it comes from, what a user sees.
//!
//! diff --git a/... b/...
//! ```
//!
//! *Target* is the name of a test binary, `lib` for the tests inside the package's library, or `loom` for those of
//! them that are models of threads. There may be several `Killed-by`, and then each of these tests has to fail. A bug
//! of the executor or the demos has one among them that runs on seeds of the simulation (`tests/sim`), or says in
//! `Not-simulated` why there is none.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use diffy::patch_set::{FileOperation, ParseOptions, PatchSet};

/// One bug.
#[derive(Debug)]
pub struct Exhibit {
    /// The file's name, without its ending.
    pub name: String,
    /// The bug in one line.
    pub subject: String,
    /// Where it happened.
    pub seen_in: String,
    /// The tests that must fail.
    pub killers: Vec<Test>,
    /// Why none of them runs on the simulation, where one should.
    pub not_simulated: Option<String>,
    /// The paragraphs.
    pub story: String,
    /// The whole file.
    text: String,
}

/// A test, by what builds it and by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// What is built for it.
    pub binary: Binary,
    /// As the binary lists it.
    pub name: String,
}

/// A test binary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binary {
    /// The package it belongs to.
    pub package: String,
    /// Its name among the package's tests, or [`LIB`], or [`LOOM`].
    pub target: String,
}

/// Binaries that are built together. What they share is then built once: built one by one, each package would have a
/// choice of features of its own.
pub type Kit = BTreeSet<Binary>;

/// The package of the simulation. Other than those whose tests are named here, it does not lie at the project's root.
pub const SIM: &str = "sim";
/// The target that stands for the tests inside a library.
pub const LIB: &str = "lib";
/// The target that stands for the tests inside a library that loom runs, in every interleaving.
pub const LOOM: &str = "loom";

impl Binary {
    /// Whether its tests are those inside the package's library.
    pub fn is_lib(&self) -> bool {
        self.target == LIB || self.is_loom()
    }

    /// Whether loom runs its tests.
    pub fn is_loom(&self) -> bool {
        self.target == LOOM
    }

    /// The package's folder in the project.
    pub fn folder(&self) -> &str {
        if self.package == SIM { "tests/sim" } else { &self.package }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.binary.package, self.binary.target, self.name)
    }
}

/// All exhibits in a folder, by name.
///
/// # Errors
/// A file that cannot be read, or lacks something.
pub fn all(folder: &Path) -> Result<Vec<Exhibit>> {
    let files = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: Result<Vec<PathBuf>, _> = files.map(|file| file.map(|file| file.path())).collect();
    let is_patch = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "patch");
    let mut paths: Vec<_> = paths?.into_iter().filter(is_patch).collect();
    // 100 comes after 99.
    let number = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse::<u32>().ok())
    };
    paths.sort_by_cached_key(|path| (number(path), path.clone()));
    paths.iter().map(|path| Exhibit::load(path).with_context(|| format!("in {}", path.display()))).collect()
}

impl Exhibit {
    fn load(path: &Path) -> Result<Exhibit> {
        let name = path.file_stem().and_then(|name| name.to_str()).context("its name is no text")?;
        Exhibit::parse(name, fs::read_to_string(path)?)
    }

    fn parse(name: &str, text: String) -> Result<Exhibit> {
        let (head, _) = text.split_once("\ndiff --git ").context("there is no `diff --git` in it")?;
        let (fields, story) = head.split_once("\n\n").context("there is no empty line after the fields")?;
        let (mut subject, mut seen_in, mut killers, mut not_simulated) = (None, None, Vec::new(), None);
        for line in fields.lines() {
            match line.split_once(": ") {
                Some(("Subject", value)) => subject = Some(value),
                Some(("Seen-in", value)) => seen_in = Some(value),
                Some(("Killed-by", value)) => killers.push(Test::parse(value)?),
                Some(("Not-simulated", value)) => not_simulated = Some(value.to_owned()),
                _ => bail!("no field: {line:?}"),
            }
        }
        ensure!(!killers.is_empty(), "there is no `Killed-by`");
        Ok(Exhibit {
            name: name.to_owned(),
            subject: subject.context("there is no `Subject`")?.to_owned(),
            seen_in: seen_in.context("there is no `Seen-in`")?.to_owned(),
            killers,
            not_simulated,
            story: story.trim().to_owned(),
            text,
        })
    }

    /// The binaries of its tests, as they are built with one command each: those that loom runs, and all others.
    pub fn kits(&self) -> Vec<Kit> {
        let (loom, plain): (Kit, Kit) = self.killers.iter().map(|test| test.binary.clone()).partition(Binary::is_loom);
        [loom, plain].into_iter().filter(|kit| !kit.is_empty()).collect()
    }

    /// The files it changes, as they are under `root`, and as the bug makes them.
    ///
    /// # Errors
    /// A file that is gone, or no longer has the lines the patch expects.
    pub fn apply(&self, root: &Path) -> Result<Vec<Change>> {
        let patches = PatchSet::parse(&self.text, ParseOptions::gitdiff());
        patches
            .map(|patch| {
                let patch = patch?;
                let operation = patch.operation().strip_prefix(1);
                let FileOperation::Modify { modified, .. } = &operation else {
                    bail!("it does more than change files");
                };
                let path = root.join(&**modified);
                let before = fs::read_to_string(&path).with_context(|| format!("cannot read {modified}"))?;
                let hunks = patch.patch().as_text().context("it changes something that is no text")?;
                let after = diffy::apply(&before, hunks)
                    .map_err(|error| anyhow!("{modified} has changed: {error}; bring the patch up to date"))?;
                Ok(Change { path, before, after })
            })
            .collect()
    }
}

impl Test {
    fn parse(text: &str) -> Result<Test> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [package, target, name] = words[..] else { bail!("not a package, a target and a test: {text:?}") };
        let binary = Binary { package: package.to_owned(), target: target.to_owned() };
        Ok(Test { binary, name: name.to_owned() })
    }
}

/// What a bug does to one file.
#[derive(Debug)]
pub struct Change {
    /// Which.
    pub path: PathBuf,
    /// Its text without the bug.
    pub before: String,
    /// Its text with it.
    pub after: String,
}
