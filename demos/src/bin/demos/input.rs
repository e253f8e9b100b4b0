//! Where questions come from: stdin. A read error is an error, and never an end.

use std::io::{self, ErrorKind, Read, StdinLock};

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

use crate::output::wait_for;

/// The standard input, read by a thread that may block.
pub struct Input(StdinLock<'static>);

impl Input {
    /// Takes it.
    pub fn new() -> Input {
        Input(io::stdin().lock())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Ok(0) => return end(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another program has set the flag, and shares the pipe or the terminal with this one.
                Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for(&self.0, PollFlags::IN)?,
                result => return result,
            }
        }
    }
}

/// What a read of nothing means. std also says it for a descriptor that is open for writing only.
fn end() -> io::Result<usize> {
    let flags = fcntl_getfl(io::stdin())?;
    if flags & OFlags::ACCMODE == OFlags::WRONLY { Err(Errno::BADF.into()) } else { Ok(0) }
}
