//! Rung 10, `epoll-oneshot`: several threads wait on one epoll, and each event goes to one of them.
//!
//! Shows: after an event the kernel keeps silent about that socket until it is armed again, so no two threads ever serve
//! the same connection, and its lock is never waited for. The price is an `epoll_ctl` for each event.
//!
//! See it: `demos models serve epoll-oneshot --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000`, and
//! `strace -f -p $(pgrep -n demos)`: epoll_pwait, recvfrom, sendto, epoll_ctl, each time in another thread.
//!
//! What is next: `sigio`, where the kernel speaks first.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use slab::Slab;

use super::connection::{Connection, Scratch, Step};
use super::counters::Call;
use super::hall::{Guest, Hall};

/// Threads that wait.
const WORKERS: usize = 4;
/// Events a thread takes at a time: few, so that others get theirs.
const EVENTS: usize = 16;
/// Names of what is no connection. Connections are named by their place in the table.
const STOP: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// What the threads share.
struct Shared<'a> {
    hall: &'a Hall,
    epoll: OwnedFd,
    connections: Mutex<Slab<Arc<Mutex<Connection>>>>,
}

pub fn run(hall: &Hall) -> io::Result<()> {
    hall.listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    // Not one shot: all threads shall see it.
    epoll::add(&epoll, &*hall.stop, EventData::new_u64(STOP), EventFlags::IN)?;
    epoll::add(&epoll, &*hall.listener, EventData::new_u64(LISTENER), EventFlags::IN | EventFlags::ONESHOT)?;
    let shared = Shared { hall, epoll, connections: Mutex::default() };
    hall.ready()?;
    thread::scope(|scope| {
        let work = || {
            let result = work(&shared);
            // None goes on without the others.
            hall.stop.ask();
            result
        };
        let workers = (0..WORKERS).map(|_| thread::Builder::new().spawn_scoped(scope, work));
        let workers: Vec<_> = workers.collect();
        let join = |worker: thread::ScopedJoinHandle<'_, io::Result<()>>| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
        };
        let results: Vec<_> = workers.into_iter().map(|worker| worker.and_then(join)).collect();
        results.into_iter().collect()
    })
}

fn work(shared: &Shared<'_>) -> io::Result<()> {
    let mut scratch = Scratch::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        shared.hall.counters.call(Call::EpollWait);
        match epoll::wait(&shared.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                STOP => return Ok(()),
                LISTENER => shared.welcome()?,
                name => shared.serve(name, &mut scratch)?,
            }
        }
    }
}

impl Shared<'_> {
    fn welcome(&self) -> io::Result<()> {
        let present = lock(&self.connections).len();
        if let Guest::Welcome(stream) = self.hall.accept(present, SocketFlags::NONBLOCK)? {
            let connection = Arc::new(Mutex::new(Connection::new(stream)));
            // Its lock is held until it is armed, in case its first event is faster.
            let own = lock(&connection);
            let name = lock(&self.connections).insert(connection.clone()) as u64;
            self.hall.counters.call(Call::EpollCtl);
            epoll::add(&self.epoll, &*own, EventData::new_u64(name), EventFlags::IN | EventFlags::ONESHOT)?;
        }
        self.hall.counters.call(Call::EpollCtl);
        let interest = EventFlags::IN | EventFlags::ONESHOT;
        Ok(epoll::modify(&self.epoll, &*self.hall.listener, EventData::new_u64(LISTENER), interest)?)
    }

    fn serve(&self, name: u64, scratch: &mut Scratch) -> io::Result<()> {
        let found = lock(&self.connections).get(name as usize).cloned();
        let Some(connection) = found else { return Ok(()) };
        let mut connection = lock(&connection);
        if connection.step(self.hall, scratch) == Step::Over {
            lock(&self.connections).remove(name as usize);
            return Ok(());
        }
        let interest = if connection.wants_to_send() { EventFlags::OUT } else { EventFlags::IN };
        self.hall.counters.call(Call::EpollCtl);
        Ok(epoll::modify(&self.epoll, &*connection, EventData::new_u64(name), interest | EventFlags::ONESHOT)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
