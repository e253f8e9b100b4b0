//! Runs each case in a process of its own: the test binary starts itself again, for one case.
//!
//! libtest-mimic gives the usual command line (filters, `--list`, `--test-threads`). What runs there
//! is only the parent, which waits for the child, and shows what it printed if it failed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::engine::{Engine, unavailable};
use crate::process::{CaseProcess, Ended};
use crate::rounds::Until;
use crate::scenarios::Scenario;
use crate::watchdog;

/// Names the one case a child is to run.
const CASE: &str = "RUN_ONE_CASE";
/// How long a case may take, unless it says otherwise. Most take milliseconds; the rest of this is for
/// machines that are slow or busy.
const LIMIT: Duration = Duration::from_secs(30);
/// Shortens the time of every case to so many seconds: for whoever runs broken code, of which some hangs.
const SHORTER: &str = "CASE_LIMIT_SECONDS";

/// The cases of one test file.
#[derive(Default)]
pub struct Suite {
    cases: Vec<Case>,
    limit: Option<Duration>,
    /// Why an engine, or something else that cases need, is not to be had here; asked once for each.
    unavailable: BTreeMap<&'static str, Option<String>>,
}

struct Case {
    name: String,
    body: Body,
    limit: Duration,
}

enum Body {
    Plain(fn()),
    Scenario(Scenario),
}

/// Where the random numbers of the scenarios begin in the tests.
const SEED: u64 = 1;

impl Suite {
    /// No cases yet.
    #[must_use]
    pub fn new() -> Suite {
        Suite::default()
    }

    /// How long each of the cases added from now on may take.
    pub fn limit(&mut self, seconds: u64) {
        self.limit = Some(Duration::from_secs(seconds));
    }

    /// Whether the engine can be set up on this machine. If not, the suite says so.
    pub fn is_available<E: Engine>(&mut self) -> bool {
        self.is_possible(E::NAME, unavailable::<E>)
    }

    /// Whether what cases need is to be had on this machine: `probe` says why not. If not, the suite says so. A child
    /// does not ask: its parent has. The kernel takes a ring down in the background, on the thread that had it, and so
    /// ends a later sleep of the case's own runtime once: enough to hide a lost wake.
    pub fn is_possible(&mut self, what: &'static str, probe: fn() -> Option<String>) -> bool {
        if std::env::var_os(CASE).is_some() {
            return true;
        }
        self.unavailable.entry(what).or_insert_with(probe).is_none()
    }

    /// Adds a case that runs on an engine, if that can be set up on this machine.
    pub fn add<E: Engine>(&mut self, name: &str, body: fn()) {
        if self.is_available::<E>() {
            self.add_plain(&format!("{}::{name}", E::NAME), body);
        }
    }

    /// Adds a case that needs no engine.
    pub fn add_plain(&mut self, name: &str, body: fn()) {
        self.push(name.to_owned(), Body::Plain(body));
    }

    /// Adds a scenario in its quick form, if its engine can be set up on this machine.
    pub fn add_scenario(&mut self, scenario: Scenario) {
        if self.is_possible(scenario.engine, scenario.unavailable) {
            self.push(format!("{}::{}", scenario.engine, scenario.id), Body::Scenario(scenario));
        }
    }

    fn push(&mut self, name: String, body: Body) {
        let limit = self.limit.unwrap_or(LIMIT).min(shorter().unwrap_or(Duration::MAX));
        self.cases.push(Case { name, body, limit });
    }

    /// Runs the cases the command line asks for; in a child, the one case it was started for.
    #[must_use]
    pub fn run(self) -> ExitCode {
        if let Ok(name) = std::env::var(CASE) {
            let case = self.cases.into_iter().find(|case| case.name == name).expect("no such case");
            case.run();
            watchdog::done();
            oracles::check();
            return ExitCode::SUCCESS;
        }
        let arguments = Arguments::from_args();
        let show = arguments.nocapture;
        let skipped = self.unavailable.into_iter().filter_map(|(what, why)| Some((what, why?)));
        // One visible line instead of tests that pass without having run.
        let skipped = skipped.map(|(what, why)| {
            Trial::test(format!("{what}: SKIPPED, cannot be set up here: {why}"), || Ok(())).with_ignored_flag(true)
        });
        let cases = self.cases.into_iter().map(|case| {
            let name = case.name.clone();
            Trial::test(name, move || run_in_child(&case, show))
        });
        libtest_mimic::run(&arguments, skipped.chain(cases).collect()).exit_code()
    }
}

impl Case {
    /// Runs it, in this process.
    fn run(&self) {
        match &self.body {
            Body::Plain(body) => {
                watchdog::start(self.limit);
                body();
            }
            Body::Scenario(scenario) => {
                let rounds = scenario.run(Until::Rounds(scenario.rounds), SEED, self.limit);
                println!("{}: {} rounds, {:?}", scenario.about, rounds.done(), rounds.figures());
                assert_eq!(rounds.done(), scenario.rounds, "the body did not go on to the end");
            }
        }
    }
}

fn shorter() -> Option<Duration> {
    let seconds = std::env::var(SHORTER).ok()?;
    let seconds = seconds.parse().unwrap_or_else(|_| panic!("{SHORTER} is to be a number of seconds: {seconds:?}"));
    Some(Duration::from_secs(seconds))
}

fn run_in_child(case: &Case, show: bool) -> Result<(), Failed> {
    let child = CaseProcess::start(show, |command| {
        command.env(CASE, &case.name);
    })?;
    let Ended { status, printed } = child.wait(case.limit, || ControlFlow::Continue(()))?;
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{status}\n{printed}").into()),
        None => Err(format!("killed: it hung, and its own watchdog with it\n{printed}").into()),
    }
}
