//! A server ends when its stdin does, so that it never outlives who started it.
//!
//! A thread that waits in `read` would be simpler, but these are to be servers of one thread: in a process
//! of two, the kernel has to count the users of a descriptor in each system call. So it is asked to send
//! a signal (SIGIO) when something happens to stdin.

use std::io::{self, IsTerminal};

use libc::c_int;

/// From now on the process exits, with 0, at the end of stdin; at once, if that has come. A terminal is
/// left alone: who sits there has the keyboard to end us.
pub fn exit_at_end() -> io::Result<()> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    // SAFETY: all zeros are a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigio as extern "C" fn(c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` lives through the call, and its handler only makes calls that signal handlers may.
    check(unsafe { libc::sigaction(libc::SIGIO, &raw const action, std::ptr::null_mut()) })?;
    // SAFETY: no memory is passed to these calls.
    let flags = unsafe {
        check(libc::fcntl(libc::STDIN_FILENO, libc::F_SETOWN, libc::getpid()))?;
        check(libc::fcntl(libc::STDIN_FILENO, libc::F_GETFL))?
    };
    // SAFETY: as above.
    check(unsafe { libc::fcntl(libc::STDIN_FILENO, libc::F_SETFL, flags | libc::O_ASYNC) })?;
    on_sigio(libc::SIGIO);
    Ok(())
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Reads what there is, and exits at the end of it.
extern "C" fn on_sigio(_signal: c_int) {
    // SAFETY: the location is valid as long as this thread lives. The program we interrupt may be about
    // to look at it.
    let errno = unsafe { *libc::__errno_location() };
    let mut stdin = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd is passed, and lives through the call.
    while unsafe { libc::poll(&raw mut stdin, 1, 0) } > 0 {
        let mut ignored = [0u8; 64];
        // SAFETY: `ignored` has that many bytes, and lives through the call.
        let count = unsafe { libc::read(libc::STDIN_FILENO, ignored.as_mut_ptr().cast(), ignored.len()) };
        if count <= 0 {
            // SAFETY: it ends the process, without running anything of it.
            unsafe { libc::_exit(0) };
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}
