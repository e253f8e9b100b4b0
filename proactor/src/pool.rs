//! The memory `recv` lends: buffers of one size, most of them with the kernel, which fills them as
//! bytes arrive. A stream that waits holds none.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use executor::{IoBuf, allocate};

use crate::ring::BufferRing;

/// Bytes in a chunk. The usual record-sized protocols (TLS, chunked HTTP) send 16 KiB at once, and a stream of bulk
/// fills more. (Measured, 32 KiB against 16: copying 1 GiB from one connection to another takes 0.62 of the time.)
pub(crate) const CHUNK_SIZE: usize = 32 * 1024;
/// Buffers to begin with (2 MiB). Few buffers stay in the cache; when the kernel finds none left, they
/// are doubled, up to the ring's 1024 (32 MiB).
const FIRST: usize = 64;
/// Bytes of a receive that takes its own memory along because the pool is empty. It holds them while it
/// waits, so they are few.
pub(crate) const MISS_SIZE: usize = 4 * 1024;
/// The same where there is no pool for it at all, so that more is worth it.
pub(crate) const OWN_SIZE: usize = 16 * 1024;

/// The buffers, and how many are lent.
#[derive(Default)]
pub(crate) struct Pool {
    /// `None` on kernels without buffer rings, and after the end of the runtime.
    ring: RefCell<Option<BufferRing>>,
    /// Buffers of the ring that exist, with the kernel or lent.
    made: Cell<usize>,
    lent: Cell<u64>,
}

impl Pool {
    /// A pool that gives its buffers to the kernel through `ring`, or none, and then every receive
    /// takes its own.
    pub(crate) fn new(ring: Option<BufferRing>) -> Rc<Pool> {
        Rc::new(Pool { ring: RefCell::new(ring), ..Pool::default() })
    }

    /// Whether the kernel has a buffer left for a receive that starts now. Makes more, if there may be
    /// more and there is none.
    pub(crate) fn has_room(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        let Some(ring) = ring.as_mut() else { return false };
        if ring.given() == 0 {
            let made = self.made.get();
            let more = made.max(FIRST).min(BufferRing::PLACES - made);
            // As many as there is memory for.
            for memory in (0..more).map_while(|_| allocate(CHUNK_SIZE).ok()) {
                ring.give(Memory::new(memory, true));
                self.made.update(|made| made + 1);
            }
        }
        ring.given() > 0
    }

    /// The buffer a completion named, with `len` bytes in it.
    pub(crate) fn take(self: &Rc<Self>, number: u16, len: usize) -> Option<Chunk> {
        let memory = self.ring.borrow_mut().as_mut()?.take(number)?;
        Some(self.lend(memory, len))
    }

    /// A chunk in memory of its own.
    pub(crate) fn adopt(self: &Rc<Self>, bytes: Vec<u8>, len: usize) -> Chunk {
        self.lend(Memory::new(bytes, false), len)
    }

    fn lend(self: &Rc<Self>, mut memory: Box<Memory>, len: usize) -> Chunk {
        assert!(len <= memory.bytes.len(), "the kernel wrote more than it was given room for");
        self.lent.set(self.lent.get() + 1);
        memory.start = 0;
        memory.end = len;
        memory.pool = Some(Rc::clone(self));
        Chunk(Some(memory))
    }

    pub(crate) fn lent(&self) -> u64 {
        self.lent.get()
    }

    /// Bytes of the ring's buffers, with the kernel or lent.
    pub(crate) fn bytes(&self) -> u64 {
        (self.made.get() * CHUNK_SIZE) as u64
    }

    /// The end of the runtime: chunks that come home from now on are freed.
    pub(crate) fn retire(&self) -> Option<BufferRing> {
        self.ring.borrow_mut().take()
    }
}

/// Bytes that were received, in memory the runtime lends. It goes home when this is dropped, also when
/// the runtime is gone by then.
///
/// It is one pointer, because every task, stream and operation that waits has places for one: what it
/// points to waits with the kernel, and is allocated once.
pub struct Chunk(Option<Box<Memory>>);

/// A buffer of the pool, or one that was adopted, and what of it is filled.
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    start: usize,
    end: usize,
    is_pooled: bool,
    /// While it is lent.
    pool: Option<Rc<Pool>>,
}

impl Memory {
    fn new(bytes: Vec<u8>, is_pooled: bool) -> Box<Memory> {
        Box::new(Memory { bytes, start: 0, end: 0, is_pooled, pool: None })
    }
}

impl Chunk {
    fn memory(&self) -> &Memory {
        self.0.as_ref().expect("taken only in drop")
    }

    /// Copies as much as fits to `space`, and forgets it. Returns how much that was.
    pub(crate) fn move_to(&mut self, space: &mut [u8]) -> usize {
        let count = space.len().min(self.len());
        space[..count].copy_from_slice(&self[..count]);
        self.0.as_mut().expect("taken only in drop").start += count;
        count
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut memory = self.0.take().expect("dropped once");
        let pool = memory.pool.take().expect("lent");
        pool.lent.set(pool.lent.get() - 1);
        if memory.is_pooled
            && let Some(ring) = pool.ring.borrow_mut().as_mut()
        {
            ring.give(memory);
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let Memory { bytes, start, end, .. } = self.memory();
        &bytes[*start..*end]
    }
}

impl IoBuf for Chunk {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}
