//! A global allocator that keeps what is freed, and looks at it again before it is used for anything else.
//!
//! ```text
//!  alloc ---> in use ---> dealloc: filled with 0xDD ---> quarantine ---> still 0xDD? ---> system
//!                                                            |               no: counted, never freed
//!                                                         inspect: all of it at once
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What freed memory is filled with.
const FILL: u8 = 0xdd;
/// Blocks kept at most.
const PLACES: usize = 1 << 16;
/// Bytes kept at most (but for a single block that is larger).
const BYTES: usize = 512 << 20;

/// The allocator. A test binary opts in with
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;
/// # fn main() {
/// #     drop(vec![1u8; 100]);
/// #     assert!(oracles::inspect().blocks > 0);
/// # }
/// ```
#[derive(Debug)]
pub struct Quarantine;

/// What the quarantine has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks it keeps now.
    pub blocks: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Blocks that were written to after they were freed.
    pub corrupted: u64,
    /// The last of these.
    pub last: Option<Corruption>,
}

/// A write to freed memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Size of the block in bytes.
    pub size: usize,
    /// Where in it the first wrong byte is.
    pub offset: usize,
    /// That byte.
    pub byte: u8,
}

#[derive(Clone, Copy)]
struct Block {
    start: *mut u8,
    size: usize,
    align: usize,
}

/// The blocks that are kept, oldest first, in a ring. The place is part of the program: an allocator can't
/// allocate it.
struct Ward {
    blocks: [Block; PLACES],
    oldest: usize,
    report: Report,
}

// SAFETY: the pointers are to blocks that were freed, which the ward alone has.
unsafe impl Send for Ward {}

static WARD: Mutex<Ward> = Mutex::new(Ward {
    blocks: [Block { start: std::ptr::null_mut(), size: 0, align: 0 }; PLACES],
    oldest: 0,
    report: Report { blocks: 0, bytes: 0, corrupted: 0, last: None },
});

fn ward() -> MutexGuard<'static, Ward> {
    // Nothing below panics while it is locked, and a panic's own allocations must not.
    WARD.lock().unwrap_or_else(PoisonError::into_inner)
}

static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Bytes the program has asked for and not given back; 0 if it has another allocator.
pub fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

/// Looks at everything that is kept. What it finds is counted once.
pub fn inspect() -> Report {
    let mut ward = ward();
    for place in 0..ward.report.blocks {
        let block = ward.blocks[(ward.oldest + place) % PLACES];
        if ward.is_corrupted(block) {
            block.fill();
        }
    }
    ward.report
}

impl Ward {
    fn admit(&mut self, block: Block) {
        while self.report.blocks == PLACES || (self.report.blocks > 0 && self.report.bytes + block.size > BYTES) {
            self.release_oldest();
        }
        self.blocks[(self.oldest + self.report.blocks) % PLACES] = block;
        self.report.blocks += 1;
        self.report.bytes += block.size;
    }

    fn release_oldest(&mut self) {
        let block = self.blocks[self.oldest];
        self.oldest = (self.oldest + 1) % PLACES;
        self.report.blocks -= 1;
        self.report.bytes -= block.size;
        // Who wrote there once may do so again: such a block is never given to anybody else.
        if !self.is_corrupted(block) {
            block.free();
        }
    }

    fn is_corrupted(&mut self, block: Block) -> bool {
        let Some((offset, byte)) = block.first_wrong() else { return false };
        self.report.corrupted += 1;
        self.report.last = Some(Corruption { size: block.size, offset, byte });
        true
    }
}

impl Block {
    fn fill(self) {
        // SAFETY: `size` bytes from `start` on were allocated, and belong to whoever has the block.
        unsafe { self.start.write_bytes(FILL, self.size) };
    }

    /// The first byte that is no longer what it was filled with.
    fn first_wrong(self) -> Option<(usize, u8)> {
        const STEP: usize = 64;
        let mut offset = 0;
        while offset + STEP <= self.size {
            // SAFETY: these bytes lie within the block, and were initialised when it was filled. Volatile,
            // because the kernel, which is looked for here, may write at any time.
            let bytes: [u8; STEP] = unsafe { self.start.wrapping_add(offset).cast::<[u8; STEP]>().read_volatile() };
            if bytes != [FILL; STEP] {
                break;
            }
            offset += STEP;
        }
        (offset..self.size).find_map(|offset| {
            // SAFETY: as above, a single byte.
            let byte = unsafe { self.start.wrapping_add(offset).read_volatile() };
            (byte != FILL).then_some((offset, byte))
        })
    }

    fn free(self) {
        // SAFETY: size and alignment are those of the layout it was allocated with.
        let layout = unsafe { Layout::from_size_align_unchecked(self.size, self.align) };
        // SAFETY: it was allocated by `System` with this layout, and has left the ward: nobody has it any more.
        unsafe { System.dealloc(self.start, layout) };
    }
}

// SAFETY: blocks are the system's, of the layout that was asked for, and are given out once: what is freed goes
// back to the system later, or never. (`realloc` is the default one, which moves the bytes to a new block, so that
// the old one is kept, too.) Nothing here unwinds.
unsafe impl GlobalAlloc for Quarantine {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on to the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        if cfg!(asan) {
            // AddressSanitizer has a quarantine of its own, and must see what is freed.
            // SAFETY: passed on to the caller.
            return unsafe { System.dealloc(start, layout) };
        }
        let block = Block { start, size: layout.size(), align: layout.align() };
        block.fill();
        ward().admit(block);
    }
}
