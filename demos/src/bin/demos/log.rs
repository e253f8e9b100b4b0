//! What a program says beside its results, line by line: on stderr, or in the file that `--log` names. And what a server
//! says on stdout.
//!
//! A line never keeps a server waiting, whatever reads it. A pipe or a terminal is opened once more, so that it does not
//! block here and still blocks for the other programs that share it. Where that is not allowed, and for a socket, a line is
//! shorter than the least room that poll(2) tells of. A line without room is lost, and counted, and the next line
//! that finds room says how many were. A reader that is gone, a full disk, and an output that another program has made
//! non-blocking are no reason to fail.
//!
//! Another way would be a queue and a thread that writes. This way needs neither: there is nothing to flush at the end, and
//! it works in a sandbox, after fork, and where no thread can be had. Its price: a terminal that may not be opened again
//! (after `su`), and that nothing reads, can block; and so can a disk that does not answer.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use demos::http::AccessLog;
use demos::text::misleads;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

/// The longest line, in bytes; the rest is cut off. With a line that tells of lost ones it is below PIPE_BUF (4096).
const LONGEST: usize = 1024;
/// How long the last words of a program wait for room.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Where the log goes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Write events and warnings to the end of FILE, not to stderr. A line that FILE cannot take at once is lost, and
    /// counted.
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Say nothing but results and the error that ends the program. Show no progress bar.
    #[arg(long, global = true)]
    pub quiet: bool,
}

/// A line for each answer of an HTTP server.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Log")]
pub struct AccessArgs {
    /// Write a line for each answer to the end of FILE, in the Common Log Format. `-` is stdout. A line that FILE cannot
    /// take at once is lost, and counted. To rotate FILE, copy it and cut it to length 0: it stays open.
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
}

impl AccessArgs {
    /// Opens the log, if there is to be one. All workers write to it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(&self) -> anyhow::Result<Option<AccessLog>> {
        let Some(path) = &self.access_log else { return Ok(None) };
        if path == Path::new("-") {
            return Ok(Some(|line| tell(line)));
        }
        let file = open_to_append(path, true).with_context(|| {
            let path = path.display();
            format!("cannot write the access log to {path}: give a file in a folder that exists with --access-log")
        })?;
        ACCESS.lock().unwrap_or_else(PoisonError::into_inner).target = Target::File(file);
        Ok(Some(|line| write_to(&ACCESS, line)))
    }
}

enum Target {
    Stdout,
    Stderr,
    File(File),
    Nowhere,
}

impl Target {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Target::Stdout => Some(own(&OWN_STDOUT, rustix::stdio::stdout())),
            Target::Stderr => Some(own(&OWN_STDERR, rustix::stdio::stderr())),
            Target::File(file) => Some(file.as_fd()),
            Target::Nowhere => None,
        }
    }
}

/// Pipes and terminals, opened once more. `None`: another kind of file, or one that may not be opened.
static OWN_STDOUT: OnceLock<Option<File>> = OnceLock::new();
static OWN_STDERR: OnceLock<Option<File>> = OnceLock::new();

fn own(own: &'static OnceLock<Option<File>>, inherited: BorrowedFd<'static>) -> BorrowedFd<'static> {
    own.get_or_init(|| open_again(inherited)).as_ref().map_or(inherited, AsFd::as_fd)
}

/// Opens a pipe or a terminal so that it does not block. The inherited descriptor keeps its flags: the programs that
/// share it would see a change. Files of other kinds keep their position with the descriptor, or cannot be opened.
fn open_again(inherited: BorrowedFd<'_>) -> Option<File> {
    let is_pipe = fstat(inherited).is_ok_and(|state| FileType::from_raw_mode(state.st_mode) == FileType::Fifo);
    let path = format!("/proc/self/fd/{}", inherited.as_raw_fd());
    (is_pipe || inherited.is_terminal()).then(|| open_to_append(Path::new(&path), false).ok()).flatten()
}

/// An output, and what it could not take.
struct Lines {
    target: Target,
    lost: u64,
    /// The last line was written in part.
    is_torn: bool,
}

static LOG: Mutex<Lines> = Mutex::new(Lines::to(Target::Stderr));
static QUIET: AtomicBool = AtomicBool::new(false);
static ACCESS: Mutex<Lines> = Mutex::new(Lines::to(Target::Nowhere));
static STDOUT: Mutex<Lines> = Mutex::new(Lines::to(Target::Stdout));

/// Turns the log to where it shall go, and the messages of panics into it.
///
/// # Errors
/// The file cannot be opened.
pub fn open(args: &LogArgs) -> anyhow::Result<()> {
    std::panic::set_hook(Box::new(say_panic));
    QUIET.store(args.quiet, Ordering::Relaxed);
    // Before a sandbox closes the way.
    let _ = (Target::Stdout.fd(), Target::Stderr.fd());
    let target = match &args.log {
        Some(path) => Target::File(open_to_append(path, true).with_context(|| {
            format!("cannot write the log to {}: give a file in a folder that exists with --log", path.display())
        })?),
        None if args.quiet => Target::Nowhere,
        None => return Ok(()),
    };
    LOG.lock().unwrap_or_else(PoisonError::into_inner).target = target;
    Ok(())
}

/// Whether `--quiet` was given.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// A FIFO without a reader is an error: to wait for one would keep the server from starting.
fn open_to_append(path: &Path, may_create: bool) -> std::io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options().append(true).create(may_create).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Says a line of the log.
pub fn say(line: impl Display) {
    write_to(&LOG, &line);
}

/// Makes the line before it takes the lock: code that makes a line may panic, and a panic says a line, too.
fn write_to(lines: &Mutex<Lines>, line: &dyn Display) {
    let line = plain(line);
    lines.lock().unwrap_or_else(PoisonError::into_inner).write(&line, Duration::ZERO);
}

/// Says lines on stdout, as a server does. A line without room is lost.
pub fn tell(lines: impl Display) {
    tell_within(lines, Duration::ZERO);
}

/// Says the first lines or the last ones of a server on stdout. They wait for room a moment.
pub fn tell_patiently(lines: impl Display) {
    tell_within(lines, LAST_WORDS);
}

fn tell_within(lines: impl Display, patience: Duration) {
    let lines: Vec<_> = lines.to_string().lines().map(|line| plain(&line)).collect();
    let mut stdout = STDOUT.lock().unwrap_or_else(PoisonError::into_inner);
    let until = Instant::now() + patience;
    for line in lines {
        stdout.write(&line, until.saturating_duration_since(Instant::now()));
    }
}

/// Says on stderr how a program ended, whatever `--log` and `--quiet` are.
pub fn say_last(line: impl Display) {
    let mut stderr = Lines::to(Target::Stderr);
    stderr.write(&plain(&line), LAST_WORDS);
}

/// Says how many lines were lost, if there is room now.
pub fn finish() {
    for (lines, name) in [(&STDOUT, "stdout"), (&ACCESS, "the access log"), (&LOG, "the log")] {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = std::mem::take(&mut lines.lost);
        drop(lines);
        if lost > 0 {
            say(format_args!("demos: {lost} lines of {name} were lost: it took no more"));
        }
    }
}

fn say_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    say(format_args!("thread '{}' {}", thread.name().unwrap_or("without a name"), info.to_string().replace('\n', " ")));
    // There is one if RUST_BACKTRACE is set.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(say);
    }
}

impl Lines {
    const fn to(target: Target) -> Lines {
        Lines { target, lost: 0, is_torn: false }
    }

    /// Writes a line that is [`plain`].
    fn write(&mut self, line: &str, patience: Duration) {
        let Some(fd) = self.target.fd() else { return };
        let mut text = if self.is_torn { "\n".to_owned() } else { String::new() };
        if self.lost > 0 {
            text += &format!("demos: {} lines were lost here: nothing took them\n", self.lost);
        }
        text += line;
        text.push('\n');
        let written = write_within(fd, text.as_bytes(), patience);
        if written == text.len() {
            (self.lost, self.is_torn) = (0, false);
        } else {
            (self.lost, self.is_torn) = (self.lost + 1, self.is_torn || written > 0);
        }
    }
}

/// Returns how much was written. A terminal takes a line in parts.
fn write_within(fd: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> usize {
    let until = Instant::now() + patience;
    let mut written = 0;
    while written < bytes.len() && has_room(fd, until) {
        match rustix::io::write(fd, &bytes[written..]) {
            Ok(count @ 1..) => written += count,
            Err(Errno::INTR) => {}
            _ => break,
        }
    }
    written
}

fn has_room(fd: BorrowedFd<'_>, until: Instant) -> bool {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut fds, Some(&left)) {
            Err(Errno::INTR) => {}
            Ok(1..) => return fds[0].revents().contains(PollFlags::OUT),
            Ok(0) | Err(_) => return false,
        }
    }
}

/// The line as it is written, without its end. Control characters, which could begin another line or talk to a terminal,
/// are written out.
fn plain(line: &dyn Display) -> String {
    let mut plain = String::new();
    for character in line.to_string().chars() {
        if plain.len() + LONGEST_CHARACTER > LONGEST {
            break;
        }
        match character {
            character if misleads(character) => plain.extend(character.escape_default()),
            character => plain.push(character),
        }
    }
    plain
}

/// Bytes of a character that is written out: `\u{2028}`.
const LONGEST_CHARACTER: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::os::fd::OwnedFd;

    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    use super::*;

    fn lines_to(file: impl Into<OwnedFd>) -> Lines {
        Lines::to(Target::File(File::from(file.into())))
    }

    #[test]
    fn a_line_without_room_is_lost_and_counted() {
        let (mut reader, writer) = pipe().unwrap();
        let mut lines = lines_to(writer);
        let sent = 1000;
        for number in 0..sent {
            lines.write(&plain(&format_args!("{number} {}", "x".repeat(200))), Duration::ZERO);
        }
        let lost = lines.lost;
        assert!(lost > 0 && lost < sent, "{lost}");
        let mut taken = [0; 16 * 1024];
        reader.read_exact(&mut taken).unwrap();
        lines.write(&plain(&"there is room"), Duration::ZERO);
        assert_eq!(lines.lost, 0);
        drop(lines);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let said = format!("\ndemos: {lost} lines were lost here: nothing took them\nthere is room\n");
        assert!(rest.ends_with(&said), "{}", &rest[rest.len() - 200..]);
        let whole = rest.lines().skip(1).filter(|line| line.ends_with(&"x".repeat(200))).count() as u64;
        assert_eq!(whole + lost + taken.iter().filter(|byte| **byte == b'\n').count() as u64 + 1, sent);
    }

    #[test]
    fn no_output_is_a_reason_to_fail() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        for mut lines in [lines_to(writer), lines_to(File::options().write(true).open("/dev/full").unwrap())] {
            lines.write(&plain(&"a"), Duration::ZERO);
            lines.write(&plain(&"b"), Duration::ZERO);
            assert_eq!(lines.lost, 2);
        }
        Lines::to(Target::Nowhere).write(&plain(&"c"), Duration::ZERO);
    }

    /// Its reader may take a part of a line, and a blocking write then waits for the rest.
    #[test]
    fn a_terminal_that_nothing_reads_loses_lines_and_does_not_block() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&terminal).unwrap();
        let inherited = ioctl_tiocgptpeer(&terminal, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let mut lines = lines_to(open_again(inherited.as_fd()).unwrap());
        for number in 0..10_000 {
            lines.write(&plain(&"x".repeat(number % 100)), Duration::ZERO);
        }
        assert!(lines.lost > 0);
        assert!(!rustix::fs::fcntl_getfl(&inherited).unwrap().contains(OFlags::NONBLOCK), "the others' is as it was");
        let disk = File::open("/dev/full").unwrap();
        assert!(open_again(disk.as_fd()).is_none(), "no pipe and no terminal");
    }

    #[test]
    fn a_line_is_one_line_and_short() {
        let (mut reader, writer) = pipe().unwrap();
        let mut lines = lines_to(writer);
        lines.write(&plain(&"a\nb\r\u{1b}[2J\u{9b}\u{202e}\u{e4}"), Duration::ZERO);
        lines.write(&plain(&"\u{9b}".repeat(10_000)), Duration::ZERO);
        drop(lines);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        let said: Vec<_> = said.lines().collect();
        assert_eq!(said[0], "a\\nb\\r\\u{1b}[2J\\u{9b}\\u{202e}\u{e4}");
        assert!(said.len() == 2 && said[1].len() <= LONGEST, "{said:?}");
    }

    #[test]
    fn a_log_goes_to_the_end_of_its_file() {
        let path = std::env::temp_dir().join(format!("demos-log-{:016x}", fastrand::u64(..)));
        for _ in 0..2 {
            Lines::to(Target::File(open_to_append(&path, true).unwrap())).write(&plain(&"line"), Duration::ZERO);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\nline\n");
        std::fs::remove_file(&path).unwrap();
        assert!(open_to_append(Path::new("/nonexistent/log"), true).is_err());
    }
}
