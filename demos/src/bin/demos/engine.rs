//! Choosing the engine at run time for programs that were written without knowing it.
//!
//! A runtime is a type, and a choice is a value. [`run`] turns the one into the other in a single
//! `match`: a [`Program`] is generic over the runtime, and each arm compiles it once for its engine.

use std::fmt;
use std::num::NonZeroUsize;

use anyhow::anyhow;
use clap::ValueEnum;
use executor::{Files, Net, Stats, Worker};
use proactor::{Proactor, SetupError};
use reactor::{Reactor, Trigger};

use crate::log;

/// The engines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// epoll, level-triggered
    ReactorLevel,
    /// epoll, edge-triggered
    ReactorEdge,
    /// io_uring
    Proactor,
}

impl Engine {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Engine; 3] = [Engine::ReactorLevel, Engine::ReactorEdge, Engine::Proactor];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::ReactorLevel => "reactor-level",
            Engine::ReactorEdge => "reactor-edge",
            Engine::Proactor => "proactor",
        }
    }

    /// Tries to set it up; `Err` says what is missing, and how to get it.
    pub fn check(self) -> Result<(), String> {
        match self {
            Engine::ReactorLevel => reactor(Trigger::Level).map(drop).map_err(|error| error.to_string()),
            Engine::ReactorEdge => reactor(Trigger::Edge).map(drop).map_err(|error| error.to_string()),
            Engine::Proactor => proactor(false).map(drop).map_err(|error| error.to_string()),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program for any engine.
pub trait Program {
    type Output;

    /// Whether its runtime shall be able to do nothing but what sockets need, where the engine can see to it.
    fn is_sandboxed(&self) -> bool {
        false
    }

    /// Runs as the main future of the runtime.
    async fn main<R: Net + Files>(self, rt: R) -> Self::Output;
}

/// The engine that was asked for: by `--on`, or else by the environment.
fn chosen(asked: Option<Engine>) -> anyhow::Result<Option<Engine>> {
    let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    match (asked, named) {
        (None, Some(name)) => {
            let engine = Engine::from_str(&name.to_string_lossy(), false);
            let names = Engine::ALL.map(Engine::name).join(", ");
            engine.map(Some).map_err(|_| anyhow!("{VARIABLE} is {name:?} in the environment: give one of {names}"))
        }
        (asked, _) => Ok(asked),
    }
}

/// Names an engine in the environment, for all commands that have `--on ENGINE`.
const VARIABLE: &str = "DEMOS_ON";

/// The engine for a client, which only has to get its work done: if none was asked for, and the proactor cannot be set
/// up, another one, and the log says so.
pub fn for_client(asked: Option<Engine>) -> anyhow::Result<Option<Engine>> {
    let asked = chosen(asked)?;
    if asked.is_some() || Engine::Proactor.check().is_ok() {
        return Ok(asked);
    }
    log::say("demos: io_uring is closed here, so this runs on reactor-edge; `demos doctor` says why");
    Ok(Some(Engine::ReactorEdge))
}

/// Runs the program on the engine, and the proactor if none was chosen. The counters are those after
/// the end of the runtime.
pub fn run<P: Program>(engine: Option<Engine>, program: P) -> anyhow::Result<(P::Output, Stats)> {
    run_as(None, engine, program)
}

/// What a worker leaves behind.
pub struct Ended<T> {
    /// The kernel's number of the core it was kept on.
    pub core: usize,
    /// What its program returned.
    pub output: T,
    /// The counters of its runtime.
    pub stats: Stats,
}

/// Runs one program on each core, as `make` makes it on the worker's thread. A program that fails ends the others.
pub fn run_on_each_core<T, P, M>(
    engine: Option<Engine>,
    workers: NonZeroUsize,
    make: M,
) -> anyhow::Result<Vec<Ended<T>>>
where
    T: Send,
    P: Program<Output = anyhow::Result<T>>,
    M: Fn(&Worker) -> anyhow::Result<P> + Sync,
{
    let main = |worker: &Worker| {
        let (output, stats) = run_as(Some(worker), engine, make(worker)?)?;
        Ok(Ended { core: worker.core(), output: output?, stats })
    };
    executor::run_on_each_core(workers, main)
}

fn run_as<P: Program>(
    worker: Option<&Worker>,
    engine: Option<Engine>,
    program: P,
) -> anyhow::Result<(P::Output, Stats)> {
    let reactor = |trigger| {
        reactor(trigger).map_err(|error| anyhow!("the reactor cannot be set up: {error}; see `demos doctor`"))
    };
    let engine = chosen(engine)?;
    match engine.unwrap_or(Engine::Proactor) {
        Engine::ReactorLevel => Ok(run_on(reactor(Trigger::Level)?, worker, program)),
        Engine::ReactorEdge => Ok(run_on(reactor(Trigger::Edge)?, worker, program)),
        Engine::Proactor => {
            let proactor = proactor(program.is_sandboxed()).map_err(|error| refusal(engine, &error))?;
            Ok(run_on(proactor, worker, program))
        }
    }
}

/// A reactor, or why there is none.
pub fn reactor(trigger: Trigger) -> std::io::Result<Reactor> {
    reactor::Builder::new().trigger(trigger).build()
}

/// A proactor, or why there is none.
pub fn proactor(is_sandboxed: bool) -> Result<Proactor, SetupError> {
    let builder = proactor::Builder::new();
    if is_sandboxed { builder.sockets_only().build() } else { builder.build() }
}

fn run_on<R: Net + Files, P: Program>(owner: R, worker: Option<&Worker>, program: P) -> (P::Output, Stats) {
    let handle = owner.clone();
    let main = program.main(handle.clone());
    let output = match worker {
        None => owner.block_on(main),
        Some(worker) => worker.block_on(&owner, main),
    };
    drop(owner);
    (output, handle.stats())
}

fn refusal(asked: Option<Engine>, error: &SetupError) -> anyhow::Error {
    let choice = if asked.is_none() { "The proactor is the default. " } else { "" };
    anyhow!(
        "the proactor cannot be set up: {error}. {choice}Choose an engine that runs here with \
         --on reactor-edge or --on reactor-level; `demos doctor` shows what is missing"
    )
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use executor::RandomAccess;
    use proactor::File;

    use super::*;

    #[test]
    fn only_a_sandboxed_ring_keeps_away_from_files() {
        // Where io_uring is closed there is nothing to restrict.
        if Proactor::new().is_err() {
            return;
        }
        for (is_sandboxed, expected) in [(false, Ok(1)), (true, Err(ErrorKind::PermissionDenied))] {
            let rt = proactor(is_sandboxed).unwrap();
            let file = File::from_std(&rt, std::fs::File::open("/proc/self/exe").unwrap()).unwrap();
            let (read, _) = rt.block_on(file.read_at(vec![0; 1], 0));
            assert_eq!(read.map_err(|error| error.kind()), expected);
        }
    }
}
