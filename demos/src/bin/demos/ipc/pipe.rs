//! A pipe: a queue of bytes in the kernel, 64 KiB long, with an end to write to and one to read from. It goes one way,
//! so a conversation takes two. It has no name: who wants an end must be given it, and a child process inherits it.
//!
//! See it: `demos ipc --way pipe`. In a shell `|` makes one: `cat messages | demos ipc --answer pipe | xxd`.
//!
//! A write of up to 4,096 bytes is never mixed up with another's (`PIPE_BUF`). When the last writer is gone, the reader
//! finds the end; when the last reader is gone, the writer gets EPIPE, and a signal unless that is ignored.

use std::fs::File;
use std::io::{self, Read, Write, pipe};
use std::os::fd::OwnedFd;

use super::channel::{Channel, Descriptors, End, Far, Message, Names, given, read_message};

pub fn open() -> io::Result<Channel> {
    let (there, from_near) = pipe()?;
    let (from_far, back) = pipe()?;
    let far = Far { stdin: Some(there.into()), stdout: Some(back.into()), name: String::new() };
    let near = Pipe { reader: from_far, writer: from_near };
    Ok(Channel { near: Box::new(near), far, names: Names::none() })
}

pub fn join(far: Far) -> io::Result<Box<dyn End>> {
    let (reader, writer) = (File::from(given(far.stdin)?), File::from(given(far.stdout)?));
    Ok(Box::new(Pipe { reader, writer }))
}

/// The reading end of one pipe and the writing end of another.
pub struct Pipe<R, W> {
    pub reader: R,
    pub writer: W,
}

impl<R: Read + Into<OwnedFd>, W: Write + Into<OwnedFd>> End for Pipe<R, W> {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        self.writer.write_all(message)
    }

    fn receive(&mut self) -> io::Result<Option<Message>> {
        read_message(&mut self.reader)
    }

    fn into_descriptors(self: Box<Self>) -> Option<Descriptors> {
        Some(Descriptors::Stream { reads: self.reader.into(), writes: self.writer.into() })
    }
}
