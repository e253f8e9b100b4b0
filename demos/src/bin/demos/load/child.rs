//! A server in a process of its own, started from this same binary.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long a server may take to start, to answer on its control channel, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server. Dropping it kills it.
pub struct Server {
    process: Child,
    /// `None` once it has been told to end.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// What was read of stdout beyond the last line.
    read_ahead: Vec<u8>,
    address: SocketAddr,
}

/// What a server says about itself.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Processor time it has used.
    pub cpu_ns: u64,
    /// Time it has waited for a processor, if the kernel tells.
    pub waited_ns: Option<u64>,
    /// Memory it has in use, if the kernel tells.
    pub rss: Option<u64>,
    /// What it counts.
    pub counters: BTreeMap<String, u64>,
}

impl Server {
    /// Starts `demos COMMAND...` on a free port, and waits until it accepts.
    pub fn start(command: &[&str]) -> anyhow::Result<Server> {
        let name = command.join(" ");
        let binary = std::env::current_exe().context("cannot find this program's own file")?;
        let mut process = Command::new(binary)
            .args(command)
            .args(["--listen", "127.0.0.1:0", "--control"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().context("the server has no stdout")?;
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { process, stdin, stdout, read_ahead: Vec::new(), address: unknown };
        let line = server.read_line().with_context(|| format!("`demos {name}` did not start"))?;
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
        server.address = address
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("`demos {name}` said {line:?} instead of its address"))?;
        Ok(server)
    }

    /// What the kernel calls it.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for its counters.
    pub fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        let stdin = self.stdin.as_mut().context("the server was told to end")?;
        stdin.write_all(b"figures\n").context("cannot ask the server for its counters")?;
        let line = self.read_line().context("the server does not tell its counters")?;
        let answer: Value = serde_json::from_str(&line).context("the server's counters cannot be read")?;
        let counters = answer["counters"].as_object().context("the server has no counters")?;
        let counters = counters.iter().filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)));
        Ok(Snapshot {
            cpu_ns: answer["cpu_ns"].as_u64().context("the server does not tell its processor time")?,
            waited_ns: answer["waited_ns"].as_u64(),
            rss: answer["rss"].as_u64(),
            counters: counters.collect(),
        })
    }

    /// Ends it with SIGTERM, as a user would, and sees that it ends well.
    pub fn end(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM).context("cannot signal the server")?;
        // Some have more to say before that.
        while !self.read_line().context("the server did not end on SIGTERM")?.starts_with("served ") {}
        self.stdin = None;
        let status = self.process.wait().context("cannot wait for the server")?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    /// The next line of its stdout.
    fn read_line(&mut self) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.read_ahead.iter().position(|byte| *byte == b'\n') {
                let rest = self.read_ahead.split_off(end + 1);
                let line = std::mem::replace(&mut self.read_ahead, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).context("the time to wait is out of range")?;
            let mut ready = [PollFd::new(&self.stdout, PollFlags::IN)];
            if poll(&mut ready, Some(&timeout)).context("cannot wait for the server")? == 0 {
                bail!("it said nothing for {PATIENCE:?}");
            }
            let mut buffer = [0; 4096];
            match self.stdout.read(&mut buffer).context("cannot read what it says")? {
                0 => bail!("it ended early; what it said on stderr says why"),
                count => self.read_ahead.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
