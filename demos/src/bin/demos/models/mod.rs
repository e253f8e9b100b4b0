//! The ladder of I/O models: the same two servers as every step of the way from "one client at a time" to the runtimes.
//!
//! ```sh
//! demos models --html models.html               # all of them in one table and a picture
//! demos models serve blocking                   # one alone; then, twice: nc 127.0.0.1 8080
//! ```
//!
//! Each rung is a file that can be read in a minute, opens with what it shows and how to see it, and names the next.
//! What they have in common is in these:
//!
//! | file | what it holds |
//! |---|---|
//! | `service.rs` | the echo and the page: bytes in, bytes out |
//! | `hall.rs` | the listener, the limit, the refusal |
//! | `talk.rs` | a conversation that blocks: rungs 1 to 4 |
//! | `connection.rs` | a conversation that never blocks: rungs 5 to 12 |
//! | `ring.rs` | the queues of io_uring: rungs 12 to 14 |
//! | `stop.rs`, `counters.rs` | how a rung is ended, and what it counts |
//! | `serve.rs` | one rung as a server |
//! | `measure.rs`, `tree.rs`, `report.rs`, `page.rs` | all rungs measured, as a table and as a page |

mod blocking;
mod busy;
mod connection;
#[allow(unsafe_code)]
mod counters;
mod epoll_edge;
mod epoll_level;
mod epoll_oneshot;
mod hall;
pub mod measure;
pub mod page;
#[allow(unsafe_code)]
mod poll;
mod pool;
#[allow(unsafe_code)]
mod processes;
mod report;
#[allow(unsafe_code)]
mod ring;
mod runtimes;
mod select;
pub mod serve;
pub mod service;
#[allow(unsafe_code)]
mod sigio;
mod stop;
mod talk;
mod threads;
mod tree;
#[allow(unsafe_code)]
mod uring_multishot;
#[allow(unsafe_code)]
mod uring_oneshot;
mod uring_polls;

use std::fmt;
use std::io;

use anyhow::anyhow;

use crate::engine::Engine;
use Model::{Loop, Runtime, Uring};
use hall::Hall;

/// Where the rungs are, from the top of the project.
pub const FOLDER: &str = "demos/src/bin/demos/models";

/// A step of the ladder.
pub struct Rung {
    /// As on the command line.
    pub name: &'static str,
    /// In one line.
    pub what: &'static str,
    /// Its file, and what that holds.
    pub file: &'static str,
    source: &'static str,
    /// Connections it can serve at the same time, if the machine allows so many.
    pub most: usize,
    model: Model,
}

/// How a rung runs.
enum Model {
    /// On the kernel's calls.
    Loop(fn(&Hall) -> io::Result<()>),
    /// The same, on io_uring.
    Uring(fn(&Hall) -> anyhow::Result<()>),
    /// On one of our runtimes.
    Runtime(Engine),
}

/// Connections that any rung accepts at most: each costs memory, and descriptors are bounded anyway.
const MOST: usize = 12_000;

/// Connections that select serves for sure: of the 1,024 descriptors it sees, the server needs some itself.
const SEEN_BY_SELECT: usize = 1_000;

/// A rung, with the name and the text of the file of a module.
macro_rules! rung {
    ($name:literal, $what:literal, $most:expr, $file:ident, $model:expr) => {
        Rung {
            name: $name,
            what: $what,
            file: concat!(stringify!($file), ".rs"),
            source: include_str!(concat!(stringify!($file), ".rs")),
            most: $most,
            model: $model,
        }
    };
}

/// The ladder, from the bottom up.
pub static RUNGS: [Rung; 17] = [
    rung!("blocking", "one client at a time", 1, blocking, Loop(blocking::run)),
    rung!("processes", "a process for each connection (fork)", 1024, processes, Loop(processes::run)),
    rung!("threads", "a thread for each connection", MOST, threads, Loop(threads::run)),
    rung!("pool", "a fixed number of threads", 64, pool, Loop(pool::run)),
    rung!("busy", "sockets that never block, asked in turns", MOST, busy, Loop(busy::run)),
    rung!("select", "select(2), 1,024 descriptors at most", SEEN_BY_SELECT, select, Loop(select::run)),
    rung!("poll", "poll(2)", MOST, poll, Loop(poll::run)),
    rung!("epoll-level", "epoll, level-triggered", MOST, epoll_level, Loop(epoll_level::run)),
    rung!("epoll-edge", "epoll, edge-triggered", MOST, epoll_edge, Loop(epoll_edge::run)),
    rung!("epoll-oneshot", "epoll, one shot, four threads", MOST, epoll_oneshot, Loop(epoll_oneshot::run)),
    rung!("sigio", "signals (SIGIO), on TCP and UDP", MOST, sigio, Loop(sigio::run)),
    rung!("uring-polls", "io_uring that only waits", MOST, uring_polls, Uring(uring_polls::run)),
    rung!("uring-oneshot", "io_uring, each receive asked for", MOST, uring_oneshot, Uring(uring_oneshot::run)),
    rung!(
        "uring-multishot",
        "io_uring, one receive for all, shared buffers",
        MOST,
        uring_multishot,
        Uring(uring_multishot::run)
    ),
    rung!("reactor-level", "tasks on epoll, level-triggered", MOST, runtimes, Runtime(Engine::ReactorLevel)),
    rung!("reactor-edge", "tasks on epoll, edge-triggered", MOST, runtimes, Runtime(Engine::ReactorEdge)),
    rung!("proactor", "tasks on io_uring", MOST, runtimes, Runtime(Engine::Proactor)),
];

impl fmt::Debug for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Rung {
    /// Finds one by its name. The error names all.
    pub fn find(name: &str) -> Result<&'static Rung, String> {
        let names = || RUNGS.iter().map(|rung| rung.name).collect::<Vec<_>>().join(", ");
        RUNGS.iter().find(|rung| rung.name == name).ok_or_else(|| format!("the rungs are {}", names()))
    }

    /// Whether it can run here; if not, why.
    pub fn check(&self) -> anyhow::Result<()> {
        match self.model {
            Loop(_) => Ok(()),
            Uring(_) => ring::check(),
            Runtime(engine) => engine.check().map_err(|reason| anyhow!(reason)),
        }
    }

    /// Lines of its file, without comments and empty ones.
    pub fn lines(&self) -> usize {
        let is_code = |line: &&str| !line.is_empty() && !line.starts_with("//");
        self.source.lines().map(str::trim).filter(is_code).count()
    }

    /// Whether it is one of our runtimes.
    pub fn is_runtime(&self) -> bool {
        matches!(self.model, Runtime(_))
    }
}

/// The rungs with their names, a line each.
pub fn list() -> String {
    let lines = RUNGS.iter().enumerate().map(|(place, rung)| {
        let refused = rung.check().err().map(|reason| format!("\n      not here: {reason:#}")).unwrap_or_default();
        format!("{:>3} {:<16} {:<46} {FOLDER}/{}{refused}", place + 1, rung.name, rung.what, rung.file)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rung_says_what_it_shows_and_how_to_see_it() {
        for rung in &RUNGS {
            let opening: String = rung.source.lines().take_while(|line| line.starts_with("//!")).collect();
            for part in ["//! Rung", "Shows: ", "See it: `demos models serve ", "What is next: ", rung.name] {
                assert!(opening.contains(part), "{}: {part} is missing", rung.name);
            }
            assert!((10..250).contains(&rung.lines()), "{} has {} lines", rung.name, rung.lines());
            assert!(std::ptr::eq(Rung::find(rung.name).unwrap(), rung));
        }
        assert!(Rung::find("kqueue").is_err_and(|error| error.contains("epoll-edge")));
    }
}
