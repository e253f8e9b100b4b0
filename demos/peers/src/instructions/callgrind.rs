//! A server under callgrind: how it starts, what it executes, how it ends.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, process, thread};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::profile::Cost;
use super::programs::Launch;
use crate::bench::process::Process;

/// How long a server may take to start: everything is some fifty times slower than usual.
const START: Duration = Duration::from_secs(60);
/// How long it may take to write down what it has executed.
const DUMP: Duration = Duration::from_secs(60);
/// How often a folder is removed until it is gone, and the rest in between.
const REMOVALS: u32 = 100;
const REST: Duration = Duration::from_millis(10);
/// Threads that a server may have, more than there are connections in any scenario.
const THREADS: u32 = 2000;

/// The version of valgrind. If there is none, the error says how to get it.
pub fn version() -> anyhow::Result<String> {
    let remedy = "valgrind is missing: install it from your distribution, for example with `apt-get install valgrind`";
    for program in ["valgrind", "vgdb"] {
        let output = Command::new(program).arg("--help").output().context(remedy)?;
        ensure!(output.status.success(), "`{program} --help` fails: {remedy}");
    }
    let output = Command::new("valgrind").arg("--version").output().context(remedy)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A folder for what valgrind writes. It goes when this is dropped, or when a signal ends the program.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> anyhow::Result<Folder> {
        let path = env::temp_dir().join(format!("peers-instructions-{}", process::id()));
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot catch signals")?;
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let folder = Folder(path.clone());
        thread::spawn(move || {
            for signal in signals.forever() {
                remove(&path);
                // It ends this process, and with it the server.
                let _ = emulate_default_handler(signal);
            }
        });
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a folder, also if a server that starts puts its files there meanwhile.
fn remove(folder: &Path) {
    for _ in 0..REMOVALS {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        thread::sleep(REST);
    }
}

/// A running server. Dropping it kills it.
pub struct Callgrind {
    process: Process,
    folder: PathBuf,
    dumps: u32,
    pub address: SocketAddr,
}

impl Callgrind {
    /// Starts a server, and waits until it accepts.
    pub fn start(folder: &Folder, launch: &Launch) -> anyhow::Result<Callgrind> {
        let folder = folder.0.join("run");
        fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--collect-systime=yes"]).arg(format!("--max-threads={THREADS}"));
        for (option, name) in [("--callgrind-out-file", "out"), ("--log-file", "log"), ("--vgdb-prefix", "vgdb")] {
            command.arg(option_with_path(option, &folder.join(name)));
        }
        command.arg("--").arg(&launch.program).args(&launch.arguments);
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let process = start(command)?;
        let mut server = Callgrind { process, folder, dumps: 0, address: unknown };
        server.address = server.process.address(START).map_err(|error| server.explain(error))?;
        Ok(server)
    }

    /// What the kernel calls it.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process.child)
    }

    /// What it has cost since the last time this was asked. The server has to be asleep.
    pub fn cost(&mut self) -> anyhow::Result<Cost> {
        let mut command = Command::new("vgdb");
        command.arg(option_with_path("--vgdb-prefix", &self.folder.join("vgdb")));
        command.arg(format!("--pid={}", self.process.child.id())).arg("dump");
        let mut vgdb = start(command)?;
        let status = vgdb.end(DUMP).context("vgdb does not end")?;
        ensure!(status.success(), "vgdb cannot ask for the counts: {}", vgdb.complaint().unwrap_or_default());
        self.dumps += 1;
        let file = self.folder.join(format!("out.{}", self.dumps));
        let text = fs::read(&file).context("callgrind did not write its counts")?;
        Cost::parse(&String::from_utf8_lossy(&text))
    }

    /// Adds to an error what the server and valgrind say. It ends the server.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let said = self.process.complaint();
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let unknown = unknown_calls(&String::from_utf8_lossy(&log));
        let error = match said {
            Some(said) => error.context(said),
            None => error,
        };
        match &unknown[..] {
            [] => error,
            calls => error.context(format!("valgrind does not know system call {}", calls.join(", "))),
        }
    }
}

impl Drop for Callgrind {
    fn drop(&mut self) {
        // It writes into the folder until it ends.
        self.process.kill();
        remove(&self.folder);
    }
}

/// Starts a server without valgrind, to see whether it can run here at all.
pub fn runs_without(launch: &Launch) -> anyhow::Result<()> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments);
    start(command)?.address(START).map(drop)
}

/// Starts a process that ends with this one, whatever ends this one.
fn start(mut command: Command) -> anyhow::Result<Process> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("RUST_LIB_BACKTRACE", "0");
    let follow = || set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    // SAFETY: between fork and exec it makes one system call, and takes no memory.
    unsafe { command.pre_exec(follow) };
    Ok(Process::new(command.spawn().with_context(|| format!("cannot start {name}"))?))
}

fn option_with_path(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push("=");
    argument.push(path);
    argument
}

/// The numbers of the system calls that valgrind had to refuse, out of its log.
fn unknown_calls(log: &str) -> Vec<String> {
    let mut calls: Vec<String> = Vec::new();
    for line in log.lines().filter(|line| line.contains("WARNING: unhandled ")) {
        if let Some((_, number)) = line.split_once("syscall: ")
            && !calls.iter().any(|known| known == number)
        {
            calls.push(number.to_owned());
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_calls_come_out_of_the_log_once_each() {
        let log = "==7== Parent PID: 1\n--7-- WARNING: unhandled amd64-linux syscall: 441\n--7-- You may\n\
                   --7-- WARNING: unhandled amd64-linux syscall: 441\n--7-- WARNING: unhandled arm64-linux syscall: 5\n";
        assert_eq!(unknown_calls(log), ["441", "5"]);
        assert!(unknown_calls("==7== Parent PID: 1\n").is_empty());
    }
}
