//! Servers on one processor, the client on another, where there are two: neither takes the other's time.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::child::Server;

/// The processors for servers and client, if there are two.
pub struct Cores(Option<(CpuSet, CpuSet)>);

impl Cores {
    /// The first and the last of those this process may use.
    pub fn new() -> Cores {
        let Ok(allowed) = sched_getaffinity(None) else { return Cores(None) };
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let only = |core| {
            let mut set = CpuSet::new();
            set.set(core);
            set
        };
        let pair = cores.next().zip(cores.next_back());
        Cores(pair.map(|(client, servers)| (only(client), only(servers))))
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

    /// It may be forbidden, and then everybody stays anywhere.
    fn go(&self, to: impl Fn(&(CpuSet, CpuSet)) -> &CpuSet) {
        if let Some(cores) = &self.0 {
            let _ = sched_setaffinity(None, to(cores));
        }
    }
}
