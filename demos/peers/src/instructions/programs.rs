//! What is measured, and the binaries it takes.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::servers::{self, Service};

/// A server, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub name: &'static str,
    pub services: &'static [Service],
    program: Program,
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// In this binary, under its own name.
    Peers,
    /// In the binary of `demos`, on this engine.
    Demos(&'static str),
    /// An example of this package, under its own name.
    Example(&'static str),
}

const ECHO: &[Service] = &[Service::Echo];
const BOTH: &[Service] = &[Service::Echo, Service::Http];

/// What has a binary of its own.
const OWN: &[Subject] = &[
    Subject { name: "reactor-echo", services: ECHO, program: Program::Example("reactor") },
    Subject { name: "proactor-echo", services: ECHO, program: Program::Example("proactor") },
    Subject { name: "demos-reactor-level", services: BOTH, program: Program::Demos("reactor-level") },
    Subject { name: "demos-reactor-edge", services: BOTH, program: Program::Demos("reactor-edge") },
    Subject { name: "demos-proactor", services: BOTH, program: Program::Demos("proactor") },
];

/// Everything that can be measured. What spins executes as much as there is time for.
pub fn subjects() -> Vec<Subject> {
    let peers = servers::ALL.iter().filter(|server| !server.name.ends_with("-spin"));
    let subject =
        |server: &servers::Server| Subject { name: server.name, services: server.services, program: Program::Peers };
    peers.map(subject).chain(OWN.iter().copied()).collect()
}

impl Subject {
    /// Whether this project's users run it as it is: these have binaries of their own.
    pub fn is_own(&self) -> bool {
        self.program != Program::Peers
    }
}

/// How to start a server on a free port.
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// The binaries, by their names.
pub struct Programs {
    this: PathBuf,
    built: Vec<(String, PathBuf)>,
}

impl Programs {
    /// Builds what the servers need.
    pub fn build(subjects: &[Subject]) -> anyhow::Result<Programs> {
        let this = env::current_exe().context("cannot find this program's own file")?;
        let mut built = Vec::new();
        let mut targets: Vec<[&str; 4]> = Vec::new();
        for subject in subjects {
            let target = match subject.program {
                Program::Peers => continue,
                Program::Demos(_) => ["-p", "demos", "--bin", "demos"],
                Program::Example(package) => ["-p", package, "--example", subject.name],
            };
            if !targets.contains(&target) {
                targets.push(target);
                // One after the other: built together, packages get the features that any of them asks for.
                built.extend(build(target)?);
            }
        }
        Ok(Programs { this, built })
    }

    /// How to start a server.
    pub fn launch(&self, subject: &Subject, service: Service) -> anyhow::Result<Launch> {
        let (service, free) = (service.to_string(), "127.0.0.1:0");
        let (name, arguments) = match subject.program {
            Program::Peers => {
                let arguments = ["serve", subject.name, "--service", &service].map(str::to_owned);
                return Ok(Launch { program: self.this.clone(), arguments: arguments.into() });
            }
            Program::Demos(engine) => ("demos", vec![&service[..], "--on", engine, "--listen", free]),
            Program::Example(_) => (subject.name, vec![free]),
        };
        let built = self.built.iter().find(|(other, _)| other == name);
        let (_, program) = built.with_context(|| format!("cargo did not say where it has put {name}"))?;
        Ok(Launch { program: program.clone(), arguments: arguments.into_iter().map(str::to_owned).collect() })
    }
}

/// The repository that this program was built from.
fn root() -> &'static Path {
    // `demos/peers` is two folders below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// The compiler that builds there.
pub fn compiler() -> anyhow::Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(rustc).arg("-V").current_dir(root()).output().context("cannot run rustc")?;
    ensure!(output.status.success(), "`rustc -V` fails");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Builds a binary. Tells its name and its place.
fn build(target: [&str; 4]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let (cargo, root) = (env::var_os("CARGO").unwrap_or(OsString::from("cargo")), root());
    ensure!(root.join("Cargo.toml").is_file(), "{} is gone: build this program again", root.display());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked"]).args(target).current_dir(root);
    eprintln!("cargo build --release {} (in {})", target.join(" "), root.display());
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo: install Rust, see https://rustup.rs")?;
    ensure!(output.status.success(), "`cargo build` fails: the reason is above");
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Names and places of binaries in what cargo says.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let (name, place) = (message["target"]["name"].as_str()?, message["executable"].as_str()?);
        Some((name.to_owned(), PathBuf::from(place)))
    };
    messages.lines().filter_map(executable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_binaries_are() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"executor"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"demos"},"executable":"/t/release/demos"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executables(messages), [("demos".to_owned(), PathBuf::from("/t/release/demos"))]);
    }

    #[test]
    fn names_are_not_taken_twice_and_nothing_spins() {
        let names: Vec<_> = subjects().iter().map(|subject| subject.name).collect();
        for (place, name) in names.iter().enumerate() {
            assert!(!names[..place].contains(name) && !name.ends_with("-spin"), "{name}");
        }
        assert!(names.contains(&"epoll-edge") && names.contains(&"proactor-echo"));
    }
}
