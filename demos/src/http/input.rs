//! What a connection has received and not yet looked at.
//!
//! Mostly that is one chunk, lent by the runtime, which holds a whole request: it is parsed where it
//! lies, and goes home. Only what has to stay while the connection waits, such as half a request, is
//! copied, so that a slow client keeps none of the runtime's buffers.

use executor::IoBuf;

/// Received bytes: in a chunk, or in memory of our own, never in both.
pub(crate) struct Input<C> {
    chunk: Option<C>,
    own: Vec<u8>,
    /// How many bytes of either have been consumed.
    start: usize,
}

impl<C: IoBuf> Input<C> {
    pub(crate) fn new() -> Self {
        Input { chunk: None, own: Vec::new(), start: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let all = self.chunk.as_ref().map_or(&self.own[..], IoBuf::bytes);
        &all[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Appends what was received.
    pub(crate) fn push(&mut self, chunk: C) {
        self.release();
        if self.own.is_empty() {
            self.chunk = Some(chunk);
        } else {
            self.own.extend_from_slice(chunk.bytes());
        }
    }

    /// Drops the first `count` bytes, and the memory if these were all.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn consume(&mut self, count: usize) {
        let len = self.bytes().len();
        assert!(count <= len, "{count} bytes of {len} consumed");
        if count < len {
            self.start += count;
        } else {
            self.start = 0;
            // What isn't there need not be dropped, and there is never both.
            if self.chunk.take().is_none() {
                self.own = Vec::new();
            }
        }
    }

    /// Gives the chunk back. What is left of it is copied.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.chunk.is_some() || self.start > 0 {
            self.copy_rest();
        }
    }

    fn copy_rest(&mut self) {
        *self = Input { chunk: None, own: self.bytes().to_vec(), start: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_read_in_place_and_its_rest_copied_when_it_goes() {
        let mut input = Input::<Vec<u8>>::new();
        input.push(b"abcdef".to_vec());
        input.consume(2);
        assert_eq!((input.bytes(), input.own.len()), (&b"cdef"[..], 0));
        input.push(b"gh".to_vec());
        assert_eq!(input.bytes(), b"cdefgh");
        assert!(input.chunk.is_none());
        input.consume(6);
        assert!(input.is_empty());
        assert_eq!(input.own.capacity(), 0, "an empty input holds no memory");
    }
}
