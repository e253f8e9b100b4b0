//! The body of a request: finds its end, byte by byte wherever the network cut it.
//!
//! A [`Body`] is fed what has been received and says how much of it was body. It never looks beyond the
//! end, so what follows is the next request and nothing else. Chunked coding is a line protocol within
//! the stream, and each of its lines is read as strictly as a header: RFC 9112, 7.1.
//!
//! ```text
//!      +--------------------------------------------------+
//!      v                                                  |
//!    Size -- ; --> Extension                              |
//!      |               |                                  |
//!      +---- CR -------+--> SizeEnd -- LF, size > 0 --> Data --> DataCr --> DataLf
//!                              |
//!                              +--- LF, size = 0 --> TrailerStart --> Trailer, TrailerEnd --> ...
//!                                                        |  ^______________________|
//!                                                        +- CR --> LastLf -- LF --> Done
//! ```

use super::extension::{Place, is_name_byte, is_text};
use super::limits::Limits;
use super::request::Framing;
use super::response::Status;

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Body {
    state: State,
    /// Bytes received so far.
    received: u64,
    /// Decoded bytes so far, those of the current chunk included.
    len: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// What [`Body::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes of the input that were the body's.
    pub consumed: usize,
    /// Whether the body is complete.
    pub is_done: bool,
}

/// See the picture above; `Sized` is the other kind of body, with this many bytes to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sized(u64),
    Size {
        value: u64,
        digits: u8,
    },
    /// Spaces after the size, which only an extension may follow.
    SizeSpace {
        value: u64,
    },
    Extension {
        value: u64,
        place: Place,
    },
    SizeEnd {
        value: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastLf,
    Done,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Sized(len) => State::Sized(len),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
        };
        Body { state, received: 0, len: 0, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// How many bytes have been received, with all that goes around the data.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether all of it has been decoded.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on. The decoded bytes are appended to `kept`, or thrown away.
    ///
    /// # Errors
    /// The status that refuses the body; its end cannot be known then.
    pub(crate) fn decode(
        &mut self,
        input: &[u8],
        limits: &Limits,
        mut kept: Option<&mut Vec<u8>>,
    ) -> Result<Progress, Status> {
        let mut consumed = 0;
        while self.state != State::Done && consumed < input.len() {
            let rest = &input[consumed..];
            let (State::Sized(left) | State::Data(left)) = self.state else {
                self.state = self.step(rest[0], limits)?;
                consumed += 1;
                continue;
            };
            let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            if let Some(kept) = kept.as_deref_mut() {
                kept.extend_from_slice(&rest[..count]);
            }
            consumed += count;
            let left = left - count as u64;
            self.state = match self.state {
                State::Sized(_) if left == 0 => State::Done,
                State::Sized(_) => State::Sized(left),
                _ if left == 0 => State::DataCr,
                _ => State::Data(left),
            };
        }
        self.received += consumed as u64;
        Ok(Progress { consumed, is_done: self.state == State::Done })
    }

    /// The state after one more byte of the lines around the data.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, Status> {
        let next = match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                // 16 digits fill a u64.
                if digits == 16 {
                    return Err(Status::BadRequest);
                }
                State::Size { value: value << 4 | u64::from(hex_digit(byte)), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Status::BadRequest),
            (State::Size { value, .. }, b'\r') => State::SizeEnd { value },
            (State::Size { value, .. } | State::SizeSpace { value }, b' ' | b'\t') => {
                self.count_extension(limits)?;
                State::SizeSpace { value }
            }
            (State::Size { value, .. } | State::SizeSpace { value }, b';') => {
                self.count_extension(limits)?;
                State::Extension { value, place: Place::Before }
            }
            (State::Extension { value, place }, b'\r') if place.may_end() => State::SizeEnd { value },
            (State::Extension { value, place }, _) => {
                let place = place.after(byte).ok_or(Status::BadRequest)?;
                self.count_extension(limits)?;
                State::Extension { value, place }
            }
            (State::SizeEnd { value: 0 }, b'\n') => State::TrailerStart,
            (State::SizeEnd { value }, b'\n') => {
                self.len = self.len.saturating_add(value);
                if self.len > limits.body {
                    return Err(Status::ContentTooLarge);
                }
                State::Data(value)
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            _ => return self.step_in_trailer(byte, limits),
        };
        Ok(next)
    }

    fn step_in_trailer(&mut self, byte: u8, limits: &Limits) -> Result<State, Status> {
        let next = match (self.state, byte) {
            (State::TrailerStart | State::TrailerName, _) if is_name_byte(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            (State::TrailerValue, _) if is_text(byte) => State::TrailerValue,
            (State::TrailerEnd, b'\n') => State::TrailerStart,
            _ => return Err(Status::BadRequest),
        };
        self.trailer_bytes += 1;
        if self.trailer_bytes > limits.trailers {
            return Err(Status::ContentTooLarge);
        }
        Ok(next)
    }

    fn count_extension(&mut self, limits: &Limits) -> Result<(), Status> {
        self.extension_bytes += 1;
        if self.extension_bytes > limits.chunk_extensions {
            return Err(Status::ContentTooLarge);
        }
        Ok(())
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => byte - b'A' + 10,
    }
}
