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
    let seeds = seed_to_replay().map_or_else(|| 1..=number(COUNT).unwrap_or(count), |seed| seed..=seed);
    for seed in seeds {
        run_seed(seed, &command(), || body(seed));
    }
}

/// Runs `body`, which gets all its chance from `seed`. If it panics, says that `command` replays it, once
/// `SIM_SEED` is set.
///
/// # Panics
/// As `body` does.
pub fn run_seed<T>(seed: u64, command: &str, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        eprintln!("seed {seed} fails; to replay it:\n    {ONE}={seed} {command}");
        resume_unwind(panic)
    })
}

/// The seed that the environment asks for, `SIM_SEED=17`.
///
/// # Panics
/// If that is no number.
#[must_use]
pub fn seed_to_replay() -> Option<u64> {
    number(ONE)
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number: {name}=17, for example")))
}

/// The command that runs this test or program.
fn command() -> String {
    let thread = std::thread::current();
    match (env::var("CARGO_PKG_NAME"), thread.name()) {
        // A test of libtest's, which names the thread.
        (Ok(package), Some(test)) if test != "main" => format!("cargo test -p {package} {test}"),
        _ => env::args().collect::<Vec<_>>().join(" "),
    }
}
