//! Goal: every scenario holds in its quick form. The soak runs the same bodies for as long as one likes.
//!
//! Method: a second's worth of rounds of each, on each engine it names, always from the same seed, under the
//! allocator that sees writes to freed memory.

use std::process::ExitCode;

use tests::{Suite, scenarios};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    for scenario in scenarios::all() {
        suite.add_scenario(scenario);
    }
    suite.run()
}
