//! Servers and clients in processes of their own, started from this same binary.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cores::{Cores, Role};
use super::plan::{MEASURED, Scenario, Shape, WARM_UP};
use crate::load;
use crate::servers::Service;

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take for everything but the load itself. It has time limits of its own.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);
/// How often a process is asked whether it has ended.
const ASK: Duration = Duration::from_millis(1);
/// How much of what a process says is kept.
const MOST_TEXT: u64 = 1 << 20;

/// A running server. Dropping it kills it.
pub struct Server {
    process: Process,
    /// Its end ends the server.
    stdin: Option<ChildStdin>,
    address: SocketAddr,
}

impl Server {
    /// Starts it on the servers' processor, and waits until it accepts.
    pub fn start(cores: &Cores, name: &str, service: Service) -> anyhow::Result<Server> {
        let mut command = command(["serve", name, "--service", &service.to_string()])?;
        command.stdin(Stdio::piped());
        let mut process = Process::start(cores, Role::Server, &mut command)?;
        let stdin = process.child.stdin.take();
        let address = process.address(PATIENCE)?;
        Ok(Server { process, stdin, address })
    }

    /// How long its main thread has waited for its processor: the second number of proc_pid_schedstat(5).
    /// Nothing where the kernel does not tell.
    pub fn waited(&self) -> Duration {
        let statistics = fs::read_to_string(format!("/proc/{}/schedstat", self.process.child.id()));
        let statistics = statistics.unwrap_or_default();
        let waited = statistics.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok());
        Duration::from_nanos(waited.unwrap_or(0))
    }

    /// Adds what the server says about its end, if it has ended, to an error of its client's.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.process.child.try_wait() {
            Ok(Some(status)) => {
                let complaint = self.process.complaint().unwrap_or_default();
                error.context(format!("the server ended with {status}: {complaint}"))
            }
            _ => error,
        }
    }

    /// Ends it, and sees that it ends well.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.stdin = None;
        let status = self.process.end(PATIENCE).context("the server does not end when its stdin does")?;
        if !status.success() {
            bail!("the server ended with {status}: {}", self.process.complaint().unwrap_or_default());
        }
        Ok(())
    }
}

/// Loads the server from a process on the client's processor.
pub fn load(cores: &Cores, scenario: &Scenario, server: &Server) -> anyhow::Result<load::Outcome> {
    let mut command = command(["load", &server.address.to_string(), "--json"])?;
    command.args(["--server-pid", &server.process.child.id().to_string()]);
    command.args(arguments(scenario)).stdin(Stdio::null());
    let mut process = Process::start(cores, Role::Client, &mut command)?;
    let limit = WARM_UP + MEASURED + CLIENT_PATIENCE;
    let text = process.read_until(None, limit)?;
    let status = process.end(limit)?;
    if !status.success() {
        bail!("{}", process.complaint().unwrap_or(format!("the client ended with {status}")));
    }
    serde_json::from_str(&text).with_context(|| format!("the client's figures cannot be read: {text:?}"))
}

/// What the client is told.
fn arguments(scenario: &Scenario) -> Vec<String> {
    let (shape, more) = match scenario.shape {
        Shape::Closed => ("closed", None),
        Shape::Open { rate } => ("open", Some(("--rate", rate))),
        Shape::Churn => ("churn", None),
        Shape::Idle { active } => ("idle", Some(("--active", active))),
    };
    let mut arguments = vec![
        ("--service", scenario.service.to_string()),
        ("--shape", shape.to_owned()),
        ("--connections", scenario.connections.to_string()),
        ("--depth", scenario.depth.to_string()),
        ("--warm-up", WARM_UP.as_secs_f64().to_string()),
        ("--seconds", MEASURED.as_secs_f64().to_string()),
    ];
    match scenario.service {
        Service::Echo => arguments.push(("--message", scenario.message.to_string())),
        Service::Http => arguments.push(("--path", "/plaintext".to_owned())),
    }
    arguments.extend(more.map(|(option, value)| (option, value.to_string())));
    arguments.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
}

fn command<const N: usize>(arguments: [&str; N]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    // What they complain about is shown in a line.
    command.args(arguments).env("RUST_LIB_BACKTRACE", "0");
    Ok(command)
}

/// A process whose output is read. Dropping it kills it.
pub struct Process {
    pub child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

impl Process {
    /// One whose outputs are pipes.
    pub fn new(mut child: Child) -> Process {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Process { child, stdout, stderr }
    }

    fn start(cores: &Cores, role: Role, command: &mut Command) -> anyhow::Result<Process> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Process::new(cores.start(role, command).context("cannot start a process")?))
    }

    /// Where it listens: a server says so when it accepts.
    pub fn address(&mut self, limit: Duration) -> anyhow::Result<SocketAddr> {
        let line = match self.read_until(Some(b'\n'), limit) {
            Ok(line) => line,
            Err(error) => bail!("{}", self.complaint().unwrap_or(format!("{error:#}"))),
        };
        // Some add the engine.
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split_ascii_whitespace().next());
        match address.and_then(|address| address.parse().ok()) {
            Some(address) => Ok(address),
            None => bail!(self.complaint().unwrap_or(format!("it said {line:?} instead of its address"))),
        }
    }

    /// What it says until it says `last`, or until it says no more.
    fn read_until(&mut self, last: Option<u8>, limit: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + limit;
        let stdout = self.stdout.as_mut().context("it has no stdout")?;
        let mut bytes = Vec::new();
        while last.is_none_or(|last| bytes.last() != Some(&last)) && bytes.len() < MOST_TEXT as usize {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
            let mut ready = [PollFd::new(&*stdout, PollFlags::IN)];
            if poll(&mut ready, Some(&left)).context("cannot wait for it")? == 0 {
                bail!("it did not answer within {limit:?}");
            }
            let mut buffer = [0; 4096];
            match stdout.read(&mut buffer).context("cannot read what it says")? {
                0 if last.is_none() => break,
                0 => bail!("it ended early"),
                count => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits for its end.
    pub fn end(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for it")? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "it did not end within {limit:?}");
            thread::sleep(ASK);
        }
    }

    /// The first line of what it says on stderr, which is complete once it has ended.
    pub fn complaint(&mut self) -> Option<String> {
        self.kill();
        let mut text = Vec::new();
        self.stderr.take()?.take(MOST_TEXT).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "Caused by:");
        let lines: Vec<_> = lines.take(4).map(|line| line.trim_start_matches("Error: ")).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// Ends it now, if it has not ended yet.
    pub fn kill(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
