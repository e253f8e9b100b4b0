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
//! `channel.rs` is what all have in common. `latency.rs` measures them. `awaited.rs` waits in a task of a runtime instead
//! of a thread, where there is a descriptor that can be read.

pub mod awaited;
mod channel;
pub mod latency;
mod message_queue;
mod named_pipe;
mod pipe;
mod shared_memory;
pub mod signal;
mod unix_datagram;
mod unix_socket;

use std::io;
use std::os::fd::AsFd;

use clap::ValueEnum;

use channel::{Channel, End, Far, LAST, MESSAGE, number};

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
