//! Receive buffers that the kernel picks from, and the pieces of them that it has filled.
//!
//! A [`BufferRing`] gives a [`Block`] to the kernel. When bytes arrive, the kernel writes them into
//! one of its blocks, and the completion names the block and the number of bytes. The filled part
//! is a [`Piece`].
//!
//! ```text
//!            given                     filled, piece by piece                all pieces dropped
//!   Block ------------> kernel's ring ------------------------> no ring ------------------------> given again, or freed
//!                                        (used == its length)
//! ```
//!
//! *Incremental* (Linux 6.12): the kernel fills a block from start to end, each receive behind the
//! one before. So a thousand small messages share one block, and use only as much memory as bytes
//! have arrived. Without it, each receive takes a whole block.
//!
//! The kernel counts, in its copy of the ring, where the next piece begins; we count it in
//! [`Block::used`]. Both add the lengths of the completions in the order in which they were posted,
//! so they agree. For this, each completion that names a block must go to [`BufferRing::take`], in
//! that order, even if its bytes are not needed.
//!
//! The order holds in the kernel (io_uring/net.c, io_uring/io_uring.c): a receive posts its completion
//! before the next one picks a block. If the completion queue is full, this and all later
//! completions wait in the overflow list, in the same order. With each completion the kernel says
//! whether it keeps the block (IORING_CQE_F_BUF_MORE). `take` insists that our count says the same:
//! one client must never get the bytes of another.

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// Places in a ring: how many blocks the kernel can have at a time. A power of two.
const ENTRIES: u16 = 1024;
/// From linux/io_uring.h; the io-uring crate does not export it.
const INCREMENTAL: u16 = 2;

/// The use of a ring of buffers. The kernel knows it by this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Streams,
    /// A datagram needs a whole block, whatever the kernel can do, because its head and its bytes
    /// must lie together.
    Datagrams,
}

/// Memory that the kernel fills. The filled part never changes while a [`Piece`] names it. The rest
/// is the kernel's as long as the block is in a ring.
pub(crate) struct Block<H> {
    /// The place it returns to when no piece of it is left.
    pub(crate) home: H,
    start: *mut u8,
    len: usize,
    capacity: usize,
    /// Filled bytes, from the start.
    used: Cell<usize>,
}

impl<H> Block<H> {
    /// Makes a block of the memory of a vector. Nothing of it is filled.
    pub(crate) fn new(memory: Vec<u8>, home: H) -> Rc<Block<H>> {
        let mut memory = ManuallyDrop::new(memory);
        let (start, len, capacity) = (memory.as_mut_ptr(), memory.len(), memory.capacity());
        Rc::new(Block { home, start, len, capacity, used: Cell::new(0) })
    }
}

impl<H> Drop for Block<H> {
    fn drop(&mut self) {
        // SAFETY: these are the parts of the vector that `new` took apart, and nothing else has put
        // it together again. The kernel no longer writes there: a block that the kernel has is in a
        // `BufferRing`, and so is not dropped.
        drop(unsafe { Vec::from_raw_parts(self.start, self.len, self.capacity) });
    }
}

/// A filled part of a block.
pub(crate) struct Piece<H> {
    block: Rc<Block<H>>,
    start: u32,
    end: u32,
}

impl<H> Piece<H> {
    /// Takes the next `len` bytes of a block. The kernel has filled them.
    ///
    /// # Panics
    /// If fewer bytes are left in the block.
    pub(crate) fn next(block: Rc<Block<H>>, len: usize) -> Piece<H> {
        let start = block.used.get();
        let end = start + len;
        assert!(end <= block.len, "the kernel wrote more than it was given room for");
        block.used.set(end);
        let number = |place| u32::try_from(place).expect("the kernel fills less than 4 GiB");
        let (start, end) = (number(start), number(end));
        Piece { block, start, end }
    }

    pub(crate) fn home(&self) -> &H {
        &self.block.home
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let len = (self.end - self.start) as usize;
        let start = self.block.start.wrapping_add(self.start as usize);
        // SAFETY: `next` checked that the piece lies in the block, and the piece keeps the block
        // alive. The bytes are initialised, because they were a vector's. Nothing writes there
        // while the piece lives: the kernel only writes behind `used`, and a block is given to it
        // again only when no piece refers to it.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// Drops the first `count` bytes from the piece.
    pub(crate) fn advance(&mut self, count: usize) {
        assert!(count <= self.bytes().len(), "there are not so many");
        self.start += count as u32; // it fits, as `end` does
    }

    /// Returns the block, if nothing else refers to it.
    pub(crate) fn into_block(self) -> Option<Rc<Block<H>>> {
        (Rc::strong_count(&self.block) == 1).then_some(self.block)
    }
}

/// The ring that gives blocks to the kernel. It owns the blocks that the kernel has.
pub(crate) struct BufferRing<H> {
    group: Group,
    is_incremental: bool,
    entries: Box<EntriesCell>,
    tail: u16,
    /// The blocks that the kernel has, by buffer number.
    given: Vec<Option<Rc<Block<H>>>>,
    /// Buffer numbers that are not in use.
    unused: Vec<u16>,
}

#[repr(C, align(4096))]
struct Entries([BufRingEntry; ENTRIES as usize]);

/// The entries. The kernel reads and writes some while we write others.
struct EntriesCell(UnsafeCell<Entries>);

impl EntriesCell {
    fn as_ptr(&self) -> *mut BufRingEntry {
        self.0.get().cast()
    }
}

/// The numbers that register a ring with the kernel.
pub(super) struct Registered {
    pub(super) address: u64,
    pub(super) entries: u16,
    pub(super) group: u16,
    pub(super) flags: u16,
}

impl<H> BufferRing<H> {
    pub(crate) const PLACES: usize = ENTRIES as usize;

    pub(crate) fn new(group: Group, is_incremental: bool) -> BufferRing<H> {
        // SAFETY: a BufRingEntry consists of plain numbers, for which all zeros are valid.
        let entries: Entries = unsafe { std::mem::zeroed() };
        BufferRing {
            group,
            is_incremental,
            entries: Box::new(EntriesCell(UnsafeCell::new(entries))),
            tail: 0,
            given: (0..ENTRIES).map(|_| None).collect(),
            unused: (0..ENTRIES).rev().collect(),
        }
    }

    pub(crate) fn group(&self) -> Group {
        self.group
    }

    pub(super) fn to_register(&self) -> Registered {
        let flags = if self.is_incremental { INCREMENTAL } else { 0 };
        Registered { address: self.entries.as_ptr() as u64, entries: ENTRIES, group: self.group as u16, flags }
    }

    /// Gives a whole block to the kernel to fill.
    ///
    /// # Panics
    /// If all [`PLACES`](Self::PLACES) are taken, or if a piece of the block still exists.
    pub(crate) fn give(&mut self, mut block: Rc<Block<H>>) {
        Rc::get_mut(&mut block).expect("no piece of it is left").used.set(0);
        let number = self.unused.pop().expect("there are no more blocks than places");
        let len = u32::try_from(block.len).expect("a block is shorter than 4 GiB");
        let place = usize::from(self.tail % ENTRIES);
        // SAFETY: `place` is below ENTRIES. It is free, because no more places than numbers are in
        // use. The kernel reads it only after the store below.
        let entry = unsafe { &mut *self.entries.as_ptr().wrapping_add(place) };
        entry.set_addr(block.start as u64);
        entry.set_len(len);
        entry.set_bid(number);
        self.given[usize::from(number)] = Some(block);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: this is the ring's first entry, page-aligned and initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is a u16 inside that entry, aligned, and `entry` is no longer used.
        let tail = unsafe { &*tail.cast::<AtomicU16>() };
        // Release: the entry is written before the kernel sees the new tail.
        tail.store(self.tail, Ordering::Release);
    }

    /// Takes what a completion brought: `len` bytes in the block that it names. `is_kept` is what the
    /// kernel says: it fills the block piece by piece, and keeps it until it is full.
    ///
    /// # Panics
    /// If our count of the block's bytes says otherwise: then it is unknown where the bytes are.
    pub(crate) fn take(&mut self, number: u16, len: usize, is_kept: bool) -> Option<Piece<H>> {
        let given = self.given.get_mut(usize::from(number))?;
        let block = given.as_ref()?;
        let has_room = self.is_incremental && block.used.get() + len < block.len;
        assert!(len == 0 || has_room == is_kept, "the kernel and we disagree about a receive buffer");
        if has_room {
            return Some(Piece::next(Rc::clone(block), len));
        }
        let block = given.take()?;
        self.unused.push(number);
        Some(Piece::next(block, len))
    }

    /// Returns how many blocks the kernel has.
    pub(crate) fn given(&self) -> usize {
        usize::from(ENTRIES) - self.unused.len()
    }
}
