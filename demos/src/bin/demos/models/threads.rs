//! Rung 3, `threads`: a thread for each connection.
//!
//! Shows: the code of one client stays as simple as in `blocking`, and many are served at once. The kernel switches
//! threads for each answer, and each thread keeps a stack of its own, however little its client says.
//!
//! See it: `demos models serve threads --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000` twice, and look at
//! `grep Threads /proc/$(pgrep -n demos)/status`.
//!
//! What is next: `pool`, which starts its threads before they are needed, and never more than it can afford.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::net::SocketFlags;

use super::counters::Call;
use super::hall::{Guest, Hall};
use super::talk::talk;

/// Bytes of a thread's stack. Only what is touched takes memory.
const STACK: usize = 256 * 1024;

pub fn run(hall: &Hall) -> io::Result<()> {
    let _listener = hall.stop.watch(hall.listener.clone());
    hall.ready()?;
    let present = AtomicUsize::new(0);
    // The scope ends when all threads have, and they end when their sockets are shut down.
    thread::scope(|scope| {
        while !hall.stop.is_asked() {
            let guest = hall.accept(present.load(Ordering::Acquire), SocketFlags::empty())?;
            let Guest::Welcome(stream) = guest else { continue };
            let stream = Arc::new(stream);
            let (present, own) = (&present, stream.clone());
            let serve = move || {
                let watched = hall.stop.watch(own.clone());
                let _ = talk(hall, &own);
                drop(watched);
                present.fetch_sub(1, Ordering::Release);
            };
            hall.counters.call(Call::Clone);
            present.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, serve) {
                present.fetch_sub(1, Ordering::Relaxed);
                hall.refuse(&stream, &format!("no thread for it: {error}"));
            }
        }
        Ok(())
    })
}
