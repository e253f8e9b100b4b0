//! What is measured: the scenarios, who takes part in each, and how long it all takes.

use std::time::Duration;

use anyhow::{bail, ensure};
use demos::plot::Kind;

use crate::servers::{self, Service};

/// One way to load a server.
#[derive(Debug)]
pub struct Scenario {
    /// As on the command line and in the saved figures.
    pub name: &'static str,
    pub title: &'static str,
    pub service: Service,
    pub shape: Shape,
    pub connections: u32,
    /// Bytes of an echo message. HTTP requests have a size of their own.
    pub message: u32,
    /// Requests that are sent together on a connection.
    pub depth: u32,
    pub members: Members,
}

/// When the client sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// A connection sends when it has its answers.
    Closed,
    /// So many requests per second in all, whether or not the earlier ones have been answered.
    Open { rate: u32 },
    /// A connection for every request.
    Churn,
    /// Only so many connections are in use, the others stay open.
    Idle { active: u32 },
}

/// Who takes part, as far as it offers the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// All but the demo servers and those that spin.
    Usual,
    /// Those that spin as well.
    Spinning,
    /// The demo servers as well.
    Demos,
    /// As usual, without a thread for each connection: ten thousand of them need more than most systems
    /// allow.
    Many,
    /// The few that are drawn as curves.
    Curve,
}

const ECHO: Scenario = Scenario {
    name: "echo-64",
    title: "Echo, 64 connections, 64 B",
    service: Service::Echo,
    shape: Shape::Closed,
    connections: 64,
    message: 64,
    depth: 1,
    members: Members::Demos,
};

const HTTP: Scenario = Scenario { name: "http-64", title: "HTTP, 64 connections", service: Service::Http, ..ECHO };

/// A point of the curve that is no scenario for everybody.
const POINT: Scenario = Scenario { members: Members::Curve, ..ECHO };

/// Everything that is measured, in the order of the report.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "echo-1", title: "Echo, 1 connection, 64 B", connections: 1, members: Members::Spinning, ..ECHO },
    ECHO,
    Scenario {
        name: "echo-1000",
        title: "Echo, 1,000 connections, 64 B",
        connections: 1000,
        members: Members::Usual,
        ..ECHO
    },
    Scenario {
        name: "echo-64-16k",
        title: "Echo, 64 connections, 16 KiB",
        message: 16 * 1024,
        members: Members::Usual,
        ..ECHO
    },
    Scenario {
        name: "echo-64-p16",
        title: "Echo, 64 connections, 64 B, depth 16",
        depth: 16,
        members: Members::Usual,
        ..ECHO
    },
    HTTP,
    Scenario { name: "http-64-p16", title: "HTTP, 64 connections, depth 16", depth: 16, ..HTTP },
    Scenario {
        name: "http-1000",
        title: "HTTP, 1,000 connections",
        connections: 1000,
        members: Members::Usual,
        ..HTTP
    },
    Scenario {
        name: "churn-64",
        title: "Echo, a connection for every message, 64 at a time",
        shape: Shape::Churn,
        members: Members::Usual,
        ..ECHO
    },
    Scenario {
        name: "open-50k",
        title: "Echo, 50,000 messages/s over 64 connections",
        shape: Shape::Open { rate: 50_000 },
        members: Members::Usual,
        ..ECHO
    },
    Scenario {
        name: "idle-10k",
        title: "Echo, 10,000 connections, 64 of them active",
        shape: Shape::Idle { active: 64 },
        connections: 10_000,
        members: Members::Many,
        ..ECHO
    },
    Scenario {
        name: "active-10k",
        title: "Echo, 10,000 connections, 10 % of them active",
        shape: Shape::Idle { active: 1000 },
        connections: 10_000,
        members: Members::Many,
        ..ECHO
    },
    Scenario { name: "curve-4", title: "Echo, 4 connections, 64 B", connections: 4, ..POINT },
    Scenario { name: "curve-16", title: "Echo, 16 connections, 64 B", connections: 16, ..POINT },
    Scenario { name: "curve-256", title: "Echo, 256 connections, 64 B", connections: 256, ..POINT },
    Scenario { name: "curve-4000", title: "Echo, 4,000 connections, 64 B", connections: 4000, ..POINT },
    Scenario { name: "curve-10000", title: "Echo, 10,000 connections, 64 B", connections: 10_000, ..POINT },
];

/// The points of the curve over the number of connections.
pub const CURVE: &[&str] =
    &["echo-1", "curve-4", "curve-16", "echo-64", "curve-256", "echo-1000", "curve-4000", "curve-10000"];

/// The microbenchmarks, where scenarios are chosen by name.
pub const MICRO: &str = "micro";

/// The runtimes in them, the names that `peers micro` takes.
pub const MICRO_RUNTIMES: &[&str] = &["reactor", "proactor", "tokio", "smol", "monoio", "compio", "glommio", "threads"];

/// To whom all are compared, in every scenario.
pub const BASE: &str = "epoll-edge";

/// Who is drawn as a curve: more could not be told apart.
pub const CURVE_SERVERS: &[&str] =
    &[BASE, "uring", "reactor-level", "reactor-edge", "proactor", "tokio", "monoio-defer"];

/// The scenarios of the quick look.
const QUICK: &[&str] = &["echo-1", "echo-64", "echo-64-p16", "http-64", "open-50k"];

/// Rounds in all, and for the quick look and for curves. An odd number has a round in the middle.
const ROUNDS: usize = 9;
const FEW_ROUNDS: usize = 3;

/// How long the load runs before it counts, and how long it counts.
pub const WARM_UP: Duration = Duration::from_millis(100);
pub const MEASURED: Duration = Duration::from_millis(300);

/// About what it takes to start and end a server and a client, and to open a connection: for the
/// estimate of the time.
const OVERHEAD: Duration = Duration::from_millis(90);
const OVERHEAD_PER_CONNECTION: Duration = Duration::from_micros(60);
/// The microbenchmarks, about.
pub const MICRO_TIME: Duration = Duration::from_secs(100);

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub is_quick: bool,
    pub rounds: Option<usize>,
    /// Empty: all.
    pub servers: Vec<String>,
    /// Empty: all.
    pub scenarios: Vec<String>,
}

/// What will be measured.
#[derive(Debug)]
pub struct Plan {
    pub rounds: usize,
    pub has_micro: bool,
    pub entries: Vec<Entry>,
}

/// A scenario with those who take part.
#[derive(Debug)]
pub struct Entry {
    pub scenario: &'static Scenario,
    pub servers: Vec<&'static str>,
    pub rounds: usize,
}

impl Scenario {
    /// The scenario of this name.
    pub fn find(name: &str) -> Option<&'static Scenario> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Whether it is only a point of the curve.
    pub fn is_curve_only(&self) -> bool {
        self.members == Members::Curve
    }

    /// The expected time of one run.
    pub fn time(&self) -> Duration {
        WARM_UP + MEASURED + OVERHEAD + OVERHEAD_PER_CONNECTION * self.connections
    }

    /// Whether this server takes part.
    pub fn has(&self, server: &servers::Server) -> bool {
        let name = server.name;
        let (spins, is_demo) = (name.ends_with("-spin"), name.starts_with("demo-"));
        let is_member = match self.members {
            Members::Usual => !spins && !is_demo,
            Members::Spinning => !is_demo,
            Members::Demos => !spins,
            Members::Many => !spins && !is_demo && name != "threads",
            Members::Curve => CURVE_SERVERS.contains(&name),
        };
        is_member && server.services.contains(&self.service)
    }
}

impl Plan {
    /// What the choice means. Unknown names are an error that lists what there is.
    pub fn new(choice: &Choice) -> anyhow::Result<Plan> {
        let known: Vec<_> = servers::ALL.iter().map(|server| server.name).collect();
        check("server", &choice.servers, &known)?;
        let mut known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        known.push(MICRO);
        check("scenario", &choice.scenarios, &known)?;
        ensure!(choice.rounds != Some(0), "0 rounds measure nothing: give --rounds 1 or more");
        let rounds = choice.rounds.unwrap_or(if choice.is_quick { FEW_ROUNDS } else { ROUNDS });
        let is_chosen = |name: &str| match &choice.scenarios[..] {
            [] if choice.is_quick => QUICK.contains(&name),
            [] => true,
            chosen => chosen.iter().any(|other| other == name),
        };
        let takes_part = |name: &str| match &choice.servers[..] {
            [] if choice.is_quick => CURVE_SERVERS.contains(&name),
            [] => true,
            chosen => chosen.iter().any(|other| other == name),
        };
        let entry = |scenario: &'static Scenario| {
            let servers = servers::ALL.iter().filter(|server| scenario.has(server) && takes_part(server.name));
            let is_short = scenario.is_curve_only() && choice.rounds.is_none();
            Entry {
                scenario,
                servers: servers.map(|server| server.name).collect(),
                rounds: if is_short { rounds.min(FEW_ROUNDS) } else { rounds },
            }
        };
        let entries = SCENARIOS.iter().filter(|scenario| is_chosen(scenario.name)).map(entry);
        let entries: Vec<_> = entries.filter(|entry| !entry.servers.is_empty()).collect();
        let has_micro = is_chosen(MICRO) && choice.servers.is_empty();
        ensure!(has_micro || !entries.is_empty(), "none of the chosen servers takes part in the chosen scenarios");
        Ok(Plan { rounds, has_micro, entries })
    }

    /// Every server that takes part in anything.
    pub fn servers(&self) -> Vec<(&'static str, Service)> {
        let mut servers: Vec<(&'static str, Service)> = Vec::new();
        for entry in &self.entries {
            for server in &entry.servers {
                if !servers.iter().any(|(name, _)| name == server) {
                    servers.push((server, entry.scenario.service));
                }
            }
        }
        servers
    }

    /// Takes a server out of everything.
    pub fn remove(&mut self, server: &str) {
        for entry in &mut self.entries {
            entry.servers.retain(|name| *name != server);
        }
    }

    /// How many runs of a load there are.
    pub fn runs(&self) -> usize {
        self.entries.iter().map(|entry| entry.servers.len() * entry.rounds).sum()
    }

    /// How long it takes, about.
    pub fn time(&self) -> Duration {
        let entries = self.entries.iter();
        let time = entries.map(|entry| entry.scenario.time() * (entry.servers.len() * entry.rounds) as u32);
        time.sum::<Duration>() + if self.has_micro { MICRO_TIME } else { Duration::ZERO }
    }
}

/// Whose figures carry this name, be it a server's or a runtime's in the microbenchmarks.
pub fn kind(name: &str) -> Kind {
    let starts_with = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    if starts_with(&["reactor", "proactor", "demo-", "demos-"]) {
        Kind::Ours
    } else if starts_with(&["epoll-", "uring"]) {
        Kind::Loop
    } else {
        Kind::Peer
    }
}

/// Unknown names are an error that lists what there is.
pub fn check(what: &str, chosen: &[String], known: &[&str]) -> anyhow::Result<()> {
    match chosen.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => bail!("there is no {what} {name}: choose from {}", known.join(", ")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(servers: &[&str], scenarios: &[&str]) -> Choice {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Choice { servers: owned(servers), scenarios: owned(scenarios), ..Choice::default() }
    }

    #[test]
    fn scenarios_and_servers_are_found_by_name() {
        let plan = Plan::new(&choice(&["epoll-edge", "reactor-edge"], &["echo-64"])).unwrap();
        assert_eq!(plan.servers().len(), 2);
        assert_eq!((plan.entries.len(), plan.runs(), plan.has_micro), (1, 2 * ROUNDS, false));
        for name in CURVE.iter().chain(QUICK) {
            assert!(Scenario::find(name).is_some(), "{name}");
        }
        for name in CURVE_SERVERS {
            assert!(servers::ALL.iter().any(|server| server.name == *name), "{name}");
        }
    }

    #[test]
    fn unknown_names_are_answered_with_those_that_exist() {
        let error = Plan::new(&choice(&["epol"], &[])).unwrap_err().to_string();
        assert!(error.contains("no server epol") && error.contains("reactor-edge"), "{error}");
        let error = Plan::new(&choice(&[], &["echo"])).unwrap_err().to_string();
        assert!(error.contains("no scenario echo") && error.contains("echo-64") && error.contains("micro"), "{error}");
        let error = Plan::new(&choice(&["hyper"], &["echo-64"])).unwrap_err().to_string();
        assert!(error.contains("none of the chosen servers"), "{error}");
    }

    #[test]
    fn everything_takes_minutes_and_the_quick_look_less_than_two() {
        let all = Plan::new(&Choice::default()).unwrap();
        assert!(all.has_micro && all.time() < Duration::from_secs(20 * 60), "{:?}", all.time());
        let quick = Plan::new(&Choice { is_quick: true, ..Choice::default() }).unwrap();
        assert!(!quick.has_micro && quick.time() < Duration::from_secs(120), "{:?}", quick.time());
    }

    #[test]
    fn spinning_and_demo_servers_stay_where_they_belong() {
        let plan = Plan::new(&Choice::default()).unwrap();
        for entry in &plan.entries {
            let spins = entry.servers.iter().any(|name| name.ends_with("-spin"));
            assert_eq!(spins, entry.scenario.name == "echo-1", "{}", entry.scenario.name);
            let has_demo = entry.servers.iter().any(|name| name.starts_with("demo-"));
            let may_have = ["echo-64", "http-64", "http-64-p16"].contains(&entry.scenario.name);
            assert_eq!(has_demo, may_have, "{}", entry.scenario.name);
        }
    }
}
