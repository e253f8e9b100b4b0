//! Tasks against threads against processes: what one costs to make, to keep, and to switch to.
//!
//! ```sh
//! demos tasks                                   # a million tasks on each engine, 1,000 threads, 100 processes
//! demos tasks --html tasks.html                 # the same as a picture
//! ```
//!
//! A task (a coroutine) is a future in a box: what it has to remember from one `.await` to the next, in as many bytes as
//! that takes. To switch to another one is to return from a function and to call another. A thread has a stack, for it
//! may be interrupted anywhere; the kernel switches, and has a stack of its own for each. A process has a memory of its
//! own besides.
//!
//! All three are measured in the same way, in a process of their own on one processor:
//!
//! - **to make one**: start so many that do nothing but wait, until all of them wait;
//! - **to keep one**: memory in use after that, less memory in use before, divided by their number; for threads and
//!   processes with the kernel's stack and page tables. Address space is not memory: a thread *reserves* megabytes of
//!   it, and uses some pages;
//! - **to switch**: two of them take turns, each waking the other and waiting to be woken. Tasks do it by a
//!   [`Waker`], threads by `park` and `unpark`, processes by a byte in a pipe;
//! - **to switch among all** (tasks): all that wait are woken, and run once. They no longer fit into the caches.
//!
//! Files: this one (tasks), `threads.rs`, `processes.rs`.

pub mod processes;
pub mod threads;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use executor::{Runtime, yield_now};

use crate::memory;

/// What was found out about one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// How many there were at the same time.
    pub number: u64,
    /// Nanoseconds to make one.
    pub create_ns: f64,
    /// Bytes of memory for each.
    pub bytes: f64,
    /// Bytes of address space for each, where that is another figure.
    pub address_space: Option<f64>,
    /// Nanoseconds from one to another and only other one.
    pub switch_ns: f64,
    /// Nanoseconds for each when all are woken.
    pub crowd_switch_ns: Option<f64>,
    /// Why there were not as many as asked for.
    pub shortage: Option<String>,
}

/// Turns that two take; each in its own run. More runs find a quieter one.
pub const TURNS: u32 = 20_000;
/// The best of so many runs counts: what disturbs makes things slower, never faster.
pub const RUNS: usize = 5;

/// The figures of tasks, with so many of them. Best in a process that has done nothing else.
pub async fn measure<R: Runtime>(rt: &R, number: u32) -> Figures {
    let (before, start) = (memory::resident(), Instant::now());
    let crowd = Rc::new(Crowd::with_room_for(number));
    for _ in 0..number {
        rt.spawn(wait(Rc::clone(&crowd))).detach();
    }
    // Those that are spawned first are polled first.
    while crowd.waiting() < number {
        yield_now().await;
    }
    let created = start.elapsed();
    let bytes = memory::resident().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
    let start = Instant::now();
    crowd.release();
    while crowd.left.get() < number {
        yield_now().await;
    }
    let each = |nanoseconds: u128| nanoseconds as f64 / f64::from(number);
    let crowd_switch_ns = Some(each(start.elapsed().as_nanos()));
    let mut switch_ns = f64::INFINITY;
    for _ in 0..RUNS {
        switch_ns = take_turns(rt).await.min(switch_ns);
    }
    Figures {
        number: number.into(),
        create_ns: each(created.as_nanos()),
        bytes: bytes as f64 / f64::from(number),
        switch_ns,
        crowd_switch_ns,
        ..Figures::default()
    }
}

/// Tasks that wait.
struct Crowd {
    wakers: RefCell<Vec<Waker>>,
    is_over: Cell<bool>,
    left: Cell<u32>,
}

impl Crowd {
    fn with_room_for(number: u32) -> Crowd {
        let wakers = RefCell::new(Vec::with_capacity(number as usize));
        Crowd { wakers, is_over: Cell::new(false), left: Cell::new(0) }
    }

    fn waiting(&self) -> u32 {
        self.wakers.borrow().len() as u32
    }

    /// Wakes them all.
    fn release(&self) {
        self.is_over.set(true);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

async fn wait(crowd: Rc<Crowd>) {
    poll_fn(|cx| {
        if crowd.is_over.get() {
            return Poll::Ready(());
        }
        crowd.wakers.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    })
    .await;
    crowd.left.set(crowd.left.get() + 1);
}

/// What two tasks share that take turns.
#[derive(Default)]
struct Turns {
    next: Cell<u32>,
    waiting: Cell<Option<Waker>>,
}

/// Two tasks take turns: nanoseconds for each turn.
async fn take_turns<R: Runtime>(rt: &R) -> f64 {
    let turns = Rc::new(Turns::default());
    let start = Instant::now();
    let players = [0, 1].map(|first| rt.spawn(play(Rc::clone(&turns), first)));
    for player in players {
        // A player can't fail, and if one did, the figure would be of no turns at all.
        let _ = player.await;
    }
    start.elapsed().as_nanos() as f64 / f64::from(TURNS)
}

async fn play(turns: Rc<Turns>, first: u32) {
    for own in (first..TURNS).step_by(2) {
        poll_fn(|cx| {
            if turns.next.get() == own {
                return Poll::Ready(());
            }
            drop(turns.waiting.replace(Some(cx.waker().clone())));
            Poll::Pending
        })
        .await;
        turns.next.set(own + 1);
        if let Some(other) = turns.waiting.take() {
            other.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use sim::Sim;

    use super::*;

    #[test]
    fn each_task_runs_and_each_turn_is_taken() {
        let sim = Sim::calm(0);
        let figures = sim.block_on(measure(&sim, 1000));
        assert_eq!((figures.number, figures.shortage), (1000, None));
        assert!(figures.switch_ns > 0.0 && figures.create_ns > 0.0);
        // Each of the crowd is polled when it is made and when it is woken, each player once for each turn at least.
        let polls = sim.stats().polls;
        assert!(polls >= 2 * 1000 + u64::from(TURNS) * RUNS as u64, "{polls}");
        assert_eq!(sim.stats().tasks_spawned, 1000 + 2 * RUNS as u64);
        sim.finish();
    }
}
