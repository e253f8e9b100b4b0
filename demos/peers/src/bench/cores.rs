//! The processors for servers and client, and how much of them others took away.

use std::process::{Child, Command};
use std::{fs, io};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors for client and servers.
#[derive(Clone, Debug)]
pub struct Cores {
    allowed: CpuSet,
    /// The first and the last that may be used, if there are two.
    pair: Option<(usize, usize)>,
}

/// Who is started.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    Client,
    Server,
}

/// The clock ticks that the used processors have counted since the system started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    all: u64,
    stolen: u64,
}

impl Cores {
    /// Asks for the processors that this process may use.
    pub fn new() -> io::Result<Cores> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let pair = cores.next().zip(cores.next_back());
        Ok(Cores { allowed, pair })
    }

    /// Whether servers and client have one each.
    pub fn are_two(&self) -> bool {
        self.pair.is_some()
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.allowed.count()
    }

    /// Starts a process on its processor. It inherits the processor of who starts it, with all threads
    /// it will ever have, so this thread moves there and back.
    pub fn start(&self, role: Role, command: &mut Command) -> io::Result<Child> {
        let Some((client, server)) = self.pair else { return command.spawn() };
        let mut only = CpuSet::new();
        only.set(match role {
            Role::Client => client,
            Role::Server => server,
        });
        sched_setaffinity(None, &only)?;
        let child = command.spawn();
        sched_setaffinity(None, &self.allowed)?;
        child
    }

    /// The ticks until now, or none where the kernel does not tell.
    pub fn ticks(&self) -> Ticks {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let is_used = |core: usize| match self.pair {
            Some((client, server)) => core == client || core == server,
            None => core < CpuSet::MAX_CPU && self.allowed.is_set(core),
        };
        Ticks::parse(&stat, is_used)
    }
}

/// Where `/proc/stat` has the ticks that the hypervisor gave to others: proc_stat(5).
const STEAL: usize = 7;
/// The ticks after that belong to guests, and are counted as the user's already.
const KINDS: usize = 8;

impl Ticks {
    fn parse(stat: &str, is_used: impl Fn(usize) -> bool) -> Ticks {
        let mut ticks = Ticks::default();
        for line in stat.lines() {
            let mut words = line.split_ascii_whitespace();
            let core = words.next().and_then(|word| word.strip_prefix("cpu")).and_then(|core| core.parse().ok());
            if core.is_some_and(&is_used) {
                let counts: Vec<u64> = words.take(KINDS).filter_map(|word| word.parse().ok()).collect();
                ticks.all += counts.iter().sum::<u64>();
                ticks.stolen += counts.get(STEAL).copied().unwrap_or(0);
            }
        }
        ticks
    }

    /// The part of the time since `earlier` that others took.
    pub fn stolen_since(&self, earlier: Ticks) -> f64 {
        match self.all.saturating_sub(earlier.all) {
            0 => 0.0,
            all => self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_counted_on_the_used_processors() {
        let before = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 10 0 10 70 0 0 0 10 5 0\ncpu1 50 0 0 50 0 0 0 0 0 0\nintr 1 2\n";
        let after = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 20 0 20 130 0 0 0 30 9 0\ncpu1 90 0 0 60 0 0 0 50 0 0\nintr 1 2\n";
        let stolen =
            |is_used: fn(usize) -> bool| Ticks::parse(after, is_used).stolen_since(Ticks::parse(before, is_used));
        assert_eq!(stolen(|core| core == 0), 0.2);
        assert_eq!(stolen(|core| core == 1), 0.5);
        assert_eq!(stolen(|_| true), 0.35);
        assert_eq!(stolen(|_| false), 0.0);
    }
}
