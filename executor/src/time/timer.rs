//! Time: sleeps, timeouts, intervals.
//!
//! All timers of a runtime wait in one [`RadixHeap`], by deadline and then in the order in which they were
//! set. The first of them bounds the driver's sleep; after each turn those that are due are taken out and
//! their tasks woken. Deadlines are exact: a timer is never early, and the sleep before it is as fine as
//! the kernel's (no rounding to milliseconds).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::run::driver::Fired;
use crate::run::foreign::contain;
use crate::tasks::table::{Key, Table};
use crate::time::radix::RadixHeap;

/// The timers of one runtime.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: RefCell<RadixHeap>,
    /// The heap's time 0.
    start: Instant,
    /// The driver's time at the last turn. It lags behind the clock, so what it calls due is due.
    now: Cell<Instant>,
    pub(crate) fired: Cell<u64>,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Rc<Timers> {
        Rc::new(Timers { heap: RefCell::new(RadixHeap::new()), start: now, now: Cell::new(now), fired: Cell::new(0) })
    }

    /// A time as the heap counts it. Its numbers last for 584 years; what lies beyond stays there.
    fn number(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The earliest deadline, or, where many come close together, a time before it.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.heap.borrow_mut().next_deadline()?;
        self.start.checked_add(Duration::from_nanos(next))
    }

    /// Takes out what is due at `now`, in order.
    pub(crate) fn expire(&self, now: Instant, fired: &mut Fired) {
        let now = now.max(self.now.get());
        self.now.set(now);
        self.heap.borrow_mut().advance(self.number(now), |waker| {
            fired.wake(waker);
            self.fired.set(self.fired.get() + 1);
        });
    }

    /// Forgets all timers; returns their wakers, to be dropped outside of any borrow.
    pub(crate) fn clear(&self) -> Table<Waker> {
        self.heap.replace(RadixHeap::new()).wakers
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.borrow().wakers.len()
    }
}

/// Completes at its deadline. Made by `sleep`, `sleep_until` of a runtime, whose clock it is: when that runtime has ended,
/// its clock stands still. A `Sleep` that another executor holds by then is never woken, unlike a `recv` or a
/// [`JoinHandle`](crate::JoinHandle), which are told.
///
/// # Cancel safety
/// Dropping this future takes the timer away; nothing of it remains, and nobody is woken.
#[must_use = "a Sleep does nothing unless awaited"]
pub struct Sleep {
    timers: Rc<Timers>,
    /// `None`: never.
    deadline: Option<Instant>,
    /// The name under which it waits.
    key: Option<Key>,
}

impl Sleep {
    pub(crate) fn new(timers: Rc<Timers>, deadline: Option<Instant>) -> Self {
        Sleep { timers, deadline, key: None }
    }

    /// When it completes; `None` for never.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Moves the deadline, whether or not the old one has passed. The task that last polled it is not
    /// woken for the new deadline until it polls again.
    pub fn reset(&mut self, deadline: impl Into<Option<Instant>>) {
        self.leave();
        self.deadline = deadline.into();
    }

    fn is_due(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= self.timers.now.get())
    }

    fn leave(&mut self) {
        let Some(key) = self.key.take() else { return };
        // What is due has left the heap.
        if !self.is_due() {
            // The waker is dropped after the borrow: it may be foreign code.
            let waker = self.timers.heap.borrow_mut().remove(key);
            contain(|| drop(waker));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if self.is_due() {
            return Poll::Ready(());
        }
        let known = self.key.is_some_and(|key| {
            let heap = self.timers.heap.borrow();
            heap.wakers.get(key).is_some_and(|waker| waker.will_wake(cx.waker()))
        });
        if !known {
            self.leave();
            let (waker, deadline) = (cx.waker().clone(), self.timers.number(deadline));
            let key = self.timers.heap.borrow_mut().insert(deadline, waker);
            self.key = Some(key);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish()
    }
}

/// A timeout's time was over before its future was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Waits for `future` until `sleep` completes. The future is polled first, so that one which is ready
/// in time wins.
pub(crate) async fn timeout_at<F: Future>(sleep: Sleep, future: F) -> Result<F::Output, Elapsed> {
    let (mut sleep, mut future) = (sleep, pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// What an [`Interval`] does about ticks that were missed because nobody asked in time. The names are
/// tokio's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Makes up for them all at once, until the schedule is met again.
    #[default]
    Burst,
    /// Starts a new schedule: the next tick is a whole period after this late one.
    Delay,
    /// Leaves them out, and keeps to the multiples of the period.
    Skip,
}

/// Ticks at a fixed rate. Made by `interval` of a runtime; the first tick is immediate.
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTickBehavior,
}

impl Interval {
    pub(crate) fn new(sleep: Sleep, period: Duration) -> Self {
        assert!(!period.is_zero(), "an interval needs a period above zero");
        Interval { sleep, period, missed: MissedTickBehavior::default() }
    }

    /// Chooses what happens about missed ticks; [`MissedTickBehavior::Burst`] if never called.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// Waits for the next tick and returns the time it was due. Another executor that waits here when the runtime ends is
    /// never woken: see [`Sleep`].
    ///
    /// # Cancel safety
    /// Dropping this future loses no tick: the next `tick` returns it.
    pub async fn tick(&mut self) -> Instant {
        (&mut self.sleep).await;
        let Some(due) = self.sleep.deadline() else { return std::future::pending().await };
        let next = next_tick(due, self.sleep.timers.now.get(), self.period, self.missed);
        self.sleep.reset(next);
        due
    }
}

/// The tick after the one that was due at `due` and is handed out at `now`; `None` if the clock has no
/// such time.
fn next_tick(due: Instant, now: Instant, period: Duration, missed: MissedTickBehavior) -> Option<Instant> {
    let next = due.checked_add(period)?;
    if next > now {
        return Some(next);
    }
    match missed {
        MissedTickBehavior::Burst => Some(next),
        MissedTickBehavior::Delay => now.checked_add(period),
        MissedTickBehavior::Skip => {
            let into_period = now.duration_since(due).as_nanos() % period.as_nanos();
            let rest = period.as_nanos() - into_period;
            now.checked_add(Duration::from_nanos(u64::try_from(rest).ok()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_treated_as_named() {
        let start = Instant::now();
        let ms = |ms| Duration::from_millis(ms);
        let next = |late, behavior| next_tick(start, start + ms(late), ms(10), behavior).unwrap() - start;
        for behavior in [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip] {
            assert_eq!(next(3, behavior), ms(10), "in time, {behavior:?}");
        }
        // What is due just now is missed, too, if the one before it is handed out now.
        for (late, next_but_one) in [(10, 20), (20, 30)] {
            assert_eq!(next(late, MissedTickBehavior::Burst), ms(10));
            assert_eq!(next(late, MissedTickBehavior::Delay), ms(next_but_one));
            assert_eq!(next(late, MissedTickBehavior::Skip), ms(next_but_one));
        }
        assert_eq!(next(25, MissedTickBehavior::Burst), ms(10));
        assert_eq!(next(25, MissedTickBehavior::Delay), ms(35));
        assert_eq!(next(25, MissedTickBehavior::Skip), ms(30));
    }

    #[test]
    fn timers_fire_by_deadline_and_then_in_the_order_they_were_set() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let ms = |ms| Some(start + Duration::from_millis(ms));
        let mut sleeps = [ms(5), ms(3), ms(5), None].map(|deadline| Sleep::new(Rc::clone(&timers), deadline));
        for sleep in &mut sleeps {
            assert!(Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!((timers.len(), timers.next_deadline()), (3, ms(3)));
        let mut fired = Fired::default();
        timers.expire(start + Duration::from_millis(4), &mut fired);
        assert_eq!((fired.wakers.len(), timers.len()), (1, 2));
        drop(sleeps);
        assert_eq!(timers.len(), 0, "a dropped timer leaves nothing");
    }

    struct Silent;

    impl std::task::Wake for Silent {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    /// A task may be woken by something else, and look at its timer again. That is not to cost a new entry, nor the
    /// place among timers of the same deadline.
    #[test]
    fn a_timer_that_is_looked_at_again_keeps_its_place() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let wakers = [(); 3].map(|()| Waker::from(std::sync::Arc::new(Silent)));
        let mut sleeps = [(); 3].map(|()| Sleep::new(Rc::clone(&timers), Some(start + Duration::from_millis(5))));
        for _ in 0..2 {
            for (sleep, waker) in sleeps.iter_mut().zip(&wakers).rev() {
                assert!(Pin::new(sleep).poll(&mut Context::from_waker(waker)).is_pending());
            }
        }
        assert!(Pin::new(&mut sleeps[2]).poll(&mut Context::from_waker(&wakers[2])).is_pending());
        let mut fired = Fired::default();
        timers.expire(start + Duration::from_millis(5), &mut fired);
        let order = fired.wakers.iter().map(|fired| wakers.iter().position(|waker| waker.will_wake(fired)).unwrap());
        assert_eq!(order.collect::<Vec<_>>(), [2, 1, 0]);
    }
}
