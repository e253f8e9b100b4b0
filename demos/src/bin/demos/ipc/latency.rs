//! How long a message and its answer take, with a thread or a process at the far end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use rustix::process::{Pid, Signal};

use super::channel::{Channel, Far, Message, message, number};
use super::{Way, answer};
use crate::log;

/// Exchanges before any is measured: the far end is there, and its memory too.
pub const WARM_UP: u64 = 50;
/// Exchanges between two looks at whether the time is over.
pub const IN_A_ROW: u64 = 16;
/// The longest exchange that is told from a longer one, in ns.
const LONGEST_NS: u64 = 10_000_000_000;
/// How long an exchange may take before the program gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a process at the far end says when it is ready.
pub const READY: &str = "ready";

/// Where the far end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// a thread of this process
    Thread,
    /// a process of its own
    Process,
}

/// The far end at work. Dropping it ends a process; a thread ends when it is told so.
pub enum Partner {
    Thread(Option<thread::JoinHandle<std::io::Result<()>>>),
    Process(Child),
}

impl Partner {
    /// Starts it, and waits until it is ready.
    pub fn start(way: Way, place: Place, far: Far) -> anyhow::Result<Partner> {
        match place {
            Place::Thread => {
                let run = move || answer(&mut *way.join(far)?);
                let thread = thread::Builder::new().name("far end".to_owned()).spawn(run);
                Ok(Partner::Thread(Some(thread.context("cannot start a thread")?)))
            }
            Place::Process => {
                let binary = std::env::current_exe().context("cannot find this program's own file")?;
                let stream = |descriptor: Option<_>| descriptor.map_or_else(Stdio::null, Stdio::from);
                let mut process = Command::new(binary)
                    .args(["ipc", "--answer", way.name(), "--at", &far.name, "--with-parent"])
                    .stdin(stream(far.stdin))
                    .stdout(stream(far.stdout))
                    .stderr(Stdio::piped())
                    .spawn()
                    .context("cannot start a process")?;
                let stderr = process.stderr.take().context("the process has no stderr")?;
                let partner = Partner::Process(process);
                let mut line = String::new();
                BufReader::new(stderr).read_line(&mut line).context("cannot hear the process")?;
                ensure!(line.trim_end() == READY, "the process at the far end said: {}", line.trim_end());
                Ok(partner)
            }
        }
    }

    /// The process it is, if it is one of its own.
    pub fn process(&self) -> Option<Pid> {
        match self {
            Partner::Thread(_) => None,
            Partner::Process(process) => Some(Pid::from_child(process)),
        }
    }

    /// Waits for its end, after it has been told.
    pub fn end(mut self) -> anyhow::Result<()> {
        match &mut self {
            Partner::Process(process) => {
                let status = process.wait().context("cannot wait for the process")?;
                ensure!(status.success(), "the process at the far end ended with {status}");
            }
            Partner::Thread(thread) => {
                let ended = thread.take().map(thread::JoinHandle::join).context("it has been waited for")?;
                ended.map_err(|_| anyhow!("the far end panicked"))?.context("the far end failed")?;
            }
        }
        Ok(())
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        if let Partner::Process(process) = self {
            // Both fail only if it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Times of exchanges in ns.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_max(LONGEST_NS, 3).context("the histogram's bounds are wrong")
}

/// Exchanges messages for so long, one after the other, and measures each. Every answer is checked.
pub fn measure(way: Way, place: Place, time: Duration) -> anyhow::Result<Histogram<u64>> {
    let Channel { mut near, far, names } = way.open().context("cannot set it up")?;
    let partner = Partner::start(way, place, far)?;
    if let Some(process) = partner.process() {
        near.meet(process);
    }
    let mut times = histogram()?;
    let (mut asked, mut end, mut names) = (0, None, Some(names));
    loop {
        for _ in 0..IN_A_ROW {
            let question = message(2 * asked);
            let sent = Instant::now();
            near.send(&question).context("cannot send")?;
            let answer = near.receive().context("cannot receive")?.context("the far end is gone")?;
            let took = sent.elapsed();
            check(&answer, 2 * asked)?;
            // Both ends have opened what they need: nothing is left behind if the program is ended from now on.
            drop(names.take());
            if asked >= WARM_UP {
                record(&mut times, took);
            }
            asked += 1;
        }
        let end = *end.get_or_insert_with(|| Instant::now() + time);
        if asked > WARM_UP && Instant::now() >= end {
            break;
        }
    }
    near.stop().context("cannot tell the far end to end")?;
    partner.end()?;
    Ok(times)
}

/// Sees that this is the answer to the question of this number.
pub fn check(answer: &Message, question: u64) -> anyhow::Result<()> {
    let expected = message(question + 1);
    if *answer != expected {
        bail!("the answer to {question} is {} instead of {}", number(answer), question + 1);
    }
    Ok(())
}

pub fn record(times: &mut Histogram<u64>, took: Duration) {
    times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS));
}

/// Ends the program with a clear word if it gets stuck: most of these calls wait without a limit.
pub struct Watch(Sender<String>);

impl Watch {
    /// From now on something has to happen now and then.
    pub fn start() -> anyhow::Result<Watch> {
        let (sender, receiver) = channel::<String>();
        let watch = move || {
            let mut doing = "nothing yet".to_owned();
            loop {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(next) => doing = next,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        log::say_last(format_args!(
                            "demos: nothing happened for {PATIENCE:?} ({doing}): is the other end alive?"
                        ));
                        std::process::exit(1);
                    }
                }
            }
        };
        thread::Builder::new().name("watch".to_owned()).spawn(watch).context("cannot start a thread")?;
        Ok(Watch(sender))
    }

    /// What happens next.
    pub fn sees(&self, doing: String) {
        // It has ended only if the program does.
        let _ = self.0.send(doing);
    }
}

/// Sees to it that this process doesn't outlive the one that started it for the far end.
pub fn end_with_parent() -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("cannot bind to the parent")
}
