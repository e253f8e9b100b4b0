//! Signals: the kernel tells a process that something happened, and nothing more than its number. So this conversation
//! says only "now": SIGUSR1 there, SIGUSR2 back, and SIGURG at the end. That one is free: it tells of urgent bytes of TCP,
//! which hardly any program uses, and a program that does not expect it does not notice. SIGTERM stays what it is.
//!
//! See it: `demos ipc --way signal`.
//!
//! A handler would interrupt the program anywhere, and may do next to nothing there. Here the signals are blocked, stay
//! pending, and a thread waits for one with sigwait(3). Two of a kind that are pending are one: signals aren't counted.

use std::io;

use nix::sys::signal::{SigSet, Signal as Sig};
use rustix::process::{Pid, Signal, getpid, kill_process};

use super::channel::{Channel, End, Far, LAST, Message, Names, message, number};

const THERE: (Signal, Sig) = (Signal::USR1, Sig::SIGUSR1);
const BACK: (Signal, Sig) = (Signal::USR2, Sig::SIGUSR2);
const STOP: (Signal, Sig) = (Signal::URG, Sig::SIGURG);

/// Has this thread, and all that it starts from now on, keep the signals pending. A signal to a process goes to any of
/// its threads that doesn't block it, so all of them have to.
pub fn block() -> io::Result<()> {
    SigSet::from_iter([THERE.1, BACK.1, STOP.1]).thread_block().map_err(io::Error::from)
}

pub fn open() -> io::Result<Channel> {
    let near = Signals { process: getpid(), sends: THERE.0, awaits: SigSet::from_iter([BACK.1]), count: 0 };
    let far = Far { name: getpid().to_string(), ..Far::default() };
    Ok(Channel { near: Box::new(near), far, names: Names::none() })
}

pub fn join(process: &str) -> io::Result<Box<dyn End>> {
    let process = process.parse().ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "give the number of a process"))?;
    Ok(Box::new(Signals { process, sends: BACK.0, awaits: SigSet::from_iter([THERE.1, STOP.1]), count: 0 }))
}

struct Signals {
    /// The one at the other end.
    process: Pid,
    sends: Signal,
    awaits: SigSet,
    /// The number of the last message: what can't be carried each end counts by itself.
    count: u64,
}

impl End for Signals {
    fn send(&mut self, message: &Message) -> io::Result<()> {
        self.count = number(message);
        Ok(kill_process(self.process, self.sends)?)
    }

    fn receive(&mut self) -> io::Result<Option<Message>> {
        let signal = self.awaits.wait()?;
        self.count = self.count.wrapping_add(1);
        Ok(Some(message(if signal == STOP.1 { LAST } else { self.count })))
    }

    fn stop(&mut self) -> io::Result<()> {
        Ok(kill_process(self.process, STOP.0)?)
    }

    fn meet(&mut self, process: Pid) {
        self.process = process;
    }
}
