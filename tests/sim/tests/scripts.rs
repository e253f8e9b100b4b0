//! Goal: whatever the weather, a program sees the same: nothing lost, doubled or out of order by anything that is
//! short, late, spurious, cancelled or reordered.
//!
//! Method: random scripts, each in calm weather and in three storms; their transcripts are compared, and at the
//! end nothing is left over.

use std::cell::Cell;
use std::time::Duration;

use sim::{Builder, Script, Weather};

fn play(script: &Script, weather: Weather) -> (Vec<String>, u64) {
    let sim = Builder::new(script.seed()).weather(weather).build();
    let address = "127.0.0.1:0".parse().unwrap();
    let hour = Duration::from_secs(3600);
    let transcript = sim.block_on(script.play(&sim, address, hour, |stream| sim.reset_on_close(stream)));
    let steps = sim.steps();
    let stats = sim.stats();
    let left = (stats.tasks_now, stats.timers_now, stats.driver.chunks_lent_now, stats.driver.operations_now);
    assert_eq!(left, (0, 0, 0, Some(0)), "left over: {stats}");
    sim.finish();
    (transcript, steps)
}

#[test]
fn transcripts_are_the_same_in_any_weather() {
    let storms = [
        Weather::stormy(),
        Weather { submitted: 0.0, ..Weather::stormy() },
        Weather { submitted: 1.0, multishot: 0.9, late_cancel: 0.9, ..Weather::stormy() },
    ];
    let total = Cell::new(0);
    sim::for_each_seed(500, |seed| {
        let script = Script::random(seed, 200);
        let (expected, _) = play(&script, Weather::calm());
        let storm = &storms[usize::try_from(seed).unwrap() % storms.len()];
        let (transcript, steps) = play(&script, storm.clone());
        let differs = transcript.iter().zip(&expected).find(|(one, other)| one != other);
        assert!(transcript == expected, "stormy and calm, first difference: {differs:?}");
        total.set(total.get() + steps);
    });
    println!("{} steps of the world", total.get());
}
