//! Scenarios: what a runtime has to survive, each a body with rounds.
//!
//! The tests run a few rounds of each (`tests/scenarios.rs`), a soak as many as there is time for. A scenario has
//! an identifier by which the record of what is proven names it. Its body is generic over the engine, asserts
//! what has to be exactly so (nothing lost, leaked, misdirected or hung), and takes times down as figures only.

mod bytes;
mod cancel;
mod churn;
mod connections;
mod crowd;
mod ends;
mod fairness;
mod hostile;
mod http_client;
mod idle;
mod injected;
mod pressure;
mod races;
mod scripts;
mod servers;
mod shortages;
mod time;
mod wakes;

use std::time::Duration;

use crate::rounds::{Rounds, Until};
use crate::watchdog;

/// A scenario on one engine.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// As the record names it, such as `P18`.
    pub id: &'static str,
    /// What happens and what must not, in one line.
    pub about: &'static str,
    /// The engine's name.
    pub engine: &'static str,
    /// Why the engine can't be set up here, if it can't.
    pub unavailable: fn() -> Option<String>,
    /// Rounds in the tests: what takes about a second.
    pub rounds: u64,
    /// The body.
    pub body: fn(&mut Rounds),
}

impl Scenario {
    /// Runs it in this process, which ends should that take longer than `limit`.
    ///
    /// # Panics
    /// If something is not as it has to be.
    #[must_use]
    pub fn run(&self, until: Until, seed: u64, limit: Duration) -> Rounds {
        watchdog::start(limit);
        let mut rounds = Rounds::new(until, seed);
        (self.body)(&mut rounds);
        rounds
    }
}

/// Adds a scenario once for each engine named.
macro_rules! scenario {
    ($all:ident, $id:literal, $about:literal, $rounds:literal, [$($engine:ident),+], $body:ident) => {
        $($all.push($crate::scenarios::Scenario {
            id: $id,
            about: $about,
            engine: <$crate::$engine as $crate::Engine>::NAME,
            unavailable: $crate::unavailable::<$crate::$engine>,
            rounds: $rounds,
            body: $body::<$crate::$engine>,
        });)+
    };
}
pub(crate) use scenario;

/// All there are.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    wakes::add(&mut all);
    fairness::add(&mut all);
    time::add(&mut all);
    connections::add(&mut all);
    bytes::add(&mut all);
    cancel::add(&mut all);
    churn::add(&mut all);
    crowd::add(&mut all);
    ends::add(&mut all);
    hostile::add(&mut all);
    idle::add(&mut all);
    scripts::add(&mut all);
    servers::add(&mut all);
    injected::add(&mut all);
    races::add(&mut all);
    shortages::add(&mut all);
    pressure::add(&mut all);
    all
}
