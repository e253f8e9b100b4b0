//! Timers by the thousand, short ones, cancelled ones, and under signals.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::rounds::Rounds;
use crate::times::Times;
use crate::{ms, poll_once};

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "M1",
        "10,000 sleeps of up to 50 ms at once: none is early, and all are over in the order of their deadlines",
        2,
        [ReactorLevel, ReactorEdge, ReactorMillis, ProactorFull, ProactorBare, ProactorTiny],
        many_sleeps_at_once
    );
    scenario!(
        all,
        "M2",
        "sleeps of less than a millisecond take at most three turns each",
        500,
        [ReactorLevel, ReactorEdge, ReactorMillis, ProactorFull, ProactorBare],
        short_sleeps
    );
    scenario!(
        all,
        "M4",
        "1,000 timers set, moved, given to other tasks and dropped: nothing fires, and nothing stays",
        50,
        [ReactorLevel, ReactorEdge, ProactorFull],
        dropped_timers
    );
    scenario!(
        all,
        "M5",
        "a thousand signals per second during sleeps: no deadline moves",
        3,
        [ReactorLevel, ReactorEdge, ReactorMillis, ProactorFull, ProactorBare, ProactorTiny],
        signals_during_sleeps
    );
}

fn many_sleeps_at_once<E: Engine>(rounds: &mut Rounds) {
    const SLEEPS: u64 = 10_000;
    /// Deadlines are multiples of this, so that many are the same.
    const STEP: u64 = 50_000;
    let (mut random, mut lateness) = (fastrand::Rng::with_seed(rounds.seed()), Times::new());
    crate::run::<E>(async |rt| {
        for _ in rounds.by_ref() {
            let (start, over) = (rt.now(), Rc::new(RefCell::new(Vec::new())));
            let tasks: Vec<_> = (0..SLEEPS)
                .map(|number| {
                    let (handle, over, length) = (rt.clone(), Rc::clone(&over), random.u64(1..=1000) * STEP);
                    rt.spawn(async move {
                        // Counted from the moment it is set, so that it lies ahead, however slow the machine is.
                        let now = u64::try_from((handle.now() - start).as_nanos()).expect("a short test");
                        let deadline = start + Duration::from_nanos((now + length).next_multiple_of(STEP));
                        handle.sleep_until(deadline).await;
                        let late = Instant::now().checked_duration_since(deadline);
                        over.borrow_mut().push((deadline, number, late.expect("early")));
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no timer is early");
            }
            // Those of the same deadline in the order in which they were set.
            let over = over.take();
            assert_eq!(over.len() as u64, SLEEPS);
            assert!(over.is_sorted_by_key(|(deadline, number, _)| (*deadline, *number)), "out of order");
            over.iter().for_each(|(_, _, late)| lateness.add(*late));
        }
        assert_eq!(rt.stats().timers_fired, rounds.done() * SLEEPS, "each fires once");
    });
    lateness.report(rounds, "late");
}

/// A turn that sleeps, and at most one more if the kernel wakes a little early. A runtime that rounds the rest
/// down to 0 makes thousands.
fn short_sleeps<E: Engine>(rounds: &mut Rounds) {
    let (mut random, mut lateness) = (fastrand::Rng::with_seed(rounds.seed()), Times::new());
    crate::run::<E>(async |rt| {
        let (turns, used) = (rt.stats().turns, processor_time());
        for _ in rounds.by_ref() {
            let (start, length) = (Instant::now(), Duration::from_micros(random.u64(50..900)));
            rt.sleep(length).await;
            lateness.add(start.elapsed().checked_sub(length).expect("early"));
        }
        let (turns, used) = (rt.stats().turns - turns, processor_time() - used);
        assert!(turns <= 3 * rounds.done(), "{turns} turns for {} sleeps", rounds.done());
        rounds.figure("turns per sleep", turns as f64 / rounds.done() as f64);
        rounds.figure("processor time per sleep, us", used.as_micros() / u128::from(rounds.done()));
    });
    lateness.report(rounds, "late");
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("not negative")
}

fn dropped_timers<E: Engine>(rounds: &mut Rounds) {
    const TIMERS: u64 = 1000;
    let (mut random, mut took) = (fastrand::Rng::with_seed(rounds.seed()), Duration::ZERO);
    crate::run::<E>(async |rt| {
        for _ in rounds.by_ref() {
            let start = Instant::now();
            let mut sleeps: Vec<_> = (0..TIMERS).map(|_| rt.sleep(ms(60_000 + random.u64(..60_000)))).collect();
            for sleep in &mut sleeps {
                assert!(poll_once(sleep).await.is_none());
            }
            assert_eq!(rt.stats().timers_now, TIMERS);
            for sleep in &mut sleeps {
                match random.u8(..4) {
                    // Earlier and later, with nobody waiting for the new deadline.
                    0 => sleep.reset(Instant::now() + ms(30_000 + random.u64(..90_000))),
                    // Somebody else waits from now on.
                    1 => assert!(Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop())).is_pending()),
                    _ => assert!(poll_once(sleep).await.is_none()),
                }
            }
            random.shuffle(&mut sleeps);
            drop(sleeps);
            assert_eq!(rt.stats().timers_now, 0, "a dropped timer stays");
            // Timeouts that are not needed.
            for _ in 0..10 {
                rt.timeout(ms(60_000), executor::yield_now()).await.expect("in time");
            }
            assert_eq!((rt.stats().timers_now, rt.stats().timers_fired), (0, 0));
            took += start.elapsed();
        }
    });
    rounds.figure("ns per timer", took.as_nanos() / u128::from(rounds.done() * TIMERS));
}

/// A signal ends the kernel's wait early. The runtime has to go on waiting, and only for the rest.
fn signals_during_sleeps<E: Engine>(rounds: &mut Rounds) {
    const SLEEP: Duration = ms(100);
    let hits = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&hits)).expect("a signal that is allowed");
    let mut lateness = Times::new();
    crate::run::<E>(async |rt| {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let storm = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                kill_process(getpid(), Signal::USR1).expect("a signal to ourselves");
                thread::sleep(ms(1));
            }
        });
        let turns = rt.stats().turns;
        for _ in rounds.by_ref() {
            let start = Instant::now();
            rt.sleep(SLEEP).await;
            let late = start.elapsed().checked_sub(SLEEP).expect("early");
            assert!(late < SLEEP * 10, "{late:?} late: signals put the deadline off");
            lateness.add(late);
        }
        let turns = rt.stats().turns - turns;
        stop.store(true, Ordering::Relaxed);
        storm.join().expect("no panic");
        assert!(hits.load(Ordering::Relaxed) && turns > rounds.done(), "the signals did not reach the sleep");
        rounds.figure("turns per sleep", turns / rounds.done());
    });
    lateness.report(rounds, "late");
}
