//! Time: sleeps, timeouts, intervals.
//!
//! All timers of a runtime lie in one ordered map, by deadline and then by the order in which they
//! were set. The first entry bounds the driver's sleep; after each turn the entries that are due are
//! taken out and their tasks woken. A dropped timer leaves the map at once. Deadlines are exact: a
//! timer is never early, and the sleep before it is as fine as the kernel's (no rounding to
//! milliseconds).
//!
//! A balanced tree rather than a timing wheel: at a million timers it costs a few hundred
//! nanoseconds each, and nobody has to learn how a wheel cascades to trust it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::driver::Fired;

/// The timers of one runtime.
#[derive(Debug)]
pub(crate) struct Timers {
    waiting: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_number: Cell<u64>,
    /// The driver's time at the last turn. It lags behind the clock, so what it calls due is due.
    now: Cell<Instant>,
    pub(crate) fired: Cell<u64>,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Rc<Timers> {
        Rc::new(Timers {
            waiting: RefCell::default(),
            next_number: Cell::new(0),
            now: Cell::new(now),
            fired: Cell::new(0),
        })
    }

    fn take_number(&self) -> u64 {
        self.next_number.replace(self.next_number.get() + 1)
    }

    fn will_wake(&self, deadline: Instant, number: u64, waker: &Waker) -> bool {
        self.waiting.borrow().get(&(deadline, number)).is_some_and(|waiting| waiting.will_wake(waker))
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes out what is due at `now`, in order.
    pub(crate) fn expire(&self, now: Instant, fired: &mut Fired) {
        self.now.set(now);
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now) {
            fired.wake(first.remove());
            self.fired.set(self.fired.get() + 1);
        }
    }

    /// Forgets all timers; returns their wakers, to be dropped outside of any borrow.
    pub(crate) fn clear(&self) -> BTreeMap<(Instant, u64), Waker> {
        self.waiting.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }
}

/// Completes at its deadline. Made by `sleep`, `sleep_until` of a runtime.
///
/// # Cancel safety
/// Dropping it takes the timer away; nothing of it remains.
#[must_use = "a Sleep does nothing unless awaited"]
pub struct Sleep {
    timers: Rc<Timers>,
    /// `None`: never.
    deadline: Option<Instant>,
    /// The number under which it waits in the map.
    number: Option<u64>,
}

impl Sleep {
    pub(crate) fn new(timers: Rc<Timers>, deadline: Option<Instant>) -> Self {
        Sleep { timers, deadline, number: None }
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

    fn leave(&mut self) {
        if let (Some(deadline), Some(number)) = (self.deadline, self.number.take()) {
            // The waker is dropped after the borrow: it may be foreign code.
            let waker = self.timers.waiting.borrow_mut().remove(&(deadline, number));
            drop(waker);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if deadline <= self.timers.now.get() {
            self.leave();
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or_else(|| self.timers.take_number());
        self.number = Some(number);
        if !self.timers.will_wake(deadline, number, cx.waker()) {
            // Cloned before the borrow and dropped after it: a waker may be foreign code.
            let waker = cx.waker().clone();
            let replaced = self.timers.waiting.borrow_mut().insert((deadline, number), waker);
            drop(replaced);
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

    /// Waits for the next tick and returns the time it was due.
    ///
    /// # Cancel safety
    /// Dropping this future loses no tick.
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
}
