//! Files below the root directory.
//!
//! Two locks on one door. The path is taken apart here, and what could lead elsewhere is refused. And
//! `openat2` makes the kernel itself refuse any step out of the root, and any symbolic link, so that a
//! mistake here, or a directory that is moved meanwhile, opens nothing. Where openat2 does not work, the
//! server opens one folder after the other, and refuses links.
//!
//! A file on a slow disk keeps only its own client waiting: its bytes are read as the runtime reads files, by threads
//! beside epoll (for which a regular file is always "ready"), by the kernel with io_uring. A ring that is kept to
//! sockets takes no files, so there the threads read, too. They open all files.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use executor::{Files, IoBuf, IoBufMut, RandomAccess};
use percent_encoding::percent_decode_str;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

use super::conditions::Conditions;
use super::request::Method;
use super::response::{BYTES, HTML, HeaderValue, JSON, Status};
use super::validators::Validators;

/// A file that a client asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub root: Arc<OwnedFd>,
    /// Decoded, and relative to the root.
    pub path: Vec<u8>,
    pub method: Method,
    pub conditions: Option<Box<Conditions>>,
}

/// A file that may be served.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub file: File,
    /// Its size when it was opened.
    pub len: u64,
    pub validators: Validators,
    pub content_type: HeaderValue,
}

/// A file while it is read.
pub(crate) enum Content<R: Files> {
    /// As the runtime does it.
    Own(R::File),
    /// By threads, whatever the runtime does.
    InThreads(R, Arc<File>),
}

impl<R: Files> Content<R> {
    pub(crate) fn new(rt: &R, file: File, in_threads: bool) -> io::Result<Self> {
        Ok(if in_threads {
            Content::InThreads(rt.clone(), Arc::new(file))
        } else {
            Content::Own(rt.file_from_std(file)?)
        })
    }

    /// Appends `count` bytes from `offset` on to `out`, or fewer if the file ends before.
    pub(crate) async fn append(&self, offset: u64, count: usize, mut out: Vec<u8>) -> io::Result<Vec<u8>> {
        let (start, end) = (out.len(), out.len() + count);
        out.resize(end, 0);
        let mut done = start;
        while done < end {
            let (rest, offset) = (out.slice(done..end), offset + (done - start) as u64);
            let (read, rest) = match self {
                Content::Own(file) => {
                    let (read, rest) = file.read_at(rest, offset).await;
                    (read?, rest)
                }
                Content::InThreads(rt, file) => {
                    let (file, mut rest) = (Arc::clone(file), rest);
                    rt.unblock_io(move || Ok((file.read_at(rest.bytes_mut(), offset)?, rest))).await?
                }
            };
            out = rest.into_inner();
            if read == 0 {
                out.truncate(done);
                break;
            }
            done += read;
        }
        Ok(out)
    }
}

/// Opens the directory all paths start from.
///
/// # Errors
/// Those of open(2), with the path; `PermissionDenied` if nothing in it could be opened.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty()).and_then(|root| {
        // A path can be opened without any right to what is below it.
        rustix::fs::accessat(&root, ".", Access::EXEC_OK, AtFlags::EACCESS)?;
        Ok(root)
    });
    root.map_err(|errno| {
        let error = io::Error::from(errno);
        let remedy = if errno == Errno::ACCESS { "; give a folder that this user may read" } else { "" };
        io::Error::new(error.kind(), format!("cannot serve files from {}: {error}{remedy}", path.display()))
    })
}

/// Opens what `path`, which is decoded and relative to the root, names. It may wait for a disk.
///
/// # Errors
/// The status to answer.
pub(crate) fn open(root: &OwnedFd, path: &[u8], max_size: u64) -> Result<OpenFile, Status> {
    // O_NONBLOCK: opening a FIFO would otherwise wait for its writer, and stop the whole thread.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = match openat2(root.as_fd(), OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
        // The kernel (before 5.6), or a filter in front of it, does not know the call.
        Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => open_step_by_step(root.as_fd(), path, flags),
        opened => opened,
    };
    let file = opened.map_err(|errno| match errno {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => Status::Unavailable,
        Errno::IO => Status::InternalError,
        // Not there, not ours to show, a way out: the client needn't know which.
        _ => Status::NotFound,
    })?;
    let stat = fstat(&file).map_err(|_| Status::InternalError)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Status::NotFound);
    }
    let len = u64::try_from(stat.st_size).map_err(|_| Status::InternalError)?;
    if len > max_size {
        return Err(Status::Forbidden);
    }
    let validators = Validators::new(stat.st_ino, len, since_epoch(&stat), SystemTime::now());
    Ok(OpenFile { file: File::from(file), len, validators, content_type: content_type(path) })
}

/// Does what openat2 does in one call: opens one folder after the other, and follows no link. The path has been decoded,
/// so none of its names is `..` or empty.
fn open_step_by_step(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = None;
    let mut names = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        let from = folder.as_ref().map_or(root, OwnedFd::as_fd);
        let flags = if names.peek().is_some() { step } else { flags };
        folder = Some(openat(from, OsStr::from_bytes(name), flags, Mode::empty())?);
    }
    folder.ok_or(Errno::NOENT)
}

/// When the file changed last. A time before 1970 counts as 1970.
fn since_epoch(stat: &Stat) -> Duration {
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    u64::try_from(stat.st_mtime).map_or(Duration::ZERO, |seconds| Duration::new(seconds, nanos))
}

/// Decodes once, after the path was split: an encoded slash is no separator, and is refused.
pub(crate) fn decode_path(encoded: &str) -> Result<Vec<u8>, Status> {
    let mut path = Vec::with_capacity(encoded.len());
    for segment in encoded.split('/') {
        if !has_only_whole_escapes(segment) {
            return Err(Status::BadRequest);
        }
        let start = path.len();
        path.extend(percent_decode_str(segment));
        let segment = &path[start..];
        let is_elsewhere = matches!(segment, b"" | b"." | b"..");
        if is_elsewhere || segment.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
            return Err(Status::NotFound);
        }
        path.push(b'/');
    }
    path.pop();
    Ok(path)
}

fn has_only_whole_escapes(segment: &str) -> bool {
    segment
        .split('%')
        .skip(1)
        .all(|rest| rest.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

fn content_type(path: &[u8]) -> HeaderValue {
    const TEXT: HeaderValue = HeaderValue::fixed("text/plain; charset=utf-8");
    const CSS: HeaderValue = HeaderValue::fixed("text/css; charset=utf-8");
    const JAVASCRIPT: HeaderValue = HeaderValue::fixed("text/javascript; charset=utf-8");
    const SVG: HeaderValue = HeaderValue::fixed("image/svg+xml");
    const PNG: HeaderValue = HeaderValue::fixed("image/png");
    const JPEG: HeaderValue = HeaderValue::fixed("image/jpeg");
    const GIF: HeaderValue = HeaderValue::fixed("image/gif");
    const WEBP: HeaderValue = HeaderValue::fixed("image/webp");
    const ICON: HeaderValue = HeaderValue::fixed("image/x-icon");
    const PDF: HeaderValue = HeaderValue::fixed("application/pdf");
    const WASM: HeaderValue = HeaderValue::fixed("application/wasm");
    let extension = Path::new(OsStr::from_bytes(path)).extension().unwrap_or_default();
    match extension.to_ascii_lowercase().as_bytes() {
        b"html" | b"htm" => HTML,
        b"txt" | b"md" | b"rs" | b"toml" => TEXT,
        b"css" => CSS,
        b"js" | b"mjs" => JAVASCRIPT,
        b"json" => JSON,
        b"svg" => SVG,
        b"png" => PNG,
        b"jpg" | b"jpeg" => JPEG,
        b"gif" => GIF,
        b"webp" => WEBP,
        b"ico" => ICON,
        b"pdf" => PDF,
        b"wasm" => WASM,
        _ => BYTES,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use rustix::fs::{CWD, mknodat};

    use super::*;

    /// A directory of its own for each test, gone afterwards.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let path = std::env::temp_dir().join(format!("demos-files-{:016x}", fastrand::u64(..)));
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_path_is_decoded_once_and_cannot_leave() {
        for path in
            ["", ".", "..", "../a", "a/..", "a/../b", "a//b", "/a", "a/", "%2e%2e/a", "%2E%2e%2fa", "..%2fa", "a%2fb"]
        {
            assert_eq!(decode_path(path), Err(Status::NotFound), "{path}");
        }
        for path in ["a%00", "a\\b", "a%5cb", "%2f", "%2fetc"] {
            assert_eq!(decode_path(path), Err(Status::NotFound), "{path}");
        }
        for path in ["%", "a%2", "%zz", "%+1", "%%30"] {
            assert_eq!(decode_path(path), Err(Status::BadRequest), "{path}");
        }
        for (path, decoded) in [("a", "a"), ("a%20b/c.d", "a b/c.d"), ("%252e%252e", "%2e%2e"), ("...", "...")] {
            assert_eq!(decode_path(path), Ok(decoded.into()), "{path}");
        }
    }

    #[test]
    fn only_regular_files_below_the_root_are_opened() {
        let scratch = Scratch::new();
        let inside = scratch.0.join("root");
        fs::create_dir_all(inside.join("dir")).unwrap();
        fs::write(scratch.0.join("secret"), "s").unwrap();
        fs::write(inside.join("dir/a.html"), "0123456789").unwrap();
        fs::write(inside.join("dir/b"), "0123456789x").unwrap();
        symlink("a.html", inside.join("dir/link")).unwrap();
        symlink("../secret", inside.join("out")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("dir", inside.join("alias")).unwrap();
        symlink("/proc/self/status", inside.join("proc")).unwrap();
        mknodat(CWD, inside.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        symlink("fifo", inside.join("to-fifo")).unwrap();
        let root = open_root(&inside).unwrap();
        let open = |path: &str, max_size| open(&root, path.as_bytes(), max_size);
        let opened = open("dir/a.html", 10).unwrap();
        assert_eq!((opened.len, opened.content_type), (10, HTML));
        assert_eq!(open("dir/b", 11).unwrap().content_type, BYTES);
        assert_eq!(open("dir/b", 10).unwrap_err(), Status::Forbidden);
        for path in [
            "dir",
            "none",
            "dir/none",
            "dir/a.html/x",
            "fifo",
            "to-fifo",
            "dir/link",
            "alias/a.html",
            "out",
            "up/secret",
            "proc",
        ] {
            assert_eq!(open(path, 1000).unwrap_err(), Status::NotFound, "{path}");
        }
        // The same where openat2 is not to be had.
        let step_by_step =
            |path: &str| open_step_by_step(root.as_fd(), path.as_bytes(), OFlags::RDONLY | OFlags::NOFOLLOW);
        assert!(step_by_step("dir/a.html").is_ok());
        for path in
            ["none", "dir/none", "dir/a.html/x", "to-fifo", "dir/link", "alias/a.html", "out", "up/secret", "proc"]
        {
            assert!(step_by_step(path).is_err(), "{path}");
        }
        // The kernel's lock holds without ours.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let escape = openat2(&root, "../secret", OFlags::RDONLY, Mode::empty(), resolve);
        assert_eq!(escape.unwrap_err(), Errno::XDEV);
    }

    #[test]
    fn a_file_is_read_beside_the_loop_to_its_end() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a");
        fs::write(&path, "0123456789").unwrap();
        for in_threads in [false, true] {
            let rt = reactor::Reactor::new().unwrap();
            let content = Content::new(&rt, File::open(&path).unwrap(), in_threads).unwrap();
            let (read, beyond) = rt.block_on(async {
                (content.append(2, 3, b"ab".to_vec()).await, content.append(8, 3, Vec::new()).await)
            });
            assert_eq!(read.unwrap(), b"ab234");
            assert_eq!(beyond.unwrap(), b"89");
            assert!(rt.stats().blocking.threads_now > 0, "no thread has read");
        }
    }

    #[test]
    fn a_root_that_is_no_directory_is_an_error_that_names_it() {
        let error = open_root(Path::new("/nonexistent/dir")).unwrap_err();
        assert!(error.to_string().starts_with("cannot serve files from /nonexistent/dir: "), "{error}");
        assert!(open_root(Path::new("/dev/null")).is_err());
    }
}
