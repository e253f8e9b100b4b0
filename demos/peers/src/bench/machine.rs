//! What the figures were measured on: the machine, the compiler, the versions of the peers.

use std::time::SystemTime;
use std::{fs, thread};

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// The machine and the programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub kernel: String,
    pub compiler: String,
    pub date: String,
    /// Names and versions of the libraries that are compared.
    pub peers: Vec<(String, String)>,
}

/// The exact versions this program was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// Those of the libraries in it that are compared, or that others which are compared stand on.
const PEERS: &[&str] = &[
    "tokio",
    "mio",
    "smol",
    "async-io",
    "async-executor",
    "polling",
    "monoio",
    "compio",
    "glommio",
    "hyper",
    "httparse",
    "io-uring",
];

impl Machine {
    /// This one, now.
    pub fn new() -> Machine {
        let name = uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            processor: model(&information).unwrap_or_else(|| text(name.machine())),
            processors: thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", text(name.sysname()), text(name.release())),
            compiler: env!("BUILT_WITH").to_owned(),
            date: httpdate::fmt_http_date(SystemTime::now()),
            peers: versions(LOCK),
        }
    }

    /// In a few lines.
    pub fn lines(&self) -> Vec<String> {
        let peers: Vec<_> = self.peers.iter().map(|(name, version)| format!("{name} {version}")).collect();
        vec![
            format!("Processor: {}, {} of them", self.processor, self.processors),
            format!("Kernel: {}", self.kernel),
            format!("Compiler: {}", self.compiler),
            format!("Measured: {}", self.date),
            format!("Peers: {}", peers.join(", ")),
        ]
    }
}

/// The name of the processor out of `/proc/cpuinfo`.
fn model(information: &str) -> Option<String> {
    let line = information.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The packages in a lockfile that are compared. Each begins with its name, and the version follows.
fn versions(lock: &str) -> Vec<(String, String)> {
    let quoted = |line: &str, key: &str| Some(line.strip_prefix(key)?.trim_matches([' ', '=', '"']).to_owned());
    let lines: Vec<_> = lock.lines().collect();
    let package = |pair: &[&str]| Some((quoted(pair[0], "name")?, quoted(pair[1], "version")?));
    let packages: Vec<_> = lines.windows(2).filter_map(package).collect();
    let of = |name: &&str| packages.iter().find(|(other, _)| other == name).cloned();
    PEERS.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_out_of_the_lockfile() {
        let package = |name, version| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n");
        let lock = format!("version = 4\n\n{}{}", package("other", "9.9"), package("tokio", "1.2.3"));
        assert_eq!(versions(&lock), [("tokio".to_owned(), "1.2.3".to_owned())]);
        let names: Vec<_> = versions(LOCK).into_iter().map(|(name, _)| name).collect();
        for name in ["tokio", "smol", "monoio", "compio", "glommio", "hyper", "httparse"] {
            assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
        }
    }

    #[test]
    fn the_machine_has_a_name() {
        assert_eq!(model("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(model("processor : 0\n"), None);
        assert!(Machine::new().lines().iter().all(|line| !line.ends_with(": ")));
    }
}
