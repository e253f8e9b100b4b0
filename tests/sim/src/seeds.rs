//! Many seeds, one after the other; and how to come back to the one that failed.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Names the one seed to run.
const ONE: &str = "SIM_SEED";
/// How many seeds to run instead of the number given.
const COUNT: &str = "SIM_SEEDS";

/// Runs `body` with the seeds 1 to `count`; the first that panics ends it, and the command that replays that
/// seed is printed. `SIM_SEEDS=10000` runs so many instead, `SIM_SEED=17` only this one.
///
/// # Panics
/// As `body` does; or if a variable is no number.
pub fn for_each_seed(count: u64, body: impl Fn(u64)) {
    let only = number(ONE);
    let seeds = only.map_or_else(|| 1..=number(COUNT).unwrap_or(count), |seed| seed..=seed);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(seed))) {
            eprintln!("seed {seed} fails; to replay it:\n    {}", replay(seed));
            resume_unwind(panic);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number: {name}=17, for example")))
}

/// The command that runs this seed in this test or program.
fn replay(seed: u64) -> String {
    let thread = std::thread::current();
    match (env::var("CARGO_PKG_NAME"), thread.name()) {
        // A test of libtest's, which names the thread.
        (Ok(package), Some(test)) if test != "main" => format!("{ONE}={seed} cargo test -p {package} {test}"),
        _ => format!("{ONE}={seed} {}", env::args().collect::<Vec<_>>().join(" ")),
    }
}
