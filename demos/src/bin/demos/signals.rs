//! SIGHUP, SIGINT and SIGTERM: the first asks the program to end, the second ends it. SIGXFSZ ends nothing.
//!
//! A signal handler may do next to nothing, so signal-hook's only writes to a pipe, and a thread of
//! ours reads it. The thread reaches the runtimes as any other thread would.
//!
//! A program inherits which signals are ignored. `nohup` ignores SIGHUP, and a shell without job control ignores SIGINT
//! for what runs in the background. Both stay ignored. An ignored SIGCHLD does not: the kernel then drops how a child has
//! ended, and all that wait for one would fail.

use std::sync::Arc;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// By convention the exit code of a program that a signal ended: this plus the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// From now on a write beyond the limit of file sizes (`ulimit -f`) is an error like any other, as it is with io_uring.
/// By default a signal ends the program at the first such write, and all that it does for others. And children can be
/// waited for, whatever started this program.
pub fn prepare() -> std::io::Result<()> {
    // A handler, and not SIG_IGN: programs that this one starts would inherit that.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    if is_ignored(SIGCHLD) {
        signal_hook::flag::register(SIGCHLD, Arc::default())?;
    }
    Ok(())
}

/// The signals that ask this program to end.
pub fn that_end() -> Vec<i32> {
    [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| *signal == SIGTERM || !is_ignored(*signal)).collect()
}

/// From now on the first signal calls `stop`, and the next one exits at once.
pub fn stop_on_signals(stop: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new(that_end())?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut signals = signals.forever();
        signals.next();
        stop();
        if let Some(signal) = signals.next() {
            std::process::exit(ENDED_BY_SIGNAL + signal);
        }
    })?;
    Ok(())
}

/// From now on the first signal calls `clean_up`, and then ends the program as if nothing had been done about it.
pub fn clean_up_on_signals(clean_up: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new(that_end())?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            clean_up();
            // It fails for signals that do not end a program.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Whether this process ignores the signal. Without `/proc` there is no telling; then none is.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in(ignored(&status), signal)
}

/// A bit for each signal; the lowest is signal 1.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_kernel() {
        let mask = ignored("Name:\tdemos\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000011001\n");
        assert!(is_in(mask, SIGHUP) && is_in(mask, SIGCHLD) && !is_in(mask, SIGINT) && !is_in(mask, SIGTERM));
        assert_eq!(ignored(""), 0);
    }
}
