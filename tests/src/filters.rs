//! Filters of system calls, as containers have them.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// From here on `call` fails with `errno` for this thread and for what it starts, by a filter of the kernel.
///
/// # Panics
/// If there can be no filters here: see [`no_filters`].
pub fn refuse(call: i64, errno: i32) {
    let refuse = SeccompAction::Errno(errno.unsigned_abs());
    let rules = [(call, Vec::new())].into();
    let here = std::env::consts::ARCH.try_into().expect("tried before");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, here).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("tried before");
}

/// Why there can't be such filters here, if there can't. Tried on a thread, with which they end.
///
/// # Panics
/// If the thread does.
#[must_use]
pub fn no_filters() -> Option<String> {
    std::thread::spawn(demos::sandbox::check).join().expect("no panic").err().map(|error| error.to_string())
}
