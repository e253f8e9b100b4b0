//! Rung 4, `pool`: a fixed number of threads, started before anybody comes.
//!
//! Shows: no thread is made or ended for a client, and the memory is bounded. But a client that says nothing keeps its
//! thread, so idle clients fill the pool: who comes then waits in a queue, and when that is full, too, is refused.
//!
//! See it: `demos models serve pool --listen 127.0.0.1:7000 --max-connections 2`, then `nc 127.0.0.1 7000` in five
//! terminals: two are served, two wait for their turn, the fifth is refused.
//!
//! What is next: the thread per client is the cost, so one thread should wait for many. `busy` tries it the naive way.

use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::net::SocketFlags;

use super::counters::Call;
use super::hall::{Guest, Hall};
use super::talk::talk;

/// Bytes of a thread's stack. Only what is touched takes memory.
const STACK: usize = 256 * 1024;

pub fn run(hall: &Hall) -> io::Result<()> {
    let _listener = hall.stop.watch(hall.listener.clone());
    // As many may wait as are served. How full the queue is doesn't tell: who has just come is in it for a moment, although
    // a thread is free.
    let (inside, most) = (AtomicUsize::new(0), 2 * hall.limit);
    let (queue, waiting) = sync_channel::<TcpStream>(most);
    let waiting = Mutex::new(waiting);
    thread::scope(|scope| {
        // When this function returns, the queue is closed, and the workers end.
        let queue = queue;
        for _ in 0..hall.limit {
            hall.counters.call(Call::Clone);
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || work(hall, &waiting, &inside))?;
        }
        hall.ready()?;
        while !hall.stop.is_asked() {
            let Guest::Welcome(stream) = hall.accept(0, SocketFlags::empty())? else { continue };
            if inside.load(Ordering::Relaxed) == most {
                hall.refuse(&stream, &format!("{0} clients are served, and {0} wait already", hall.limit));
            } else {
                inside.fetch_add(1, Ordering::Relaxed);
                queue.send(stream).map_err(io::Error::other)?;
            }
        }
        Ok(())
    })
}

/// Serves one client after the other.
fn work(hall: &Hall, waiting: &Mutex<Receiver<TcpStream>>, inside: &AtomicUsize) {
    loop {
        // In a statement of its own: the lock is given back before the conversation begins.
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(stream) = next else { return };
        let stream = Arc::new(stream);
        let _watched = hall.stop.watch(stream.clone());
        let _ = talk(hall, &stream);
        inside.fetch_sub(1, Ordering::Relaxed);
    }
}
