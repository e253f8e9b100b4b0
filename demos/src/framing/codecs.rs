//! The three cures, and the illness.

use std::num::NonZeroUsize;

use super::{Codec, Found, FrameError};

/// Each message is followed by a byte that none of them holds.
///
/// ```text
///  o n e \n t w o \n
/// ```
#[derive(Clone, Debug)]
pub struct Delimiter {
    end: u8,
    limit: usize,
    /// Bytes that were looked at before, in vain: none is looked at twice.
    searched: usize,
}

impl Delimiter {
    /// Messages of `limit` bytes at most that end with `end`, which is not part of them.
    #[must_use]
    pub fn new(end: u8, limit: usize) -> Delimiter {
        Delimiter { end, limit, searched: 0 }
    }

    /// Lines.
    #[must_use]
    pub fn lines(limit: usize) -> Delimiter {
        Delimiter::new(b'\n', limit)
    }
}

impl Codec for Delimiter {
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<Found>, FrameError> {
        // A message within the limit has its end here; nothing beyond is of interest.
        let window = &bytes[..bytes.len().min(self.limit.saturating_add(1))];
        match window[self.searched..].iter().position(|byte| *byte == self.end) {
            Some(place) => {
                let end = self.searched + place;
                self.searched = 0;
                Ok(Some(Found { message: 0..end, len: end + 1 }))
            }
            None if window.len() > self.limit => Err(FrameError::TooLong { len: None, limit: self.limit }),
            None => {
                self.searched = window.len();
                Ok(None)
            }
        }
    }

    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> Result<(), FrameError> {
        within(message, self.limit)?;
        if let Some(place) = message.iter().position(|byte| *byte == self.end) {
            return Err(FrameError::HoldsEnd { place });
        }
        output.extend_from_slice(message);
        output.push(self.end);
        Ok(())
    }
}

/// Each message takes the same number of bytes. Those that are shorter are filled up with zeros, which are taken off
/// again on the other side; so a message must not end with one.
///
/// ```text
///  o n e 0 0 0 0 0 t w o 0 0 0 0 0
/// ```
#[derive(Clone, Debug)]
pub struct Fixed {
    len: NonZeroUsize,
}

impl Fixed {
    /// Messages of `len` bytes.
    #[must_use]
    pub fn new(len: NonZeroUsize) -> Fixed {
        Fixed { len }
    }
}

impl Codec for Fixed {
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<Found>, FrameError> {
        let len = self.len.get();
        let Some(frame) = bytes.get(..len) else { return Ok(None) };
        let end = frame.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(Some(Found { message: 0..end, len }))
    }

    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> Result<(), FrameError> {
        within(message, self.len.get())?;
        if message.last() == Some(&0) {
            return Err(FrameError::HoldsEnd { place: message.len() - 1 });
        }
        output.extend_from_slice(message);
        output.resize(output.len() + self.len.get() - message.len(), 0);
        Ok(())
    }
}

/// How many bytes say how long a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Up to 255 bytes.
    One = 1,
    /// Up to 64 KiB.
    Two = 2,
    /// Up to 4 GiB.
    Four = 4,
    /// More than there is.
    Eight = 8,
}

/// A number before each message says how long it is, its highest byte first: network byte order.
///
/// ```text
///  0 0 0 3 o n e 0 0 0 3 t w o
/// ```
#[derive(Clone, Debug)]
pub struct Prefix {
    width: Width,
    limit: usize,
}

impl Prefix {
    /// Messages of `limit` bytes at most, and no more than the number can say.
    #[must_use]
    pub fn new(width: Width, limit: usize) -> Prefix {
        let sayable = usize::try_from(u64::MAX >> (64 - 8 * width as u32)).unwrap_or(usize::MAX);
        // Number and message together have a length, too.
        let countable = usize::MAX - width as usize;
        Prefix { width, limit: limit.min(sayable).min(countable) }
    }
}

impl Codec for Prefix {
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<Found>, FrameError> {
        let header = self.width as usize;
        let Some(number) = bytes.get(..header) else { return Ok(None) };
        let len = number.iter().fold(0_u64, |len, byte| len << 8 | u64::from(*byte));
        // Compared as it was sent, before it is cut to a length in memory or added to anything.
        if len > self.limit as u64 {
            return Err(FrameError::TooLong { len: Some(len), limit: self.limit });
        }
        let end = header + len as usize;
        Ok((bytes.len() >= end).then_some(Found { message: header..end, len: end }))
    }

    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> Result<(), FrameError> {
        within(message, self.limit)?;
        let number = (message.len() as u64).to_be_bytes();
        output.extend_from_slice(&number[number.len() - self.width as usize..]);
        output.extend_from_slice(message);
        Ok(())
    }
}

/// No framing at all: whatever a receive brings is taken for a message. This is the mistake, not a cure.
#[derive(Clone, Copy, Debug)]
pub struct Unframed;

impl Codec for Unframed {
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<Found>, FrameError> {
        Ok((!bytes.is_empty()).then_some(Found { message: 0..bytes.len(), len: bytes.len() }))
    }

    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> Result<(), FrameError> {
        output.extend_from_slice(message);
        Ok(())
    }
}

fn within(message: &[u8], limit: usize) -> Result<(), FrameError> {
    let len = message.len();
    if len > limit { Err(FrameError::TooLong { len: Some(len as u64), limit }) } else { Ok(()) }
}

/// The codecs as a choice.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// nothing: each receive counts as a message
    None,
    /// each message ends with a line feed
    Delimiter,
    /// all messages have the same length, filled up with zeros
    Fixed,
    /// before each message, its length: four bytes, highest first
    Prefix,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] = [Method::None, Method::Delimiter, Method::Fixed, Method::Prefix];

    /// The codec, for messages of `len` bytes at most (of exactly so many if that is fixed).
    #[must_use]
    pub fn codec(self, len: NonZeroUsize) -> Box<dyn Codec> {
        match self {
            Method::None => Box::new(Unframed),
            Method::Delimiter => Box::new(Delimiter::lines(len.get())),
            Method::Fixed => Box::new(Fixed::new(len)),
            Method::Prefix => Box::new(Prefix::new(Width::Four, len.get())),
        }
    }

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::None => "none",
            Method::Delimiter => "delimiter",
            Method::Fixed => "fixed",
            Method::Prefix => "prefix",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(codec: &mut impl Codec, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        codec.decode(bytes).unwrap().map(|found| (bytes[found.message].to_vec(), found.len))
    }

    #[test]
    fn each_codec_says_where_a_message_ends() {
        let mut output = Vec::new();
        let mut wire = |codec: &dyn Codec, message: &[u8]| {
            output.clear();
            codec.encode(message, &mut output).unwrap();
            output.clone()
        };
        assert_eq!(wire(&Delimiter::lines(9), b"one"), b"one\n");
        assert_eq!(wire(&Fixed::new(NonZeroUsize::new(5).unwrap()), b"one"), b"one\0\0");
        assert_eq!(wire(&Prefix::new(Width::Two, 9), b"one"), b"\0\x03one");
        assert_eq!(wire(&Prefix::new(Width::Eight, 9), b""), [0; 8]);
        assert_eq!(wire(&Unframed, b"one"), b"one");
    }

    #[test]
    fn a_message_is_found_when_its_last_byte_is_there_and_not_before() {
        let three = NonZeroUsize::new(3).unwrap();
        check(Delimiter::lines(3), b"abc\n12", b"abc", 4);
        check(Delimiter::lines(0), b"\nabc", b"", 1);
        check(Fixed::new(three), b"a\0b12", b"a\0b", 3);
        check(Fixed::new(three), b"\0\0\0ab", b"", 3);
        check(Prefix::new(Width::Four, 3), b"\0\0\0\x03abc12", b"abc", 7);
    }

    /// These bytes begin with this message, which takes `len` of them.
    fn check(mut codec: impl Codec, bytes: &[u8], message: &[u8], len: usize) {
        for cut in 0..len {
            assert_eq!(found(&mut codec, &bytes[..cut]), None, "{cut} bytes of {bytes:?}");
        }
        assert_eq!(found(&mut codec, bytes), Some((message.to_vec(), len)), "{bytes:?}");
    }

    #[test]
    fn what_is_too_long_is_refused_as_early_as_it_can_be() {
        let mut lines = Delimiter::lines(3);
        assert_eq!(found(&mut lines, b"abc"), None);
        assert!(matches!(lines.decode(b"abcd"), Err(FrameError::TooLong { len: None, limit: 3 })));
        // Again and again, and an end that comes too late doesn't help.
        assert!(matches!(lines.decode(b"abcd\n"), Err(FrameError::TooLong { .. })));
        for (width, header, said) in [
            (Width::One, &[255_u8][..], 255),
            (Width::Four, &[255; 4], u64::from(u32::MAX)),
            (Width::Eight, &[255; 8], u64::MAX),
            (Width::Eight, &[0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
            (Width::Four, &[0, 0, 0, 4], 4),
        ] {
            let refused = Prefix::new(width, 3).decode(header);
            assert!(matches!(refused, Err(FrameError::TooLong { len: Some(len), limit: 3 }) if len == said));
        }
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let mut output = b"before".to_vec();
        let mut refused = |codec: &dyn Codec, message: &[u8]| {
            let error = codec.encode(message, &mut output).unwrap_err();
            assert_eq!(output, b"before");
            error
        };
        assert!(matches!(refused(&Delimiter::lines(9), b"a\nb"), FrameError::HoldsEnd { place: 1 }));
        let fixed = Fixed::new(NonZeroUsize::new(3).unwrap());
        assert!(matches!(refused(&fixed, b"a\0"), FrameError::HoldsEnd { place: 1 }));
        let narrow = Prefix::new(Width::One, 1000);
        let long = [b'x'; 256];
        let too_long: [(&dyn Codec, &[u8]); 3] = [(&Delimiter::lines(3), b"abcd"), (&fixed, b"abcd"), (&narrow, &long)];
        for (codec, message) in too_long {
            assert!(matches!(refused(codec, message), FrameError::TooLong { .. }));
        }
    }
}
