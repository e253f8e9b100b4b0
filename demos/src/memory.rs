//! What the kernel says about memory, in bytes.

use std::fs;

/// Memory this process has in use, exactly: `smaps_rollup` counts, where `statm` estimates.
#[must_use]
pub fn resident() -> Option<u64> {
    field("/proc/self/smaps_rollup", "Rss:")
}

/// The part of the memory in use that falls to a process, of what it shares with others its share.
#[must_use]
pub fn proportional(process: u32) -> Option<u64> {
    field(&format!("/proc/{process}/smaps_rollup"), "Pss:")
}

/// Addresses this process has taken, whether there is memory behind them or not.
#[must_use]
pub fn address_space() -> Option<u64> {
    field("/proc/self/status", "VmSize:")
}

/// Page tables of a process.
#[must_use]
pub fn page_tables(process: u32) -> Option<u64> {
    field(&format!("/proc/{process}/status"), "VmPTE:")
}

/// The kernel's own stacks, those of all threads of the machine.
#[must_use]
pub fn kernel_stacks() -> Option<u64> {
    field("/proc/meminfo", "KernelStack:")
}

/// A line of such a file: its name, and a number of KiB.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_all_of_it() {
        let own = std::process::id();
        let found = [resident(), proportional(own), address_space(), page_tables(own), kernel_stacks()];
        assert!(found.iter().all(|bytes| bytes.is_some_and(|bytes| bytes >= 1024)), "{found:?}");
    }
}
