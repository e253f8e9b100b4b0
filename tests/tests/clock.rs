//! Goal: timers follow the driver's clock and nothing else: when it jumps (the machine slept), what is due
//! fires, once and in order; when it stands still, nothing does. The time of the turn follows it, too.
//!
//! Method: an executor over a driver whose clock a test moves by hand.

use std::cell::{Cell, RefCell};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use executor::{Config, Executor, MissedTickBehavior, POLL_BUDGET};
use tests::{ByHand, Suite, by_hand, ms};

const HOUR: Duration = Duration::from_secs(3600);

/// As many turns as anything could need.
fn turns(rt: &Executor<ByHand>) {
    for _ in 0..200 {
        rt.turn(Some(Duration::ZERO)).unwrap();
    }
}

fn a_jump_fires_what_is_due_once_and_in_order() {
    const TIMERS: u64 = 1000;
    let (rt, now) = by_hand(Config::default());
    let (start, fired) = (now.get(), Rc::new(RefCell::new(Vec::new())));
    for number in 0..TIMERS {
        // Half of them within the hour, half after it; not in the order in which they are set.
        let (sleep, fired) = (rt.sleep(HOUR * ((number * 617 % TIMERS) as u32) / 500), Rc::clone(&fired));
        rt.spawn(async move {
            let deadline = sleep.deadline();
            sleep.await;
            fired.borrow_mut().push(deadline);
        })
        .detach();
    }
    turns(&rt);
    assert_eq!(fired.borrow().len(), 1, "the one that was due at once");
    for hours in 1..=2 {
        now.set(start + HOUR * hours);
        turns(&rt);
        let due = TIMERS as usize / 2 * hours as usize + usize::from(hours == 1);
        assert_eq!(fired.borrow().len(), due, "each that is due fires, and once");
        assert!(fired.borrow().is_sorted());
    }
    assert_eq!((rt.stats().timers_now, rt.stats().timers_fired), (0, TIMERS - 1), "one was never set");
}

fn a_clock_that_stands_still_fires_nothing() {
    let (rt, now) = by_hand(Config::default());
    let sleep = rt.spawn(rt.sleep(Duration::from_nanos(1)));
    turns(&rt);
    assert!(!sleep.is_finished());
    assert_eq!(rt.stats().polls, 1, "nobody is woken for nothing");
    now.set(now.get() + Duration::from_nanos(1));
    turns(&rt);
    assert!(sleep.is_finished());
    // Nor does one that goes backwards, or comes back to where it was.
    let sleep = rt.spawn(rt.sleep(ms(1)));
    turns(&rt);
    for moved in [now.get() - HOUR, now.get()] {
        now.set(moved);
        turns(&rt);
        assert!(!sleep.is_finished());
    }
    now.set(now.get() + ms(1));
    turns(&rt);
    assert!(sleep.is_finished());
}

/// Timers fire in a turn, and their tasks may be polled some turns later. What was due by then stays due.
fn a_clock_that_goes_back_takes_nothing_back() {
    let (rt, now) = by_hand(Config::default());
    let tasks: Vec<_> = (0..3 * POLL_BUDGET).map(|_| rt.spawn(rt.sleep(ms(1)))).collect();
    turns(&rt);
    now.set(now.get() + ms(1));
    rt.turn(Some(Duration::ZERO)).unwrap();
    now.set(now.get() - HOUR);
    turns(&rt);
    let finished = tasks.iter().filter(|task| task.is_finished()).count();
    assert_eq!(finished, tasks.len());
    assert_eq!(rt.stats().polls, 2 * tasks.len() as u64, "each is woken once");
}

/// It costs nothing to read, so it does not follow the clock: it moves when the loop starts, and with each turn.
fn the_time_of_the_turn_is_that_of_the_last_one() {
    let (rt, now) = by_hand(Config::default());
    for _ in 0..3 {
        // A long time between two runs of the loop.
        now.set(now.get() + HOUR);
        rt.block_on(async {
            let start = now.get();
            assert_eq!(rt.turn_time(), start);
            now.set(start + HOUR);
            assert_eq!(rt.turn_time(), start);
            // It takes a turn to find that this is due.
            rt.sleep_until(rt.now()).await;
            assert_eq!(rt.turn_time(), start + HOUR);
        });
        now.set(now.get() + HOUR);
        rt.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(rt.turn_time(), now.get());
    }
}

/// No storm afterwards, unless it was asked for.
fn an_interval_after_a_jump() {
    for (behavior, ticks) in
        [(MissedTickBehavior::Skip, 1), (MissedTickBehavior::Delay, 1), (MissedTickBehavior::Burst, 60)]
    {
        let (rt, now) = by_hand(Config::default());
        let ticked = Rc::new(Cell::new(0));
        let (mut interval, counted) = (rt.interval(Duration::from_secs(60)), Rc::clone(&ticked));
        interval.set_missed_tick_behavior(behavior);
        rt.spawn(async move {
            loop {
                interval.tick().await;
                counted.set(counted.get() + 1);
            }
        })
        .detach();
        turns(&rt);
        assert_eq!(ticked.take(), 1, "the first, at once");
        now.set(now.get() + HOUR);
        turns(&rt);
        assert_eq!(ticked.take(), ticks, "{behavior:?}");
        now.set(now.get() + Duration::from_secs(60));
        turns(&rt);
        assert_eq!(ticked.take(), 1, "{behavior:?}: on time again");
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    let cases: [(&str, fn()); 5] = [
        ("a_jump_fires_what_is_due_once_and_in_order", a_jump_fires_what_is_due_once_and_in_order),
        ("a_clock_that_stands_still_fires_nothing", a_clock_that_stands_still_fires_nothing),
        ("a_clock_that_goes_back_takes_nothing_back", a_clock_that_goes_back_takes_nothing_back),
        ("an_interval_after_a_jump", an_interval_after_a_jump),
        ("the_time_of_the_turn_is_that_of_the_last_one", the_time_of_the_turn_is_that_of_the_last_one),
    ];
    for (name, body) in cases {
        suite.add_plain(name, body);
    }
    suite.run()
}
