//! The receiver's folder, and all that is done to it by name.
//!
//! What a sender calls its file comes from outside, so it is no path but a name, and each step is taken relative to
//! the folder, which was opened once:
//!
//! | danger | what stands against it |
//! |---|---|
//! | `../x`, `/etc/x`, `a/b` | a name with a slash is refused, and so are `.` and `..` |
//! | a name that plays tricks on a terminal or a shell script | control characters, and those that turn the direction of text, are refused |
//! | hidden files, such as `.bashrc` | a name that begins with a dot is refused |
//! | a symbolic link that leads out of the folder | never followed: neither opened, nor written through |
//! | a named pipe or a device in the place of a file in the making | only regular files are opened |
//! | a file that is there | a rename, or a link, that fails if the name is taken; replaced only with `overwrite` |
//! | half a file under its name | the name comes last, when the digest is right and the bytes are on the disk |
//! | two senders of the same file | a lock on the file in the making; the second is sent away |
//!
//! These calls are made at once, on the loop's thread: they look up a name in one folder, which the kernel has in
//! memory. What takes as long as the disk does goes through the runtime.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    self, AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, linkat, openat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::message::{Offer, Refusal};
use crate::text::misleads;

/// The longest name in bytes: the name in the making is longer, and 255 are allowed.
const LONGEST_NAME: usize = 200;
/// How much of the digest is part of the name in the making.
const DIGITS: usize = 16;

/// A folder for what is received.
pub struct Folder {
    folder: OwnedFd,
    overwrite: bool,
}

/// A file in the making. Nobody else has it open to write as long as `file` is open.
pub struct Partial {
    pub file: File,
    /// How much of it there is.
    pub length: u64,
    pub name: Name,
}

/// The name of a file in the making.
pub struct Name(String);

impl Folder {
    /// Opens it. With `overwrite` a file that is there is replaced when another one of its name has come.
    ///
    /// # Errors
    /// Those of open(2): it must exist.
    pub fn open(path: &Path, overwrite: bool) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Folder { folder: openat(CWD, path, flags, Mode::empty())?, overwrite })
    }

    /// The file of this name, if there is one: it need not be sent if it is the same already.
    pub fn existing(&self, offer: &Offer) -> Result<Option<File>, Refusal> {
        check_name(&offer.name)?;
        check_digest(&offer.sha256)?;
        match statat(&self.folder, offer.name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("look for the file", error)),
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                Err(Refusal::for_good("there is a folder of this name"))
            }
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile => {
                if self.overwrite {
                    Ok(None)
                } else {
                    Err(taken())
                }
            }
            Ok(_) => self.open_regular(&offer.name, OFlags::RDONLY).map(Some),
        }
    }

    /// Whether a file of this name may be replaced.
    pub fn may_replace(&self) -> Result<(), Refusal> {
        if self.overwrite { Ok(()) } else { Err(taken()) }
    }

    /// The file in the making for what is offered: what an earlier connection has left, or a new one.
    pub fn begin(&self, offer: &Offer) -> Result<Partial, Refusal> {
        check_name(&offer.name)?;
        check_digest(&offer.sha256)?;
        let name = format!(".{}.{}.part", offer.name, &offer.sha256[..DIGITS]);
        let file = self.open_regular(&name, OFlags::RDWR | OFlags::CREATE)?;
        let busy = || Refusal::for_now("another connection is in the middle of this file");
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => busy(),
            error => failed("lock the file", error),
        })?;
        // Who had it before may have finished it between the two: then this is no longer the file of that name.
        let opened = fstat(&file).map_err(|error| failed("look at the file", error))?;
        let named = statat(&self.folder, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(|_| busy())?;
        if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino) {
            return Err(busy());
        }
        let mut length = u64::try_from(opened.st_size).unwrap_or(0);
        if length > offer.size {
            fs::ftruncate(&file, 0).map_err(|error| failed("empty the file", error))?;
            length = 0;
        }
        Ok(Partial { file, length, name: Name(name) })
    }

    /// Gives the finished file its name, while it is still locked.
    pub fn publish(&self, partial: &Name, offer: &Offer) -> Result<(), Refusal> {
        let (from, to) = (partial.0.as_str(), offer.name.as_str());
        let renamed = if self.overwrite {
            renameat(&self.folder, from, &self.folder, to)
        } else {
            match renameat_with(&self.folder, from, &self.folder, to, RenameFlags::NOREPLACE) {
                // The file system (NFS, older FUSE, ZFS) does not know the flag, or the kernel or a filter the call.
                Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => self.link(from, to),
                other => other,
            }
        };
        renamed.map_err(|error| match error {
            Errno::EXIST => taken(),
            error => failed("name the file", error),
        })
    }

    /// Renames a file, unless the new name is taken, by a link under that name.
    fn link(&self, from: &str, to: &str) -> Result<(), Errno> {
        linkat(&self.folder, from, &self.folder, to, AtFlags::empty())?;
        // If that fails, the file has both names. The old one does no harm.
        let _ = unlinkat(&self.folder, from, AtFlags::empty());
        Ok(())
    }

    /// Takes a file in the making away.
    pub fn discard(&self, partial: &Name) {
        // If that fails, the next one who offers this file finds it, and is told that its digest is wrong.
        let _ = unlinkat(&self.folder, partial.0.as_str(), AtFlags::empty());
    }

    /// How many files are in the making or were left in it, and how many bytes they have.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn unfinished(&self) -> io::Result<(u64, u64)> {
        let (mut files, mut bytes) = (0, 0);
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !(name.starts_with(b".") && name.ends_with(b".part")) {
                continue;
            }
            // It may be finished by now.
            let Ok(found) = statat(&self.folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
                files += 1;
                bytes += u64::try_from(found.st_size).unwrap_or(0);
            }
        }
        Ok((files, bytes))
    }

    /// The folder itself, to bring its names to the disk.
    pub fn itself(&self) -> io::Result<File> {
        self.folder.as_fd().try_clone_to_owned().map(File::from)
    }

    /// Opens a regular file of this folder and nothing else, and doesn't wait for whoever is at the other end.
    fn open_regular(&self, name: &str, flags: OFlags) -> Result<File, Refusal> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH);
        let file = File::from(opened.map_err(|error| failed("open the file", error))?);
        let found = fstat(&file).map_err(|error| failed("look at the file", error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(Refusal::for_good("what is in the place of the file is no regular file"));
        }
        Ok(file)
    }
}

fn taken() -> Refusal {
    Refusal::for_good("there is a file of this name, and the receiver was not started with --overwrite")
}

fn failed(what: &str, error: Errno) -> Refusal {
    Refusal::by_error(what, &error.into())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let why = match name {
        "" => "the name is empty",
        _ if name.contains(['/', '\\']) => "the name is a path: give a name without slashes",
        _ if name.starts_with('.') => "the name begins with a dot",
        _ if name.chars().any(misleads) => "the name has characters that a terminal obeys and does not show",
        _ if name.len() > LONGEST_NAME => "the name is longer than 200 bytes",
        _ => return Ok(()),
    };
    Err(Refusal::for_good(why))
}

fn check_digest(digest: &str) -> Result<(), Refusal> {
    let is_digest = digest.len() == 64 && digest.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let wrong = || Refusal::for_good("the digest is not one of SHA-256: give 64 digits, 0 to 9 and a to f");
    if is_digest { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new() -> Place {
            let path = std::env::temp_dir().join(format!("demos-folder-{:016x}", fastrand::u64(..)));
            std::fs::create_dir(&path).unwrap();
            Place(path)
        }

        fn folder(&self, overwrite: bool) -> Folder {
            Folder::open(&self.0, overwrite).unwrap()
        }

        fn text(&self, name: &str) -> String {
            std::fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn offer(name: &str) -> Offer {
        Offer { name: name.to_owned(), size: 5, sha256: "0123456789abcdef".repeat(4) }
    }

    const IN_THE_MAKING: &str = ".a.0123456789abcdef.part";

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let place = Place::new();
        let (folder, long) = (place.folder(true), "x".repeat(201));
        for name in [
            "",
            ".",
            "..",
            "../a",
            "/a",
            "a/b",
            "a/",
            "a\\b",
            ".bashrc",
            "a\nb",
            "a\u{1b}[2J",
            "a\0",
            "a\u{202e}gpj.exe",
            &long,
        ] {
            assert!(folder.existing(&offer(name)).is_err(), "{name:?}");
            assert!(folder.begin(&offer(name)).is_err(), "{name:?}");
        }
        assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 0);
        for name in ["a", "a b", "ä..ö", "-rf", &"x".repeat(200)] {
            assert!(folder.begin(&offer(name)).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn digests_that_are_none_are_refused() {
        let place = Place::new();
        for digest in ["", "0", &"g".repeat(64), &"A".repeat(64), &"../".repeat(21), &"0".repeat(65)] {
            let offer = Offer { sha256: digest.to_owned(), ..offer("a") };
            assert!(place.folder(true).begin(&offer).is_err(), "{digest:?}");
        }
    }

    #[test]
    fn links_are_not_followed_in_the_making() {
        let (place, elsewhere) = (Place::new(), Place::new());
        std::fs::write(elsewhere.0.join("target"), "kept").unwrap();
        std::os::unix::fs::symlink(elsewhere.0.join("target"), place.0.join(IN_THE_MAKING)).unwrap();
        assert!(place.folder(true).begin(&offer("a")).is_err());
        assert_eq!(elsewhere.text("target"), "kept");
        // Nor is anything made where it leads to.
        std::fs::remove_file(elsewhere.0.join("target")).unwrap();
        assert!(place.folder(true).begin(&offer("a")).is_err());
        assert!(!elsewhere.0.join("target").exists());
    }

    #[test]
    fn a_link_in_the_place_of_the_file_is_replaced_only_when_told_and_never_followed() {
        let (place, elsewhere) = (Place::new(), Place::new());
        std::fs::write(elsewhere.0.join("target"), "kept").unwrap();
        std::os::unix::fs::symlink(elsewhere.0.join("target"), place.0.join("a")).unwrap();
        assert!(place.folder(false).existing(&offer("a")).is_err());
        for overwrite in [false, true] {
            let folder = place.folder(overwrite);
            let Partial { file, name, .. } = folder.begin(&offer("a")).unwrap();
            rustix::io::write(&file, b"fresh").unwrap();
            assert_eq!(folder.publish(&name, &offer("a")).is_ok(), overwrite);
        }
        assert_eq!((place.text("a").as_str(), elsewhere.text("target").as_str()), ("fresh", "kept"));
        assert!(!place.0.join("a").is_symlink());
    }

    #[test]
    fn a_pipe_in_the_making_is_refused_at_once() {
        let place = Place::new();
        rustix::fs::mknodat(CWD, place.0.join(IN_THE_MAKING), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(place.folder(true).begin(&offer("a")).is_err());
    }

    #[test]
    fn nothing_is_overwritten_without_being_told() {
        let place = Place::new();
        std::fs::write(place.0.join("a"), "old").unwrap();
        let folder = place.folder(false);
        assert!(folder.existing(&offer("a")).unwrap().is_some() && folder.may_replace().is_err());
        let name = folder.begin(&offer("a")).unwrap().name;
        assert_eq!(folder.publish(&name, &offer("a")), Err(taken()));
        assert_eq!(place.text("a"), "old");
        std::fs::create_dir(place.0.join("b")).unwrap();
        assert!(place.folder(true).existing(&offer("b")).is_err());
    }

    /// Some file systems do not know the flag of renameat2 for that.
    #[test]
    fn nothing_is_overwritten_by_a_link_either() {
        let place = Place::new();
        let folder = place.folder(false);
        let Partial { file, .. } = folder.begin(&offer("a")).unwrap();
        rustix::io::write(&file, b"fresh").unwrap();
        std::fs::write(place.0.join("b"), "old").unwrap();
        std::os::unix::fs::symlink("nowhere", place.0.join("c")).unwrap();
        for name in ["b", "c"] {
            assert_eq!(folder.link(IN_THE_MAKING, name), Err(Errno::EXIST), "{name}");
        }
        assert_eq!(folder.link(IN_THE_MAKING, "a"), Ok(()));
        assert_eq!((place.text("a").as_str(), place.text("b").as_str()), ("fresh", "old"));
        assert_eq!(folder.unfinished().unwrap(), (0, 0));
    }

    #[test]
    fn only_one_makes_a_file_and_the_next_goes_on_where_it_ended() {
        let place = Place::new();
        let folder = place.folder(false);
        let Partial { file: first, length, name } = folder.begin(&offer("a")).unwrap();
        assert_eq!(length, 0);
        assert!(folder.begin(&offer("a")).is_err_and(|refusal| refusal.again));
        rustix::io::write(&first, b"abc").unwrap();
        drop(first);
        assert_eq!(folder.unfinished().unwrap(), (1, 3));
        let again = folder.begin(&offer("a")).unwrap();
        assert_eq!(again.length, 3);
        // More than there is of it.
        rustix::io::write(&again.file, b"too much").unwrap();
        drop(again);
        assert_eq!(folder.begin(&offer("a")).unwrap().length, 0);
        folder.publish(&name, &offer("a")).unwrap();
        assert_eq!(folder.unfinished().unwrap(), (0, 0));
        assert_eq!((place.text("a").as_str(), folder.begin(&offer("a")).unwrap().length), ("", 0));
    }
}
