//! What the executor asks of a driver, and what a driver hands back.
//!
//! The executor knows no kernel. It owns a [`Driver`], lets it have a *turn* whenever it has run a
//! batch of tasks or has nothing to do, and acts on what the turn [`Fired`].

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::run::foreign::{contain, drop_each};
use crate::watch::stats::DriverStats;

/// The part of a runtime that talks to the kernel: epoll, io_uring, or a simulation.
pub trait Driver: 'static {
    /// Publishes pending requests, sleeps at most `timeout` (`None`: until something happens), and
    /// reports what fired. A signal ends it early with nothing fired; that is no error.
    ///
    /// # Errors
    /// Those of the kernel that leave the driver unusable. The executor gives up on them.
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()>;

    /// From now on new requests are refused. Called once, before the tasks are dropped.
    fn close(&mut self);

    /// Cancels everything, and returns only when the kernel holds nothing of ours; or when the
    /// deadline has passed (`None`: never), and then it leaks what the kernel may still touch, and counts it.
    ///
    /// # Errors
    /// Those of the kernel that kept it from waiting; the rest was then leaked, too.
    fn drain(&mut self, deadline: Option<Instant>, fired: &mut Fired) -> io::Result<()>;

    /// The clock the timers run on: the real one, or a virtual one under simulation.
    fn now(&self) -> Instant;

    /// Ends a `turn` from any thread. It keeps the descriptor it writes to alive, so a waker that
    /// outlives the runtime never writes to a number that has been given to somebody else.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// A descriptor that becomes readable when a turn would find something, for foreign loops.
    ///
    /// # Errors
    /// Those of setting it up, where it isn't there from the start.
    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>>;

    /// The driver's own counters.
    fn stats(&self) -> DriverStats;
}

/// Ends a [`Driver::turn`] from another thread.
pub trait Unpark: Send + Sync + 'static {
    /// Makes the current or the next turn return soon. Never blocks, never fails visibly.
    fn unpark(&self);
}

/// A place for the waker of whoever waits for something. Wakers may be foreign code; nothing is borrowed
/// here while one is cloned or dropped.
#[derive(Default)]
pub struct WaitSlot(Cell<Option<Waker>>);

impl WaitSlot {
    /// Keeps this waker instead of the one before. If cloning it panics, the one before stays.
    #[inline]
    pub fn set(&self, waker: &Waker) {
        match self.0.take() {
            None => self.0.set(Some(waker.clone())),
            Some(known) => self.replace(known, waker),
        }
    }

    fn replace(&self, known: Waker, waker: &Waker) {
        let is_known = known.will_wake(waker);
        self.0.set(Some(known));
        if !is_known {
            let replaced = self.0.replace(Some(waker.clone()));
            contain(|| drop(replaced));
        }
    }

    /// Drops the waker. A panic of its destructor ends here.
    #[inline]
    pub fn clear(&self) {
        if let Some(waker) = self.0.take() {
            contain(|| drop(waker));
        }
    }

    /// Takes the waker out: to wake it, or to drop it because nobody waits any longer.
    pub fn take(&self) -> Option<Waker> {
        self.0.take()
    }

    /// Whether somebody waits.
    pub fn is_set(&self) -> bool {
        let waker = self.0.take();
        let is_set = waker.is_some();
        self.0.set(waker);
        is_set
    }
}

impl std::fmt::Debug for WaitSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WaitSlot").field(&self.is_set()).finish()
    }
}

/// What came out of a turn: tasks to wake, and things to drop.
///
/// Both are foreign code. They are collected while the driver is borrowed, and run when it no longer
/// is, so a destructor that starts I/O finds the driver free.
#[derive(Default)]
pub struct Fired {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) garbage: Vec<Box<dyn Any>>,
    unwanted: Option<Waker>,
}

impl Fired {
    /// Wakes this later in the turn.
    pub fn wake(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Drops this later in the turn. Plain memory needn't come here, only what has a destructor that
    /// the driver doesn't know.
    pub fn discard(&mut self, garbage: Box<dyn Any>) {
        self.garbage.push(garbage);
    }

    /// Drops the waker of a future that is gone, as [`run`](Self::run) does its work. One at most, so that it takes no
    /// memory.
    pub fn discard_waker(&mut self, waker: Waker) {
        if let Some(other) = self.unwanted.replace(waker) {
            contain(|| drop(other));
        }
    }

    /// Does it all now. For drivers, outside of their turn, with nothing borrowed. A panic in one ends there: it keeps
    /// none of the others from running, and does not reach the caller.
    pub fn run(self) {
        self.wakers.into_iter().for_each(|waker| contain(|| waker.wake()));
        drop_each(self.garbage);
        drop_each(self.unwanted);
    }

    /// Whether there is nothing to wake or drop.
    pub fn is_empty(&self) -> bool {
        self.wakers.is_empty() && self.garbage.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts, and then panics, if it is to.
    struct Alarm {
        count: Arc<AtomicU32>,
        panics: bool,
    }

    impl Alarm {
        fn ring(&self) {
            self.count.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics, "an alarm");
        }
    }

    impl Wake for Alarm {
        fn wake(self: Arc<Self>) {
            self.ring();
        }
    }

    struct Bomb(Rc<Cell<u32>>);

    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            std::panic::panic_any(Payload);
        }
    }

    /// The payload of a panic. Its destructor panics, too.
    struct Payload;

    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("a payload's drop");
        }
    }

    #[test]
    fn a_panic_in_what_fired_keeps_none_of_the_rest() {
        let (count, dropped) = (Arc::new(AtomicU32::new(0)), Rc::new(Cell::new(0)));
        let mut fired = Fired::default();
        for panics in [true, false, true, false] {
            fired.wake(Arc::new(Alarm { count: Arc::clone(&count), panics }).into());
            fired.discard(Box::new(Bomb(Rc::clone(&dropped))));
        }
        fired.run();
        assert_eq!((count.load(Ordering::Relaxed), dropped.get()), (4, 4));
    }

    #[test]
    fn a_waker_that_panics_when_it_is_dropped_does_not_hit_the_next() {
        struct BadToDrop;
        impl Wake for BadToDrop {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for BadToDrop {
            fn drop(&mut self) {
                std::panic::panic_any(Payload);
            }
        }
        let slot = WaitSlot::default();
        slot.set(&Arc::new(BadToDrop).into());
        slot.set(Waker::noop());
        assert!(slot.take().is_some());
        slot.set(&Arc::new(BadToDrop).into());
        slot.clear();
        assert!(!slot.is_set());
    }
}
