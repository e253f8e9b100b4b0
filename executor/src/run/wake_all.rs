//! A stop. It happens once, is remembered, and wakes every task that waits for it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::driver::Fired;
use super::foreign::contain;
use crate::tasks::table::{Key, Table};

/// Remembers that a runtime was asked to stop, and keeps the wakers of the tasks that wait for it.
/// There may be one for each connection, so each future finds its own waker at once.
#[derive(Debug, Default)]
pub(super) struct WakeAll {
    stopped: Cell<bool>,
    waiting: RefCell<Table<Waker>>,
}

impl WakeAll {
    /// Stops. From now on nothing waits here.
    pub(super) fn stop(&self, fired: &mut Fired) {
        self.stopped.set(true);
        self.waiting.take().into_values().for_each(|waker| fired.wake(waker));
    }
}

/// Completes after the stop: see [`Executor::stopped`](crate::Executor::stopped). It takes memory
/// only while it waits.
pub(super) struct Stopped {
    all: Rc<WakeAll>,
    /// The key of its waker, while it waits.
    key: Option<Key>,
}

impl Stopped {
    pub(super) fn new(all: &Rc<WakeAll>) -> Stopped {
        Stopped { all: Rc::clone(all), key: None }
    }

    /// Removes its waker. The waker is foreign code, so it is dropped after the borrow.
    fn leave(&mut self) {
        let waker = self.key.take().and_then(|key| self.all.waiting.borrow_mut().remove(key));
        contain(|| drop(waker));
    }
}

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.all.stopped.get() {
            return Poll::Ready(());
        }
        let is_known = |key| self.all.waiting.borrow().get(key).is_some_and(|waker| waker.will_wake(cx.waker()));
        if !self.key.is_some_and(is_known) {
            self.leave();
            let waker = cx.waker().clone();
            // Both lines above call foreign code, which may stop the runtime.
            if self.all.stopped.get() {
                return Poll::Ready(());
            }
            let key = self.all.waiting.borrow_mut().insert(waker);
            self.key = Some(key);
        }
        Poll::Pending
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.key.is_some() {
            self.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static STOPPED_BY_A_DROP: RefCell<Option<Rc<WakeAll>>> = const { RefCell::new(None) };
    }

    struct StopsWhenDropped;

    impl std::task::Wake for StopsWhenDropped {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    impl Drop for StopsWhenDropped {
        fn drop(&mut self) {
            STOPPED_BY_A_DROP.take().expect("set by the test").stop(&mut Fired::default());
        }
    }

    #[test]
    fn a_stop_that_an_old_waker_makes_is_not_missed() {
        let all = Rc::new(WakeAll::default());
        STOPPED_BY_A_DROP.set(Some(Rc::clone(&all)));
        let mut stopped = Stopped::new(&all);
        let waker = Waker::from(std::sync::Arc::new(StopsWhenDropped));
        assert!(!is_over(&mut stopped, &waker));
        drop(waker);
        assert!(is_over(&mut stopped, Waker::noop()));
        assert!(all.waiting.borrow().is_empty());
    }

    struct Silent;

    impl std::task::Wake for Silent {
        fn wake(self: std::sync::Arc<Self>) {}
    }

    /// Polls the future, and returns true if it is done.
    fn is_over(future: &mut Stopped, waker: &Waker) -> bool {
        Pin::new(future).poll(&mut Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn each_that_waits_keeps_one_waker_until_it_leaves() {
        let all = Rc::new(WakeAll::default());
        let wakers = [(); 2].map(|()| Waker::from(std::sync::Arc::new(Silent)));
        let (mut one, mut other) = (Stopped::new(&all), Stopped::new(&all));
        for waker in [&wakers[0], &wakers[1], &wakers[1]] {
            assert!(!is_over(&mut one, waker) && !is_over(&mut other, waker));
            assert_eq!(all.waiting.borrow().len(), 2);
        }
        drop(one);
        let mut fired = Fired::default();
        all.stop(&mut fired);
        assert_eq!(fired.wakers.len(), 1, "one has left");
        assert!(fired.wakers[0].will_wake(&wakers[1]), "the waker of the last poll");
        assert!(is_over(&mut other, Waker::noop()));
        assert!(is_over(&mut Stopped::new(&all), Waker::noop()), "a stop is remembered");
        assert!(all.waiting.borrow().is_empty());
    }
}
