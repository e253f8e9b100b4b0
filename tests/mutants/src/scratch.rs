//! A copy of the project to be broken: the bugs are never put into the tree the user works in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use ignore::WalkBuilder;
use rustix::fs::{FlockOperation, flock};

use crate::exhibit::Change;

/// The copy, and a target directory of its own. They lie below the project's target directory and stay there,
/// so that the next run finds most things built.
#[derive(Debug)]
pub struct Scratch {
    /// The copy's root.
    pub tree: PathBuf,
    /// Where it is built.
    pub target: PathBuf,
    /// Locked as long as this lives.
    _lock: File,
}

impl Scratch {
    /// Makes the copy, or brings it up to date: what is not ignored in `root`, whether committed or not. A file
    /// that is the same stays as it is and keeps its time, so it is not compiled again.
    ///
    /// # Errors
    /// Those of reading here and writing there; another run that uses the same copy.
    pub fn new(root: &Path, target: &Path) -> Result<Scratch> {
        let home = target.join("mutants");
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        let lock = File::create(home.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| anyhow!("another run is using {}: wait until it ends", home.display()))?;
        let scratch = Scratch { tree: home.join("tree"), target: home.join("target"), _lock: lock };
        let source = files(root)?;
        for name in &source {
            let bytes = fs::read(root.join(name)).with_context(|| format!("cannot read {}", name.display()))?;
            let copy = scratch.tree.join(name);
            if fs::read(&copy).ok().as_ref() != Some(&bytes) {
                write(&copy, &bytes)?;
            }
        }
        for name in files(&scratch.tree)?.iter().filter(|name| source.binary_search(name).is_err()) {
            fs::remove_file(scratch.tree.join(name))?;
        }
        Ok(scratch)
    }

    /// Puts a bug in, until what is returned is dropped.
    ///
    /// # Errors
    /// Those of writing.
    pub fn infect(changes: Vec<Change>) -> Result<Infected> {
        let infected = Infected(changes);
        for change in &infected.0 {
            write(&change.path, change.after.as_bytes())?;
        }
        Ok(infected)
    }
}

/// A bug that is in. Should it stay there because the process is killed, the next [`Scratch::new`] takes it out.
#[derive(Debug)]
pub struct Infected(Vec<Change>);

impl Drop for Infected {
    fn drop(&mut self) {
        for change in &self.0 {
            if let Err(error) = write(&change.path, change.before.as_bytes()) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, bytes)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The files below a folder that are part of the project, sorted; none if there is no such folder.
pub fn files(root: &Path) -> Result<Vec<PathBuf>> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    // The copy lies in a folder that the project ignores: what lies above a root has no say.
    let mut walk = WalkBuilder::new(root);
    walk.hidden(false).parents(false).require_git(false).filter_entry(|entry| entry.file_name() != ".git");
    let mut files = Vec::new();
    for entry in walk.build() {
        let entry = entry?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            files.push(entry.path().strip_prefix(root)?.to_owned());
        }
    }
    files.sort();
    Ok(files)
}
