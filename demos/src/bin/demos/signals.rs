//! SIGINT and SIGTERM: the first asks the program to end, the second ends it. SIGXFSZ ends nothing.
//!
//! A signal handler may do next to nothing, so signal-hook's only writes to a pipe, and a thread of
//! ours reads it. The thread reaches the runtimes as any other thread would.

use std::sync::Arc;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// By convention the exit code of a program that a signal ended: this plus the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// From now on a write beyond the limit of file sizes (`ulimit -f`) is an error like any other, as it is with io_uring.
/// By default a signal ends the program at the first such write, and all that it does for others.
pub fn outlive_long_files() -> std::io::Result<()> {
    // A handler, and not SIG_IGN: programs that this one starts would inherit that.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// From now on the first signal calls `stop`, and the next one exits at once.
pub fn stop_on_signals(stop: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
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
