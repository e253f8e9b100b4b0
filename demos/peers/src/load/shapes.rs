//! The shapes of load: how connections are opened and used.
//!
//! When the measured window is over they send no more, but wait for what was not yet answered, so that a
//! connection that was left without an answer is found out even though others went on.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::client::{Client, Shape};
use super::window::{Step, Tally, Window};

/// Connections that are being opened at the same time. The server's backlog is longer: a connection that
/// finds it full is tried again only after a second.
const OPENING: usize = 128;
/// Batches that were due but could not be sent, at most; if there are more the oldest are given up.
const LONGEST_QUEUE: u64 = 65_536;

/// Opens connections, and exchanges one batch on each: then the server has surely accepted it.
pub struct Opening {
    unopened: Range<usize>,
    opening: usize,
}

impl Opening {
    pub fn new(slots: Range<usize>) -> Opening {
        Opening { unopened: slots, opening: 0 }
    }
}

impl Shape for Opening {
    fn turn(&mut self, client: &mut Client, now: u64) -> anyhow::Result<bool> {
        while self.opening < OPENING
            && let Some(slot) = self.unopened.next()
        {
            client.open(slot)?;
            client.send(slot, now)?;
            self.opening += 1;
        }
        Ok(self.opening > 0)
    }

    fn arrived(&mut self, client: &mut Client, slot: usize, answers: u32, _now: u64) -> anyhow::Result<()> {
        self.opening -= usize::from(answers > 0 && client.talk(slot).open == 0);
        Ok(())
    }
}

/// Each connection sends a batch, waits until all of it is answered, and sends the next.
pub struct Closed {
    window: Window,
    active: usize,
}

impl Closed {
    /// On the first `active` connections, which are open.
    pub fn new(window: Window, active: usize) -> Closed {
        Closed { window, active }
    }

    pub fn finish(self) -> anyhow::Result<Tally> {
        self.window.finish()
    }
}

impl Shape for Closed {
    fn turn(&mut self, client: &mut Client, now: u64) -> anyhow::Result<bool> {
        let step = self.window.turn(client, now)?;
        if step == Step::Starts {
            (0..self.active).try_for_each(|slot| client.send(slot, now))?;
        }
        Ok(step != Step::Ends || client.is_waiting())
    }

    fn arrived(&mut self, client: &mut Client, slot: usize, answers: u32, now: u64) -> anyhow::Result<()> {
        let talk = client.talk(slot);
        self.window.record(answers, talk.since, now);
        let is_next = talk.open == 0 && !self.window.has_ended();
        if is_next { client.send(slot, now) } else { Ok(()) }
    }

    fn due(&self) -> u64 {
        self.window.due()
    }
}

/// Batches are due at a fixed rate, whether the server is ready or not. Each goes to the connection that
/// has been free for the longest time, and its latency counts from when it was due, so a server that
/// stalls can't keep those it delays out of the figures.
pub struct Open {
    window: Window,
    free: VecDeque<usize>,
    depth: u32,
    /// Between two batches, in ns.
    interval: f64,
    /// When the first batch of the phase was due, and how many of them were sent or given up.
    start: u64,
    sent: u64,
    given_up: u64,
    /// Batches that were due at the last turn and found no free connection.
    queue: u64,
}

impl Open {
    /// On all connections, which are open.
    pub fn new(window: Window, connections: usize, rate: f64, depth: u32) -> Open {
        let interval = f64::from(depth) / rate * 1e9;
        Open { window, free: (0..connections).collect(), depth, interval, start: 0, sent: 0, given_up: 0, queue: 0 }
    }

    fn due_at(&self, batch: u64) -> u64 {
        self.start + (batch as f64 * self.interval) as u64
    }

    /// Batches that are due and were not sent.
    fn unsent(&self, now: u64) -> u64 {
        let due = (now.saturating_sub(self.start) as f64 / self.interval) as u64 + 1;
        due.saturating_sub(self.sent)
    }

    fn restart(&mut self, now: u64) {
        self.start = now;
        self.sent = 0;
        self.given_up = 0;
    }

    /// Sends what is due, as far as there are free connections.
    fn send(&mut self, client: &mut Client, now: u64) -> anyhow::Result<()> {
        self.queue = 0;
        while self.due_at(self.sent) <= now {
            let Some(slot) = self.free.pop_front() else {
                self.queue = self.unsent(now);
                break;
            };
            client.send(slot, self.due_at(self.sent))?;
            self.sent += 1;
        }
        let too_many = self.queue.saturating_sub(LONGEST_QUEUE);
        self.sent += too_many;
        self.given_up += too_many;
        self.queue -= too_many;
        Ok(())
    }

    /// What was counted, and how many requests were due in the window but not sent by its end.
    pub fn finish(self) -> anyhow::Result<(Tally, u64)> {
        let unsent = (self.given_up + self.queue) * u64::from(self.depth);
        Ok((self.window.finish()?, unsent))
    }
}

impl Shape for Open {
    fn turn(&mut self, client: &mut Client, now: u64) -> anyhow::Result<bool> {
        match self.window.turn(client, now)? {
            Step::Starts => self.restart(now),
            // Reading the clocks has taken some time, in which nothing was sent.
            Step::Counts => self.restart(client.now()),
            Step::Goes => {}
            Step::Ends => return Ok(client.is_waiting()),
        }
        self.send(client, now)?;
        Ok(true)
    }

    fn arrived(&mut self, client: &mut Client, slot: usize, answers: u32, now: u64) -> anyhow::Result<()> {
        let talk = client.talk(slot);
        self.window.record(answers, talk.since, now);
        if talk.open == 0 {
            self.free.push_back(slot);
        }
        Ok(())
    }

    fn due(&self) -> u64 {
        let next = if self.free.is_empty() { u64::MAX } else { self.due_at(self.sent) };
        next.min(self.window.due())
    }
}

/// Connects, exchanges one message, closes with a reset, and starts over. A request is the whole cycle.
pub struct Churn {
    window: Window,
    /// The socket of each cycle.
    sockets: Vec<Option<OwnedFd>>,
}

impl Churn {
    pub fn new(window: Window, connections: usize) -> Churn {
        Churn { window, sockets: std::iter::repeat_with(|| None).take(connections).collect() }
    }

    pub fn finish(self) -> anyhow::Result<Tally> {
        self.window.finish()
    }
}

impl Shape for Churn {
    fn turn(&mut self, client: &mut Client, now: u64) -> anyhow::Result<bool> {
        let step = self.window.turn(client, now)?;
        if step == Step::Starts {
            for (slot, socket) in self.sockets.iter_mut().enumerate() {
                *socket = Some(client.connect_and_send(slot, now)?);
            }
        }
        Ok(step != Step::Ends || client.is_waiting())
    }

    fn arrived(&mut self, client: &mut Client, slot: usize, _answers: u32, _now: u64) -> anyhow::Result<()> {
        let socket = self.sockets[slot].take().expect("each cycle has a socket until its answer is complete");
        if client.talk(slot).open > 0 {
            client.receive_once(slot, &socket)?;
            self.sockets[slot] = Some(socket);
            return Ok(());
        }
        drop(socket);
        let now = client.now();
        self.window.record(1, client.talk(slot).since, now);
        if self.window.has_ended() {
            return Ok(());
        }
        self.sockets[slot] = Some(client.connect_and_send(slot, now)?);
        Ok(())
    }

    fn due(&self) -> u64 {
        self.window.due()
    }
}
