//! The proactor's turn: submits, sleeps, and passes on what has completed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Driver, DriverStats, Fired, Key, Unpark, closed};

use crate::context::Context;
use crate::features::Feature;
use crate::ring::wake::WakeFds;
use crate::ring::{Entered, Ring};
use crate::submit::{Operations, WAKE, count};

/// The number of enters in a row that the kernel may refuse because it is short of something. After
/// these, we pause between them.
const BUSY_AT_ONCE: u32 = 16;
/// The length of that pause.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
/// The number of pauses we make before we give up. A kernel that takes nothing for a second won't
/// recover by itself.
const BUSY_LIMIT: u32 = 1000;
/// The most flushes of an overflowed completion queue in one turn. Each flush fills the queue once;
/// what is left comes with the next turn.
const OVERFLOW_FLUSHES: u32 = 16;

/// The driver over io_uring. It is public only because it names the type behind
/// [`Proactor`](crate::Proactor). Only the runtime uses it.
pub struct UringDriver {
    context: Rc<Context>,
    wake_fds: Arc<WakeFds>,
    /// Whether the ring watches the first of `wake_fds`.
    is_wake_armed: bool,
    busy_streak: u32,
}

impl UringDriver {
    pub(crate) fn new(context: Rc<Context>) -> io::Result<UringDriver> {
        let wake_fds = Arc::new(WakeFds::new(&context.seam)?);
        Ok(UringDriver { context, wake_fds, is_wake_armed: false, busy_streak: 0 })
    }

    /// Makes the ring complete at each write to the eventfd. One multishot request is enough, and
    /// the eventfd need not be read, because the ring reports each write separately. Without
    /// multishot polls, we read the eventfd after each report; otherwise the next request would
    /// complete at once.
    fn arm_wake(&mut self, operations: &mut Operations) {
        let Some(ring) = operations.ring.as_mut().filter(|_| !self.is_wake_armed) else { return };
        let is_multishot = self.context.features.has(Feature::MultishotPoll);
        self.is_wake_armed = ring.poll(self.wake_fds.as_fd(), is_multishot, WAKE.to_u64());
    }

    fn reap(&mut self, operations: &mut Operations, fired: &mut Fired) {
        // At most as many as the queue holds, so that a turn ends even if more arrive in the
        // meantime.
        let seam = &self.context.seam;
        let most = operations.ring.as_ref().map_or(0, Ring::completion_entries);
        #[cfg(feature = "faults")]
        let most = most + operations.ring.as_mut().map_or(0, |ring| ring.stage(seam));
        for _ in 0..most {
            let Some(completion) = operations.ring.as_mut().and_then(|ring| ring.pop()) else { return };
            if Key::from_u64(completion.user_data) == WAKE {
                self.is_wake_armed = completion.is_more();
                if !self.is_wake_armed {
                    self.wake_fds.clear(seam);
                }
            } else {
                operations.complete(completion, fired);
            }
        }
    }

    /// Gives the kernel time if it is short of memory or room, but not forever.
    fn tolerate_busy(&mut self, entered: Entered) -> io::Result<()> {
        if entered == Entered::Done {
            self.busy_streak = 0;
            return Ok(());
        }
        self.busy_streak += 1;
        if self.busy_streak > BUSY_AT_ONCE + BUSY_LIMIT {
            return Err(io::Error::other("the kernel took no submissions for a second (memory?)"));
        }
        if self.busy_streak > BUSY_AT_ONCE {
            std::thread::sleep(BUSY_PAUSE);
        }
        Ok(())
    }
}

impl Driver for UringDriver {
    fn turn(&mut self, timeout: Option<Duration>, fired: &mut Fired) -> io::Result<()> {
        let context = Rc::clone(&self.context);
        let operations = &mut *context.operations.borrow_mut();
        let seam = &context.seam;
        self.arm_wake(operations);
        operations.flush(seam)?;
        let is_quiet_awaited = operations.is_quiet_awaited || operations.is_held_up_by_quiet();
        let ring = operations.ring.as_mut().ok_or_else(closed)?;
        let must_look = is_quiet_awaited || ring.has_completions();
        let timeout = if must_look { Some(Duration::ZERO) } else { timeout };
        if timeout != Some(Duration::ZERO) || ring.has_business() {
            let entered = ring.enter(seam, timeout)?;
            self.tolerate_busy(entered)?;
        }
        self.reap(operations, fired);
        for _ in 0..OVERFLOW_FLUSHES {
            let Some(ring) = operations.ring.as_mut() else { break };
            if !ring.is_overflowed() {
                break;
            }
            count(&mut operations.stats.overflow_flushes);
            ring.enter(seam, Some(Duration::ZERO))?;
            self.reap(operations, fired);
        }
        operations.end_quiet(fired);
        context.pool.end_turn();
        // Clear the foreign loop's eventfd for the completions handled in this turn. Set it again
        // if more arrived in the meantime, or if a completion asked for more work: the rest of a
        // send or a cancel makes no task ready.
        if self.wake_fds.clear_outer(seam) && operations.has_business() {
            self.wake_fds.write_outer();
        }
        Ok(())
    }

    fn close(&mut self) {
        self.context.is_closed.set(true);
    }

    /// Cancels every operation, one by one, and reaps until none is left. Only a final completion
    /// proves anything: closing the ring is no barrier, and a successful cancel proves nothing.
    fn drain(&mut self, deadline: Option<Instant>, fired: &mut Fired) -> io::Result<()> {
        self.context.operations.borrow_mut().cancel_all(fired);
        let drained = loop {
            if self.context.operations.borrow().slots.in_kernel() == 0 {
                break Ok(());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // Make at least one turn: before it, the kernel knows of no cancel, and it answers most
            // at once.
            if let Err(error) = self.turn(left, fired) {
                break Err(error);
            }
            if left == Some(Duration::ZERO) {
                break Ok(());
            }
        };
        let operations = &mut *self.context.operations.borrow_mut();
        if operations.slots.in_kernel() > 0 {
            operations.abandon();
        }
        // The kernel takes a ring down in the background, and would report that to a foreign loop.
        if let Some(ring) = operations.ring.take() {
            self.wake_fds.forget_outer(&ring, &self.context.seam);
        }
        drop(self.context.pool.retire());
        drained
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.wake_fds) as Arc<dyn Unpark>
    }

    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        let operations = self.context.operations.borrow();
        self.wake_fds.outer(operations.ring.as_ref().ok_or_else(closed)?, &self.context.seam)
    }

    fn stats(&self) -> DriverStats {
        let operations = self.context.operations.borrow();
        let mut stats = operations.stats();
        stats.system_calls = self.context.seam.counts(("write", self.wake_fds.writes()));
        stats.chunks_lent_now = self.context.pool.lent();
        stats.pool_bytes_now = self.context.pool.bytes();
        stats
    }
}
