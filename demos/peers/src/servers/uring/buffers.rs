//! The memory that bytes are received into: a ring of buffers that are given to the kernel, which picks
//! one when bytes arrive. Connections that wait have none.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;

/// Bytes of a buffer: the biggest message of the benchmark.
pub const SIZE: usize = 16 * 1024;
/// How many there are. They should stay in the second-level cache (2 MiB here; short messages touch
/// little of them); 128 were too few for 1,000 connections.
const COUNT: u16 = 256;
/// The distance between buffers. A power of two would put the beginnings of all, where short messages
/// lie, into the same few sets of the cache.
const STRIDE: usize = SIZE + 192;
/// The group the ring is registered as.
pub const GROUP: u16 = 0;

/// A buffer that is ours until it is given back. There is one of these for each at most.
pub struct Lent {
    number: u16,
}

impl Lent {
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// All buffers, and the ring that says which the kernel has. Never freed: the kernel may write to them as
/// long as the process lives.
pub struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
}

impl Buffers {
    /// Registers them, and gives all to the kernel.
    pub fn new(ring: &Ring) -> io::Result<Buffers> {
        let entries = allocate(usize::from(COUNT) * size_of::<BufRingEntry>())?.cast();
        let memory = allocate(usize::from(COUNT) * STRIDE)?;
        // SAFETY: the entries begin on a page, are as many as said, and are never freed.
        unsafe { ring.uring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, COUNT, GROUP, 0)? };
        let mut buffers = Buffers { entries, memory, tail: 0 };
        for number in 0..COUNT {
            buffers.give(Lent { number });
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The buffer a completion named.
    ///
    /// # Safety
    /// The completion is one of the ring these are registered with, and this is called once for it.
    pub unsafe fn take(&self, number: u16) -> Lent {
        debug_assert!(number < COUNT);
        Lent { number }
    }

    /// What is in a buffer.
    pub fn bytes(&mut self, buffer: &Lent) -> &mut [u8] {
        // SAFETY: the buffers lie side by side in `memory`, which was zeroed. Whoever holds the `Lent` has
        // it from a completion: the kernel doesn't write there before it gets it back, and it makes no
        // other references.
        unsafe { std::slice::from_raw_parts_mut(self.address(buffer).cast_mut(), SIZE) }
    }

    /// Where a buffer lies, for the kernel to send from.
    pub fn address(&self, buffer: &Lent) -> *const u8 {
        // SAFETY: the number is below COUNT, so this stays within the allocation.
        unsafe { self.memory.as_ptr().add(usize::from(buffer.number) * STRIDE) }
    }

    /// Gives a buffer back. The kernel sees it after [`publish`](Self::publish).
    pub fn give(&mut self, buffer: Lent) {
        let address = self.address(&buffer) as u64;
        // SAFETY: the place is below COUNT, and free: there are no more places in use than buffers. The
        // kernel looks at it only after the new tail was published.
        let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(self.tail % COUNT)) };
        entry.set_addr(address);
        entry.set_len(SIZE as u32);
        entry.set_bid(buffer.number);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given since.
    pub fn publish(&self) {
        // SAFETY: this is the ring's first entry, which begins on a page and is initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is an aligned u16 inside of that entry, which the kernel reads.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries are written before the kernel sees the new tail.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed memory that begins on a page, and takes room only where it is touched (the allocator of std would
/// touch all of it).
fn allocate(size: usize) -> io::Result<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses a free place.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(memory.cast()).expect("nothing is mapped at 0"))
}
