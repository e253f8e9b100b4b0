//! SIGINT and SIGTERM: the first asks the program to end, the second ends it.
//!
//! A signal handler may do next to nothing, so signal-hook's only writes to a pipe, and a thread of
//! ours reads it. The thread reaches the runtimes as any other thread would.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// By convention the exit code of a program that a signal ended: this plus the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

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
