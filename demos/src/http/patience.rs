//! How long a connection waits, and for what else: its one timer, and its ear for the runtime's stop.
//!
//! A busy connection has a new deadline with each request, and hardly any of them is ever met. So the
//! timer is not moved when the deadline moves to later: it fires at the old time, finds that the true
//! deadline lies ahead, and is set to that. A connection that answers 50,000 requests a second sets its
//! timer about once in ten.
//!
//! For the same reason the time is that of the runtime's last turn, and the runtime is asked once per poll of
//! the task whether it stops: within one poll the answer does not change.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use executor::{Runtime, Sleep, yield_now};

/// What a wait came to.
pub(crate) enum Waited<T> {
    Done(T),
    TimedOut,
    /// The runtime was asked to stop.
    Stopped,
}

/// Until when to wait.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    At(Instant),
    /// This long after the wait begins.
    After(Duration),
}

/// Times one task's waits.
pub(crate) struct Patience<'a, R> {
    rt: &'a R,
    stopped: Pin<&'a mut dyn Future<Output = ()>>,
    is_stopping: bool,
    /// Whether that was asked in this poll of the task, which then is woken by the stop.
    has_asked: bool,
    timer: Sleep,
    /// Whom the timer wakes.
    timer_waker: Waker,
    ready_in_a_row: u32,
}

/// Waits that were over at once before the other tasks get a turn. A client that always has more to
/// say would otherwise keep the thread to itself.
const READY_IN_A_ROW: u32 = 16;

impl<'a, R: Runtime> Patience<'a, R> {
    /// `stopped` is the runtime's.
    pub(crate) fn new(rt: &'a R, stopped: Pin<&'a mut dyn Future<Output = ()>>) -> Self {
        Patience {
            rt,
            stopped,
            is_stopping: false,
            has_asked: false,
            timer: rt.sleep_until(None),
            timer_waker: Waker::noop().clone(),
            ready_in_a_row: 0,
        }
    }

    /// The time, as of the runtime's last turn: exact enough for limits of seconds.
    pub(crate) fn now(&self) -> Instant {
        self.rt.turn_time()
    }

    /// Whether the runtime was asked to stop.
    pub(crate) async fn is_stopping(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.poll_stopping(cx))).await
    }

    /// Waits for `future`, which is asked first; if `or_stop`, also for the runtime's stop.
    pub(crate) fn wait<F: Future>(
        &mut self,
        until: Until,
        or_stop: bool,
        mut future: Pin<&mut F>,
    ) -> impl Future<Output = Waited<F::Output>> {
        let (mut polls, mut deadline) = (0_u32, None);
        poll_fn(move |cx| {
            polls = polls.saturating_add(1);
            if polls > 1 {
                self.begin_poll();
            }
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                self.ready_in_a_row = if polls == 1 { self.ready_in_a_row + 1 } else { 0 };
                return Poll::Ready(Waited::Done(output));
            }
            if or_stop && self.poll_stopping(cx) {
                return Poll::Ready(Waited::Stopped);
            }
            let deadline = *deadline.get_or_insert_with(|| match until {
                Until::At(deadline) => deadline,
                Until::After(duration) => self.now() + duration,
            });
            self.poll_timer(cx, deadline).map(|()| Waited::TimedOut)
        })
    }

    /// Lets time pass.
    pub(crate) async fn sleep(&mut self, duration: Duration) {
        self.rt.sleep(duration).await;
        self.begin_poll();
    }

    /// Lets the other tasks have a turn.
    pub(crate) async fn yield_now(&mut self) {
        self.ready_in_a_row = 0;
        yield_now().await;
        self.begin_poll();
    }

    /// The same, if this task has not waited for anything for long.
    pub(crate) async fn be_fair(&mut self) {
        if self.ready_in_a_row >= READY_IN_A_ROW {
            self.yield_now().await;
        }
    }

    /// What was true in the last poll of the task may no longer be.
    fn begin_poll(&mut self) {
        self.has_asked = false;
    }

    fn poll_stopping(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_stopping && !self.has_asked {
            self.has_asked = true;
            self.is_stopping = self.stopped.as_mut().poll(cx).is_ready();
        }
        self.is_stopping
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let now = self.now();
        if now >= deadline {
            return Poll::Ready(());
        }
        let is_set = self.timer.deadline().is_some_and(|set| now < set && set <= deadline);
        if is_set && self.timer_waker.will_wake(cx.waker()) {
            return Poll::Pending;
        }
        if !is_set {
            self.timer.reset(deadline);
        }
        self.timer_waker.clone_from(cx.waker());
        Pin::new(&mut self.timer).poll(cx)
    }
}
