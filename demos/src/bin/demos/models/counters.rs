//! What a rung counts: its connections and its system calls.
//!
//! The counters lie in memory that processes share with those they fork, so that one look sees all of them.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// A system call that a rung makes for its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// accept4(2)
    Accept,
    /// clone(2), for a thread
    Clone,
    /// epoll_ctl(2)
    EpollCtl,
    /// epoll_pwait(2)
    EpollWait,
    /// fcntl(2)
    Fcntl,
    /// fork(2)
    Fork,
    /// io_uring_enter(2)
    Enter,
    /// poll(2)
    Poll,
    /// read(2), of signals
    Read,
    /// recvfrom(2)
    Recv,
    /// select(2)
    Select,
    /// sendto(2)
    Send,
    /// wait4(2)
    Wait,
}

impl Call {
    /// All, in the order of their numbers, each with the name of the function.
    const ALL: [(Call, &'static str); 13] = [
        (Call::Accept, "accept4"),
        (Call::Clone, "clone"),
        (Call::EpollCtl, "epoll_ctl"),
        (Call::EpollWait, "epoll_pwait"),
        (Call::Fcntl, "fcntl"),
        (Call::Fork, "fork"),
        (Call::Enter, "io_uring_enter"),
        (Call::Poll, "poll"),
        (Call::Read, "read"),
        (Call::Recv, "recvfrom"),
        (Call::Select, "select"),
        (Call::Send, "sendto"),
        (Call::Wait, "wait4"),
    ];
}

/// The counters of a rung. Nothing else depends on them, so all orderings are relaxed.
#[derive(Debug)]
pub struct Counters {
    calls: [AtomicU64; Call::ALL.len()],
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    /// Counters that start at 0, for the rest of the process's life and for the processes it forks.
    pub fn new() -> anyhow::Result<&'static Counters> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses a place where nothing else is.
        let memory = unsafe { mmap_anonymous(std::ptr::null_mut(), size_of::<Counters>(), protection, flags) };
        let memory = memory.context("there is no memory for counters")?;
        // SAFETY: it begins on a page, is long enough, is never unmapped, and is full of zeros, which is a valid
        // value of all atomics; whoever shares it, in whatever process, goes through these atomics, too.
        Ok(unsafe { &*memory.cast::<Counters>() })
    }

    /// A call is about to be made.
    pub fn call(&self, call: Call) {
        self.calls[call as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was accepted.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// One of those accepted was refused. Returns whether it is the first.
    pub fn refused(&self) -> bool {
        self.refused.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// All of them by name, but no calls that were never made.
    pub fn all(&self) -> Vec<(String, u64)> {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let own = [("connections", &self.accepted), ("refused", &self.refused)];
        let own = own.map(|(name, counter)| (name.to_owned(), value(counter)));
        let calls = Call::ALL.iter().map(|(call, name)| (format!("call.{name}"), value(&self.calls[*call as usize])));
        own.into_iter().chain(calls.filter(|(_, count)| *count > 0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_its_own_counter() {
        let counters = Counters::new().unwrap();
        for (place, (call, name)) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, place);
            counters.call(call);
            assert!(counters.all().contains(&(format!("call.{name}"), 1)));
        }
        assert_eq!(counters.all().len(), 2 + Call::ALL.len());
        assert!(counters.refused() && !counters.refused());
    }
}
