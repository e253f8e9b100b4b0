//! Rung 1, `blocking`: one client at a time.
//!
//! Shows: the simplest server there is. While it talks to one client, all others wait in the kernel's queue of new
//! connections, however long that one client says nothing.
//!
//! See it: `demos models serve blocking --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000` in two other terminals: the
//! second gets its answers when the first has ended.
//!
//! What is next: `processes`, which gives each client somebody of its own.

use std::io;
use std::sync::Arc;

use rustix::net::SocketFlags;

use super::hall::{Guest, Hall};
use super::talk::talk;

pub fn run(hall: &Hall) -> io::Result<()> {
    let _listener = hall.stop.watch(hall.listener.clone());
    hall.ready()?;
    while !hall.stop.is_asked() {
        if let Guest::Welcome(stream) = hall.accept(0, SocketFlags::empty())? {
            let stream = Arc::new(stream);
            let _stream = hall.stop.watch(stream.clone());
            // A client that breaks its connection has ended it.
            let _ = talk(hall, &stream);
        }
    }
    Ok(())
}
