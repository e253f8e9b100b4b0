//! A runtime with next to nothing to do.

use std::time::Duration;

use executor::{Listener, Reader};
use rustix::time::{ClockId, clock_gettime};

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::ms;
use crate::net::{listen, pair};
use crate::rounds::Rounds;

/// The longest time between two timers. A round may begin when a soak is about to end.
const LONGEST: Duration = Duration::from_secs(30);
/// Turns for a timer: the one that sleeps, and another should the kernel wake a little early.
const TURNS: u64 = 3;
/// Of the time, this part may be spent awake. A loop that spins takes all of it. A process that only sleeps was charged up
/// to a hundredth where the kernel reclaims its pages meanwhile, and it has to fetch them again.
const AWAKE: u32 = 10;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "K4",
        "a listener, a silent connection and a timer now and then: the loop wakes for the timer and for nothing else",
        1,
        [ReactorLevel, ReactorEdge, ProactorFull],
        one_timer_now_and_then
    );
}

fn one_timer_now_and_then<E: Engine>(rounds: &mut Rounds) {
    crate::run::<E>(async |rt| {
        let (mut listener, _) = listen(rt);
        let accepting = rt.spawn(async move { listener.accept().await.map(drop) });
        let (mut stream, peer) = pair::<E>(rt).await;
        let receiving = rt.spawn(async move { stream.recv().await.map(drop) });
        // What sets all this up has its turns, too: until nothing stirs.
        let mut turns = u64::MAX;
        while turns > TURNS {
            let before = rt.stats().turns;
            rt.sleep(ms(20)).await;
            turns = rt.stats().turns - before;
        }
        let (before, mut slept) = (processor_time(), Duration::ZERO);
        for round in &mut *rounds {
            // From a second on, each longer than the one before.
            let pause = Duration::from_secs(1 << round.min(10)).min(LONGEST);
            let turns = rt.stats().turns;
            rt.sleep(pause).await;
            let turns = rt.stats().turns - turns;
            assert!(turns <= TURNS, "{turns} turns while one timer was set, for {pause:?}");
            slept += pause;
        }
        let awake = processor_time() - before;
        assert!(awake * AWAKE <= slept, "awake for {awake:?} of {slept:?}");
        rounds.figure("idle, s", slept.as_secs());
        rounds.figure("awake, µs per timer", awake.as_micros() / u128::from(rounds.done()));
        assert!(!accepting.is_finished() && !receiving.is_finished(), "nothing came");
        accepting.abort();
        receiving.abort();
        drop(peer);
    });
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a time")
}
