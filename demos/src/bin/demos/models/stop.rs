//! How a rung learns that it shall end.
//!
//! A loop that waits for many things watches one more, the [`Stop`] itself, which can be read from then on. Who is
//! blocked on a single socket can't; so such sockets are [handed in](Stop::watch), and are shut down when the end comes,
//! which the blocked call returns from.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{Shutdown, shutdown};
use slab::Slab;

/// A socket that one thread blocks on and another may shut down.
type Shared = Arc<dyn AsFd + Send + Sync>;

/// The wish that a rung ends.
pub struct Stop {
    is_asked: AtomicBool,
    bell: UnixStream,
    rope: UnixStream,
    watched: Mutex<Slab<Shared>>,
}

/// A socket that is shut down when the end comes. Dropping this takes it off the list.
pub struct Watched<'a> {
    stop: &'a Stop,
    place: usize,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> io::Result<Stop> {
        let (bell, rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        Ok(Stop { is_asked: AtomicBool::new(false), bell, rope, watched: Mutex::default() })
    }

    /// Asks. It may be called from any thread, and again.
    pub fn ask(&self) {
        let watched = self.watched();
        if !self.is_asked.swap(true, Ordering::AcqRel) {
            // There is room for one byte, and nobody closes the other end before this one.
            let _ = (&self.rope).write_all(b"!");
            for (_, socket) in watched.iter() {
                // It may be over already.
                let _ = shutdown(socket, Shutdown::Both);
            }
        }
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// Has a socket shut down when the end comes, or at once if it has come.
    pub fn watch(&self, socket: Shared) -> Watched<'_> {
        let mut watched = self.watched();
        if self.is_asked() {
            let _ = shutdown(&socket, Shutdown::Both);
        }
        Watched { stop: self, place: watched.insert(socket) }
    }

    fn watched(&self) -> MutexGuard<'_, Slab<Shared>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be read when somebody has asked.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.stop.watched().remove(self.place);
    }
}
