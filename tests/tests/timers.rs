//! Goal: a timer is never early, never forgotten, and costs nothing while it waits or when it is gone.
//!
//! Method: each way to use a timer once, with turns of the driver counted. (The scenarios M1 to M5 use them by the
//! thousand; `clock.rs` moves the clock.)

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use executor::{Elapsed, MissedTickBehavior, Verdict};
use tests::judges::errno::{ENOSYS, EOPNOTSUPP, EPERM};
use tests::judges::every;
use tests::{Engine, ReactorMillis, Suite, both, ms, on_every_engine, on_every_variant, on_reactors, poll_once, run};

/// Not when the turn began: the task has worked for long since.
fn a_sleep_begins_when_it_is_asked_for<E: Engine>() {
    run::<E>(async |rt| {
        std::thread::sleep(ms(60));
        let start = Instant::now();
        rt.sleep(ms(30)).await;
        assert!(start.elapsed() >= ms(30), "{:?}", start.elapsed());
        std::thread::sleep(ms(60));
        let start = Instant::now();
        assert!(rt.timeout(ms(30), pending::<()>()).await.is_err());
        assert!(start.elapsed() >= ms(30), "{:?}", start.elapsed());
    });
}

fn past_deadlines_are_due_at_once<E: Engine>() {
    run::<E>(async |rt| {
        let (start, turns) = (Instant::now(), rt.stats().turns);
        rt.sleep(Duration::ZERO).await;
        rt.sleep_until(start).await;
        rt.sleep_until(start.checked_sub(ms(1)).unwrap()).await;
        assert!(rt.stats().turns <= turns + 6, "{}", rt.stats());
        // Ready before the timeout is looked at.
        assert_eq!(rt.timeout(Duration::ZERO, async { 5 }).await, Ok(5));
        assert_eq!(rt.timeout(Duration::ZERO, pending::<()>()).await, Err(Elapsed));
    });
}

fn far_deadlines_pend<E: Engine>() {
    run::<E>(async |rt| {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        for length in [days(25), days(36_500), Duration::from_secs(u64::MAX / 2), Duration::MAX] {
            let mut sleep = rt.sleep(length);
            assert!(poll_once(&mut sleep).await.is_none());
            // A turn that has to express this wait to the kernel.
            let other = rt.spawn(std::future::ready(()));
            assert!(rt.timeout(ms(3), &mut sleep).await.is_err());
            other.await.unwrap();
        }
        assert!(rt.timeout(Duration::MAX, rt.sleep(ms(1))).await.is_ok());
        let mut never = rt.sleep_until(None);
        assert!(poll_once(&mut never).await.is_none());
        assert_eq!(rt.stats().timers_now, 0, "what never fires needs no entry");
    });
}

/// The turn after a far timer is set sleeps for that long, if nothing else is there: it must neither
/// fail nor return at once, over and over.
fn a_far_timer_alone_does_not_keep_the_loop_busy<E: Engine>() {
    run::<E>(async |rt| {
        for far in [Duration::from_secs(25 * 86_400), Duration::from_secs(1 << 40)] {
            let mut sleep = rt.sleep(far);
            assert!(poll_once(&mut sleep).await.is_none());
            let (remote, turns) = (rt.remote(), rt.stats().turns);
            let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
            let flag = Arc::new(AtomicBool::new(false));
            let set = Arc::clone(&flag);
            let thread = std::thread::spawn(move || {
                let waker = receiver.recv().unwrap();
                std::thread::sleep(ms(100));
                set.store(true, Ordering::Release);
                waker.wake();
                drop(remote);
            });
            poll_fn(|cx| {
                let _ = sender.send(cx.waker().clone());
                if flag.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            thread.join().unwrap();
            assert!(rt.stats().turns - turns <= 10, "{}", rt.stats());
        }
    });
}

fn a_reset_moves_the_deadline<E: Engine>() {
    run::<E>(async |rt| {
        let start = Instant::now();
        let mut sleep = rt.sleep(ms(60_000));
        assert!(poll_once(&mut sleep).await.is_none());
        sleep.reset(start + ms(20));
        (&mut sleep).await;
        let took = start.elapsed();
        assert!(took >= ms(20) && took < ms(2000), "earlier: {took:?}");
        // After it fired, and later than first asked for.
        sleep.reset(Instant::now() + ms(1));
        assert!(poll_once(&mut sleep).await.is_none());
        let later = Instant::now() + ms(40);
        sleep.reset(later);
        (&mut sleep).await;
        assert!(Instant::now() >= later);
        sleep.reset(None);
        assert!(poll_once(&mut sleep).await.is_none());
        assert_eq!(rt.stats().timers_now, 0);
    });
}

struct CountWakes(std::sync::atomic::AtomicU32);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn the_last_waker_is_the_one_woken<E: Engine>() {
    run::<E>(async |rt| {
        let (old, new) = (Arc::new(CountWakes(0.into())), Arc::new(CountWakes(0.into())));
        let mut sleep = rt.sleep(ms(5));
        // One that is dropped wakes nobody.
        let mut dropped = rt.sleep(ms(5));
        let waker = Waker::from(Arc::clone(&old));
        assert!(Pin::new(&mut dropped).poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        drop(dropped);
        for counter in [&old, &old, &new] {
            let waker = Waker::from(Arc::clone(counter));
            let mut cx = std::task::Context::from_waker(&waker);
            assert!(Pin::new(&mut sleep).poll(&mut cx).is_pending());
        }
        rt.sleep(ms(30)).await;
        assert_eq!((old.0.load(Ordering::Relaxed), new.0.load(Ordering::Relaxed)), (0, 1));
        (&mut sleep).await;
    });
}

fn an_interval_keeps_its_rate<E: Engine>() {
    run::<E>(async |rt| {
        let period = ms(10);
        let mut interval = rt.interval(period);
        let first = interval.tick().await;
        assert!(first <= Instant::now());
        for n in 1..=5 {
            // Dropped ticks are not lost.
            assert!(poll_once(&mut Box::pin(interval.tick())).await.is_none());
            assert_eq!(interval.tick().await, first + period * n, "no drift");
            assert!(Instant::now() >= first + period * n);
        }
        // Three and a half periods late.
        let late = async |behavior| {
            let mut interval = rt.interval(period);
            interval.set_missed_tick_behavior(behavior);
            let first = interval.tick().await;
            std::thread::sleep(ms(35));
            // The second tick comes between these two moments.
            let before = Instant::now();
            let second = interval.tick().await;
            let after = Instant::now();
            let third = interval.tick().await;
            (first, second, before..after, third)
        };
        let (first, second, _, third) = late(MissedTickBehavior::Burst).await;
        assert_eq!((second - first, third - first), (period, period * 2));
        let (first, second, came, third) = late(MissedTickBehavior::Delay).await;
        assert_eq!(second, first + period);
        assert!(third >= came.start + period && third <= came.end + period, "a period after the late one");
        let (first, second, came, third) = late(MissedTickBehavior::Skip).await;
        assert_eq!(second, first + period);
        assert_eq!((third - first).as_nanos() % period.as_nanos(), 0);
        assert!(third >= first + period * 4 && third <= came.end + period);
    });
}

fn a_timeout_drops_its_future<E: Engine>() {
    run::<E>(async |rt| {
        let drops = Rc::new(Cell::new(0));
        let guard = tests::CountsDrops(Rc::clone(&drops));
        let slow = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        let start = Instant::now();
        assert_eq!(rt.timeout(ms(10), slow).await, Err(Elapsed));
        assert!(start.elapsed() >= ms(10) && drops.get() == 1);
        assert_eq!(std::io::Error::from(Elapsed).kind(), std::io::ErrorKind::TimedOut);
    });
}

/// The deadline passes while another future holds the loop. When the task is polled again both are due, and the future
/// is looked at first.
fn what_is_ready_at_the_deadline_is_in_time<E: Engine>() {
    run::<E>(async |rt| {
        let hold = async { std::thread::sleep(ms(20)) };
        let (in_time, ()) = both(rt.timeout(ms(1), rt.sleep(ms(1))), hold).await;
        assert_eq!(in_time, Ok(()));
    });
}

fn without_pwait2_only_milliseconds_are_asked_for<E: Engine>() {
    run::<E>(async |rt| {
        rt.sleep(Duration::from_micros(300)).await;
        let calls = rt.stats().driver.system_calls;
        assert!(calls.iter().all(|(name, _)| *name != "epoll_pwait2"), "{calls:?}");
    });
}

/// An older kernel answers ENOSYS. A filter that does not know the call answers EPERM or EOPNOTSUPP.
fn where_pwait2_is_refused_milliseconds_are_asked_for<E: Engine>() {
    for errno in [ENOSYS, EPERM, EOPNOTSUPP] {
        run::<E>(async |rt| {
            E::set_judge(rt, Some(every("epoll_pwait2", 1, Verdict::Fail(errno))));
            rt.sleep(Duration::from_micros(300)).await;
            rt.sleep(Duration::from_micros(300)).await;
            let calls = rt.stats().driver.system_calls;
            let count = |wanted| calls.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, count)| *count);
            assert!(count("epoll_pwait2") == 1 && count("epoll_wait") > 0, "errno {errno}: {calls:?}");
            E::set_judge(rt, None);
        });
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(suite, far_deadlines_pend, a_far_timer_alone_does_not_keep_the_loop_busy,);
    on_every_engine!(
        suite,
        a_sleep_begins_when_it_is_asked_for,
        past_deadlines_are_due_at_once,
        a_reset_moves_the_deadline,
        the_last_waker_is_the_one_woken,
        an_interval_keeps_its_rate,
        a_timeout_drops_its_future,
        what_is_ready_at_the_deadline_is_in_time,
    );
    suite.add::<ReactorMillis>(
        "without_pwait2_only_milliseconds_are_asked_for",
        without_pwait2_only_milliseconds_are_asked_for::<ReactorMillis>,
    );
    on_reactors!(suite, where_pwait2_is_refused_milliseconds_are_asked_for);
    suite.run()
}
