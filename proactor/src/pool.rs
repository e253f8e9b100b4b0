//! The memory that `recv` lends: pieces of blocks. The kernel has most blocks, and fills them as
//! bytes arrive. A waiting stream holds none.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use executor::{IoBuf, allocate};

use crate::ring::buffers::{Block, BufferRing, Group, Piece};
use crate::ring::completion::Completion;
use crate::ring::probe::Rings;

/// Bytes in a block, and so the most in a chunk. The usual record-sized protocols (TLS, chunked
/// HTTP) send 16 KiB at once, and bulk data fills more.
pub(crate) const BLOCK_SIZE: usize = 32 * 1024;
/// Blocks at the start (1 MiB). Their number doubles whenever the kernel has few left, up to the
/// ring's 1024 (32 MiB).
const FIRST: usize = 32;
/// If the kernel has at most one block in this many, we make more.
const LEAST_PART: usize = 4;
/// After this many turns, we begin to free blocks that no turn needed.
const TURNS_PER_LOOK: u32 = 1024;
/// Bytes of a receive that brings its own memory because the pool is empty. It holds them while it
/// waits, so there are few.
pub(crate) const MISS_SIZE: usize = 4 * 1024;
/// The same where the kernel has no pool at all. There, more bytes are worth it.
pub(crate) const OWN_SIZE: usize = 16 * 1024;

/// The blocks, and how many chunks are lent.
#[derive(Default)]
pub(crate) struct Pool {
    streams: Stock,
    datagrams: Stock,
    lent: Cell<u64>,
}

/// The place that a chunk returns to when it is dropped.
pub(crate) struct Home {
    pool: Rc<Pool>,
    /// `None` if the chunk has its own memory.
    group: Option<Group>,
}

type Ring = BufferRing<Home>;

/// The blocks of one ring.
#[derive(Default)]
struct Stock {
    /// `None` on kernels without buffer rings, and after the end of the runtime.
    ring: RefCell<Option<Ring>>,
    /// Blocks that exist: the kernel's and the lent ones.
    made: Cell<usize>,
    /// The fewest blocks that the kernel had since the last look.
    least: Cell<usize>,
    /// Blocks to free when they return.
    surplus: Cell<usize>,
    turns: Cell<u32>,
}

impl Stock {
    fn new(ring: Option<Ring>) -> Stock {
        Stock { ring: RefCell::new(ring), least: Cell::new(usize::MAX), ..Stock::default() }
    }

    /// Makes more blocks if the kernel has few left, as far as places and memory allow. Returns how
    /// many the kernel has.
    fn provide(&self, make: impl Fn(Vec<u8>) -> Rc<Block<Home>>) -> usize {
        let mut ring = self.ring.borrow_mut();
        let Some(ring) = ring.as_mut() else { return 0 };
        let made = self.made.get();
        if ring.given() <= made / LEAST_PART {
            let more = made.max(FIRST).min(Ring::PLACES - made);
            for memory in (0..more).map_while(|_| allocate(BLOCK_SIZE).ok()) {
                ring.give(make(memory));
                self.made.update(|made| made + 1);
            }
            self.surplus.set(0);
        }
        ring.given()
    }

    /// Ends a turn. Every [`TURNS_PER_LOOK`] turns, checks whether there are more blocks than
    /// needed.
    fn end_turn(&self, given: usize) {
        self.least.set(self.least.get().min(given));
        self.turns.update(|turns| turns + 1);
        if self.turns.get() >= TURNS_PER_LOOK {
            self.turns.set(0);
            let (least, made) = (self.least.replace(usize::MAX), self.made.get());
            // Half of the blocks were never needed: free half of these.
            let is_idle = least > made / 2 && made > FIRST;
            self.surplus.set(if is_idle { made / 4 } else { 0 });
        }
    }

    /// Takes back a block of which no piece is left.
    fn take_home(&self, block: Rc<Block<Home>>) {
        let mut ring = self.ring.borrow_mut();
        let Some(ring) = ring.as_mut() else { return };
        match self.surplus.get() {
            0 => ring.give(block),
            surplus => {
                self.surplus.set(surplus - 1);
                self.made.update(|made| made - 1);
            }
        }
    }

    fn bytes(&self) -> u64 {
        (self.made.get() * BLOCK_SIZE) as u64
    }
}

impl Pool {
    /// Makes a pool that gives its blocks to the kernel through these rings. With no rings, every
    /// receive brings its own memory.
    pub(crate) fn new(rings: Option<Rings<Home>>) -> Rc<Pool> {
        let [streams, datagrams] = rings.map_or([None, None], |rings| rings.map(Some)).map(Stock::new);
        Rc::new(Pool { streams, datagrams, lent: Cell::new(0) })
    }

    fn stock(&self, group: Group) -> &Stock {
        match group {
            Group::Streams => &self.streams,
            Group::Datagrams => &self.datagrams,
        }
    }

    /// Returns whether the kernel has a block for a receive that starts now.
    pub(crate) fn has_room(self: &Rc<Self>, group: Group) -> bool {
        self.provide(group) > 0
    }

    fn provide(self: &Rc<Self>, group: Group) -> usize {
        let make = |memory| Block::new(memory, Home { pool: Rc::clone(self), group: Some(group) });
        self.stock(group).provide(make)
    }

    /// Ends a turn: makes sure that the kernel does not run out of blocks in the next one.
    pub(crate) fn end_turn(self: &Rc<Self>) {
        for group in [Group::Streams, Group::Datagrams] {
            if self.stock(group).made.get() > 0 {
                self.stock(group).end_turn(self.provide(group));
            }
        }
    }

    /// Takes what a completion brought, from the block that it names; `None` if it names none. Every
    /// completion of a receive into blocks comes here, in order.
    pub(crate) fn take(self: &Rc<Self>, group: Group, completion: &Completion) -> Option<Chunk> {
        let number = completion.buffer()?;
        // A block that was picked for nothing is counted, too.
        let len = usize::try_from(completion.result).unwrap_or(0);
        let mut ring = self.stock(group).ring.borrow_mut();
        let piece = ring.as_mut()?.take(number, len, completion.keeps_buffer())?;
        Some(self.lend(piece))
    }

    /// Makes a chunk that has its own memory.
    pub(crate) fn adopt(self: &Rc<Self>, bytes: Vec<u8>, len: usize) -> Chunk {
        self.lend(Piece::next(Block::new(bytes, Home { pool: Rc::clone(self), group: None }), len))
    }

    fn lend(&self, piece: Piece<Home>) -> Chunk {
        self.lent.set(self.lent.get() + 1);
        Chunk(Some(piece))
    }

    pub(crate) fn lent(&self) -> u64 {
        self.lent.get()
    }

    /// Returns how many blocks the kernel has.
    #[cfg(test)]
    pub(crate) fn given(&self, group: Group) -> usize {
        self.stock(group).ring.borrow().as_ref().map_or(0, Ring::given)
    }

    /// Takes one byte of some block that the kernel has, as if it had arrived.
    #[cfg(test)]
    pub(crate) fn take_first(self: &Rc<Self>, group: Group) -> Option<Chunk> {
        let mut ring = self.stock(group).ring.borrow_mut();
        let piece = (0..Ring::PLACES as u16).find_map(|number| ring.as_mut()?.take(number, 1, false))?;
        Some(self.lend(piece))
    }

    /// Returns the bytes of all blocks, the kernel's and the lent ones.
    pub(crate) fn bytes(&self) -> u64 {
        self.streams.bytes() + self.datagrams.bytes()
    }

    /// Takes the rings away at the end of the runtime. From then on, chunks are freed when they are
    /// dropped.
    pub(crate) fn retire(&self) -> [Option<Ring>; 2] {
        [&self.streams, &self.datagrams].map(|stock| stock.ring.borrow_mut().take())
    }
}

/// Received bytes, in memory that the runtime lends. Dropping the chunk gives the memory back, even
/// if the runtime is gone by then.
///
/// Meanwhile the kernel may fill the rest of the same block for other streams. A chunk keeps its
/// whole block from being filled again. So a program that keeps many chunks for long should copy
/// what it needs of them.
///
/// # Examples
///
/// ```
/// use proactor::{Chunk, Net, Proactor, Reader, Writer};
///
/// # fn example() -> std::io::Result<()> {
/// let rt = Proactor::new()?;
/// let (mut one, mut other) = rt.unix_pair()?;
/// rt.block_on(async {
///     one.write_all("hello").await.0?;
///     let chunk: Chunk = other.recv().await?;
///     assert_eq!(&chunk[..2], b"he");
///     other.write_all(chunk).await.0 // as it is, without a copy
/// })
/// # }
/// # fn main() {
/// #     // Where io_uring is closed there is nothing to show.
/// #     if proactor::Proactor::new().is_ok() { example().unwrap() }
/// # }
/// ```
pub struct Chunk(Option<Piece<Home>>);

impl Chunk {
    fn piece(&self) -> &Piece<Home> {
        self.0.as_ref().expect("taken only in drop")
    }

    /// Moves as many bytes as fit to `space`, and removes them from the chunk. Returns how many.
    pub(crate) fn move_to(&mut self, space: &mut [u8]) -> usize {
        let count = space.len().min(self.len());
        space[..count].copy_from_slice(&self[..count]);
        self.0.as_mut().expect("taken only in drop").advance(count);
        count
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let Some(piece) = self.0.take() else { return };
        let Home { pool, .. } = piece.home();
        pool.lent.set(pool.lent.get() - 1);
        if let Some(block) = piece.into_block() {
            come_home(block);
        }
    }
}

/// Gives back a block after its last piece is dropped.
fn come_home(block: Rc<Block<Home>>) {
    if let Some(group) = block.home.group {
        let pool = Rc::clone(&block.home.pool);
        pool.stock(group).take_home(block);
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.piece().bytes()
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
