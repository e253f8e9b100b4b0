//! What all ways have in common: messages, and a channel with two ends.

use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use rustix::process::Pid;

use crate::leftovers::Leftover;

/// Bytes of a message. The first eight are its number, the lowest first.
pub const MESSAGE: usize = 64;

/// What is sent to and fro.
pub type Message = [u8; MESSAGE];

/// The message of this number.
pub fn message(number: u64) -> Message {
    let mut message = [0; MESSAGE];
    message[..8].copy_from_slice(&number.to_le_bytes());
    message
}

/// The number of this message.
pub fn number(message: &Message) -> u64 {
    let (number, _) = message.split_first_chunk().expect("it is longer");
    u64::from_le_bytes(*number)
}

/// The number that means: this was the last.
pub const LAST: u64 = u64::MAX;

/// One end of a channel.
pub trait End {
    /// Sends a message to the other end.
    fn send(&mut self, message: &Message) -> io::Result<()>;

    /// Waits for the next message. `None`: the other end is gone, where it can be seen.
    fn receive(&mut self) -> io::Result<Option<Message>>;

    /// Tells the other end that this was all.
    fn stop(&mut self) -> io::Result<()> {
        self.send(&message(LAST))
    }

    /// Says which process has the other end, if it isn't this one.
    fn meet(&mut self, _process: Pid) {}

    /// What a runtime can await instead, if there is such a thing.
    fn into_descriptors(self: Box<Self>) -> Option<Descriptors> {
        None
    }
}

/// An end for a runtime: what becomes readable when a message comes, and what is written to send one.
pub enum Descriptors {
    /// The bytes of the messages, one after the other.
    Stream { reads: OwnedFd, writes: OwnedFd },
    /// The news that there is a message in the memory.
    Memory { shelf: Box<dyn Shelf>, reads: OwnedFd, writes: OwnedFd },
    /// The messages, one at a time.
    Datagrams(UnixDatagram),
}

/// Memory that both ends have. It tells neither of them that there is something new.
pub trait Shelf {
    /// Puts a message where the other end takes it.
    fn put(&self, message: &Message);

    /// The message from the other end, which has told that it is there.
    fn take(&self) -> Message;
}

/// The arguments that the far end is made from. The parent process passes them to its child.
#[derive(Debug, Default)]
pub struct Far {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    /// A name, or several, separated by commas.
    pub name: String,
}

/// What the near end is made of, and with it what the far end needs. Dropping the last takes names away.
pub struct Channel {
    pub near: Box<dyn End>,
    pub far: Far,
    /// Takes away what has a name.
    pub names: Names,
}

/// What has to be removed at the end.
pub struct Names {
    _leftover: Option<Leftover>,
}

impl Names {
    /// Nothing: what has no name goes with its last descriptor.
    pub fn none() -> Names {
        Names { _leftover: None }
    }

    /// What this removes.
    pub fn removed_by(remove: impl FnMut() + Send + 'static) -> io::Result<Names> {
        Ok(Names { _leftover: Some(Leftover::removed_by(remove)?) })
    }
}

/// The next message of a stream of bytes, which has no borders of its own: so many bytes are one.
pub fn read_message(stream: &mut impl Read) -> io::Result<Option<Message>> {
    let mut message = [0; MESSAGE];
    match stream.read_exact(&mut message) {
        Ok(()) => Ok(Some(message)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The message that came in one piece.
pub fn whole(piece: &[u8]) -> io::Result<Message> {
    let text = format!("a message has {MESSAGE} bytes, and not {}", piece.len());
    piece.try_into().map_err(|_| io::Error::new(ErrorKind::InvalidData, text))
}

/// A descriptor that the far end has to be given.
pub fn given(descriptor: Option<OwnedFd>) -> io::Result<OwnedFd> {
    descriptor
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "this way needs stdin and stdout to be handed over"))
}

/// The two names a far end was given.
pub fn two_names(names: &str) -> io::Result<(&str, &str)> {
    let names = names.split_once(',').filter(|(there, back)| !there.is_empty() && !back.is_empty());
    names.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "give two names, separated by a comma"))
}
