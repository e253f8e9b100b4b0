//! What all connections of one server share.

use std::cell::{Ref, RefCell};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_lock::Semaphore;

use super::access::AccessLog;
use super::files;
use super::limits::Limits;
use super::response::{OK_LINE, TYPE_NAME};

/// A server's limits, its files, and what its connections lend one another. Shared by `Rc`.
pub struct Site {
    pub(crate) limits: Limits,
    pub(crate) root: Option<Arc<OwnedFd>>,
    pub(crate) reads_in_threads: bool,
    /// A turn for each read of a file that may be under way.
    pub(crate) reads: Semaphore,
    /// What takes a line for each answer.
    pub(crate) access: Option<AccessLog>,
    stamp: RefCell<Stamp>,
    spare: RefCell<Vec<Vec<u8>>>,
}

/// How every good response begins, made anew once a second.
#[derive(Default)]
struct Stamp {
    lines: Vec<u8>,
    valid_until: Option<Instant>,
}

/// Output buffers kept for the next response. A connection has one only while it answers, and at most
/// as many answer at once as were woken in one turn.
const SPARE_BUFFERS: usize = 64;
/// Bigger ones are freed, so all spare ones together hold 1.25 MiB at most. A chunk of a file with the
/// head before it fits.
const SPARE_CAPACITY: usize = 20 * 1024;
/// What a new buffer holds: a few small responses.
const FIRST_CAPACITY: usize = 1024;

/// Reads of files at the same time; more wait for their turn. Each may take a thread, and a few of them keep a disk busy.
const READS_AT_ONCE: usize = 4;

impl Site {
    /// A site within these limits, which serves the files below `root`, or none.
    ///
    /// # Errors
    /// If `root` cannot be opened as a directory.
    pub fn new(limits: Limits, root: Option<&Path>) -> io::Result<Site> {
        Ok(Site {
            limits: limits.bounded(),
            root: root.map(files::open_root).transpose()?.map(Arc::new),
            reads_in_threads: false,
            reads: Semaphore::new(READS_AT_ONCE),
            access: None,
            stamp: RefCell::default(),
            spare: RefCell::default(),
        })
    }

    /// The same with files read by threads on every engine. It is for a ring that is kept to sockets (`proactor`'s
    /// `Builder::sockets_only`), which refuses to read them.
    #[must_use]
    pub fn reading_in_threads(self) -> Site {
        Site { reads_in_threads: true, ..self }
    }

    /// The same with a line for each answer to `log`, if there is one.
    #[must_use]
    pub fn with_access_log(self, log: Option<AccessLog>) -> Site {
        Site { access: log, ..self }
    }

    /// The status line of a good response, `Server` and `Date`, as of `now`, and the next header's name.
    pub(crate) fn stamp(&self, now: Instant) -> Ref<'_, [u8]> {
        let is_valid = self.stamp.borrow().valid_until.is_some_and(|until| now < until);
        if !is_valid {
            let mut stamp = self.stamp.borrow_mut();
            let wall = SystemTime::now();
            let date = httpdate::fmt_http_date(wall);
            stamp.lines = format!("{OK_LINE}Server: demos\r\nDate: {date}{TYPE_NAME}").into_bytes();
            stamp.valid_until = now.checked_add(until_next_second(wall));
        }
        Ref::map(self.stamp.borrow(), |stamp| &stamp.lines[..])
    }

    /// An empty output buffer.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(FIRST_CAPACITY))
    }

    /// Takes an output buffer back.
    pub(crate) fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if buffer.capacity() <= SPARE_CAPACITY && spare.len() < SPARE_BUFFERS {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("limits", &self.limits).field("root", &self.root).finish_non_exhaustive()
    }
}

fn until_next_second(wall: SystemTime) -> Duration {
    let since_epoch = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(1) - Duration::from_nanos(u64::from(since_epoch.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_anew_only_when_its_second_is_over() {
        let site = Site::new(Limits::default(), None).unwrap();
        let now = Instant::now();
        let first = site.stamp(now).as_ptr();
        assert_eq!(site.stamp(now).as_ptr(), first);
        let text = String::from_utf8(site.stamp(now).to_vec()).unwrap();
        let date = text
            .strip_prefix("HTTP/1.1 200 OK\r\nServer: demos\r\nDate: ")
            .unwrap()
            .strip_suffix("\r\nContent-Type: ")
            .unwrap();
        let age = SystemTime::now().duration_since(httpdate::parse_http_date(date).unwrap()).unwrap();
        assert!(age < Duration::from_secs(30), "{age:?}");
        site.stamp.borrow_mut().lines.clear();
        assert!(site.stamp(now).is_empty(), "still the cached one");
        assert!(!site.stamp(now + Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn small_buffers_are_used_again_and_big_ones_freed() {
        let site = Site::new(Limits::default(), None).unwrap();
        let mut small = site.take_buffer();
        small.push(1);
        let at = small.as_ptr();
        site.give_buffer(small);
        site.give_buffer(Vec::with_capacity(SPARE_CAPACITY + 1));
        let again = site.take_buffer();
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
        for _ in 0..2 * SPARE_BUFFERS {
            site.give_buffer(Vec::with_capacity(10));
        }
        assert_eq!(site.spare.borrow().len(), SPARE_BUFFERS);
    }
}
