//! The measured window: what is counted, and when.

use anyhow::ensure;
use hdrhistogram::Histogram;

use super::Load;
use super::client::Client;
use super::clock::{self, ServerProcess};

/// The longest latency the histogram can hold, in ns: a minute. The client gives up long before.
const LONGEST_NS: u64 = 60_000_000_000;

/// What was counted in the window.
pub struct Tally {
    pub requests: u64,
    /// In ns.
    pub latency: Histogram<u64>,
    pub elapsed_ns: u64,
    pub client_cpu_ns: u64,
    pub server_cpu_ns: Option<u64>,
    pub server_voluntary_switches: Option<u64>,
}

/// A warm-up, and then the time in which answers are counted.
pub struct Window {
    server: Option<ServerProcess>,
    length: u64,
    phase: Phase,
    tally: Tally,
}

#[derive(Clone, Copy)]
enum Phase {
    NotBegun { warm_up: u64 },
    WarmUp { until: u64 },
    Measured { since: u64, before: Clocks },
    Ended,
}

/// Where the window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first turn: the warm-up begins.
    Starts,
    /// As before.
    Goes,
    /// From now on answers count.
    Counts,
    /// It is over.
    Ends,
}

/// What the clocks of both processes show.
#[derive(Clone, Copy)]
struct Clocks {
    switches: Option<u64>,
    server: Option<u64>,
    client: u64,
}

impl Clocks {
    /// The switches are read first, since that takes long: it is no part of a window that begins.
    fn read(server: Option<&ServerProcess>) -> anyhow::Result<Clocks> {
        let switches = server.map(ServerProcess::voluntary_switches).transpose()?;
        Ok(Clocks { switches, ..Clocks::read_cpu(server)? })
    }

    fn read_cpu(server: Option<&ServerProcess>) -> anyhow::Result<Clocks> {
        let server = server.map(ServerProcess::cpu_ns).transpose()?;
        Ok(Clocks { switches: None, server, client: clock::own_cpu_ns()? })
    }
}

impl Window {
    pub fn new(load: &Load, server: Option<ServerProcess>) -> anyhow::Result<Window> {
        let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos());
        Ok(Window {
            server,
            length: nanoseconds(load.seconds)?,
            phase: Phase::NotBegun { warm_up: nanoseconds(load.warm_up)? },
            tally: Tally {
                requests: 0,
                latency: Histogram::new_with_max(LONGEST_NS, 3)?,
                elapsed_ns: 0,
                client_cpu_ns: 0,
                server_cpu_ns: None,
                server_voluntary_switches: None,
            },
        })
    }

    /// To be called at each turn.
    pub fn turn(&mut self, client: &Client, now: u64) -> anyhow::Result<Step> {
        match self.phase {
            Phase::NotBegun { warm_up } => {
                self.phase = Phase::WarmUp { until: now + warm_up };
                Ok(Step::Starts)
            }
            Phase::WarmUp { until } if now >= until => {
                let before = Clocks::read(self.server.as_ref())?;
                self.phase = Phase::Measured { since: client.now(), before };
                Ok(Step::Counts)
            }
            Phase::Measured { since, before } if now >= since + self.length => {
                self.end(client.now() - since, before)?;
                Ok(Step::Ends)
            }
            Phase::Ended => Ok(Step::Ends),
            _ => Ok(Step::Goes),
        }
    }

    /// Nothing is counted any more when the clocks are read.
    fn end(&mut self, elapsed_ns: u64, before: Clocks) -> anyhow::Result<()> {
        self.phase = Phase::Ended;
        let after = Clocks::read_cpu(self.server.as_ref())?;
        let switches = self.server.as_ref().map(ServerProcess::voluntary_switches).transpose()?;
        let grown = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
        self.tally.elapsed_ns = elapsed_ns;
        self.tally.client_cpu_ns = after.client.saturating_sub(before.client);
        self.tally.server_cpu_ns = grown(before.server, after.server);
        self.tally.server_voluntary_switches = grown(before.switches, switches);
        Ok(())
    }

    /// When the next phase begins, in ns on the client's clock.
    pub fn due(&self) -> u64 {
        match self.phase {
            Phase::NotBegun { .. } => 0,
            Phase::Ended => u64::MAX,
            Phase::WarmUp { until } => until,
            Phase::Measured { since, .. } => since + self.length,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Counts answers that came now to what was sent at `since`, if it is time. Latencies of what was sent
    /// before the window are left out: reading the clocks is a part of them.
    pub fn record(&mut self, answers: u32, since: u64, now: u64) {
        let Phase::Measured { since: begin, .. } = self.phase else { return };
        self.tally.requests += u64::from(answers);
        if since >= begin {
            self.tally.latency.saturating_record_n(now.saturating_sub(since), u64::from(answers));
        }
    }

    /// What was counted.
    pub fn finish(self) -> anyhow::Result<Tally> {
        ensure!(!self.tally.latency.is_empty(), "no answer came in the measured window: give it more --seconds");
        Ok(self.tally)
    }
}
