//! What a process knows about itself: its CPU time, its memory, its core.

use std::fs;
use std::sync::OnceLock;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// CPU time this process has used, with all its threads, in nanoseconds.
pub fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Resident memory of this process, in bytes. From `smaps_rollup`, which counts page by page: the figure
/// in `statm` lags behind.
pub fn resident_bytes() -> anyhow::Result<f64> {
    let path = "/proc/self/smaps_rollup";
    let text = fs::read_to_string(path).with_context(|| path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).context("no line Rss in smaps_rollup")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("Rss: {line}"))?;
    Ok(kib * 1024.0)
}

/// The CPUs this process may use, as they were before anything was pinned.
static USABLE: OnceLock<Vec<usize>> = OnceLock::new();

/// Keeps the calling thread, and those it starts later, on the n-th of the CPUs this process may use; on the
/// last, if there are fewer. Without that the kernel moves threads about while they are measured.
pub fn pin(number: usize) -> anyhow::Result<()> {
    let all = sched_getaffinity(None)?;
    let usable = USABLE.get_or_init(|| (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect());
    let cpu = *usable.get(number).or(usable.last()).context("no CPU to run on")?;
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).with_context(|| format!("pinning a thread to CPU {cpu}"))
}
