//! Goal: every scenario holds in its quick form. The soak runs the same bodies for as long as one likes.
//!
//! Method: a second's worth of rounds of each, on each engine it names, always from the same seed.

use std::process::ExitCode;

use peak_alloc::PeakAlloc;
use tests::{Suite, scenarios};

/// Some scenarios insist that the heap stays as it was.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn main() -> ExitCode {
    let mut suite = Suite::new();
    for scenario in scenarios::all() {
        suite.add_scenario(scenario);
    }
    suite.run()
}
