//! One generational table for everything that is named to a foreign party.
//!
//! Tasks are named to wakers, sources to epoll, operations to io_uring. All three hold on to the
//! name for as long as they like, and may come back with it after the thing is gone: a waker kept
//! by another thread, an event already in the batch, a late completion. A plain index would then
//! name whatever moved into the slot since. A [`Key`] carries the slot's *generation* too, so a
//! late name is a failed look-up that can be counted, never a wrong hit.

use slab::Slab;

/// The name of one entry of a [`Table`]: where it is, and which one of those that were ever there.
///
/// It crosses foreign hands as a `u64` (epoll's `data`, io_uring's `user_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The index no table ever gives out. Keys with it are free for other uses: see
    /// [`Key::reserved`].
    const RESERVED: u32 = u32::MAX;

    /// A key that is never found in any table, for marks that travel the same road as keys (the
    /// main future's wake, the unpark event, the answer to a cancel). Different `mark`s differ.
    pub const fn reserved(mark: u32) -> Key {
        Key { index: Self::RESERVED, generation: mark }
    }

    /// The key as one number: generation in the upper half, index in the lower.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key that [`to_u64`](Self::to_u64) turned into this number.
    #[allow(clippy::cast_possible_truncation)] // the halves are taken apart on purpose
    pub const fn from_u64(number: u64) -> Key {
        Key { index: number as u32, generation: (number >> 32) as u32 }
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: T,
}

/// A [`Slab`] whose entries are found only by the full [`Key`] they were inserted under.
///
/// Generations come from one counter per table that moves with every insertion. A stale key could
/// be mistaken for a live one only if it were kept over exactly 2^32 insertions *and* its slot had
/// been filled by the last of them.
#[derive(Debug)]
pub struct Table<T> {
    slots: Slab<Entry<T>>,
    next_generation: u32,
}

impl<T> Default for Table<T> {
    /// An empty table; it allocates on first use.
    fn default() -> Self {
        Table { slots: Slab::new(), next_generation: 0 }
    }
}

impl<T> Table<T> {
    /// Inserts what `make` builds from the key it will be found under.
    ///
    /// # Panics
    /// If the table holds 2^32 - 1 entries.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.slots.vacant_entry();
        let index = u32::try_from(slot.key()).ok().filter(|&index| index != Key::RESERVED);
        let index = index.expect("a table holds fewer than 2^32 - 1 entries");
        let key = Key { index, generation: self.next_generation };
        self.next_generation = self.next_generation.wrapping_add(1);
        slot.insert(Entry { generation: key.generation, value: make(key) });
        key
    }

    /// Inserts a value that needn't know its key.
    ///
    /// # Panics
    /// As [`insert_with`](Self::insert_with).
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// The entry under `key`, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        let entry = self.slots.get(key.index as usize)?;
        (entry.generation == key.generation).then_some(&entry.value)
    }

    /// The entry under `key`, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.slots.get_mut(key.index as usize)?;
        (entry.generation == key.generation).then_some(&mut entry.value)
    }

    /// Takes the entry under `key` out, if it is still there.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slots.remove(key.index as usize).value)
    }

    /// All entries, in no useful order. (One by one, "any entry that is left" would have to be searched
    /// for among the empty slots each time.)
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().map(|(_, entry)| entry.value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Every entry with its key, in no useful order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().map(|(index, entry)| {
            let index = u32::try_from(index).expect("checked by insert_with");
            (Key { index, generation: entry.generation }, &entry.value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_key_never_finds_the_next_tenant_of_its_slot() {
        let mut table = Table::default();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!(first.index, second.index, "the slab reuses the slot");
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_key_survives_the_journey_through_a_u64() {
        for key in [Key { index: 7, generation: 9 }, Key::reserved(3), Key { index: 0, generation: u32::MAX }] {
            assert_eq!(Key::from_u64(key.to_u64()), key);
        }
        assert_eq!(Key { index: 1, generation: 2 }.to_u64(), 2 << 32 | 1);
    }

    #[test]
    fn reserved_keys_are_in_no_table() {
        let mut table = Table::default();
        for n in 0..100 {
            table.insert(n);
        }
        assert!((0..100).all(|mark| table.get(Key::reserved(mark)).is_none()));
    }
}
