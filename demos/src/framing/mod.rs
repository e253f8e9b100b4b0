//! Messages over a stream of bytes: the sticky-packet problem, and its three cures.
//!
//! ```sh
//! demos framing                                 # see it happen, and see it cured
//! demos framing serve --codec delimiter         # then: printf 'one\ntwo\n' | nc -N 127.0.0.1 8080
//! ```
//!
//! TCP carries a stream of bytes. It keeps their order and loses none, but where one send ended and the next began is
//! not part of what it carries. So several sends can come out of one receive ("sticky packets"), one send can take
//! several receives, and a program that takes a receive for a message works until the day it is busy. Where messages
//! end has to be said within the bytes, and there are three ways to say it:
//!
//! | codec | a message ends | good for | its price |
//! |---|---|---|---|
//! | [`Delimiter`] | where a certain byte stands | lines of text, typed by people | no message may hold that byte; every byte is looked at |
//! | [`Fixed`] | after so many bytes | records that are all alike | short ones are filled up, long ones don't fit |
//! | [`Prefix`] | after as many bytes as its header says | everything else | a header that lies: limits are a must |
//!
//! [`Unframed`] is none of them, and shows what happens without. A [`Codec`] knows bytes only; [`Frames`] reads
//! through one from any [`Reader`](executor::Reader), [`FrameWriter`] writes through one. What the limits are for:
//! memory follows the bytes that have come, and never what a header announces.
//!
//! Files: `codecs.rs` (the three), `frames.rs` (reading and writing through one), `show.rs` (the demonstration),
//! `server.rs` (one to try with clients of your own).

mod codecs;
mod frames;
mod server;
mod show;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;

pub use codecs::{Delimiter, Fixed, Method, Prefix, Unframed, Width};
pub use frames::{FrameWriter, Frames};
pub use server::connection;
pub use show::{Seen, Traffic, transfer};

/// The most bytes that a message may be allowed to have, for each is in memory as a whole.
const LONGEST: usize = 1 << 24;

/// Parses how many bytes a message may have.
///
/// # Errors
/// What to give instead.
pub fn length(text: &str) -> Result<NonZeroUsize, String> {
    let length = text.parse().ok().filter(|length: &NonZeroUsize| length.get() <= LONGEST);
    length.ok_or_else(|| format!("give a number of bytes from 1 to {LONGEST}"))
}

/// A way to say where messages end.
pub trait Codec: 'static {
    /// Looks for the message at the beginning of `bytes`; `None` if more bytes have to come. Then it is asked again,
    /// with these bytes and more behind them.
    ///
    /// # Errors
    /// The message breaks a rule, however it goes on.
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<Found>, FrameError>;

    /// Appends the message to `output`, with whatever says where it ends.
    ///
    /// # Errors
    /// The other side could not read it back. `output` is as before then.
    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> Result<(), FrameError>;
}

impl Codec for Box<dyn Codec> {
    fn decode(&mut self, bytes: &[u8]) -> Result<Option<Found>, FrameError> {
        (**self).decode(bytes)
    }

    fn encode(&self, message: &[u8], output: &mut Vec<u8>) -> Result<(), FrameError> {
        (**self).encode(message, output)
    }
}

/// Where a message lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The message itself.
    pub message: Range<usize>,
    /// Bytes it takes with all that is around it.
    pub len: usize,
}

/// Why there is no message.
#[derive(Debug)]
pub enum FrameError {
    /// The stream broke.
    Io(io::Error),
    /// The message is longer than allowed. `None`: so long that its end was not waited for.
    TooLong {
        /// Bytes, as far as is known.
        len: Option<u64>,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// The stream ended within a message.
    CutOff {
        /// How much of it had come, with what is around it.
        bytes: usize,
    },
    /// The message holds what stands for its end.
    HoldsEnd {
        /// Where.
        place: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Io(error) => error.fmt(f),
            FrameError::TooLong { len: Some(len), limit } => {
                write!(f, "a message of {len} bytes is longer than the limit of {limit}")
            }
            FrameError::TooLong { len: None, limit } => {
                write!(f, "a message is longer than the limit of {limit} bytes")
            }
            FrameError::CutOff { bytes } => write!(f, "the stream ended within a message, {bytes} bytes into it"),
            FrameError::HoldsEnd { place } => {
                write!(f, "the message holds at byte {place} what stands for its end: choose another codec")
            }
        }
    }
}

impl std::error::Error for FrameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FrameError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        FrameError::Io(error)
    }
}
