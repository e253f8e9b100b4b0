//! `demos doctor`: which engines can run on this machine, what the kernel offers, and how to open what
//! is closed.
//!
//! Nothing is concluded from a version number. What can be tried is tried; the settings around it are
//! read to say why it failed.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use demos::sandbox;
use proactor::{Feature, Gate, Proactor};
use reactor::Reactor;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::engine::{self, Engine};
use crate::{descriptors, origin, output};

/// Says which engines can run here, what the kernel offers, and how to enable what is disabled.
///
/// The exit code is 0 if all three engines can run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  demos doctor
  demos doctor --json")]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// One thing that was looked at.
struct Finding {
    name: String,
    verdict: Verdict,
    /// What was found.
    text: String,
    /// What to do about it.
    remedy: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Yes,
    /// Missing, and something else does its work.
    Fallback,
    No,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Yes => "yes",
            Verdict::Fallback => "fallback",
            Verdict::No => "no",
        }
    }
}

impl Finding {
    fn new(name: impl Into<String>, verdict: Verdict, text: impl Into<String>) -> Finding {
        Finding { name: name.into(), verdict, text: text.into(), remedy: None }
    }

    fn remedy(self, remedy: impl Into<String>) -> Finding {
        Finding { remedy: Some(remedy.into()), ..self }
    }

    fn lines(&self) -> String {
        let found = format!("  {:<34} {:<9} {}", self.name, self.verdict.name(), self.text);
        match &self.remedy {
            Some(remedy) => format!("{found}\n  {:<34} {:<9} -> {remedy}", "", ""),
            None => found,
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "verdict": self.verdict.name(),
            "text": self.text,
            "remedy": self.remedy,
        })
    }
}

/// Looks at everything and prints it. The exit code is 0 if all engines can run.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let kernel = origin::kernel();
    let engines: Vec<_> = Engine::ALL.into_iter().map(engine).collect();
    let closed = Proactor::new().err().map(|error| error.gate());
    let all_run = engines.iter().all(|engine| engine.verdict == Verdict::Yes);
    let sections = [
        ("engines", engines),
        ("epoll", vec![epoll_pwait2()]),
        ("io_uring", ring_features()),
        ("gates", vec![sysctl(closed), seccomp(closed)]),
        ("sandbox", vec![filter(), restrictions(closed)]),
        ("limits", vec![open_files(), locked_memory(closed)]),
    ];
    if args.json {
        let mut report = json!({ "kernel": kernel, "all_engines": all_run });
        for (title, findings) in &sections {
            report[*title] = findings.iter().map(Finding::json).collect();
        }
        output::print(&serde_json::to_string_pretty(&report).context("the findings do not fit into JSON")?)?;
    } else {
        let mut lines = vec![kernel];
        for (title, findings) in sections.iter().filter(|(_, findings)| !findings.is_empty()) {
            lines.push(format!("\n{title}"));
            lines.extend(findings.iter().map(Finding::lines));
        }
        output::print(&lines.join("\n"))?;
    }
    Ok(if all_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn engine(engine: Engine) -> Finding {
    let name = engine.name();
    if engine == Engine::Proactor
        && let Err(error) = engine::proactor(false)
    {
        let text = error.to_string();
        let found = text.strip_suffix(error.remedy()).map_or(&text[..], |found| found.trim_end_matches("; "));
        return Finding::new(name, Verdict::No, found).remedy(error.remedy());
    }
    match engine.check() {
        Ok(()) => Finding::new(name, Verdict::Yes, "can be set up"),
        Err(error) => Finding::new(name, Verdict::No, error),
    }
}

/// The wait whose timeout has nanoseconds, as the reactor has tried it.
fn epoll_pwait2() -> Finding {
    let name = "epoll_pwait2";
    let slept = Reactor::new().map(|rt| {
        rt.block_on(rt.sleep(Duration::from_micros(1)));
        rt.stats().driver.system_calls
    });
    match slept {
        Ok(calls) if calls.iter().any(|(call, count)| *call == "epoll_wait" && *count > 0) => {
            Finding::new(name, Verdict::Fallback, "sleeps are rounded up to milliseconds, by epoll_wait")
                .remedy("it needs Linux 5.11, and a seccomp filter that lets it through")
        }
        Ok(_) => Finding::new(name, Verdict::Yes, "sleeps are as fine as the clock"),
        Err(error) => Finding::new(name, Verdict::No, error.to_string()),
    }
}

/// What the ring can do, as the proactor has tried it.
fn ring_features() -> Vec<Finding> {
    let Ok(proactor) = Proactor::new() else { return Vec::new() };
    let features = proactor.features();
    let finding = |feature: Feature| {
        if features.has(feature) {
            return Finding::new(feature.name(), Verdict::Yes, format!("in Linux since {}", feature.since()));
        }
        Finding::new(feature.name(), Verdict::Fallback, feature.fallback())
            .remedy(format!("it needs Linux {}", feature.since()))
    };
    Feature::all().map(finding).collect()
}

/// The switch for io_uring, in the kernel since 6.6.
fn sysctl(closed: Option<Gate>) -> Finding {
    let name = "open by kernel.io_uring_disabled";
    let value = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let open = "sysctl -w kernel.io_uring_disabled=0, as root";
    let verdict = if closed == Some(Gate::Sysctl) { Verdict::No } else { Verdict::Yes };
    match value.as_deref().map(str::trim) {
        Ok("0") => Finding::new(name, Verdict::Yes, "0: all users may use io_uring"),
        Ok("1") => {
            let text = "1: only members of kernel.io_uring_group and CAP_SYS_ADMIN may use io_uring";
            Finding::new(name, verdict, text).remedy(format!("for all users: {open}; or join the group"))
        }
        Ok(value) => Finding::new(name, Verdict::No, format!("{value}: no user may use io_uring")).remedy(open),
        Err(_) => Finding::new(name, Verdict::Yes, "there is no such switch in this kernel"),
    }
}

/// The filter of system calls this process runs under; containers have one.
fn seccomp(closed: Option<Gate>) -> Finding {
    let name = "open by seccomp";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    match mode {
        Some("0") => Finding::new(name, Verdict::Yes, "no filter"),
        // Filters refuse with either error.
        Some(_) if matches!(closed, Some(Gate::Seccomp | Gate::NoSyscall)) => {
            Finding::new(name, Verdict::No, "a filter, which may be what keeps io_uring away").remedy(
                "let io_uring_setup, io_uring_enter and io_uring_register through; with Docker by \
                 --security-opt seccomp=PROFILE.json",
            )
        }
        Some(_) => Finding::new(name, Verdict::Yes, "a filter, which lets io_uring through"),
        None => Finding::new(name, Verdict::Yes, "unknown: /proc/self/status does not tell"),
    }
}

/// What `--sandbox` takes from the whole process.
fn filter() -> Finding {
    let name = "system call filter";
    match sandbox::check() {
        Ok(()) => Finding::new(name, Verdict::Yes, "--sandbox can be had"),
        Err(error) => Finding::new(name, Verdict::No, error.to_string()),
    }
}

/// What `--sandbox` takes from the ring.
fn restrictions(closed: Option<Gate>) -> Finding {
    let name = "ring restrictions";
    match engine::proactor(true) {
        Ok(_) => Finding::new(name, Verdict::Yes, "--sandbox keeps the proactor's ring to sockets"),
        Err(error) if closed.is_none() => Finding::new(name, Verdict::No, error.to_string())
            .remedy("--sandbox needs another kernel, or --on reactor-edge or --on reactor-level"),
        Err(_) => Finding::new(name, Verdict::No, "there is no ring: see above"),
    }
}

fn open_files() -> Finding {
    let before = getrlimit(Resource::Nofile);
    descriptors::raise_open_files();
    let connections = descriptors::connections(1);
    let text = format!(
        "{} (hard {}): {connections} connections at the same time",
        number(before.current),
        number(before.maximum)
    );
    if connections >= descriptors::MOST_CONNECTIONS {
        return Finding::new("open files", Verdict::Yes, text);
    }
    let wanted = descriptors::MOST_CONNECTIONS + descriptors::RESERVED;
    Finding::new("open files", Verdict::Fallback, text)
        .remedy(format!("for {} connections: ulimit -Hn {wanted}, as root", descriptors::MOST_CONNECTIONS))
}

fn locked_memory(closed: Option<Gate>) -> Finding {
    let limit = getrlimit(Resource::Memlock);
    let text = format!(
        "{} bytes (hard {}); rings and their buffers count, except for CAP_IPC_LOCK",
        number(limit.current),
        number(limit.maximum)
    );
    if closed == Some(Gate::Memlock) {
        let more = "ulimit -l NUMBER (in KiB), as root; LimitMEMLOCK= in systemd; docker run --ulimit memlock=NUMBER";
        return Finding::new("locked memory", Verdict::No, text).remedy(more);
    }
    Finding::new("locked memory", Verdict::Yes, text)
}

fn number(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}
