//! `demos models`: every rung under the same load, one after the other.
//!
//! Each rung is a process of its own, started from this binary, on one processor; the client, always the same, is on
//! another where there are two. A rung that can't run here is left out, with the reason. For each rung:
//!
//! 1. *The curve.* One connection talks, more and more others say nothing. What an answer costs then shows how the model
//!    grows; what memory the others take shows what an idle one costs.
//! 2. *The load.* 64 connections talk, each in a closed loop; or fewer, if the rung serves fewer.
//! 3. *The page.* The same with the web page.
//!
//! Processor time, switches and memory are the kernel's figures, of all threads and children. System calls are counted by
//! the rungs themselves, each where it makes one: a look from outside (ptrace) would slow a server down so much that it
//! made other calls. What the standard library does beside, such as a lock that has to wait, is not among them.
//!
//! Calls that wait are as many as there are turns of the loop, and a turn serves all who came since the last: on one
//! connection an echo costs the runtime `proactor` exactly two (one brings the message, one has the answer sent), with
//! 64 that are all asking anything from 1.4 down to 0.05 was seen. Client and server fall into step, now with few
//! messages on the way at a time, now with many, and stay so for a while; the same holds for `demos compare`.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use reactor::{Reactor, TcpStream, Trigger};

use super::report::{LOAD, Point, Report, Row};
use super::service::{Service, page_check};
use super::tree::Usage;
use super::{RUNGS, Rung, serve};
use crate::load::child::Server;
use crate::load::client::{self, Dialogue, EchoDialogue, HttpDialogue, Tally, get};
use crate::load::cores::Cores;
use crate::load::figures::{Figures, median};
use crate::server::control;
use crate::{descriptors, engine, output};

/// Connections of the curve, the one that talks included.
const CURVE: [usize; 3] = [1, 64, 1_000];
const LONG_CURVE: [usize; 8] = [1, 4, 16, 64, 250, 1_000, 4_000, 10_000];
/// Rounds of the echo under load: the least with a median worth the name. The page has one.
const ROUNDS: u32 = 3;
const PAGE_ROUNDS: u32 = 1;
/// The part of a run's time that goes into warming up.
const WARM_UP: f64 = 0.2;
/// How long to measure in all if nothing was said.
const TIME: Duration = Duration::from_secs(60);
const LONG_TIME: Duration = Duration::from_secs(240);
/// Idle connections come in groups of so many: each has exchanged a message.
const GROUP: usize = 50;
/// Bytes of an echo message, and of the block they are cut out of.
const MESSAGE: usize = 128;
const BLOCK: usize = 1 << 20;

type Peers = Vec<client::Peer<TcpStream>>;

/// What is to be measured.
pub struct Plan {
    /// Rungs; none for all of them.
    pub only: Vec<&'static Rung>,
    /// Whether the curve is measured as a whole.
    pub is_long: bool,
    /// How long the measuring may take, if that was said.
    pub time: Option<Duration>,
}

/// Measures what the plan says.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    descriptors::raise_open_files();
    Measurement::new(plan)?.run()
}

struct Measurement {
    client: Reactor,
    cores: Cores,
    block: Rc<[u8]>,
    rungs: Vec<&'static Rung>,
    /// The time of one run, warm-up included.
    slot: Duration,
    progress: ProgressBar,
    report: Report,
}

impl Measurement {
    fn new(plan: &Plan) -> anyhow::Result<Measurement> {
        let client = engine::reactor(Trigger::Edge).context("the client's reactor cannot be set up")?;
        let wanted = |rung: &&Rung| plan.only.is_empty() || plan.only.iter().any(|only| std::ptr::eq(*only, *rung));
        let mut report = Report::default();
        let mut rungs = Vec::new();
        for rung in RUNGS.iter().filter(wanted) {
            match rung.check() {
                Ok(()) => rungs.push(rung),
                Err(reason) => report.missing.push((rung.name, format!("{reason:#}"))),
            }
        }
        let curve = if plan.is_long { &LONG_CURVE[..] } else { &CURVE };
        // The client has as many descriptors as connections, and one more server's worth of others.
        let most = descriptors::open_files().saturating_sub(descriptors::RESERVED);
        let (possible, impossible): (Vec<_>, Vec<_>) = curve.iter().partition(|connections| **connections <= most);
        report.curve = possible;
        report.beyond = impossible;
        let time = plan.time.unwrap_or(if plan.is_long { LONG_TIME } else { TIME });
        let slots = rungs.len() * (report.curve.len() + (ROUNDS + PAGE_ROUNDS) as usize);
        let slot = time / u32::try_from(slots.max(1))?;
        let block = std::iter::repeat_with(|| fastrand::u8(..)).take(BLOCK).collect();
        let progress = output::progress_bar(slots as u64)?;
        let cores = Cores::new();
        report.is_pinned = cores.are_two();
        Ok(Measurement { client, cores, block, rungs, slot, progress, report })
    }

    fn run(mut self) -> anyhow::Result<Report> {
        for rung in std::mem::take(&mut self.rungs) {
            let row = self.rung(rung).with_context(|| format!("the rung {}", rung.name))?;
            self.report.rows.push(row);
        }
        self.progress.finish_and_clear();
        Ok(self.report)
    }

    fn rung(&mut self, rung: &'static Rung) -> anyhow::Result<Row> {
        let (curve, idle_bytes) = self.curve(rung)?;
        let (echo, switches) = self.load(rung, Service::Echo, ROUNDS)?;
        let (web, _) = self.load(rung, Service::Web, PAGE_ROUNDS)?;
        let connections = LOAD.min(serve::capacity(rung));
        Ok(Row { rung, connections, echo, switches, web, idle_bytes, curve })
    }

    /// The cost of an answer beside more and more connections that say nothing, and what one of these takes.
    fn curve(&mut self, rung: &'static Rung) -> anyhow::Result<(Vec<Option<Point>>, Option<f64>)> {
        let mut server = self.start(rung, Service::Echo)?;
        let mut talking = self.connect(&server, rung, Service::Echo, 1)?;
        let mut idle: Vec<Peers> = Vec::new();
        let mut points = Vec::new();
        let mut memory = Vec::new();
        for connections in self.report.curve.clone() {
            self.progress.set_message(format!("{}: {connections} connections", rung.name));
            self.progress.inc(1);
            if connections > serve::capacity(rung) {
                points.push(None);
                continue;
            }
            let present = 1 + idle.iter().map(Vec::len).sum::<usize>();
            let groups = (present..connections).step_by(GROUP);
            for first in groups {
                idle.push(self.open_idle(&server, rung, GROUP.min(connections - first))?);
            }
            let (peers, figures, _) = self.measure(&mut server, talking)?;
            talking = peers;
            memory.push((connections, Usage::of(server.id()).bytes));
            points.push(Some(Point { cpu_ns: figures.cpu_ns, p50_us: figures.p50_us }));
        }
        drop((talking, idle));
        server.end()?;
        Ok((points, idle_bytes(&memory)))
    }

    /// Figures of several rounds, and the switches per request.
    fn load(&mut self, rung: &'static Rung, service: Service, rounds: u32) -> anyhow::Result<(Figures, f64)> {
        let mut server = self.start(rung, service)?;
        let mut peers = self.connect(&server, rung, service, LOAD.min(serve::capacity(rung)))?;
        let (mut all, mut switches) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            self.progress.set_message(format!("{}: {service:?}, {} connections", rung.name, peers.len()));
            let (after, figures, per_request) = self.measure(&mut server, peers)?;
            peers = after;
            all.push(figures);
            switches.push(per_request);
            self.progress.inc(1);
        }
        drop(peers);
        server.end()?;
        Ok((Figures::median(&all), median(switches)))
    }

    /// Has these connections talk, and takes the figures, and the switches per request.
    fn measure(&mut self, server: &mut Server, peers: Peers) -> anyhow::Result<(Peers, Figures, f64)> {
        let rt = &self.client;
        let run = |peers, part| rt.block_on(async { client::run(rt, peers, rt.now() + self.slot.mul_f64(part)).await });
        let (peers, warm_up) = run(peers, WARM_UP)?;
        // The processor time of the questions is outside of what is measured.
        let mut before = server.snapshot()?;
        let used_before = Usage::of(server.id());
        let waited = control::waited_ns();
        let (peers, tally): (Peers, Tally) = run(peers, 1.0 - WARM_UP)?;
        let used_after = Usage::of(server.id());
        let mut after = server.snapshot()?;
        if used_before.cpu_ns > 0 {
            (before.cpu_ns, after.cpu_ns) = (used_before.cpu_ns, used_after.cpu_ns);
        }
        let report = &mut self.report;
        report.answers += warm_up.requests + tally.requests;
        report.measured += tally.elapsed;
        let waited = control::waited_ns().zip(waited).map_or(0, |(after, before)| after.saturating_sub(before));
        report.waited += Duration::from_nanos(waited);
        let switches = used_after.switches.saturating_sub(used_before.switches) as f64 / tally.requests.max(1) as f64;
        Ok((peers, Figures::new(&tally, &before, &after)?, switches))
    }

    fn start(&self, rung: &Rung, service: Service) -> anyhow::Result<Server> {
        let service = match service {
            Service::Echo => "echo",
            Service::Web => "web",
        };
        self.cores.start(&["models", "serve", rung.name, "--service", service])
    }

    fn connect(&self, server: &Server, rung: &Rung, service: Service, number: usize) -> anyhow::Result<Peers> {
        let (length, is_page) = page_check(rung.name);
        let is_page: client::Check = Rc::new(is_page);
        let dialogue = || match service {
            Service::Echo => (Dialogue::Echo(EchoDialogue::new(Rc::clone(&self.block), MESSAGE, 1)), 1),
            Service::Web => {
                (Dialogue::Http(HttpDialogue::checked(&get("localhost", "/"), length, Rc::clone(&is_page), 1)), 1)
            }
        };
        self.client.block_on(client::connect(&self.client, server.address(), number, dialogue))
    }

    /// A group of connections that have exchanged one message each.
    fn open_idle(&self, server: &Server, rung: &Rung, number: usize) -> anyhow::Result<Peers> {
        let peers = self.connect(server, rung, Service::Echo, number)?;
        let rt = &self.client;
        let (peers, _) = rt.block_on(async { client::run(rt, peers, rt.now()).await })?;
        Ok(peers)
    }
}

/// The memory of an idle connection, from that of the server with so many connections. Where there are enough, those of
/// the first points are left out: with them came what is allocated once.
fn idle_bytes(memory: &[(usize, u64)]) -> Option<f64> {
    let last = *memory.last()?;
    let first = memory.iter().rev().find(|(connections, _)| connections * 4 <= last.0)?;
    Some(last.1.saturating_sub(first.1) as f64 / (last.0 - first.0) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_what_many_cost_more_than_few() {
        assert_eq!(idle_bytes(&[(1, 1_000)]), None);
        assert_eq!(idle_bytes(&[(1, 1_000), (64, 7_300)]), Some(100.0));
        assert_eq!(idle_bytes(&[(1, 0), (64, 5_000), (1_000, 98_600)]), Some(100.0));
    }
}
