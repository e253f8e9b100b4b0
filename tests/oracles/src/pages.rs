//! Buffers on pages of their own, which are watched when they were dropped.
//!
//! A dropped buffer's pages are emptied, and stay mapped: their addresses are used for nothing else until many more
//! buffers were dropped (for a test that means: never). Whoever touches one has the kernel put a page there, and
//! that can be asked for later.
//!
//! (With pages that can't be accessed any more, a late write of the kernel's would fail: with EFAULT, in the
//! completion of an operation nobody waits for, where nobody would see it. Here it succeeds, harms nobody, and
//! leaves a trace.)

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use executor::{IoBuf, IoBufMut};

/// Addresses set aside for all buffers of the process. Memory is taken only for pages that are in use.
const RESERVED: usize = 64 << 30;
/// Dropped buffers that are watched at a time.
const WATCHED: usize = 1 << 16;
/// Bytes of a page, on every machine this was tried on. Where they are larger, [`PageBuffer::new`] panics.
pub(crate) const PAGE: usize = 4096;

/// A buffer on pages of its own. All its bytes are 0 at first.
#[derive(Debug)]
pub struct PageBuffer {
    start: NonNull<u8>,
    len: usize,
}

/// Where the next buffer goes, and which pages were dropped.
struct Ground {
    /// Address and end of what is free; both 0 before it is mapped.
    free: (usize, usize),
    /// Watched, oldest first.
    dropped: VecDeque<Span>,
    /// Watched long enough: where they begin, by their number of pages.
    recycled: BTreeMap<usize, Vec<usize>>,
    /// Touches that were seen when the watch ended.
    touched: u64,
}

#[derive(Clone, Copy)]
struct Span {
    start: usize,
    pages: usize,
}

static GROUND: Mutex<Ground> =
    Mutex::new(Ground { free: (0, 0), dropped: VecDeque::new(), recycled: BTreeMap::new(), touched: 0 });

fn ground() -> MutexGuard<'static, Ground> {
    GROUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pages of dropped buffers that somebody has touched since, be it to read or to write. Each touch is counted
/// once, however often this is asked.
///
/// # Panics
/// If the kernel doesn't say.
pub fn touched() -> u64 {
    let mut ground = ground();
    std::mem::take(&mut ground.touched) + ground.dropped.iter().map(|span| span.count_touched()).sum::<u64>()
}

impl Ground {
    /// Sets pages aside that nobody watches.
    fn take(&mut self, pages: usize) -> io::Result<Span> {
        if let Some(start) = self.recycled.get_mut(&pages).and_then(Vec::pop) {
            return Ok(Span { start, pages });
        }
        if self.free == (0, 0) {
            let start = map(RESERVED)?.as_ptr() as usize;
            self.free = (start, start + RESERVED);
        }
        let span = Span { start: self.free.0, pages };
        assert!(self.free.1 - self.free.0 >= span.len(), "all addresses for watched buffers were used");
        self.free.0 += span.len();
        Ok(span)
    }

    /// Watches a dropped buffer's pages from now on, and those of the oldest no longer.
    fn watch(&mut self, span: Span) {
        span.empty();
        self.dropped.push_back(span);
        if self.dropped.len() > WATCHED
            && let Some(oldest) = self.dropped.pop_front()
        {
            self.touched += oldest.count_touched();
            self.recycled.entry(oldest.pages).or_default().push(oldest.start);
        }
    }
}

/// Maps memory without pages.
pub(crate) fn map(len: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, at an address of the kernel's choice, replaces nothing.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it concerns only the new mapping, and not what is in it. Large pages would count neighbours.
    unsafe { libc::madvise(start, len, libc::MADV_NOHUGEPAGE) };
    Ok(NonNull::new(start.cast()).expect("not at 0"))
}

impl Span {
    fn len(self) -> usize {
        self.pages * PAGE
    }

    /// Takes the pages away; the addresses stay mapped, to zeros.
    fn empty(self) {
        let start = std::ptr::with_exposed_provenance_mut(self.start);
        // SAFETY: the span is mapped, and nobody refers to its bytes any more: its buffer is being dropped, or
        // was before.
        let done = unsafe { libc::madvise(start, self.len(), libc::MADV_DONTNEED) };
        assert_eq!(done, 0, "madvise: {}", io::Error::last_os_error());
    }

    fn count_touched(self) -> u64 {
        let mut residents = vec![0u8; self.pages];
        let start = std::ptr::with_exposed_provenance_mut(self.start);
        // SAFETY: the span is mapped; a byte is written for each of its pages, and there are as many.
        let done = unsafe { libc::mincore(start, self.len(), residents.as_mut_ptr()) };
        assert_eq!(done, 0, "mincore: {}", io::Error::last_os_error());
        let touched = residents.iter().map(|resident| u64::from(resident & 1)).sum();
        if touched > 0 {
            self.empty();
        }
        touched
    }
}

impl PageBuffer {
    /// A buffer of `len` bytes.
    ///
    /// # Panics
    /// If memory can't be mapped, or the machine's pages are not of 4 KiB.
    #[must_use]
    pub fn new(len: usize) -> PageBuffer {
        // SAFETY: it only asks.
        assert_eq!(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }, 4096, "pages of this size were not thought of");
        let span = ground().take(len.div_ceil(PAGE)).expect("addresses for buffers");
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(span.start)).expect("not at 0");
        PageBuffer { start, len }
    }
}

impl Drop for PageBuffer {
    fn drop(&mut self) {
        let span = Span { start: self.start.as_ptr().expose_provenance(), pages: self.len.div_ceil(PAGE) };
        if span.pages > 0 {
            ground().watch(span);
        }
    }
}

impl IoBuf for PageBuffer {
    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` on are mapped, initialised (to 0 at least), and this buffer's alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl IoBufMut for PageBuffer {
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; and it is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}
