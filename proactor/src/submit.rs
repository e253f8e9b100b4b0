//! How operations get to the kernel: the ring, and the operations that wait for room in its queues.
//! No other file pushes operations.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use executor::{DriverStats, Fired, Key, Seam};

use crate::op::{Endings, Kind, Launched, Next, Send, Slots};
use crate::pool::Pool;
use crate::ring::Ring;
use crate::ring::completion::Completion;

/// User data for what is not an operation in the table.
pub(crate) const WAKE: Key = Key::reserved(1);
const CANCEL: Key = Key::reserved(2);

/// Places in the completion queue that are kept for what is not an operation: wakes, failed
/// cancels. In a tiny queue, a quarter of it.
const RESERVE: usize = 64;

/// All operations, and the ring they go through.
pub(crate) struct Operations {
    /// `None` after the end of the runtime.
    pub(crate) ring: Option<Ring>,
    pub(crate) slots: Slots,
    /// Operations that wait for room, first come, first served. Each stream and listener has at
    /// most one per direction, and each future of a file has one, which bounds the number.
    backlog: VecDeque<Key>,
    /// Operations to cancel when there is room.
    cancels: Vec<Key>,
    /// Quiet sends that were pushed and may still be in flight.
    quiet: Vec<Key>,
    /// Whether a task waits for one of these.
    pub(crate) is_quiet_awaited: bool,
    /// The most operations that the kernel may hold, so that all their completions fit in the
    /// queue.
    limit: usize,
    /// The counters of this file; the driver adds the rest.
    pub(crate) stats: DriverStats,
}

/// Returns the counters that exist on a proactor.
fn new_stats() -> DriverStats {
    DriverStats {
        operations: Some(0),
        orphans: Some(0),
        ops_leaked: Some(0),
        ops_abandoned: Some(0),
        stray_cqes: Some(0),
        overflow_flushes: Some(0),
        operations_deferred: Some(0),
        pool_misses: Some(0),
        ..DriverStats::default()
    }
}

pub(crate) fn count(counter: &mut Option<u64>) {
    *counter.get_or_insert(0) += 1;
}

impl Operations {
    pub(crate) fn new(ring: Ring, pool: Rc<Pool>) -> Operations {
        let entries = ring.completion_entries() as usize;
        Operations {
            ring: Some(ring),
            slots: Slots::new(pool),
            backlog: VecDeque::new(),
            cancels: Vec::new(),
            quiet: Vec::new(),
            is_quiet_awaited: false,
            limit: entries - RESERVE.min(entries / 4),
            stats: new_stats(),
        }
    }

    pub(crate) fn start(&mut self, seam: &Seam, kind: Kind) -> Key {
        let key = self.slots.insert(kind);
        self.push_or_wait(seam, key);
        key
    }

    /// Starts a send. (It does not become a [`Kind`] on the way, which would be moved more often.)
    pub(crate) fn send(&mut self, seam: &Seam, send: Send) {
        let key = self.slots.insert_send(send);
        self.push_or_wait(seam, key);
    }

    fn push_or_wait(&mut self, seam: &Seam, key: Key) {
        count(&mut self.stats.operations);
        if !self.backlog.is_empty() || !self.push(seam, key) {
            self.backlog.push_back(key);
            count(&mut self.stats.operations_deferred);
        }
    }

    /// Pushes what waits, while there is room.
    fn push_backlog(&mut self, seam: &Seam) {
        while let Some(key) = self.backlog.front() {
            if !self.push(seam, *key) {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Pushes an operation that waits. Returns false if there is no room.
    #[cfg_attr(not(feature = "faults"), expect(unused_variables, reason = "only tests judge what is pushed"))]
    fn push(&mut self, seam: &Seam, key: Key) -> bool {
        let Some(ring) = self.ring.as_mut() else { return false };
        if self.slots.in_kernel() >= self.limit || ring.is_full() {
            return false;
        }
        // If it was cancelled or dropped while it waited, the kernel never sees it.
        let Some(Launched { entry, is_quiet, is_awaited }) = self.slots.launch(key) else { return true };
        #[cfg(feature = "faults")]
        let entry = ring.judged(seam, entry);
        // SAFETY: everything the entry points to belongs to the slot, from `launch` until the final
        // completion. If the slots are dropped before that, they leak it.
        let pushed = unsafe { ring.push(&entry) };
        assert!(pushed, "the queue was not full");
        if is_quiet {
            self.quiet.push(key);
            self.is_quiet_awaited |= is_awaited;
        }
        true
    }

    /// Pushes cancels, then what waits. If the submission queue is full, enters the kernel to empty
    /// it; no other place does that.
    pub(crate) fn flush(&mut self, seam: &Seam) -> io::Result<()> {
        loop {
            self.push_cancels();
            self.push_backlog(seam);
            let has_room = self.slots.in_kernel() < self.limit;
            let is_held_up = !self.cancels.is_empty() || (!self.backlog.is_empty() && has_room);
            let Some(ring) = self.ring.as_mut().filter(|_| is_held_up) else { return Ok(()) };
            ring.enter(seam, Some(Duration::ZERO))?;
            if ring.is_full() {
                // The kernel is short of something: the rest stays for the next turn.
                return Ok(());
            }
        }
    }

    /// Returns whether another turn would find something to do at once.
    pub(crate) fn has_business(&mut self) -> bool {
        let has_room = self.slots.in_kernel() < self.limit;
        let is_waiting = !self.cancels.is_empty() || (has_room && !self.backlog.is_empty());
        is_waiting || self.ring.as_mut().is_some_and(|ring| ring.has_completions() || ring.has_business())
    }

    /// Returns whether operations wait for places that quiet sends have. Nothing else may tell that
    /// these are over.
    pub(crate) fn is_held_up_by_quiet(&self) -> bool {
        !self.backlog.is_empty() && !self.quiet.is_empty()
    }

    fn push_cancels(&mut self) {
        let Some(ring) = self.ring.as_mut() else { return };
        while let Some(key) = self.cancels.last().copied().filter(|_| !ring.is_full()) {
            self.cancels.pop();
            if !self.slots.is_in_kernel(key) {
                continue;
            }
            // A cancel that finds its operation does not complete. One that comes too late
            // completes with an error, which we ignore.
            let pushed = ring.cancel(key.to_u64(), CANCEL.to_u64(), true);
            assert!(pushed, "the queue was not full");
        }
    }

    /// Handles a completion, unless it is that of the wake-up descriptor.
    pub(crate) fn complete(&mut self, completion: Completion, fired: &mut Fired) {
        self.stats.events += 1;
        let key = Key::from_u64(completion.user_data);
        if key == CANCEL {
            return;
        }
        match self.slots.complete(completion, fired) {
            Next::Nothing => {}
            Next::Cancel => self.cancels.push(key),
            Next::Again => self.backlog.push_back(key),
            Next::Stray => count(&mut self.stats.stray_cqes),
        }
    }

    /// Ends the quiet sends that did not complete, if their silence means anything: the kernel has
    /// taken all submissions, its overflow list is empty, and the caller has handled every
    /// completion that was posted by then.
    pub(crate) fn end_quiet(&mut self, fired: &mut Fired) {
        if !self.ring.as_mut().is_some_and(Ring::is_through) {
            return;
        }
        self.is_quiet_awaited = false;
        for key in self.quiet.drain(..) {
            self.slots.end_quietly(key, fired);
        }
    }

    /// Orphans an operation: its future is gone.
    pub(crate) fn orphan(&mut self, key: Key, fired: &mut Fired) {
        let next = self.slots.orphan(key, fired);
        self.cancel_orphan(key, next);
    }

    /// Frees the slot of a stream's sends, because the stream is dropped.
    pub(crate) fn retire(&mut self, slot: Key, fired: &mut Fired) {
        let next = self.slots.retire(slot, fired);
        self.cancel_orphan(slot, next);
    }

    fn cancel_orphan(&mut self, key: Key, next: Next) {
        if next == Next::Cancel {
            self.is_quiet_awaited = true;
            count(&mut self.stats.orphans);
            self.cancels.push(key);
        }
    }

    /// Cancels an operation that fills a socket. Returns whether the kernel has it; if so, its
    /// final completion is still to come.
    pub(crate) fn cancel(&mut self, key: Key) -> bool {
        if self.slots.cancel(key) == Next::Cancel {
            self.cancels.push(key);
        }
        self.slots.is_in_kernel(key)
    }

    /// Cancels everything, at the end of the runtime. What the kernel has not seen ends at once.
    pub(crate) fn cancel_all(&mut self, fired: &mut Fired) {
        self.is_quiet_awaited = true;
        let ending = self.slots.end(std::mem::take(&mut self.backlog).into_iter(), fired);
        self.stats.ops_leaked = Some(ending.leaked);
        self.cancels = ending.under_way;
    }

    /// Abandons what the kernel did not give back in time: leaks the ring, and all memory that the
    /// kernel may still touch.
    pub(crate) fn abandon(&mut self) {
        self.slots.abandon();
        std::mem::forget(self.ring.take());
    }

    /// Returns the counters.
    pub(crate) fn stats(&self) -> DriverStats {
        let mut stats = self.stats.clone();
        stats.operations_now = Some(self.slots.in_kernel() as u64);
        stats.ops_abandoned = Some(self.slots.abandoned() as u64);
        let Endings { dry, stopped, other } = self.slots.endings;
        (stats.receives_dry, stats.receives_stopped, stats.receives_ended) = (Some(dry), Some(stopped), Some(other));
        stats
    }

    /// Lists the operations, and says how many wait for room.
    #[cfg(feature = "faults")]
    pub(crate) fn dump(&self) -> String {
        format!("{}to be pushed: {}\n", self.slots.dump(), self.backlog.len())
    }
}
