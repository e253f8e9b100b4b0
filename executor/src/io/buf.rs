//! Buffers that change hands.
//!
//! Completion-based I/O needs to *own* the memory while the kernel reads or writes it. So a buffer
//! goes into the call and comes back with the result: [`BufResult`]. The readiness-based runtime
//! does not need this, but speaks the same language, so that one program runs on both.
//!
//! [`IoBuf`] and [`IoBufMut`] are safe to implement. Before a driver gives the memory to the
//! kernel, it puts the buffer where it does not move, and asks for its bytes once. Nothing else
//! touches the buffer until the kernel is done.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// The result of an I/O call with an owned buffer, and the buffer. Take both apart
/// (`let (result, buffer) = ...`), or pass on the error alone (`stream.write_all(text).await.0?`).
///
/// # Examples
///
/// ```
/// use executor::{BufResult, Reader};
///
/// async fn at_most_512<R: Reader>(stream: &mut R) -> BufResult<usize, Vec<u8>> {
///     stream.read(vec![0; 512]).await
/// }
/// ```
pub type BufResult<T, B> = (std::io::Result<T>, B);

/// A buffer whose bytes can be read (sent). It is `Unpin`, so a future can hold it by value,
/// without unsafe code, until an operation has begun.
///
/// # Examples
///
/// ```
/// use executor::{IoBuf, Writer};
///
/// struct Line(String);
///
/// impl IoBuf for Line {
///     fn bytes(&self) -> &[u8] {
///         self.0.as_bytes()
///     }
/// }
///
/// async fn greet<W: Writer>(stream: &mut W) -> std::io::Result<()> {
///     stream.write_all(Line("hello\n".to_owned())).await.0
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that can be sent",
    note = "a buffer is given away, and comes back with the result: pass it by value, such as `bytes.to_vec()`, not by reference"
)]
pub trait IoBuf: Unpin + 'static {
    /// Returns the bytes. Until the buffer is written to, each call returns the same address,
    /// length and content.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::IoBuf;
    ///
    /// assert_eq!(String::from("hello").slice(0..2).bytes(), b"he");
    /// ```
    fn bytes(&self) -> &[u8];

    /// Returns the part of the buffer in `range`, which still owns the whole.
    ///
    /// # Panics
    /// If the range does not lie within the buffer.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{IoBuf, Writer};
    ///
    /// async fn send_half<W: Writer>(stream: &mut W, bytes: Vec<u8>) -> std::io::Result<()> {
    ///     let half = bytes.len() / 2;
    ///     stream.write_all(bytes.slice(0..half)).await.0
    /// }
    /// ```
    fn slice(self, range: Range<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        let len = self.bytes().len();
        assert!(range.start <= range.end && range.end <= len, "slice {range:?} of a buffer of {len} bytes");
        Slice { buffer: self, range }
    }
}

/// A buffer whose bytes can be written (received into). All of them are initialised, so the trait
/// is safe to implement: a `Vec<u8>` offers its length, not its capacity.
///
/// # Examples
///
/// ```
/// use executor::{IoBuf, IoBufMut};
///
/// struct Block(Box<[u8; 4096]>);
///
/// impl IoBuf for Block {
///     fn bytes(&self) -> &[u8] {
///         &*self.0
///     }
/// }
///
/// impl IoBufMut for Block {
///     fn bytes_mut(&mut self) -> &mut [u8] {
///         &mut *self.0
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that can be filled",
    note = "a buffer is given away, and comes back with the result: pass it by value, such as `vec![0; 4096]`, not by reference"
)]
pub trait IoBufMut: IoBuf {
    /// Returns the bytes to write into: those that [`bytes`](IoBuf::bytes) shows.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{IoBuf, IoBufMut};
    ///
    /// let mut buffer = [0; 4];
    /// buffer.bytes_mut()[..2].copy_from_slice(b"hi");
    /// assert_eq!(buffer.bytes(), b"hi\0\0");
    /// ```
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Part of a buffer, made by [`IoBuf::slice`].
///
/// # Examples
///
/// ```
/// use executor::{IoBuf, Slice};
///
/// let slice: Slice<Vec<u8>> = vec![1, 2, 3, 4].slice(1..3);
/// assert_eq!(slice.bytes(), [2, 3]);
/// ```
#[derive(Debug)]
pub struct Slice<B> {
    buffer: B,
    range: Range<usize>,
}

impl<B> Slice<B> {
    /// Returns the whole buffer.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::IoBuf;
    ///
    /// let slice = vec![1, 2, 3, 4].slice(1..3);
    /// assert_eq!(slice.into_inner(), [1, 2, 3, 4]);
    /// ```
    pub fn into_inner(self) -> B {
        self.buffer
    }
}

impl<B: IoBuf> IoBuf for Slice<B> {
    fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[self.range.clone()]
    }
}

impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.bytes_mut()[self.range.clone()]
    }
}

macro_rules! plain_buffers {
    ($($type:ty),+) => {$(
        impl IoBuf for $type {
            fn bytes(&self) -> &[u8] {
                self.as_ref()
            }
        }
    )+};
}

plain_buffers!(Vec<u8>, Box<[u8]>, String, &'static [u8], &'static str, Rc<[u8]>, Arc<[u8]>);

/// A text such as `b"hello"`.
impl<const N: usize> IoBuf for &'static [u8; N] {
    fn bytes(&self) -> &[u8] {
        *self
    }
}

impl IoBufMut for Vec<u8> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl IoBufMut for Box<[u8]> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl<const N: usize> IoBuf for [u8; N] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl<const N: usize> IoBufMut for [u8; N] {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// Returns the error of a read into an empty buffer, whose 0 bytes would look like the end of the
/// stream. The runtimes' own readers use it.
pub fn empty_buffer() -> io::Error {
    let text = "a read into an empty buffer, which has no room for a byte. Of a Vec its length counts, not its capacity: \
                give it vec![0; n]";
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Allocates memory to receive into, filled with zeros. The runtimes use it for their own buffers.
///
/// # Errors
/// `OutOfMemory` if there is not so much left. (`vec!` would end the process.)
pub fn allocate(size: usize) -> io::Result<Vec<u8>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    memory.resize(size, 0);
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_shows_its_range_and_gives_the_whole_back() {
        let mut slice = vec![1u8, 2, 3, 4].slice(1..3);
        assert_eq!(slice.bytes(), [2, 3]);
        slice.bytes_mut()[0] = 9;
        assert_eq!(slice.into_inner(), [1, 9, 3, 4]);
        assert_eq!("abc".slice(3..3).bytes(), b"");
    }

    #[test]
    #[should_panic(expected = "slice 2..5 of a buffer of 4 bytes")]
    fn a_slice_beyond_the_end_is_refused() {
        let _ = [0u8; 4].slice(2..5);
    }
}
