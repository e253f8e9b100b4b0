//! The memory that `recv` lends: buffers of one size, kept for reuse.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

use executor::{IoBuf, allocate};

/// Bytes in a chunk. The usual record-sized protocols (TLS, chunked HTTP) send 16 KiB at once. With
/// room for more, the read of such a record is short, which saves another read that would find
/// nothing. (Measured on 16 KiB echoes: this saves one system call and some 5 % of the server's CPU
/// per message.)
pub(crate) const CHUNK_SIZE: usize = 32 * 1024;
/// The most unused buffers that are kept (2 MiB). A stream lends a buffer only while it holds
/// bytes, so few are in use at a time, however many streams there are.
const KEPT: usize = 64;

/// The free buffers, and the number of lent ones.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(clippy::vec_box, reason = "they are lent in their boxes")]
    free: RefCell<Vec<Box<Memory>>>,
    lent: Cell<u64>,
}

impl Pool {
    /// Lends a chunk to receive into. Fails if there is no memory for it.
    pub(crate) fn lend(self: &Rc<Self>) -> io::Result<Chunk> {
        let free = self.free.borrow_mut().pop();
        let mut memory = free.map_or_else(Memory::new, Ok)?;
        self.lent.set(self.lent.get() + 1);
        memory.pool = Some(Rc::clone(self));
        Ok(Chunk(Some(memory)))
    }

    pub(crate) fn lent(&self) -> u64 {
        self.lent.get()
    }

    /// Returns the number of bytes in the free buffers.
    pub(crate) fn bytes(&self) -> u64 {
        (self.free.borrow().len() * CHUNK_SIZE) as u64
    }
}

/// Received bytes, in memory that the runtime lends. Dropping the chunk gives the memory back, even
/// if the runtime is gone by then.
///
/// The chunk is one pointer, so that moving it is cheap.
///
/// # Examples
///
/// ```
/// use reactor::{Chunk, Net, Reactor, Reader, Writer};
///
/// # fn main() -> std::io::Result<()> {
/// let rt = Reactor::new()?;
/// let (mut one, mut other) = rt.unix_pair()?;
/// rt.block_on(async {
///     one.write_all("hello").await.0?;
///     let chunk: Chunk = other.recv().await?;
///     assert_eq!(&chunk[..2], b"he");
///     other.write_all(chunk).await.0 // as it is, without a copy
/// })
/// # }
/// ```
pub struct Chunk(Option<Box<Memory>>);

/// A buffer of the pool. The first `len` bytes are filled.
#[derive(Debug)]
struct Memory {
    bytes: Box<[u8]>,
    len: usize,
    /// Set while the buffer is lent.
    pool: Option<Rc<Pool>>,
}

impl Memory {
    fn new() -> io::Result<Box<Memory>> {
        let bytes = allocate(CHUNK_SIZE)?.into_boxed_slice();
        Ok(Box::new(Memory { bytes, len: 0, pool: None }))
    }
}

impl Chunk {
    fn memory(&mut self) -> &mut Memory {
        self.0.as_mut().expect("taken only in drop")
    }

    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.memory().bytes
    }

    pub(crate) fn filled(mut self, len: usize) -> Chunk {
        let memory = self.memory();
        assert!(len <= memory.bytes.len(), "the kernel wrote more than it was given room for");
        memory.len = len;
        self
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let Some(mut memory) = self.0.take() else { return };
        let Some(pool) = memory.pool.take() else { return };
        pool.lent.set(pool.lent.get() - 1);
        let mut free = pool.free.borrow_mut();
        if free.len() < KEPT {
            free.push(memory);
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let memory = self.0.as_ref().expect("taken only in drop");
        &memory.bytes[..memory.len]
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
