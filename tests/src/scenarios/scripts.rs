//! Random scripts: what a program sees does not depend on the engine under it.

use std::os::fd::AsFd;
use std::time::Duration;

use sim::Script;
use socket2::SockRef;

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::net::V4;
use crate::rounds::Rounds;

/// Steps of a script. In the sim they make about a thousand of the world's.
const STEPS: usize = 200;
/// How long a script may take. It takes milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    all.push(Scenario {
        id: "K3",
        about: "random scripts in storms of short, late, spurious, cancelled and reordered things: as in calm weather",
        engine: "sim",
        unavailable: || None,
        rounds: 300,
        body: any_weather,
    });
    scenario!(
        all,
        "L4",
        "random scripts of reads, writes, half closes, resets, timeouts, cancels: the transcript is that of the sim",
        40,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorOneshot, ProactorBare],
        any_engine
    );
}

/// Each round's script; or always the one that the environment asks for.
fn each_script(rounds: &mut Rounds, case: &str, mut body: impl FnMut(Script)) {
    let first = rounds.seed();
    for round in rounds {
        let seed = sim::seed_to_replay().unwrap_or(first.wrapping_add(round));
        let command = format!("cargo test -p tests --test scenarios -- {case}");
        sim::run_seed(seed, &command, || body(Script::random(seed, STEPS)));
    }
}

fn any_weather(rounds: &mut Rounds) {
    let mut total = 0;
    each_script(rounds, "sim::K3", |script| {
        let (_, steps) = script.simulate();
        total += steps;
    });
    rounds.figure("steps of the simulated world", total);
}

fn any_engine<E: Engine>(rounds: &mut Rounds) {
    each_script(rounds, &format!("{}::L4", E::NAME), |script| {
        let (expected, _) = script.simulate();
        crate::run::<E>(async |rt| {
            let transcript = script.play(rt, V4, LIMIT, reset_on_close).await;
            let differs = transcript.iter().zip(&expected).find(|(one, other)| one != other);
            assert!(differs.is_none(), "on {} and in the sim: {differs:#?}", E::NAME);
        });
    });
}

fn reset_on_close(stream: &impl AsFd) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}
