//! Random scripts whose transcript is the same on every runtime, to hold one against another.
//!
//! A [`Script`] is a list of steps on a few connections, both ends of which belong to the runtime. One conductor
//! takes one step after the other, so what a step comes to depends on the steps before it only, and not on how
//! fast anything is or how it is cut in pieces: the generator knows what is on its way, and never writes what
//! finds no room, reads what was not written, or asks where two answers would be right. What may come out this
//! way or that (how much a receive brings, whether one that is dropped had been in time) is allowed to, and must
//! come to the same in the end: every byte once, in order.
//!
//! [`Script::play`] runs it on any [`Runtime`](executor::Runtime) and returns the transcript, a line for each step.

mod play;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;

use crate::{Builder, Weather};

/// Bytes that may be on their way without a reader: less than any socket holds.
const UNHEARD: usize = 4000;
/// What is written at once with a reader at the other end.
const FLOOD: usize = 150_000;
/// More than any two sockets of a kernel hold.
const TOO_MUCH: usize = 16 << 20;
/// The same for those of the sim, which are smaller.
const SIM_TOO_MUCH: usize = 1 << 20;
/// Connections at the same time.
const CONNECTIONS: usize = 4;

/// An end of a connection: its number, and 0 for who connected, 1 for who accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) connection: usize,
    pub(crate) end: usize,
}

impl At {
    fn other(self) -> At {
        At { end: 1 - self.end, ..self }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.connection, ["a", "b"][self.end])
    }
}

/// What a new connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Connect and accept go on side by side.
    Plain,
    /// An accept was begun before, and dropped.
    AfterDroppedAccept,
    /// An accept was given up before, by a timeout.
    AfterLateAccept,
    /// It has to wait until an accept, which may be dropped at any moment, is made once more.
    BeforeAccept,
}

/// How bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    Recv,
    Read,
    ReadExact,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Open(Opening),
    /// Nobody listens there.
    Refused,
    /// Writes so much, as a whole or in parts.
    Say(At, usize, bool),
    /// Reads so much of what is there.
    Hear(At, usize, Hearing),
    /// Reads where nothing comes, until a timeout.
    HearNothing(At),
    /// Begins to read, and drops that.
    GiveUp(At),
    /// The same while the other end writes so much.
    GiveUpAmid(At, usize),
    /// A question of this length and its answer, in one.
    Exchange(At, usize),
    /// Writes much, while the other end reads it.
    Flood(At, usize),
    /// Both at the same time, each way.
    FloodBoth(At, usize),
    /// Nothing to write, and nowhere to read to.
    Empty(At),
    /// Takes the two sides apart.
    Split(At),
    /// Ends the writing side; or drops it, if it is apart.
    End(At, bool),
    /// Writes after that.
    SayAfterEnd(At),
    /// Reads up to the end, and once more.
    HearEnd(At),
    /// Writes more than finds room, until a timeout; and then once more.
    Stall(At),
    /// Reads what came of that, to the end.
    HearStalled(At),
    /// Closes. Nothing was left to read.
    Close(At),
    /// Ends the connection by a reset.
    Reset(At),
    /// What the other end learns of it: by reading, or by writing.
    LearnOfReset(At, bool),
    /// So many tasks sleep, and wake in order.
    Sleepers(usize),
    /// A task is aborted.
    Abort,
}

/// A list of steps, made from a seed.
#[derive(Clone, Debug)]
pub struct Script {
    seed: u64,
    steps: Vec<Step>,
    too_much: usize,
}

/// What the generator knows of an end.
#[derive(Clone, Copy, Debug, Default)]
struct Knowledge {
    is_gone: bool,
    is_split: bool,
    /// Its writing side has ended.
    has_ended: bool,
    /// It has read the end.
    has_heard_end: bool,
    /// A write of its was given up.
    is_stalled: bool,
    /// The other end has reset the connection.
    is_reset: bool,
    /// What it wrote and the other end has not read.
    unheard: usize,
}

impl Script {
    /// About so many steps, and then the end of all connections.
    #[must_use]
    pub fn random(seed: u64, steps: usize) -> Script {
        let mut random = Rng::with_seed(seed);
        let mut script = Script { seed, steps: Vec::new(), too_much: TOO_MUCH };
        let mut all: Vec<[Knowledge; 2]> = Vec::new();
        while script.steps.len() < steps {
            let open = all.iter().filter(|ends| !ends.iter().all(|end| end.is_gone)).count();
            if open == 0 || (open < CONNECTIONS && random.u8(..) < 16) {
                let all_ways =
                    [Opening::Plain, Opening::AfterDroppedAccept, Opening::AfterLateAccept, Opening::BeforeAccept];
                script.steps.push(Step::Open(all_ways[random.usize(0..4)]));
                all.push(Default::default());
            } else if random.u8(..) < 8 {
                let step = [Step::Refused, Step::Sleepers(random.usize(1..8)), Step::Abort][random.usize(0..3)];
                script.steps.push(step);
            } else {
                let at = At { connection: random.usize(0..all.len()), end: random.usize(0..2) };
                let ends = &mut all[at.connection];
                let [me, other] = [ends[at.end], ends[1 - at.end]];
                if let Some(step) = choose(&mut random, at, me, other) {
                    learn(step, ends);
                    script.steps.push(step);
                }
            }
        }
        for (connection, ends) in all.iter_mut().enumerate() {
            script.finish(connection, ends);
        }
        script
    }

    /// Its seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Plays it in the sim, in calm weather and in one of three storms, and compares. Returns the transcript, and
    /// how many steps the world took in both.
    ///
    /// # Panics
    /// If the transcripts differ, or something is left over at the end.
    #[must_use]
    pub fn simulate(&self) -> (Vec<String>, u64) {
        let storms = [
            Weather::stormy(),
            Weather { submitted: 0.0, ..Weather::stormy() },
            Weather { submitted: 1.0, multishot: 0.9, late_cancel: 0.9, ..Weather::stormy() },
        ];
        let storm = storms[(self.seed % 3) as usize].clone();
        let [(calm, few), (stormy, many)] = [Weather::calm(), storm].map(|weather| self.simulate_in(weather));
        let differs = stormy.iter().zip(&calm).find(|(one, other)| one != other);
        assert!(differs.is_none(), "script {} in a storm and in calm weather: {differs:#?}", self.seed);
        (calm, few + many)
    }

    fn simulate_in(&self, weather: Weather) -> (Vec<String>, u64) {
        let sim = Builder::new(self.seed).weather(weather).build();
        let script = Script { too_much: SIM_TOO_MUCH, ..self.clone() };
        let (address, hour) = (SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), Duration::from_secs(3600));
        let transcript = sim.block_on(script.play(&sim, address, hour, |stream| sim.reset_on_close(stream)));
        let stats = sim.stats();
        let left = (stats.tasks_now, stats.timers_now, stats.driver.chunks_lent_now, stats.driver.operations_now);
        assert_eq!(left, (0, 0, 0, Some(0)), "script {}: left over: {stats}", self.seed);
        let steps = sim.steps();
        sim.finish();
        (transcript, steps)
    }

    /// Reads what is left, and closes both ends.
    fn finish(&mut self, connection: usize, ends: &mut [Knowledge; 2]) {
        for end in [0, 1, 0, 1, 0, 1] {
            let at = At { connection, end };
            let [me, other] = [ends[end], ends[1 - end]];
            let step = match () {
                () if me.is_gone => continue,
                () if me.is_reset => Step::LearnOfReset(at, false),
                () if other.is_stalled && !other.has_ended && !other.is_gone => continue,
                () if other.is_stalled && !me.has_heard_end => Step::HearStalled(at),
                () if (other.has_ended || other.is_gone) && !me.has_heard_end => Step::HearEnd(at),
                () if other.unheard > 0 => Step::Hear(at, other.unheard, Hearing::Recv),
                () => Step::Close(at),
            };
            learn(step, ends);
            self.steps.push(step);
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{number}: {step:?}"))
    }
}

/// A step that has one outcome in this situation, if chance hits on one.
fn choose(random: &mut Rng, at: At, me: Knowledge, other: Knowledge) -> Option<Step> {
    if me.is_gone {
        return None;
    }
    if me.is_reset {
        return Some(Step::LearnOfReset(at, random.bool()));
    }
    let is_widowed = other.is_gone;
    let can_say = !me.has_ended && !me.is_stalled && !is_widowed;
    let can_hear = !other.is_stalled && !me.has_heard_end;
    let other_listens = !other.is_gone && !other.has_heard_end && !other.is_reset;
    let no_more_comes = other.has_ended || is_widowed;
    let is_fresh = can_say && can_hear && !other.has_ended && !other.is_stalled;
    let is_silent = is_fresh && me.unheard == 0 && other.unheard == 0;
    let room = UNHEARD - me.unheard.min(UNHEARD);
    let step = match random.u8(0..64) {
        0..16 if can_say && room > 0 => Step::Say(at, random.usize(1..=room.min(1500)), random.bool()),
        16..30 if can_hear && other.unheard > 0 => {
            let how = [Hearing::Recv, Hearing::Read, Hearing::ReadExact][random.usize(0..3)];
            Step::Hear(at, random.usize(1..=other.unheard), how)
        }
        30..32 if can_hear && other.unheard == 0 && !no_more_comes => Step::HearNothing(at),
        32..36 if can_hear => Step::GiveUp(at),
        36..40 if is_fresh && other.unheard < UNHEARD => {
            Step::GiveUpAmid(at, random.usize(1..=UNHEARD - other.unheard))
        }
        40..44 if is_silent && !me.is_split => Step::Exchange(at, random.usize(1..3000)),
        44..48 if can_say && me.unheard == 0 && other_listens => Step::Flood(at, random.usize(1..FLOOD)),
        48..50 if is_silent && me.is_split && other.is_split => Step::FloodBoth(at, random.usize(1..FLOOD)),
        50 if can_say => Step::Empty(at),
        51..53 if !me.is_split && !me.has_ended => Step::Split(at),
        53..55 if !me.has_ended && !is_widowed => Step::End(at, me.is_split && random.bool()),
        55 if me.has_ended && !me.is_split && !is_widowed => Step::SayAfterEnd(at),
        56..58 if can_hear && no_more_comes => Step::HearEnd(at),
        58 if is_silent && random.u8(0..4) == 0 => Step::Stall(at),
        59..61 if other.is_stalled && no_more_comes && !me.has_heard_end => Step::HearStalled(at),
        61 if other.unheard == 0 && !other.is_stalled => Step::Close(at),
        62 if !me.is_split
            && !me.has_ended
            && !other.has_ended
            && !is_widowed
            && !me.is_stalled
            && !other.is_stalled =>
        {
            Step::Reset(at)
        }
        _ => return None,
    };
    Some(step)
}

/// What the step changes in the ends of its connection.
fn learn(step: Step, ends: &mut [Knowledge; 2]) {
    match step {
        Step::Say(at, count, _) => ends[at.end].unheard += count,
        Step::GiveUpAmid(at, count) => ends[1 - at.end].unheard += count,
        Step::Hear(at, count, _) => ends[1 - at.end].unheard -= count,
        Step::Split(at) => ends[at.end].is_split = true,
        Step::End(at, _) => ends[at.end].has_ended = true,
        Step::HearEnd(at) | Step::HearStalled(at) => {
            ends[at.end].has_heard_end = true;
            ends[1 - at.end].unheard = 0;
        }
        Step::Stall(at) => ends[at.end].is_stalled = true,
        Step::Close(at) | Step::LearnOfReset(at, _) => ends[at.end].is_gone = true,
        Step::Reset(at) => {
            ends[at.end].is_gone = true;
            ends[1 - at.end].is_reset = true;
        }
        Step::Open(_)
        | Step::Refused
        | Step::HearNothing(_)
        | Step::GiveUp(_)
        | Step::Exchange(..)
        | Step::Flood(..)
        | Step::FloodBoth(..)
        | Step::Empty(_)
        | Step::SayAfterEnd(_)
        | Step::Sleepers(_)
        | Step::Abort => {}
    }
}
