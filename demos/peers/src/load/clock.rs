//! The clocks of the two processes, and what the kernel knows of the server.

use std::fs;
use std::io;

use anyhow::{Context, bail};
use rustix::time::{ClockId, clock_gettime};

/// Process numbers are smaller (`PID_MAX_LIMIT` of the kernel). A clock's number has no room for larger ones,
/// and would mean another clock.
const PIDS: libc::pid_t = 4 * 1024 * 1024;

/// The process under load.
#[derive(Clone, Copy, Debug)]
pub struct ServerProcess {
    pid: u32,
    /// Counts the processor time of all its threads, those that have ended and io_uring's workers among
    /// them, to the nanosecond.
    clock: libc::clockid_t,
}

impl ServerProcess {
    /// The process with this number.
    pub fn new(pid: u32) -> anyhow::Result<ServerProcess> {
        let Some(number) = libc::pid_t::try_from(pid).ok().filter(|number| (1..PIDS).contains(number)) else {
            bail!("--server-pid {pid} is no process: give the number of the server's process");
        };
        let mut clock = 0;
        // SAFETY: `clock` lives through the call, which writes nothing else.
        let error = unsafe { libc::clock_getcpuclockid(number, &raw mut clock) };
        if error != 0 {
            let error = io::Error::from_raw_os_error(error);
            return Err(error).with_context(|| format!("--server-pid {pid}: there is no clock of this process"));
        }
        Ok(ServerProcess { pid, clock })
    }

    /// Its processor time, in ns.
    pub fn cpu_ns(&self) -> anyhow::Result<u64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` lives through the call, which writes nothing else.
        if unsafe { libc::clock_gettime(self.clock, &raw mut time) } != 0 {
            let error = io::Error::last_os_error();
            return Err(error).context("cannot read the server's processor time: has it ended?");
        }
        nanoseconds(time.tv_sec, time.tv_nsec)
    }

    /// How often its threads, as many as there are now, went to sleep by themselves.
    pub fn voluntary_switches(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/task", self.pid);
        let tasks = fs::read_dir(&path).with_context(|| format!("cannot list {path}"))?;
        // A thread may end between the two looks at it.
        let statuses = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
        Ok(statuses.filter_map(|status| number(&status, "voluntary_ctxt_switches:")).sum())
    }

    /// Its resident memory, in bytes.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let rollup = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(number(&rollup, "Rss:").with_context(|| format!("{path} has no Rss"))? * 1024)
    }
}

/// The processor time of this process, in ns.
pub fn own_cpu_ns() -> anyhow::Result<u64> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    nanoseconds(time.tv_sec, time.tv_nsec)
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> anyhow::Result<u64> {
    u64::try_from(seconds * 1_000_000_000 + nanoseconds).context("the processor time is negative")
}

/// The number in the line that starts with `name`.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_this_process_are_those_of_this_process() {
        let this = ServerProcess::new(std::process::id()).unwrap();
        let before = own_cpu_ns().unwrap();
        let seen = this.cpu_ns().unwrap();
        let after = own_cpu_ns().unwrap();
        assert!((before..=after).contains(&seen), "{before} {seen} {after}");
        assert!(this.rss_bytes().unwrap() > 100_000);
    }

    #[test]
    fn sleeping_is_a_voluntary_switch() {
        let this = ServerProcess::new(std::process::id()).unwrap();
        let switches = || {
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            number(&status, "voluntary_ctxt_switches:").unwrap()
        };
        let before = switches();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(switches() > before);
        assert!(this.voluntary_switches().unwrap() >= switches());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        for pid in [0, PIDS as u32 - 1, i32::MAX as u32, u32::MAX] {
            assert!(ServerProcess::new(pid).is_err(), "{pid}");
        }
    }
}
