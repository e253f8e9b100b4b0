//! Runs a server command, on one runtime or on several, and prints what it did.

use std::fmt::Display;
use std::num::NonZeroU16;

use anyhow::{Context, bail};
use demos::serve::Served;
use executor::Stats;

use super::host::Host;
use super::listen::check_reach;
use super::program::Server;
use super::team::Team;
use crate::args::{ServerArgs, WorkersArgs};
use crate::engine::{self, Ended, Engine};
use crate::{descriptors, log, signals};

/// Runs a server on one runtime until a signal, or the end of its control channel, stops it, and prints what it did.
pub fn run<S: Host>(engine: Option<Engine>, args: &ServerArgs, service: S) -> anyhow::Result<()> {
    prepare::<S>(args, 1)?;
    let (served, stats) = engine::run(engine, Server { args, service, workers: 1, team: None })?;
    log::tell_patiently(format_args!("served {} {stats}", words(&served?.fields())));
    Ok(())
}

/// The same on as many workers as asked for. Each serves with a service of its own, made on its thread.
pub fn run_on_workers<S, M>(
    engine: Option<Engine>,
    args: &ServerArgs,
    workers: &WorkersArgs,
    service: M,
) -> anyhow::Result<()>
where
    S: Host,
    M: Fn() -> anyhow::Result<S> + Sync,
{
    if workers.workers.get() == 1 {
        return run(engine, args, service()?);
    }
    prepare::<S>(args, workers.workers.get().into())?;
    log::tell_patiently(on_workers(engine, args, workers.workers, service)?);
    Ok(())
}

/// What comes before a server's runtime.
fn prepare<S: Host>(args: &ServerArgs, workers: usize) -> anyhow::Result<()> {
    check_reach(args.listen.iter(), args.allow_remote)?;
    descriptors::raise_open_files();
    let most = descriptors::connections(workers).div_ceil(S::DESCRIPTORS);
    if let Some(shortfall) = descriptors::shortfall(args.max_connections, most) {
        log::say(shortfall);
    }
    Ok(())
}

/// Runs a server on several workers until a signal, or the end of its control channel, stops it. Returns what they did: one line for each,
/// and one for all.
fn on_workers<S, M>(
    engine: Option<Engine>,
    args: &ServerArgs,
    workers: NonZeroU16,
    service: M,
) -> anyhow::Result<String>
where
    S: Host,
    M: Fn() -> anyhow::Result<S> + Sync,
{
    if args.control {
        bail!("--control tells of one runtime: it needs --workers 1");
    }
    let team = Team::new(args, workers)?;
    let ended = engine::run_on_each_core(engine, workers.into(), |worker| {
        if worker.number() == 0 {
            let stop = worker.stop_handle();
            signals::stop_on_signals(move || stop.stop()).context("cannot watch for signals")?;
        }
        Ok(Server { args, service: service()?, workers: workers.get().into(), team: Some(&team) })
    })?;
    Ok(summary(&ended))
}

/// One line for each worker, and one for all.
fn summary(workers: &[Ended<Served>]) -> String {
    let mut all = Vec::new();
    let mut lines = Vec::new();
    for (number, Ended { core, output, stats }) in workers.iter().enumerate() {
        let counters = counters(*output, stats);
        lines.push(format!("worker={number} core={core} {}", words(&counters)));
        for (name, value) in counters {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => all.push((name, value)),
            }
        }
    }
    lines.push(format!("served {}", words(&all)));
    lines.join("\n")
}

fn counters(served: Served, stats: &Stats) -> Vec<(String, u64)> {
    let own = served.fields().into_iter().map(|(name, value)| (name.to_owned(), value));
    own.chain(stats.fields().into_iter().filter(|(_, value)| *value != 0)).collect()
}

/// `name=value` of each.
fn words(counters: &[(impl Display, u64)]) -> String {
    let words: Vec<_> = counters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}
