//! The world: a clock, an agenda of what is going to happen, and chance.
//!
//! Nothing happens by itself. Who sends, connects or submits an operation puts an [`Event`] on the agenda; a
//! turn of the loop moves the clock on to the next event, if nobody has anything to do before, and lets it
//! happen. So all wakes come out of turns, and all order out of the agenda: by time, then as chance will have it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use executor::{DriverStats, Fired, closed};
use fastrand::Rng;

use crate::socket::{Listening, Socket};
use crate::trace::{Trace, What};
use crate::weather::Weather;

/// Turns in which nothing happens, not even a moment passes, before the program is taken to spin: a real one
/// would keep a core busy.
const EMPTY_TURNS: u32 = 10_000;

/// A socket's or a listener's name. None is given twice.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) u64);

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What is going to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A request to connect reaches the listener.
    Connect {
        client: Id,
        tries: u32,
    },
    /// The client learns what came of it: 0, or an error's number.
    Decide {
        client: Id,
        error: i32,
    },
    /// The next segment reaches this socket.
    Arrive {
        to: Id,
    },
    /// An operation may complete.
    Receive {
        socket: Id,
        operation: u64,
    },
    Send {
        socket: Id,
        operation: u64,
    },
    Accept {
        listener: Id,
        operation: u64,
    },
    /// The writer learns that its reader has taken something.
    Room {
        writer: Id,
    },
    /// Whoever reads here looks again.
    Look {
        reader: Id,
    },
}

/// All of it. Sockets, listeners and the driver share one.
pub(crate) struct World {
    pub(crate) seed: u64,
    start: Instant,
    pub(crate) is_closed: Cell<bool>,
    pub(crate) state: RefCell<State>,
    pub(crate) chunks_lent: Rc<Cell<u64>>,
    /// The first panic of a task that nobody awaits.
    pub(crate) panic: Cell<Option<Box<dyn Any + Send>>>,
    pub(crate) bell: Arc<Bell>,
}

/// Rung when another thread ends a sleep.
#[derive(Default)]
pub(crate) struct Bell(AtomicBool);

impl executor::Unpark for Bell {
    fn unpark(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The part of the world that changes. No waker is called, cloned or dropped while it is borrowed.
pub(crate) struct State {
    pub(crate) now: Duration,
    pub(crate) weather: Weather,
    pub(crate) random: Rng,
    pub(crate) trace: Trace,
    agenda: BTreeMap<(Duration, u32, u64), Event>,
    last_name: u64,
    last_port: u16,
    empty_turns: u32,
    max_steps: u64,
    pub(crate) sockets: BTreeMap<Id, Socket>,
    pub(crate) listeners: BTreeMap<Id, Listening>,
    /// Local and remote address to socket.
    pub(crate) by_address: BTreeMap<(SocketAddr, SocketAddr), Id>,
    /// Sockets the program holds, or will get.
    pub(crate) held: usize,
    pub(crate) events: u64,
    pub(crate) operations: u64,
    pub(crate) orphans: u64,
    pub(crate) pool_misses: u64,
}

impl World {
    pub(crate) fn new(seed: u64, weather: Weather, max_steps: u64) -> World {
        World {
            seed,
            start: Instant::now(),
            is_closed: Cell::new(false),
            state: RefCell::new(State {
                now: Duration::ZERO,
                weather,
                random: Rng::with_seed(seed),
                trace: Trace::default(),
                agenda: BTreeMap::new(),
                last_name: 0,
                last_port: 9_999,
                empty_turns: 0,
                max_steps,
                sockets: BTreeMap::new(),
                listeners: BTreeMap::new(),
                by_address: BTreeMap::new(),
                held: 0,
                events: 0,
                operations: 0,
                orphans: 0,
                pool_misses: 0,
            }),
            chunks_lent: Rc::default(),
            panic: Cell::new(None),
            bell: Arc::default(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + self.state.borrow().now
    }

    /// Asks for something that needs no waiting.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&mut State) -> Result<T, i32>) -> io::Result<T> {
        if self.is_closed.get() {
            return Err(closed());
        }
        ask(&mut self.state.borrow_mut()).map_err(io::Error::from_raw_os_error)
    }

    /// Lets time pass, and happen what is due.
    pub(crate) fn turn(&self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()> {
        if let Some(panic) = self.panic.take() {
            std::panic::resume_unwind(panic);
        }
        self.state.borrow_mut().turn(timeout, fired, &self.bell)
    }

    /// Ends everything: from now on all is answered by "closed".
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.state.borrow_mut().agenda.clear();
    }

    /// Wakes who waits for a socket, to learn that the world is closed.
    pub(crate) fn drain(&self, fired: &mut Fired) {
        let state = &mut *self.state.borrow_mut();
        let of_sockets = state.sockets.values_mut().flat_map(|socket| [socket.reader.take(), socket.writer.take()]);
        let of_listeners = state.listeners.values_mut().map(|listening| listening.waiter.take());
        of_sockets.chain(of_listeners).flatten().for_each(|waker| fired.wake(waker));
    }

    pub(crate) fn stats(&self) -> DriverStats {
        let state = self.state.borrow();
        let under_way = state.sockets.values().map(Socket::operations).sum::<u64>()
            + state.listeners.values().filter(|listening| listening.accept.is_some()).count() as u64;
        DriverStats {
            events: state.events,
            chunks_lent_now: self.chunks_lent.get(),
            operations_now: Some(under_way),
            operations: Some(state.operations),
            orphans: Some(state.orphans),
            pool_misses: Some(state.pool_misses),
            ..DriverStats::default()
        }
    }
}

impl Drop for World {
    /// In a run that fails, says what led to it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("sim: seed {}, {}", self.seed, self.state.borrow().trace);
        }
    }
}

impl State {
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired, bell: &Bell) -> io::Result<()> {
        let before = (self.now, self.events);
        self.note(What::Turn, Id::default(), 0);
        self.now += draw_time(&mut self.random, &self.weather.turn);
        let was_interrupted = timeout != Some(Duration::ZERO) && self.sleep(before.0, timeout, bell)?;
        if !was_interrupted {
            self.happen(fired);
        }
        if self.chance(|weather| weather.spurious) {
            self.wake_somebody(fired);
        }
        let is_empty = (self.now, self.events) == before;
        self.empty_turns = if is_empty { self.empty_turns + 1 } else { 0 };
        if self.empty_turns == EMPTY_TURNS {
            return Err(self.stuck("some task is busy for ever: in real time it would keep a core to itself"));
        }
        if self.trace.steps() > self.max_steps {
            let why = format!("more than {} steps. If the program is as long as that, allow more", self.max_steps);
            return Err(self.stuck(&why));
        }
        Ok(())
    }

    /// Moves the clock to what comes first: an event, or the end of the timeout. True if a signal came before.
    fn sleep(&mut self, since: Duration, timeout: Option<Duration>, bell: &Bell) -> io::Result<bool> {
        let until = timeout.map(|timeout| since.saturating_add(timeout));
        let event = self.agenda.first_key_value().map(|((at, ..), _)| *at);
        let Some(mut target) = until.into_iter().chain(event).min() else {
            if bell.0.swap(false, Ordering::SeqCst) {
                return Ok(true);
            }
            return Err(self.stuck("everybody waits for what will never come"));
        };
        if target <= self.now {
            return Ok(false);
        }
        if self.chance(|weather| weather.interrupted) {
            self.now = draw_time(&mut self.random, &(self.now..=target));
            self.note(What::Interrupted, Id::default(), 0);
            return Ok(true);
        }
        if event.is_none_or(|event| target < event) {
            target += draw_time(&mut self.random, &self.weather.oversleep);
        }
        self.now = target;
        Ok(false)
    }

    /// Lets happen what is due.
    fn happen(&mut self, fired: &mut Fired) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let event = entry.remove();
            self.events += 1;
            match event {
                Event::Connect { client, tries } => self.connect(client, tries, fired),
                Event::Decide { client, error } => self.decide(client, error, fired),
                Event::Arrive { to } => self.arrive(to, fired),
                Event::Receive { socket, operation } => self.complete_receive(socket, operation, fired),
                Event::Send { socket, operation } => self.complete_send(socket, operation, fired),
                Event::Accept { listener, operation } => self.complete_accept(listener, operation, fired),
                Event::Room { writer } => self.learn_of_room(writer, fired),
                Event::Look { reader } => self.become_readable(reader, fired),
            }
            // The rest is reported by the next turn.
            if self.chance(|weather| weather.interrupted) {
                return;
            }
        }
    }

    fn wake_somebody(&mut self, fired: &mut Fired) {
        let ids = self.sockets.keys().next().zip(self.sockets.keys().next_back());
        let Some((first, last)) = ids.map(|(first, last)| (first.0, last.0)) else { return };
        let from = Id(self.random.u64(first..=last));
        let is_reader = self.random.bool();
        let Some((id, socket)) = self.sockets.range_mut(from..).next() else { return };
        let id = *id;
        let waker = if is_reader { socket.reader.take() } else { socket.writer.take() };
        let listening = self.listeners.values_mut().next();
        let waker = waker.or_else(|| listening.and_then(|listening| listening.waiter.take()));
        if let Some(waker) = waker {
            self.note(What::WokenForNothing, id, 0);
            fired.wake(waker);
        }
    }

    /// Puts an event on the agenda.
    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now.saturating_add(delay), event);
    }

    pub(crate) fn at(&mut self, time: Duration, event: Event) {
        let tie = if self.weather.reordered { self.random.u32(..) } else { 0 };
        let name = self.name();
        self.agenda.insert((time, tie, name.0), event);
    }

    /// Puts the completion of an operation on the agenda.
    pub(crate) fn complete_later(&mut self, event: Event) {
        let delay = draw_time(&mut self.random, &self.weather.completion);
        self.after(delay, event);
    }

    pub(crate) fn latency(&mut self) -> Duration {
        draw_time(&mut self.random, &self.weather.latency)
    }

    pub(crate) fn chance(&mut self, of: impl Fn(&Weather) -> f64) -> bool {
        let chance = of(&self.weather);
        chance > 0.0 && self.random.f64() < chance
    }

    /// How many of `most` bytes a transfer moves. At least one, unless there is none.
    pub(crate) fn amount(&mut self, most: usize) -> usize {
        if most > 1 && self.chance(|weather| weather.short) { self.random.usize(1..=most) } else { most }
    }

    /// Bytes that one direction of a new connection holds.
    pub(crate) fn capacity(&mut self) -> usize {
        let (least, most) = (*self.weather.buffer.start(), *self.weather.buffer.end());
        if least < most { self.random.usize(least..=most) } else { most }
    }

    /// A name, or a place in order, that was never given before.
    pub(crate) fn name(&mut self) -> Id {
        self.last_name += 1;
        Id(self.last_name)
    }

    /// A free port. They begin at 10000.
    pub(crate) fn port(&mut self) -> u16 {
        self.last_port = self.last_port.checked_add(1).unwrap_or(10_000);
        self.last_port
    }

    pub(crate) fn note(&mut self, what: What, socket: Id, count: usize) {
        self.trace.note(self.now, what, socket, count as u64);
    }

    /// The error of a world that doesn't go on, with all there is to know.
    fn stuck(&self, why: &str) -> io::Error {
        let mut text = format!("after {:?}: {why}\n", self.now);
        for (id, socket) in &self.sockets {
            text += &format!("  {id:?} {socket}\n");
        }
        for (id, listening) in &self.listeners {
            text += &format!("  {id:?} {listening}\n");
        }
        io::Error::other(text)
    }
}

pub(crate) fn draw_time(random: &mut Rng, range: &RangeInclusive<Duration>) -> Duration {
    let (least, most) = (*range.start(), *range.end());
    if least >= most {
        return least;
    }
    let span = u64::try_from((most - least).as_nanos()).unwrap_or(u64::MAX);
    least + Duration::from_nanos(random.u64(0..=span))
}

/// Wakers that are no longer needed, to be dropped when the state is no longer borrowed.
pub(crate) type Old = Option<Waker>;
