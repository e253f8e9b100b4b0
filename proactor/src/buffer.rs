//! Buffers in the kernel's hands: where their bytes lie, and how a program gets its buffer back.
//!
//! The table moves its slots when it grows, so the kernel's pointers never point into a slot. The
//! bytes of a `Vec` and of a chunk stay where they are when the slot moves. Any other buffer is
//! first put on the heap. Only then we take the pointer, once, and before we borrow the table,
//! because `bytes()` is code of the program. After that, no code of the program touches the buffer
//! until its operation is over.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use executor::{Fired, IoBuf, IoBufMut};

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
    /// In an `Rc`, because moving a `Box` would promise the compiler that nothing else uses its
    /// memory.
    Other(Rc<Other<dyn Any>>),
}

/// A buffer on the heap, or several, and where the bytes are.
pub(crate) struct Other<O: ?Sized> {
    start: *mut u8,
    len: usize,
    /// Its drop may run code of the program, which may wait for that.
    has_destructor: bool,
    /// The places of several buffers.
    gather: Option<Box<Gather>>,
    /// A `Cell<Option<B>>`, to take the program's buffer out of it again.
    owner: O,
}

impl Buffer {
    /// No bytes. It takes no memory.
    pub(crate) const EMPTY: Buffer = Buffer::Vec(Vec::new());

    /// Stows a buffer to send from.
    pub(crate) fn to_send<B: IoBuf>(buffer: B) -> Buffer {
        // One call: the next one might return other bytes.
        let place = |buffer: &mut B| {
            let bytes = buffer.bytes();
            (bytes.as_ptr().cast_mut(), bytes.len(), None)
        };
        Buffer::sort(buffer).unwrap_or_else(|other| Buffer::stow(other, place))
    }

    /// Stows several buffers, to send one after the other.
    pub(crate) fn to_gather<B: IoBuf>(buffers: Vec<B>) -> Buffer {
        Buffer::stow(buffers, |buffers| {
            let gather = Gather::new(buffers.iter().map(IoBuf::bytes));
            (std::ptr::null_mut(), gather.len(), Some(Box::new(gather)))
        })
    }

    /// Stows a buffer to receive into.
    pub(crate) fn to_receive<B: IoBufMut>(buffer: B) -> Buffer {
        let place = |buffer: &mut B| {
            let bytes = buffer.bytes_mut();
            (bytes.as_mut_ptr(), bytes.len(), None)
        };
        Buffer::sort(buffer).unwrap_or_else(|other| Buffer::stow(other, place))
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

    /// Puts any other buffer on the heap, and notes its place there.
    fn stow<B: 'static>(buffer: B, place: impl FnOnce(&mut B) -> (*mut u8, usize, Option<Box<Gather>>)) -> Buffer {
        let owner = Cell::new(Some(buffer));
        let mut stowed = Rc::new(Other {
            start: std::ptr::null_mut(),
            len: 0,
            has_destructor: std::mem::needs_drop::<B>(),
            gather: None,
            owner,
        });
        let other = Rc::get_mut(&mut stowed).expect("just made");
        (other.start, other.len, other.gather) = place(other.owner.get_mut().as_mut().expect("just put there"));
        Buffer::Other(stowed)
    }

    /// Returns where the bytes are. Only a buffer that was stowed to receive may be written to.
    pub(crate) fn place(&mut self) -> (*mut u8, usize) {
        match self {
            Buffer::Chunk(chunk) => (chunk.as_ptr().cast_mut(), chunk.len()),
            Buffer::Vec(vec) => (vec.as_mut_ptr(), vec.len()),
            Buffer::Other(other) => (other.start, other.len),
        }
    }

    /// Returns the places of several buffers.
    pub(crate) fn gather(&mut self) -> Option<&mut Gather> {
        let Buffer::Other(other) = self else { return None };
        Rc::get_mut(other).expect("the only reference").gather.as_deref_mut()
    }

    /// Returns whether its drop may run code of the program.
    pub(crate) fn has_destructor(&self) -> bool {
        matches!(self, Buffer::Other(other) if other.has_destructor)
    }

    /// Returns the program's buffer.
    pub(crate) fn unstow<B: 'static>(self) -> B {
        let mut buffer: Option<B> = None;
        let any: &mut dyn Any = &mut buffer;
        match self {
            Buffer::Chunk(chunk) => *any.downcast_mut().expect("stowed as the same type") = Some(chunk),
            Buffer::Vec(vec) => *any.downcast_mut().expect("stowed as the same type") = Some(vec),
            Buffer::Other(other) => {
                let owner = other.owner.downcast_ref::<Cell<Option<B>>>();
                buffer = owner.expect("stowed as the same type").take();
            }
        }
        buffer.expect("taken only here")
    }

    /// Takes the buffer, and leaves none.
    pub(crate) fn take(&mut self) -> Buffer {
        std::mem::replace(self, Buffer::EMPTY)
    }

    /// Drops the buffer, and leaves none. If that may run code of the program, the buffer becomes
    /// garbage first.
    pub(crate) fn discard(&mut self, fired: &mut Fired) {
        match self {
            Buffer::Other(_) => fired.discard(Box::new(self.take())),
            _ => *self = Buffer::EMPTY,
        }
    }
}
