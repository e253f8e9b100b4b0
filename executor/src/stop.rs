//! The request to end a program, and those who wait for it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::driver::Fired;
use crate::table::{Key, Table};

/// Set once, never unset.
#[derive(Debug, Default)]
pub(crate) struct StopSignal {
    stopped: Cell<bool>,
    waiting: RefCell<Table<Waker>>,
}

impl StopSignal {
    /// Sets it; returns whom to wake.
    pub(crate) fn stop(&self) -> Fired {
        self.stopped.set(true);
        let waiting = self.waiting.take();
        let mut fired = Fired::default();
        waiting.into_values().for_each(|waker| fired.wake(waker));
        fired
    }

    pub(crate) fn wait(signal: Rc<StopSignal>) -> Stopped {
        Stopped { signal, key: None }
    }
}

/// Completes when the signal is set.
pub(crate) struct Stopped {
    signal: Rc<StopSignal>,
    key: Option<Key>,
}

impl Stopped {
    fn leave(&mut self) -> Option<Waker> {
        self.signal.waiting.borrow_mut().remove(self.key.take()?)
    }
}

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.signal.stopped.get() {
            return Poll::Ready(());
        }
        let known = self
            .key
            .is_some_and(|key| self.signal.waiting.borrow().get(key).is_some_and(|waker| waker.will_wake(cx.waker())));
        if known {
            return Poll::Pending;
        }
        drop(self.leave());
        let waker = cx.waker().clone();
        let key = self.signal.waiting.borrow_mut().insert(waker);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.leave());
    }
}
