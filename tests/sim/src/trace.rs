//! What happened, as a number and in words.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::world::Id;

/// Steps kept in words, for a run that fails.
const KEPT: usize = 48;

/// What a step was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Turn,
    Interrupted,
    WokenForNothing,
    Connects,
    Refused,
    Established,
    Accepted,
    AcceptFails,
    AcceptCancelled,
    Sends,
    SendCancelled,
    Arrives,
    EndArrives,
    ResetArrives,
    Receives,
    NoBuffer,
    ReceiveCancelled,
    ShutsDown,
    Closes,
    Resets,
}

/// One step: when, what, which socket, how many bytes.
#[derive(Clone, Copy)]
struct Step {
    at: Duration,
    what: What,
    socket: Id,
    count: u64,
}

/// Everything that happened so far. Two runs are the same if, and as good as only if, their hashes are.
#[derive(Default)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    last: VecDeque<Step>,
}

impl Trace {
    pub(crate) fn note(&mut self, at: Duration, what: What, socket: Id, count: u64) {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        for word in [nanos, what as u64, socket.0, count] {
            // The mixing step of splitmix64: each bit of each word changes about half of the hash's.
            let mut mixed = self.hash.wrapping_add(word).wrapping_add(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            self.hash = mixed ^ (mixed >> 31);
        }
        self.steps += 1;
        if what == What::Turn {
            // They are many, and say little.
            return;
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Step { at, what, socket, count });
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the last of {} steps:", self.steps)?;
        for Step { at, what, socket, count } in &self.last {
            writeln!(f, "  {:>14} {what:?} {socket:?} {count}", format!("{at:?}"))?;
        }
        Ok(())
    }
}
