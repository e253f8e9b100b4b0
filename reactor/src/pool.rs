//! The memory `recv` lends: buffers of one size, kept for reuse.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

use executor::{IoBuf, allocate};

/// Bytes in a chunk. The usual record-sized protocols (TLS, chunked HTTP) send 16 KiB at once; with room for
/// more, the read of such a record is short, which spares the read that would only find nothing. (Measured
/// on 16 KiB echoes: one system call and some 5 % of the server's CPU per message.)
pub(crate) const CHUNK_SIZE: usize = 32 * 1024;
/// Buffers kept when nobody needs them (2 MiB). A stream lends one only while it holds bytes, so few
/// are in use at a time however many streams there are.
const KEPT: usize = 64;

/// Buffers that are free, and how many are lent.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: RefCell<Vec<Box<[u8]>>>,
    lent: Cell<u64>,
}

impl Pool {
    /// A chunk to receive into, if there is memory for one.
    pub(crate) fn lend(self: &Rc<Self>) -> io::Result<Chunk> {
        let free = self.free.borrow_mut().pop();
        let memory = free.map_or_else(|| allocate(CHUNK_SIZE).map(Vec::into_boxed_slice), Ok)?;
        self.lent.set(self.lent.get() + 1);
        Ok(Chunk { memory, len: 0, pool: Rc::clone(self) })
    }

    pub(crate) fn lent(&self) -> u64 {
        self.lent.get()
    }

    /// Bytes of the buffers that are free.
    pub(crate) fn bytes(&self) -> u64 {
        (self.free.borrow().len() * CHUNK_SIZE) as u64
    }
}

/// Bytes that were received, in memory the runtime lends. It goes home when this is dropped, also when
/// the runtime is gone by then.
pub struct Chunk {
    memory: Box<[u8]>,
    len: usize,
    pool: Rc<Pool>,
}

impl Chunk {
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    pub(crate) fn filled(mut self, len: usize) -> Chunk {
        assert!(len <= self.memory.len(), "the kernel wrote more than it was given room for");
        self.len = len;
        self
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.pool.lent.set(self.pool.lent.get() - 1);
        let mut free = self.pool.free.borrow_mut();
        if free.len() < KEPT {
            free.push(std::mem::take(&mut self.memory));
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl IoBuf for Chunk {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len)
    }
}
