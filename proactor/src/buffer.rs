//! Buffers in the kernel's hands: where their bytes lie, and how a program gets its buffer back.
//!
//! The table moves its slots when it grows, so the kernel's pointers never point into a slot. The
//! bytes of a `Vec` and of a chunk stay where they are when the slot moves. Any other buffer is
//! first put on the heap. Only then we take the pointer, once, and before we borrow the table,
//! because `bytes()` is code of the program. After that, no code of the program touches the buffer
//! until its operation is over.

use std::any::Any;
use std::rc::Rc;

use executor::{IoBuf, IoBufMut};

use crate::pool::Chunk;
use crate::ring::message::Gather;
use crate::ring::message::MOST;

/// Limits a length to what one submission can name.
pub(crate) fn clamp(len: usize) -> u32 {
    // It fits: MOST is below 2^32.
    len.min(MOST) as u32
}

/// A program's buffer. Its bytes do not move until it is unstowed.
pub(crate) enum Buffer {
    Chunk(Chunk),
    Vec(Vec<u8>),
    /// A buffer on the heap; or several, with their places in `gather`. In an `Rc`, because moving
    /// a `Box` would promise the compiler that nothing else uses its memory.
    Other {
        owner: Rc<dyn Any>,
        start: *mut u8,
        len: usize,
        gather: Option<Box<Gather>>,
    },
}

impl Buffer {
    /// Stows a buffer to send from.
    pub(crate) fn to_send<B: IoBuf>(buffer: B) -> Buffer {
        Buffer::sort(buffer).unwrap_or_else(|other| {
            let owner = Rc::new(other);
            let bytes = owner.bytes();
            let (start, len) = (bytes.as_ptr().cast_mut(), bytes.len());
            Buffer::Other { owner, start, len, gather: None }
        })
    }

    /// Stows several buffers, to send one after the other.
    pub(crate) fn to_gather<B: IoBuf>(buffers: Vec<B>) -> Buffer {
        let owner = Rc::new(buffers);
        let gather = Gather::new(owner.iter().map(IoBuf::bytes));
        Buffer::Other { owner, start: std::ptr::null_mut(), len: gather.len(), gather: Some(Box::new(gather)) }
    }

    /// Stows a buffer to receive into.
    pub(crate) fn to_receive<B: IoBufMut>(buffer: B) -> Buffer {
        Buffer::sort(buffer).unwrap_or_else(|other| {
            let mut owner = Rc::new(other);
            let bytes = Rc::get_mut(&mut owner).expect("just made").bytes_mut();
            let (start, len) = (bytes.as_mut_ptr(), bytes.len());
            Buffer::Other { owner, start, len, gather: None }
        })
    }

    /// Stows chunks and vectors, whose bytes do not move. Gives any other buffer back.
    fn sort<B: IoBuf>(buffer: B) -> Result<Buffer, B> {
        let mut buffer = Some(buffer);
        let any: &mut dyn Any = &mut buffer;
        if let Some(chunk) = any.downcast_mut::<Option<Chunk>>().and_then(Option::take) {
            return Ok(Buffer::Chunk(chunk));
        }
        if let Some(vec) = any.downcast_mut::<Option<Vec<u8>>>().and_then(Option::take) {
            return Ok(Buffer::Vec(vec));
        }
        Err(buffer.expect("not taken"))
    }

    /// Returns where the bytes are. Only a buffer that was stowed to receive may be written to.
    pub(crate) fn place(&mut self) -> (*mut u8, usize) {
        match self {
            Buffer::Chunk(chunk) => (chunk.as_ptr().cast_mut(), chunk.len()),
            Buffer::Vec(vec) => (vec.as_mut_ptr(), vec.len()),
            Buffer::Other { start, len, .. } => (*start, *len),
        }
    }

    /// Returns the program's buffer.
    pub(crate) fn unstow<B: 'static>(self) -> B {
        let mut buffer: Option<B> = None;
        let any: &mut dyn Any = &mut buffer;
        match self {
            Buffer::Chunk(chunk) => *any.downcast_mut().expect("stowed as the same type") = Some(chunk),
            Buffer::Vec(vec) => *any.downcast_mut().expect("stowed as the same type") = Some(vec),
            Buffer::Other { owner, .. } => {
                buffer = Rc::into_inner(owner.downcast::<B>().expect("stowed as the same type"));
            }
        }
        buffer.expect("the only reference")
    }
}
