//! The boundary between the executor and a driver: the executor's requests, and the driver's
//! results.
//!
//! The executor does not know the kernel. It owns a [`Driver`] and calls its *turn* after each
//! batch of tasks, or when there is nothing to do. Then it acts on what the turn reports in
//! [`Fired`].

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
    /// Hands pending requests to the kernel, sleeps at most `timeout` (`None`: until something
    /// happens), and reports what fired. A signal ends the sleep early with nothing fired. That is
    /// no error.
    ///
    /// # Errors
    /// Those of the kernel that leave the driver unusable. The executor then gives up on the
    /// driver.
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()>;

    /// Refuses new requests from now on. The executor calls it once, before it drops the tasks.
    fn close(&mut self);

    /// Cancels everything, and returns when the kernel holds nothing of the runtime. If `deadline`
    /// passes first (`None`: it never passes), it leaks what the kernel may still touch, counts it,
    /// and returns.
    ///
    /// # Errors
    /// Those of the kernel that ended the wait. The rest was then leaked, too.
    fn drain(&mut self, deadline: Option<Instant>, fired: &mut Fired) -> io::Result<()>;

    /// Returns the time of the clock that the timers use: the real clock, or a virtual one in a
    /// simulation.
    fn now(&self) -> Instant;

    /// Returns the object with which any thread can end a `turn`. It keeps alive the descriptor
    /// that it writes to. So a waker that outlives the runtime never writes to a descriptor number
    /// that has been reused.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// Returns a descriptor that becomes readable when a turn would find something. Foreign loops
    /// use it.
    ///
    /// # Errors
    /// Those of setting it up, on drivers that set it up only now.
    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>>;

    /// Returns the driver's own counters.
    fn stats(&self) -> DriverStats;
}

/// Ends a [`Driver::turn`] from another thread.
pub trait Unpark: Send + Sync + 'static {
    /// Makes the current or the next turn return soon. Never blocks, and never reports a failure.
    fn unpark(&self);
}

/// A place for the waker of the task that waits for something. Wakers may be foreign code. So
/// nothing is borrowed here while a waker is cloned or dropped.
#[derive(Default)]
pub struct WaitSlot(Cell<Option<Waker>>);

impl WaitSlot {
    /// Stores this waker instead of the last one. If cloning it panics, the last one stays.
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

    /// Takes the waker out: to wake it, or to drop it because no task waits any longer.
    pub fn take(&self) -> Option<Waker> {
        self.0.take()
    }

    /// Returns true if a task waits.
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

/// The result of a turn: tasks to wake, and things to drop.
///
/// Both run foreign code. They are collected while the driver is borrowed, and run when it no
/// longer is. So a destructor that starts I/O finds the driver free.
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

    /// Drops this later in the turn. Plain memory need not come here, only a value with a
    /// destructor that the driver does not know.
    pub fn discard(&mut self, garbage: Box<dyn Any>) {
        self.garbage.push(garbage);
    }

    /// Drops the waker of a future that is gone, when [`run`](Self::run) does its work, or when
    /// this is dropped. It holds at most one, so it takes no memory.
    pub fn discard_waker(&mut self, waker: Waker) {
        if let Some(other) = self.unwanted.replace(waker) {
            contain(|| drop(other));
        }
    }

    /// Does all of it now. Drivers call it outside of their turn, with nothing borrowed. A panic in
    /// one item ends there. It does not keep the others from running, and does not reach the
    /// caller.
    pub fn run(self) {
        self.wakers.into_iter().for_each(|waker| contain(|| waker.wake()));
        drop_each(self.garbage);
        drop_each(self.unwanted);
    }

    /// Returns true if there is nothing to wake or drop.
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

    /// Counts, and then panics if `panics` is set.
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
