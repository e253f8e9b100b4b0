//! Rung 2, `processes`: a process for each connection, by fork(2).
//!
//! Shows: the oldest way to serve many clients at once. The code for one client stays as it was, and the kernel does the
//! waiting. Clients share nothing, so a crash ends one conversation only. The price is a copy of the address space for
//! each, a switch of processes for each answer, and children that have to be buried.
//!
//! See it: `demos models serve processes --listen 127.0.0.1:7000`, then `nc 127.0.0.1 7000` twice, and `pstree -p`.
//!
//! What is next: `threads`, which share the address space.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::signal::{SigSet, Signal};
use rustix::net::SocketFlags;
use rustix::process::{self, Pid, WaitOptions, kill_process, set_parent_process_death_signal, waitpid};

use super::counters::Call;
use super::hall::{Guest, Hall};
use super::talk::talk;
use crate::signals;

pub fn run(hall: &Hall) -> io::Result<()> {
    let _listener = hall.stop.watch(hall.listener.clone());
    hall.ready()?;
    let mut children: Vec<Pid> = Vec::new();
    let ending = signals::that_end();
    while !hall.stop.is_asked() {
        let guest = hall.accept(children.len(), SocketFlags::empty())?;
        // Who has ended stays in the kernel's table until somebody asks for it. At the latest when the next one comes.
        children.retain(|child| !has_ended(hall, *child, WaitOptions::NOHANG));
        let Guest::Welcome(stream) = guest else { continue };
        // A signal that met a child before its own handlers were set would be taken for one to the parent.
        let signals: SigSet = ending.iter().filter_map(|signal| Signal::try_from(*signal).ok()).collect();
        signals.thread_block()?;
        hall.counters.call(Call::Fork);
        // SAFETY: other threads of this process wait for signals and for lines on stdin; the child has none of them, and
        // waits for none. What it calls of theirs is the allocator, which the C library makes usable after a fork. It
        // ends in `_exit`, so it never gets to what belongs to the parent.
        match unsafe { libc::fork() } {
            0 => {
                reset_signals(&ending, signals);
                let _ = catch_unwind(AssertUnwindSafe(|| talk(hall, &stream)));
                // SAFETY: it ends the process without running anything of the parent's, such as exit handlers.
                unsafe { libc::_exit(0) };
            }
            child => {
                let result = io::Error::last_os_error();
                signals.thread_unblock()?;
                match Pid::from_raw(child.max(0)) {
                    Some(child) => children.push(child),
                    None => hall.refuse(&stream, &format!("no process for it: {result}")),
                }
            }
        }
    }
    for child in &children {
        // It may have ended, but as nobody has asked for it yet, the number is still its own.
        let _ = kill_process(*child, process::Signal::TERM);
    }
    children.retain(|child| !has_ended(hall, *child, WaitOptions::empty()));
    Ok(())
}

/// In a child: the parent's handlers would tell the parent. Signals end it as they end any program, and so does the
/// parent's end, however that comes. One that has come meanwhile does so now.
fn reset_signals(ending: &[i32], held_back: SigSet) {
    for signal in ending {
        // SAFETY: the default action needs no function of ours.
        unsafe { libc::signal(*signal, libc::SIG_DFL) };
    }
    let _ = set_parent_process_death_signal(Some(process::Signal::TERM));
    let _ = held_back.thread_unblock();
}

fn has_ended(hall: &Hall, child: Pid, options: WaitOptions) -> bool {
    hall.counters.call(Call::Wait);
    // An error means that there is no such child any more.
    !matches!(waitpid(Some(child), options), Ok(None))
}
