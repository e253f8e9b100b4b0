//! A conversation that blocks, for the rungs that have a process or a thread to spare for it.

use std::io;
use std::net::TcpStream;

use super::hall::Hall;
use super::service::{BUFFER, Dialogue, Then};

/// Serves one connection to its end. Each `receive` and each `send` may take as long as the peer likes.
pub fn talk(hall: &Hall, stream: &TcpStream) -> io::Result<()> {
    let mut dialogue = Dialogue::default();
    let mut buffer = [0; BUFFER];
    let mut output = Vec::new();
    loop {
        let count = hall.receive(stream, &mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let then = dialogue.answer(hall.service, hall.name, &buffer[..count], &mut output);
        let mut sent = 0;
        while sent < output.len() {
            sent += hall.send(stream, &output[sent..])?;
        }
        output.clear();
        if then == Then::Close {
            return Ok(());
        }
    }
}
