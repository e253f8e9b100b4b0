//! Random scripts: what a program sees does not depend on the engine under it.

use std::os::fd::AsFd;
use std::time::Duration;

use sim::{Builder, Script, Weather};
use socket2::SockRef;

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::net::V4;
use crate::rounds::Rounds;

/// Steps of a script. In the sim they make about a thousand of the world's.
const STEPS: usize = 200;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    all.push(Scenario {
        id: "K3",
        about: "random scripts in storms of short, late, spurious, cancelled and reordered things: as in calm weather",
        engine: "sim",
        unavailable: || None,
        rounds: 500,
        body: storms,
    });
    scenario!(
        all,
        "L4",
        "random scripts of reads, writes, half closes, resets, timeouts, cancels: the transcript is that of the sim",
        100,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorOneshot, ProactorBare],
        same_transcript
    );
}

/// Plays the script in the sim.
fn simulated(script: &Script, weather: Weather, steps: &mut u64) -> Vec<String> {
    let sim = Builder::new(script.seed()).weather(weather).build();
    let hour = Duration::from_secs(3600);
    let transcript = sim.block_on(script.play(&sim, V4, hour, |stream| sim.reset_on_close(stream)));
    let stats = sim.stats();
    let left = (stats.tasks_now, stats.timers_now, stats.driver.chunks_lent_now, stats.driver.operations_now);
    assert_eq!(left, (0, 0, 0, Some(0)), "script {}: left over: {stats}", script.seed());
    *steps += sim.steps();
    sim.finish();
    transcript
}

/// The transcripts must be the same line by line.
fn compare(script: &Script, engine: &str, transcript: &[String], expected: &[String]) {
    let differs = transcript.iter().zip(expected).find(|(one, other)| one != other);
    assert!(differs.is_none(), "script {} on {engine} and in the calm sim: {differs:#?}", script.seed());
    assert_eq!(transcript.len(), expected.len(), "script {} on {engine}", script.seed());
}

fn storms(rounds: &mut Rounds) {
    let storms = [
        Weather::stormy(),
        Weather { submitted: 0.0, ..Weather::stormy() },
        Weather { submitted: 1.0, multishot: 0.9, late_cancel: 0.9, ..Weather::stormy() },
    ];
    let (seed, mut steps) = (rounds.seed(), 0);
    for round in &mut *rounds {
        let script = Script::random(seed.wrapping_add(round), STEPS);
        let expected = simulated(&script, Weather::calm(), &mut steps);
        let storm = storms[round as usize % storms.len()].clone();
        compare(&script, "the sim in a storm", &simulated(&script, storm, &mut steps), &expected);
    }
    rounds.figure("steps of the simulated world", steps);
}

fn same_transcript<E: Engine>(rounds: &mut Rounds) {
    let seed = rounds.seed();
    for round in rounds {
        let script = Script::random(seed.wrapping_add(round), STEPS);
        let expected = simulated(&script, Weather::calm(), &mut 0);
        crate::run::<E>(async |rt| {
            let limit = Duration::from_secs(10);
            let transcript = script.play(rt, V4, limit, reset_on_close).await;
            compare(&script, E::NAME, &transcript, &expected);
        });
    }
}

fn reset_on_close(stream: &impl AsFd) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}
