//! A Unix socket for datagrams: it keeps messages apart, loses none, and makes who sends too many wait. Else as
//! `unix_socket.rs`.
//!
//! See it: `demos ipc --way unix-datagram`. From elsewhere: `socat - UNIX-SENDTO:path` talks to such a socket that has
//! a path.
//!
//! It has no end: when the other side is gone, nobody is told before sending something. So the last message says it.

use std::io;
use std::os::unix::net::UnixDatagram;

use super::channel::{Channel, Descriptors, End, Far, MESSAGE, Message, Names, given, whole};

pub fn open() -> io::Result<Channel> {
    let (near, far) = UnixDatagram::pair()?;
    let far = Far { stdin: Some(far.into()), ..Far::default() };
    Ok(Channel { near: Box::new(Socket(near)), far, names: Names::none() })
}

pub fn join(far: Far) -> io::Result<Box<dyn End>> {
    Ok(Box::new(Socket(given(far.stdin)?.into())))
}

struct Socket(UnixDatagram);

impl End for Socket {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        self.0.send(message).map(drop)
    }

    fn receive(&mut self) -> io::Result<Option<Message>> {
        // One byte more, which shows what is too long.
        let mut room = [0; MESSAGE + 1];
        let len = self.0.recv(&mut room)?;
        whole(&room[..len]).map(Some)
    }

    fn into_descriptors(self: Box<Self>) -> Option<Descriptors> {
        Some(Descriptors::Datagrams(self.0))
    }
}
