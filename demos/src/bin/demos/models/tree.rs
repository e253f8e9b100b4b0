//! What a server uses, with all its threads and the processes it has forked, as the kernel tells it.

use std::fs::{read_dir, read_to_string};

/// What a process and its children use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time so far, of all threads there are.
    pub cpu_ns: u64,
    /// How often they gave up a processor, or were made to, so far.
    pub switches: u64,
    /// Memory that is theirs; what several share counts in parts.
    pub bytes: u64,
}

impl Usage {
    /// Of this process and its children. What the kernel does not tell counts as 0.
    pub fn of(process: u32) -> Usage {
        let mut usage = Usage::default();
        let folder = format!("/proc/{process}");
        usage.add(&folder);
        let children = read_to_string(format!("{folder}/task/{process}/children")).unwrap_or_default();
        children.split_whitespace().for_each(|child| usage.add(&format!("/proc/{child}")));
        usage
    }

    /// Adds one process.
    fn add(&mut self, folder: &str) {
        self.bytes += number(&read_to_string(format!("{folder}/smaps_rollup")).unwrap_or_default(), "Pss:") * 1024;
        let Ok(threads) = read_dir(format!("{folder}/task")) else { return };
        for thread in threads.filter_map(Result::ok) {
            let text = |file: &str| read_to_string(thread.path().join(file)).unwrap_or_default();
            let spent = text("schedstat").split_whitespace().next().and_then(|word| word.parse().ok());
            self.cpu_ns += spent.unwrap_or(0_u64);
            let status = text("status");
            self.switches += number(&status, "voluntary_ctxt_switches:");
            self.switches += number(&status, "nonvoluntary_ctxt_switches:");
        }
    }
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id());
        assert!(usage.bytes > 0 && usage.switches > 0, "{usage:?}");
        assert_eq!(number("Rss: 12 kB\nPss:   7 kB\n", "Pss:"), 7);
    }
}
