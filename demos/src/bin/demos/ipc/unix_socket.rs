//! A Unix socket: what TCP offers, within one machine and without a network. One descriptor for both directions; it can
//! have a path, or, as here, come as a pair without any name.
//!
//! See it: `demos ipc --way unix-socket`.
//!
//! Beyond what a pipe can do, it hands descriptors to other processes and tells who is at the other end (process, user).
//! This one is a stream; `unix_datagram.rs` has the kind that keeps messages apart.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use super::channel::{Channel, Descriptors, End, Far, Message, Names, given, read_message};

pub fn open() -> io::Result<Channel> {
    let (near, far) = UnixStream::pair()?;
    let far = Far { stdin: Some(far.into()), ..Far::default() };
    Ok(Channel { near: Box::new(Socket(near)), far, names: Names::none() })
}

pub fn join(far: Far) -> io::Result<Box<dyn End>> {
    Ok(Box::new(Socket(given(far.stdin)?.into())))
}

struct Socket(UnixStream);

impl End for Socket {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        self.0.write_all(message)
    }

    fn receive(&mut self) -> io::Result<Option<Message>> {
        read_message(&mut self.0)
    }

    fn into_descriptors(self: Box<Self>) -> Option<Descriptors> {
        let writes = self.0.try_clone().ok()?;
        Some(Descriptors::Stream { reads: self.0.into(), writes: writes.into() })
    }
}
