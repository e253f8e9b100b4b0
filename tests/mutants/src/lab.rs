//! Builds test binaries in the copy, and runs single tests of them.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::exhibit::{Binary, Kit, Test};
use crate::scratch::Scratch;

/// How much longer than the test's own watchdog we wait: it dumps what it can, and then the suite notices.
const GRACE: Duration = Duration::from_secs(10);
/// More of it is not shown.
const REASON_LENGTH: usize = 100;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where tests are built and run.
#[derive(Debug)]
pub struct Lab {
    scratch: Scratch,
    /// How long a test may take.
    limit: Duration,
}

/// How a build went.
#[derive(Debug)]
pub enum Built {
    /// The test binaries.
    Binaries(BTreeMap<Binary, PathBuf>),
    /// The compiler refused, with this text.
    Refused(String),
}

/// How a test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// As it should.
    Passed,
    /// It failed: how, and all it printed.
    Failed(How, String),
    /// The binary has no test of that name.
    Missing,
}

/// How a test fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It says what is wrong.
    Assertion,
    /// It, or its watchdog, ran out of time.
    Hang,
    /// The process died of a signal.
    Crash,
}

impl Lab {
    /// A lab in a copy. No test may take longer than `limit`.
    pub fn new(scratch: Scratch, limit: Duration) -> Lab {
        Lab { scratch, limit }
    }

    /// The copy's root.
    pub fn tree(&self) -> &Path {
        &self.scratch.tree
    }

    /// Builds these test binaries, and nothing they do not need.
    ///
    /// # Errors
    /// If cargo cannot be started, or answers nonsense.
    pub fn build(&self, kit: &Kit) -> Result<Built> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["test", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
        let mut target = self.scratch.target.clone();
        for binary in kit {
            cargo.args(["--package", &binary.package]);
            if !binary.is_lib() {
                cargo.args(["--test", &binary.target]);
            }
        }
        if kit.iter().any(Binary::is_lib) {
            cargo.arg("--lib");
        }
        if kit.iter().any(Binary::is_loom) {
            // In a folder of its own: the flag would have everything else built anew each time. Optimised, because
            // a model is run thousands of times.
            target.push("loom");
            cargo.env("RUSTFLAGS", "--cfg loom").env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
        }
        cargo.current_dir(&self.scratch.tree).env("CARGO_TARGET_DIR", target);
        // Nobody looks into these binaries with a debugger.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").stdin(Stdio::null());
        let output = cargo.output().context("cannot start cargo")?;
        if !output.status.success() {
            return Ok(Built::Refused(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let messages = String::from_utf8(output.stdout).context("cargo's messages are no text")?;
        let messages: Vec<_> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let find = |binary: &Binary| {
            let found = messages.iter().find_map(|message| self.executable(message, binary));
            Ok((binary.clone(), found.with_context(|| format!("cargo has built no test binary {binary:?}"))?))
        };
        Ok(Built::Binaries(kit.iter().map(find).collect::<Result<_>>()?))
    }

    /// The binary, if this is what cargo says of it.
    fn executable(&self, message: &Value, binary: &Binary) -> Option<PathBuf> {
        let manifest = self.scratch.tree.join(binary.folder()).join("Cargo.toml");
        let target = &message["target"];
        let is_meant = if binary.is_lib() {
            target["kind"][0] == "lib"
        } else {
            target["kind"][0] == "test" && target["name"] == binary.target
        };
        // Where a test needs the package's program or library, that is built, too.
        let is_meant =
            is_meant && message["profile"]["test"] == true && message["manifest_path"] == *manifest.to_str()?;
        message["executable"].as_str().filter(|_| is_meant).map(PathBuf::from)
    }

    /// Runs one test of a binary.
    ///
    /// # Errors
    /// If the binary cannot be started.
    pub fn run(&self, executable: &Path, test: &Test) -> Result<Ran> {
        let (mut reader, writer) = std::io::pipe()?;
        let mut command = Command::new(executable);
        command.args(["--exact", &test.name]).env("CASE_LIMIT_SECONDS", self.limit.as_secs().to_string());
        // A group of its own, to be ended with all it has started.
        command.current_dir(&self.scratch.tree).stdin(Stdio::null()).process_group(0);
        let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn().context("cannot start a test")?;
        // Closes our ends of the pipe, so that it ends when the last process does.
        drop(command);
        let printed = thread::spawn(move || {
            let mut printed = Vec::new();
            let _ = reader.read_to_end(&mut printed);
            String::from_utf8_lossy(&printed).into_owned()
        });
        let status = wait(&mut child, self.limit + GRACE)?;
        let printed = printed.join().expect("reading a pipe does not panic");
        Ok(judge(status, printed))
    }
}

/// `None` if it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > limit {
            break None;
        }
        thread::sleep(LOOK_EVERY);
    };
    // What a test has started and not ended goes with it; mostly there is nothing.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    if status.is_none() {
        child.wait()?;
    }
    Ok(status)
}

/// What a failed test said: the first line of the first panic.
pub fn reason(printed: &str) -> String {
    let mut lines = printed.lines().skip_while(|line| !line.contains("panicked at ")).skip(1);
    let line = lines.next().unwrap_or_default();
    line.chars().take(REASON_LENGTH).collect()
}

/// Both harnesses, libtest's and libtest-mimic, end with "test result: ...", and with 0 or 101.
fn judge(status: Option<ExitStatus>, printed: String) -> Ran {
    let Some(status) = status else { return Ran::Failed(How::Hang, printed) };
    if status.success() {
        return if printed.contains(" 1 passed") { Ran::Passed } else { Ran::Missing };
    }
    let how = if printed.contains("WATCHDOG: ") || printed.contains("killed: it hung") {
        How::Hang
    } else if status.signal().is_some() || printed.contains("\nsignal: ") {
        How::Crash
    } else {
        How::Assertion
    };
    Ran::Failed(how, printed)
}
