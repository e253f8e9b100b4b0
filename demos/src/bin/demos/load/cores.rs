//! Servers on one processor, the client on another, where there are two: neither takes the other's time.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::child::Server;

/// The processors for servers and client, if there are two.
pub struct Cores(Option<(CpuSet, CpuSet)>);

impl Cores {
    /// The first and the last of those this process may use.
    pub fn new() -> Cores {
        let mut allowed = allowed();
        Cores(allowed.next().zip(allowed.next_back()))
    }

    pub fn are_two(&self) -> bool {
        self.0.is_some()
    }

    /// Starts a server on its core. A process inherits the core of who starts it, with all threads it
    /// will ever have, so this one moves there and back.
    pub fn start(&self, command: &[&str]) -> anyhow::Result<Server> {
        self.go(|(_, servers)| servers);
        let server = Server::start(command);
        self.go(|(client, _)| client);
        server
    }

    fn go(&self, to: impl Fn(&(CpuSet, CpuSet)) -> &CpuSet) {
        if let Some(cores) = &self.0 {
            keep_to(to(cores));
        }
    }
}

/// Keeps this process on the last of the processors it may use.
pub fn keep_to_last() {
    if let Some(core) = allowed().next_back() {
        keep_to(&core);
    }
}

/// The processors this process may use, each alone.
fn allowed() -> impl DoubleEndedIterator<Item = CpuSet> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(move |core| allowed.is_set(*core)).map(|core| {
        let mut only = CpuSet::new();
        only.set(core);
        only
    })
}

/// It may be forbidden, and then this process stays anywhere.
fn keep_to(cores: &CpuSet) {
    let _ = sched_setaffinity(None, cores);
}
