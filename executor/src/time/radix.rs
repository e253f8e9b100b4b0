//! A radix heap: holds a runtime's timers, as many as a million, at little cost each.
//!
//! A time is a number of 64 bits: the nanoseconds since the runtime was made. Take the highest bit
//! in which a timer's deadline differs from the present. The number of this bit is the number of
//! the timer's bucket:
//!
//! ```text
//!   present    ... 0 1 1 0 0 1
//!   deadline   ... 0 1 1 1 0 0
//!                        ^ bit 2, so bucket 2
//! ```
//!
//! A deadline in bucket `b` agrees with the present in all bits above `b`. In bit `b` it has a 1,
//! and the present a 0. So everything in a bucket is due before everything in a higher bucket. When
//! the present moves on, let `top` be the highest bit that changed: it was 0 and is now 1. The
//! deadlines below bucket `top` still have the 0, so all of them have passed. The deadlines in
//! bucket `top` have the 1, as the present now has. Some of them have passed; the others go to
//! lower buckets. Nothing changes in the buckets above. So a timer only ever moves down, a few
//! times, and a deadline is compared with the present only, until it is due. (Ahuja, Mehlhorn,
//! Orlin, Tarjan: "Faster algorithms for the shortest path problem", 1990. The price: now and then
//! a step moves half of the timers, at some nanoseconds each.)
//!
//! Timers with the same deadline are always in the same bucket, in the order in which they were
//! set.
//!
//! A bucket is a plain list of deadlines and keys; the wakers are in a table. A cancelled timer
//! leaves the table at once. Its entry of 16 bytes stays in the bucket, with a key that names
//! nothing. The entry goes when a search meets it, or in a sweep. A sweep comes as soon as there
//! are more such entries than timers.

use std::task::Waker;

use crate::tasks::table::{Key, Table};

/// The most entries of a bucket that are searched for the first deadline. If a bucket has more, the
/// time at which the bucket begins is used instead.
const LOOKED_THROUGH: usize = 32;
/// The number of entries of cancelled timers that do not yet cause a sweep.
const REMAINS: usize = 1024;

/// A deadline, and the key of its timer.
type Entry = (u64, Key);

/// See the module's text. All times are nanoseconds since a start that the caller chooses.
#[derive(Debug)]
pub(crate) struct RadixHeap {
    now: u64,
    buckets: [Vec<Entry>; u64::BITS as usize],
    /// One bit for each bucket. It is clear if the bucket is empty.
    occupied: u64,
    /// The number of entries in all buckets, with those of cancelled timers.
    entries: usize,
    pub(crate) wakers: Table<Waker>,
}

impl RadixHeap {
    pub(crate) fn new() -> RadixHeap {
        RadixHeap {
            now: 0,
            buckets: [const { Vec::new() }; u64::BITS as usize],
            occupied: 0,
            entries: 0,
            wakers: Table::default(),
        }
    }

    /// Returns the highest bit in which a time differs from the present; 0 if there is none.
    fn bucket(&self, time: u64) -> usize {
        (self.now ^ time).max(1).ilog2() as usize
    }

    fn place(&mut self, entry: Entry) {
        let bucket = self.bucket(entry.0);
        self.occupied |= 1 << bucket;
        self.buckets[bucket].push(entry);
    }

    /// Sets a timer. `deadline` must be after the time of the last [`advance`](Self::advance).
    pub(crate) fn insert(&mut self, deadline: u64, waker: Waker) -> Key {
        let key = self.wakers.insert(waker);
        self.place((deadline, key));
        self.entries += 1;
        key
    }

    /// Cancels a timer, if it has not fired. Returns its waker.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waker> {
        let waker = self.wakers.remove(key);
        if self.entries > 2 * self.wakers.len() + REMAINS {
            for bucket in 0..self.buckets.len() {
                self.sweep(bucket);
                self.buckets[bucket].shrink_to_fit();
            }
        }
        waker
    }

    /// Removes the entries of cancelled timers from a bucket.
    fn sweep(&mut self, bucket: usize) {
        let before = self.buckets[bucket].len();
        self.buckets[bucket].retain(|(_, key)| self.wakers.get(*key).is_some());
        self.entries -= before - self.buckets[bucket].len();
    }

    /// Returns the time at which the first timer is due. It is never too late. It may be too early
    /// if many timers, with the cancelled ones, are close together.
    pub(crate) fn next_deadline(&mut self) -> Option<u64> {
        while self.occupied != 0 {
            let bucket = self.occupied.trailing_zeros() as usize;
            if self.buckets[bucket].len() > LOOKED_THROUGH {
                // The first moment that belongs to this bucket.
                return Some((self.now >> bucket | 1) << bucket);
            }
            self.sweep(bucket);
            if let Some(deadline) = self.buckets[bucket].iter().map(|(deadline, _)| *deadline).min() {
                return Some(deadline);
            }
            // It is empty: clears the lowest bit that is set.
            self.occupied &= self.occupied - 1;
        }
        None
    }

    /// Moves the present on to `now`. Calls `fire` with the wakers of all timers that are due by
    /// then, in order.
    pub(crate) fn advance(&mut self, now: u64, fire: impl FnMut(Waker)) {
        // The buckets up to the highest bit that changes.
        let mut passed = self.occupied & (u64::MAX >> (u64::BITS as usize - 1 - self.bucket(now)));
        self.occupied &= !passed;
        self.now = now;
        let mut due = Vec::new();
        while passed != 0 {
            let bucket = passed.trailing_zeros() as usize;
            passed &= passed - 1;
            for entry in std::mem::take(&mut self.buckets[bucket]) {
                if entry.0 <= now { due.push(entry) } else { self.place(entry) }
            }
        }
        self.entries -= due.len();
        // The sort is stable: timers of the same deadline stay in order.
        due.sort_by_key(|(deadline, _)| *deadline);
        due.into_iter().filter_map(|(_, key)| self.wakers.remove(key)).for_each(fire);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use super::*;

    /// Stores its number when it is woken.
    struct Note(u64, Arc<AtomicU64>);

    impl Wake for Note {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0, Ordering::Relaxed);
        }
    }

    /// Does the same things to a heap and to an ordered map.
    #[derive(Default)]
    struct Model {
        heap: Option<RadixHeap>,
        map: BTreeMap<(u64, u64), Key>,
        set: u64,
        now: u64,
        woken: Arc<AtomicU64>,
        seed: u64,
    }

    impl Model {
        fn new(now: u64) -> Model {
            let mut model = Model { heap: Some(RadixHeap::new()), seed: 88_172_645_463_325_252, ..Model::default() };
            model.advance(now);
            model
        }

        fn heap(&mut self) -> &mut RadixHeap {
            self.heap.as_mut().unwrap()
        }

        fn random(&mut self, limit: u64) -> u64 {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            self.seed % limit
        }

        fn set(&mut self, deadline: u64) {
            self.set += 1;
            let waker = Waker::from(Arc::new(Note(self.set, Arc::clone(&self.woken))));
            let key = self.heap().insert(deadline, waker);
            self.map.insert((deadline, self.set), key);
        }

        fn cancel(&mut self, place: usize) {
            let name = *self.map.keys().nth(place).unwrap();
            let key = self.map.remove(&name).unwrap();
            assert!(self.heap().remove(key).is_some() && self.heap().remove(key).is_none());
        }

        fn advance(&mut self, now: u64) {
            self.now = now;
            let (map, woken) = (&mut self.map, &self.woken);
            self.heap.as_mut().unwrap().advance(now, |waker| {
                waker.wake();
                let ((deadline, number), _) = map.pop_first().expect("nothing is due");
                assert_eq!(woken.load(Ordering::Relaxed), number, "out of order");
                assert!(deadline <= now, "early");
            });
        }

        fn check(&mut self) {
            let first = self.map.first_key_value().map(|((deadline, _), _)| *deadline);
            assert!(first.is_none_or(|first| first > self.now), "late");
            let (live, few) = (self.map.len(), self.heap().entries <= LOOKED_THROUGH);
            let next = self.heap().next_deadline();
            assert!(next == first || !few && next <= first, "{next:?} for {first:?}");
            assert_eq!(self.heap().wakers.len(), live);
            assert!(self.heap().entries <= 2 * live + REMAINS);
        }
    }

    #[test]
    fn it_does_what_an_ordered_map_does() {
        for (start, reach) in [(0, 100), (5_000_000_000, 1 << 14), (1 << 40, 1 << 37), (u64::MAX / 2, u64::MAX / 64)] {
            let mut model = Model::new(start);
            for _ in 0..4_000 {
                let ahead = 1 + model.random(reach);
                match model.random(8) {
                    0..4 => model.set(model.now + ahead),
                    4 | 5 if !model.map.is_empty() => {
                        let place = model.random(model.map.len() as u64) as usize;
                        model.cancel(place);
                    }
                    6 => model.advance(model.now + ahead / 16),
                    _ => model.check(),
                }
                if model.now > u64::MAX / 4 * 3 {
                    break;
                }
            }
            model.advance(u64::MAX);
            assert!(model.map.is_empty(), "forgotten");
        }
    }

    #[test]
    fn a_lone_timer_needs_no_turn_before_its_own() {
        for ahead in [1, 63, 64, 4_095, 1 << 20, 123_456_789_012, u64::MAX / 2] {
            let mut model = Model::new(987_654_321);
            model.set(model.now + ahead);
            assert_eq!(model.heap().next_deadline(), Some(987_654_321 + ahead));
            model.advance(987_654_321 + ahead - 1);
            model.check();
            model.advance(987_654_321 + ahead);
            assert!(model.map.is_empty(), "late");
        }
    }

    impl RadixHeap {
        /// Returns the room for entries in all buckets, used or not.
        fn room(&self) -> usize {
            self.buckets.iter().map(Vec::capacity).sum()
        }
    }

    #[test]
    fn what_is_cancelled_and_what_fires_gives_its_memory_back() {
        const MANY: u64 = 100_000;
        let mut heap = RadixHeap::new();
        // First all in one bucket, then spread over many.
        for spread in [0, 1_000_003] {
            let deadlines = |now: u64| (1..=MANY).map(move |number| now + (1 << 40) + number * spread);
            let mut keys = deadlines(heap.now).map(|deadline| heap.insert(deadline, Waker::noop().clone()));
            let keys: Vec<_> = keys.by_ref().collect();
            assert!(heap.room() >= MANY as usize);
            for key in keys {
                assert!(heap.remove(key).is_some());
            }
            assert!(heap.room() <= REMAINS, "cancelled: room for {} entries is kept", heap.room());

            for deadline in deadlines(heap.now) {
                heap.insert(deadline, Waker::noop().clone());
            }
            let (end, mut fired) = (heap.now + (2 << 40), 0);
            heap.advance(end, |_| fired += 1);
            assert_eq!((fired, heap.entries), (MANY, 0));
            assert!(heap.room() <= REMAINS, "fired: room for {} entries is kept", heap.room());
        }
    }

    /// A sweep reads every entry, so it must not come before there is much to remove.
    #[test]
    fn a_sweep_is_made_when_most_are_cancelled_and_not_before() {
        let mut heap = RadixHeap::new();
        let set = 10 * REMAINS;
        let keys: Vec<_> = (0..set as u64).map(|number| heap.insert(1000 + number, Waker::noop().clone())).collect();
        // The entries of cancelled timers are as many as the timers, plus those that cause no
        // sweep.
        let last = (set + REMAINS).div_ceil(2);
        for (cancelled, key) in (1..).zip(&keys[..last]) {
            heap.remove(*key);
            assert_eq!(heap.entries, set, "swept after {cancelled} of {set} were cancelled");
        }
        heap.remove(keys[last]);
        assert_eq!(heap.entries, heap.wakers.len(), "not swept, with {} entries", heap.entries);
    }

    /// A search for the first among many entries would cost as much in every turn of the loop.
    #[test]
    fn the_first_is_looked_for_among_few() {
        let (mut heap, begin) = (RadixHeap::new(), 1 << 20);
        for number in 1..=1000 {
            heap.insert(begin + number, Waker::noop().clone());
            let few = number <= 10;
            assert!(!few || heap.next_deadline() == Some(begin + 1), "the first itself, of {number}");
        }
        assert_eq!(heap.next_deadline(), Some(begin), "the time at which their bucket begins");
    }

    #[test]
    fn cancelled_timers_leave_little_and_then_nothing() {
        let mut model = Model::new(1);
        for _ in 0..20_000 {
            model.set(1_000_000_000);
            model.cancel(0);
            assert!(model.heap().entries <= REMAINS);
        }
        model.set(2_000_000_000);
        (0..REMAINS).for_each(|_| model.set(500_000_000));
        (0..REMAINS).for_each(|_| model.cancel(0));
        model.check();
        assert!(model.heap().entries >= 1);
        model.advance(3_000_000_000);
        assert!(model.map.is_empty() && model.heap().entries == 0);
    }
}
