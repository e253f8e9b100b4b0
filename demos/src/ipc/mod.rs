//! Seven ways for two processes on one machine to talk, each with the same message. Shows what each takes to set up,
//! and how long a message and its answer are on the way.
//!
//! ```text
//! demos ipc
//! demos ipc --way named-pipe --way signal --seconds 10
//! ```
//!
//! One end, the *near* one, asks; the other, the *far* one, answers. The far end is a thread of this process, or a
//! process of its own; the code is the same, and so is most of the time. Each way is one file:
//!
//! | file | the way | what wakes the other side | how a process gets at it |
//! |---|---|---|---|
//! | `pipe.rs` | two pipes, one for each direction | the read returns | inherits the descriptors |
//! | `named_pipe.rs` | two pipes with names in a folder | the read returns | opens the names |
//! | `unix_socket.rs` | a pair of stream sockets, both directions in one | the read returns | inherits the descriptor |
//! | `unix_datagram.rs` | a pair of datagram sockets, which keep messages apart | the receive returns | inherits the descriptor |
//! | `shared_memory.rs` | memory that both have, no copy by the kernel | an eventfd | a name, and two inherited descriptors |
//! | `message_queue.rs` | two POSIX queues, which keep messages apart | the receive returns | opens the names |
//! | `signal.rs` | signals, which say nothing but their number | the signal itself | needs the other's process id |
//!
//! `latency.rs` measures them, `awaited.rs` has a task of a runtime wait instead of a thread: for all that have a
//! descriptor which can be read.

pub mod awaited;
pub mod latency;

mod message_queue;
mod named_pipe;
mod pipe;
pub mod shared_memory;
pub mod signal;
mod unix_datagram;
mod unix_socket;

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use clap::ValueEnum;
use rustix::process::Pid;

use shared_memory::Halves;

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
    Memory { halves: Halves, reads: OwnedFd, writes: OwnedFd },
    /// The messages, one at a time.
    Datagrams(UnixDatagram),
}

/// What the far end is made from: what a process can be given by whoever starts it.
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
pub struct Names(Box<dyn FnMut()>);

impl Names {
    /// Nothing: what has no name goes with its last descriptor.
    pub fn none() -> Names {
        Names(Box::new(|| ()))
    }

    /// What this removes.
    pub fn removed_by(remove: impl FnMut() + 'static) -> Names {
        Names(Box::new(remove))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A way to talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// two pipes
    Pipe,
    /// two pipes with names in a folder
    NamedPipe,
    /// a pair of Unix stream sockets
    UnixSocket,
    /// a pair of Unix datagram sockets
    UnixDatagram,
    /// shared memory, and an eventfd for each direction
    SharedMemory,
    /// two POSIX message queues
    MessageQueue,
    /// a signal there and another one back
    Signal,
}

impl Way {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Way::Pipe => "pipe",
            Way::NamedPipe => "named-pipe",
            Way::UnixSocket => "unix-socket",
            Way::UnixDatagram => "unix-datagram",
            Way::SharedMemory => "shared-memory",
            Way::MessageQueue => "message-queue",
            Way::Signal => "signal",
        }
    }

    /// Bytes that a message carries.
    pub fn carries(self) -> usize {
        if self == Way::Signal { 0 } else { MESSAGE }
    }

    /// A new channel: its near end, and what the far end is made from.
    pub fn open(self) -> io::Result<Channel> {
        match self {
            Way::Pipe => pipe::open(),
            Way::NamedPipe => named_pipe::open(),
            Way::UnixSocket => unix_socket::open(),
            Way::UnixDatagram => unix_datagram::open(),
            Way::SharedMemory => shared_memory::open(),
            Way::MessageQueue => message_queue::open(),
            Way::Signal => signal::open(),
        }
    }

    /// The far end.
    pub fn join(self, far: Far) -> io::Result<Box<dyn End>> {
        match self {
            Way::Pipe => pipe::join(far),
            Way::NamedPipe => named_pipe::join(&far.name),
            Way::UnixSocket => unix_socket::join(far),
            Way::UnixDatagram => unix_datagram::join(far),
            Way::SharedMemory => shared_memory::join(far),
            Way::MessageQueue => message_queue::join(&far.name),
            Way::Signal => signal::join(&far.name),
        }
    }

    /// The far end of a process that was started for it.
    pub fn join_from_outside(self, name: &str) -> io::Result<Box<dyn End>> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        self.join(Far { stdin: Some(stdin), stdout: Some(stdout), name: name.to_owned() })
    }
}

/// Answers each message with the next number, until the last one.
pub fn answer(end: &mut dyn End) -> io::Result<()> {
    while let Some(mut received) = end.receive()? {
        let number = number(&received);
        if number == LAST {
            break;
        }
        received[..8].copy_from_slice(&number.wrapping_add(1).to_le_bytes());
        end.send(&received)?;
    }
    Ok(())
}

/// The next message of a stream of bytes, which has no borders of its own: so many bytes are one.
fn read_message(stream: &mut impl Read) -> io::Result<Option<Message>> {
    let mut message = [0; MESSAGE];
    match stream.read_exact(&mut message) {
        Ok(()) => Ok(Some(message)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The message that came in one piece.
fn whole(piece: &[u8]) -> io::Result<Message> {
    let text = format!("a message has {MESSAGE} bytes, and not {}", piece.len());
    piece.try_into().map_err(|_| io::Error::new(ErrorKind::InvalidData, text))
}

/// A descriptor that the far end has to be given.
fn given(descriptor: Option<OwnedFd>) -> io::Result<OwnedFd> {
    descriptor
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "this way needs stdin and stdout to be handed over"))
}

/// The two names a far end was given.
fn two_names(names: &str) -> io::Result<(&str, &str)> {
    let names = names.split_once(',').filter(|(there, back)| !there.is_empty() && !back.is_empty());
    names.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "give two names, separated by a comma"))
}
