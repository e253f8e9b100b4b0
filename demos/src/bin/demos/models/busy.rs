//! Rung 5, `busy`: sockets that never block, asked again and again.
//!
//! Shows: one thread can serve many clients, if no call waits. But somebody has to ask each socket whether it has
//! something, and nearly all answer "would block": a whole processor is spent on asking, even if nobody says a word.
//!
//! See it: `demos models serve busy --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`, and `top`: 100 % CPU.
//!
//! What is next: `select`, which asks the kernel about all sockets at once, and sleeps if none is ready.

use std::io;

use rustix::net::SocketFlags;

use super::connection::{Connection, Scratch, Step};
use super::hall::{Guest, Hall};

pub fn run(hall: &Hall) -> io::Result<()> {
    hall.listener.set_nonblocking(true)?;
    hall.ready()?;
    let mut scratch = Scratch::new();
    let mut connections: Vec<Connection> = Vec::new();
    while !hall.stop.is_asked() {
        // All who wait: it takes long until they are asked again.
        while let Guest::Welcome(stream) = hall.accept(connections.len(), SocketFlags::NONBLOCK)? {
            connections.push(Connection::new(stream));
        }
        connections.retain_mut(|connection| connection.step(hall, &mut scratch) != Step::Over);
    }
    Ok(())
}
