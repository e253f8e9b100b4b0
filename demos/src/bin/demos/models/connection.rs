//! A connection that never blocks: the same conversation, cut where it would have to wait.
//!
//! What a thread keeps on its stack while it waits has to be kept here: the part of a request that has come, the part of
//! the answer that did not fit into the socket. As long as there is such a part, nothing is read, so a peer that does
//! not read holds up itself alone.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use super::hall::Hall;
use super::service::{BUFFER, Dialogue, Then};

/// A connection in a loop.
pub struct Connection {
    stream: TcpStream,
    dialogue: Dialogue,
    unsent: Vec<u8>,
    then: Then,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was received or sent, and there may be more to do at once.
    Moved,
    /// Nothing is to be done before the socket is ready.
    Stuck,
    /// The conversation is over.
    Over,
}

/// Memory that all connections of a loop use in turns, so that those that wait have none.
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch { input: vec![0; BUFFER], output: Vec::new() }
    }
}

impl Connection {
    /// Of a socket that does not block.
    pub fn new(stream: TcpStream) -> Connection {
        Connection { stream, dialogue: Dialogue::default(), unsent: Vec::new(), then: Then::GoOn }
    }

    /// Whether it waits for room to send, rather than for something to receive.
    pub fn wants_to_send(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Receives once and answers, or sends more of the last answer.
    pub fn step(&mut self, hall: &Hall, scratch: &mut Scratch) -> Step {
        if self.wants_to_send() {
            let unsent = std::mem::take(&mut self.unsent);
            return self.send(hall, &unsent);
        }
        let count = match hall.receive(&self.stream, &mut scratch.input) {
            Ok(0) => return Step::Over,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Stuck,
            Err(_) => return Step::Over,
        };
        scratch.output.clear();
        self.then = self.dialogue.answer(hall.service, hall.name, &scratch.input[..count], &mut scratch.output);
        self.send(hall, &scratch.output)
    }

    /// Sends what fits, and keeps the rest.
    fn send(&mut self, hall: &Hall, bytes: &[u8]) -> Step {
        let sent = match bytes {
            [] => 0,
            bytes => match hall.send(&self.stream, bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return Step::Over,
            },
        };
        if sent < bytes.len() {
            self.unsent = bytes[sent..].to_vec();
            return if sent == 0 { Step::Stuck } else { Step::Moved };
        }
        match self.then {
            Then::GoOn => Step::Moved,
            Then::Close => Step::Over,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
