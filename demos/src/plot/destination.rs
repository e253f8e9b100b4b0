//! The file that a report goes to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A file that is open from before the measuring starts, so that a path that cannot be written is no
/// surprise at the end. What it held stays until then.
#[derive(Debug)]
pub struct Destination {
    file: File,
}

impl Destination {
    /// Opens the file, or creates it. The error names the path and what to do.
    pub fn open(path: &Path) -> io::Result<Destination> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(|error| {
            let remedy = "give a file in a folder that exists and can be written";
            io::Error::new(error.kind(), format!("cannot write {}: {error}: {remedy}", path.display()))
        })?;
        Ok(Destination { file })
    }

    /// Replaces what it held.
    pub fn write(mut self, text: &str) -> io::Result<()> {
        // A pipe or a terminal holds nothing that could be cut off.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_stays_until_there_is_something_new() {
        let path = std::env::temp_dir().join(format!("demos-destination-{}", std::process::id()));
        std::fs::write(&path, "something long").unwrap();
        let destination = Destination::open(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something long");
        destination.write("short").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error_at_once() {
        let error = Destination::open(Path::new("/nowhere/at/all.html")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.html") && error.contains("folder that exists"), "{error}");
    }
}
