//! Time: sleeps, timeouts, intervals.
//!
//! All timers of a runtime wait in one [`RadixHeap`]. Their order is the deadline, and then the
//! order in which they were set. The first timer limits the driver's sleep. After each turn the
//! loop takes out the timers that are due and wakes their tasks. Deadlines are exact. A timer never
//! fires early, and the sleep before it is as fine as the kernel's (it is not rounded to
//! milliseconds).

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
    /// The driver's time at the last turn. It is behind the clock, so a timer that is due by this
    /// time is really due.
    now: Cell<Instant>,
    pub(crate) fired: Cell<u64>,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Rc<Timers> {
        Rc::new(Timers { heap: RefCell::new(RadixHeap::new()), start: now, now: Cell::new(now), fired: Cell::new(0) })
    }

    /// Converts a time to the heap's number. The numbers last for 584 years; a later time becomes
    /// the last number.
    fn number(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the earliest deadline. If many deadlines are close together, it may return a time
    /// before them.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.heap.borrow_mut().next_deadline()?;
        self.start.checked_add(Duration::from_nanos(next))
    }

    /// Takes out the timers that are due at `now`, in order.
    pub(crate) fn expire(&self, now: Instant, fired: &mut Fired) {
        let now = now.max(self.now.get());
        self.now.set(now);
        self.heap.borrow_mut().advance(self.number(now), |waker| {
            fired.wake(waker);
            self.fired.set(self.fired.get() + 1);
        });
    }

    /// Forgets all timers. Returns their wakers, which the caller drops outside of any borrow.
    pub(crate) fn clear(&self) -> Table<Waker> {
        self.heap.replace(RadixHeap::new()).wakers
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.borrow().wakers.len()
    }
}

/// Completes at its deadline. `sleep` and `sleep_until` of a runtime make it, and it uses this
/// runtime's clock. When that runtime has ended, its clock stands still. If another executor still
/// holds a `Sleep` then, the `Sleep` never wakes it. (The end of the runtime does wake a `recv` or
/// a [`JoinHandle`](crate::JoinHandle) there.)
///
/// # Cancel safety
/// Dropping this future cancels the timer. Nothing of it remains, and it wakes nothing.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use executor::{Driver, Executor, Sleep};
/// # async fn example<D: Driver>(rt: &Executor<D>) {
/// let sleep: Sleep = rt.sleep(Duration::from_millis(10));
/// let deadline = sleep.deadline().expect("it is no endless sleep");
/// sleep.await;
/// assert!(rt.now() >= deadline);
/// # }
/// ```
#[must_use = "a Sleep does nothing unless awaited"]
pub struct Sleep {
    timers: Rc<Timers>,
    /// `None` means never.
    deadline: Option<Instant>,
    /// The key of its timer, while it waits.
    key: Option<Key>,
}

impl Sleep {
    pub(crate) fn new(timers: Rc<Timers>, deadline: Option<Instant>) -> Self {
        Sleep { timers, deadline, key: None }
    }

    /// Returns the time at which it completes; `None` means never.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// assert_eq!(rt.sleep(Duration::MAX).deadline(), None);
    /// # }
    /// ```
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Moves the deadline, even if the old one has passed. The new deadline wakes a task only after
    /// the task has polled this again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let mut silence = rt.sleep(Duration::from_secs(10));
    /// // Something was heard: ten seconds from now.
    /// silence.reset(rt.now() + Duration::from_secs(10));
    /// silence.await;
    /// # }
    /// ```
    pub fn reset(&mut self, deadline: impl Into<Option<Instant>>) {
        self.leave();
        self.deadline = deadline.into();
    }

    fn is_due(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= self.timers.now.get())
    }

    fn leave(&mut self) {
        let Some(key) = self.key.take() else { return };
        // A timer that is due has already left the heap.
        if !self.is_due() {
            // Drop the waker only after the borrow, because it may be foreign code.
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

/// The error of a timeout whose time was over before its future was done.
///
/// # Examples
///
/// ```
/// // So `?` works in functions that return an io::Result.
/// let error = std::io::Error::from(executor::Elapsed);
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// ```
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

/// Waits for `future` until `sleep` completes. It polls the future first, so a future that is ready
/// in time wins.
pub(crate) async fn timeout_at<F: Future>(sleep: Sleep, future: F) -> Result<F::Output, Elapsed> {
    let (mut sleep, mut future) = (sleep, pin!(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// The way an [`Interval`] treats ticks that were missed because `tick` was called too late. The
/// names are tokio's.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use executor::{Driver, Executor, MissedTickBehavior};
/// # async fn example<D: Driver>(rt: &Executor<D>) {
/// let mut interval = rt.interval(Duration::from_millis(10));
/// interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
/// let first = interval.tick().await;
/// rt.sleep(Duration::from_millis(35)).await; // misses three ticks
/// interval.tick().await; // the first of them, late
/// assert!(interval.tick().await >= first + Duration::from_millis(40));
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// Returns all missed ticks at once, until the schedule is met again.
    #[default]
    Burst,
    /// Starts a new schedule: the next tick comes a whole period after the late one.
    Delay,
    /// Leaves out the missed ticks and keeps to the multiples of the period.
    Skip,
}

/// Ticks at a fixed rate. `interval` of a runtime makes it. The first tick is immediate.
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use executor::{Driver, Executor, Interval};
/// # async fn example<D: Driver>(rt: &Executor<D>) {
/// let mut interval: Interval = rt.interval(Duration::from_secs(1));
/// loop {
///     interval.tick().await;
///     println!("{} tasks", rt.stats().tasks_now);
/// }
/// # }
/// ```
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

    /// Chooses how missed ticks are treated. The default is [`MissedTickBehavior::Burst`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor, MissedTickBehavior};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let mut interval = rt.interval(Duration::from_secs(1));
    /// interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    /// # }
    /// ```
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// Waits for the next tick and returns the time at which it was due. If another executor waits
    /// here when the runtime ends, it is never woken: see [`Sleep`].
    ///
    /// # Cancel safety
    /// Dropping this future loses no tick. The next `tick` returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let mut interval = rt.interval(Duration::from_secs(1));
    /// let (first, second) = (interval.tick().await, interval.tick().await);
    /// assert_eq!(second - first, Duration::from_secs(1));
    /// # }
    /// ```
    pub async fn tick(&mut self) -> Instant {
        (&mut self.sleep).await;
        let Some(due) = self.sleep.deadline() else { return std::future::pending().await };
        let next = next_tick(due, self.sleep.timers.now.get(), self.period, self.missed);
        self.sleep.reset(next);
        due
    }
}

/// Returns the tick after the one that was due at `due` and is returned at `now`. Returns `None` if
/// the clock has no such time.
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
        // A tick that is due just now is missed, too, if the tick before it is returned only now.
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

    /// Something else may wake a task, and the task then polls its timer again. This must neither
    /// add an entry nor lose the timer's place among timers of the same deadline.
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
