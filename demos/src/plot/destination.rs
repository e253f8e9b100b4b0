//! The file that a report goes to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that is tried before the measuring starts, so that a path that cannot be written is no surprise at the end.
/// What it held stays until the report is on the disk as a whole: the report is written beside it, and takes its name.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A file, or none yet: replaced at once.
    Replaced,
    /// A pipe or a terminal, such as `/dev/stdout`; or a file in a folder that takes no other.
    Open(File),
}

impl Destination {
    /// Sees that the file can be written. The error names the path and what to do.
    pub fn open(path: &Path) -> io::Result<Destination> {
        Destination::try_open(path).map_err(|error| {
            let remedy = "give a file in a folder that exists and can be written";
            io::Error::new(error.kind(), format!("cannot write {}: {error}: {remedy}", path.display()))
        })
    }

    fn try_open(path: &Path) -> io::Result<Destination> {
        // A link keeps its name, and what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|state| !state.is_file());
        if !is_special {
            let beside = beside(&path);
            let is_free =
                OpenOptions::new().write(true).create_new(true).open(&beside).and_then(|_| fs::remove_file(&beside));
            // An old file that may not be written stays as it is, although the folder would let it be replaced.
            let is_writable = !path.exists() || OpenOptions::new().append(true).open(&path).is_ok();
            if is_free.is_ok() && is_writable {
                return Ok(Destination { path, kind: Kind::Replaced });
            }
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        Ok(Destination { path, kind: Kind::Open(file) })
    }

    /// Replaces what it held. If that fails, it holds what it held.
    pub fn write(self, text: &str) -> io::Result<()> {
        match self.kind {
            Kind::Replaced => {
                let beside = beside(&self.path);
                let written = replace(&self.path, &beside, text);
                if written.is_err() {
                    let _ = fs::remove_file(&beside);
                }
                written
            }
            Kind::Open(mut file) => {
                // A pipe or a terminal holds nothing that could be cut off.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                file.write_all(text.as_bytes())
            }
        }
    }
}

/// A name in the same folder that no other process takes.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn replace(path: &Path, beside: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    // A disk that is full may say so only now.
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("demos-destination-{:016x}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn what_was_there_stays_until_there_is_something_new() {
        let folder = folder();
        let path = folder.join("report");
        fs::write(&path, "something long").unwrap();
        let destination = Destination::open(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "something long");
        destination.write("short").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn nothing_is_there_before_there_is_something() {
        let folder = folder();
        drop(Destination::open(&folder.join("report")).unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = folder();
        let (link, path) = (folder.join("link"), folder.join("report"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Destination::open(&link).unwrap().write("new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        Destination::open(Path::new("/dev/null")).unwrap().write("text").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(Destination::open(Path::new("/dev/full")).unwrap().write("text").is_err());
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_at_once() {
        let error = Destination::open(Path::new("/nowhere/at/all.html")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.html") && error.contains("folder that exists"), "{error}");
    }
}
