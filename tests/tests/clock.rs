//! Goal: timers follow the driver's clock and nothing else: when it jumps (the machine slept), what is due
//! fires, once and in order; when it stands still, nothing does. The time of the turn follows it, too. A deadline can be
//! moved any way, and one that was there before wakes nothing.
//!
//! Method: an executor over a driver whose clock a test moves by hand.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use executor::{Config, Executor, MissedTickBehavior, POLL_BUDGET, Sleep};
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

/// Later, sooner, to the past, to never and from there to a time; while it waits, when it has fired, and when it is over. The
/// deadline that was there before wakes nothing.
fn a_reset_goes_any_way() {
    let (rt, now) = by_hand(Config::default());
    let (start, wakes) = (now.get(), Arc::new(Wakes::default()));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut sleep = rt.sleep(HOUR);
    let poll = |sleep: &mut Sleep| Pin::new(sleep).poll(&mut Context::from_waker(&waker)).is_ready();
    // The time of each reset, its deadline, and when it is over; in hours.
    let steps =
        [(0, Some(3), 3), (3, Some(9), 9), (9, None, 12), (12, Some(13), 13), (13, Some(2), 13), (14, Some(14), 14)];
    assert!(!poll(&mut sleep));
    for (step, (at, deadline, over)) in steps.into_iter().enumerate() {
        now.set(start + HOUR * at);
        sleep.reset(deadline.map(|hours| start + HOUR * hours));
        assert_eq!(sleep.deadline(), deadline.map(|hours| start + HOUR * hours));
        // Not polled since, so it wakes nothing.
        wakes.0.store(0, Ordering::Relaxed);
        turns(&rt);
        assert_eq!((wakes.0.load(Ordering::Relaxed), rt.stats().timers_now), (0, 0), "step {step}");
        let is_due = deadline.is_some_and(|hours| hours <= at);
        assert_eq!(poll(&mut sleep), is_due, "step {step}");
        assert_eq!(rt.stats().timers_now, u64::from(!is_due && deadline.is_some()), "step {step}");
        for hours in at..=over {
            now.set(start + HOUR * hours);
            turns(&rt);
            let is_over = deadline.is_some_and(|deadline| deadline <= hours);
            assert_eq!(wakes.0.load(Ordering::Relaxed), u32::from(is_over && !is_due), "step {step}, hour {hours}");
        }
        assert_eq!(poll(&mut sleep), deadline.is_some(), "step {step}");
    }
    // A timer that waits is moved to a time that has passed: it is due at the next look.
    sleep.reset(now.get() + HOUR);
    assert!(!poll(&mut sleep));
    sleep.reset(start);
    assert!(poll(&mut sleep));
    assert_eq!(rt.stats().timers_now, 0);
}

/// Counts wakes.
#[derive(Default)]
struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A million timers of one deadline, in one turn: each wakes once, and all of their memory is given back.
fn a_million_of_one_deadline_fire_together() {
    const MANY: u32 = 1_000_000;
    let (rt, now) = by_hand(Config::default());
    let (deadline, wakes) = (now.get() + HOUR, Arc::new(Wakes::default()));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut sleeps: Vec<_> = (0..MANY).map(|_| rt.sleep_until(deadline)).collect();
    let mut cx = Context::from_waker(&waker);
    assert!(sleeps.iter_mut().all(|sleep| Pin::new(sleep).poll(&mut cx).is_pending()));
    // Every tenth is dropped, and one is early.
    sleeps = sleeps.into_iter().enumerate().filter_map(|(n, sleep)| (n % 10 > 0).then_some(sleep)).collect();
    sleeps[5].reset(deadline - ms(1));
    assert!(Pin::new(&mut sleeps[5]).poll(&mut cx).is_pending());
    let left = MANY / 10 * 9;
    assert_eq!(rt.stats().timers_now, u64::from(left));
    for (at, woken) in [(deadline - ms(1), 1), (deadline, left), (deadline + HOUR, left)] {
        now.set(at);
        rt.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), woken);
    }
    assert_eq!((rt.stats().timers_now, rt.stats().timers_fired), (0, u64::from(left)));
    assert!(sleeps.iter_mut().all(|sleep| Pin::new(sleep).poll(&mut cx).is_ready()));
    assert_eq!(Arc::strong_count(&wakes), 2, "wakers are left");
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
    let cases: [(&str, fn()); 7] = [
        ("a_jump_fires_what_is_due_once_and_in_order", a_jump_fires_what_is_due_once_and_in_order),
        ("a_clock_that_stands_still_fires_nothing", a_clock_that_stands_still_fires_nothing),
        ("a_clock_that_goes_back_takes_nothing_back", a_clock_that_goes_back_takes_nothing_back),
        ("a_reset_goes_any_way", a_reset_goes_any_way),
        ("a_million_of_one_deadline_fire_together", a_million_of_one_deadline_fire_together),
        ("an_interval_after_a_jump", an_interval_after_a_jump),
        ("the_time_of_the_turn_is_that_of_the_last_one", the_time_of_the_turn_is_that_of_the_last_one),
    ];
    for (name, body) in cases {
        suite.add_plain(name, body);
    }
    suite.run()
}
