//! A forked process, for what a runtime does in one.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;

/// What a child that panicked exits with.
const PANICKED: i32 = 101;

/// Runs `child` in a forked process, without exec, and waits for its end. It exits with 0 if `child` returns, with
/// 101 if it panics; its own destructors don't run.
///
/// Other threads are gone in the child, with the locks they held: call this when they sleep.
///
/// # Errors
/// Those of fork(2) and waitpid(2).
pub fn forked(child: impl FnOnce()) -> io::Result<ExitStatus> {
    // SAFETY: the C library's allocator and std's locks are in order in the child unless another thread held
    // them, which the caller sees to; and the child leaves only through `_exit`.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(child)).map_or(PANICKED, |()| 0);
        // SAFETY: nothing runs after it.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` lives through the call.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(ExitStatus::from_raw(status));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
