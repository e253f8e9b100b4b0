//! A generational table for everything that has a name outside of the crate.
//!
//! Wakers name tasks, epoll names sources, io_uring names operations. All three keep the name as
//! long as they like. They may use it after the entry is gone: another thread kept a waker, an
//! event was already in the batch, a completion came late. A plain index would then name the entry
//! that moved into the slot since. A [`Key`] also carries the slot's *generation*. So a late name
//! is a failed look-up that can be counted, and never finds the wrong entry.

use slab::Slab;

/// The name of one entry of a [`Table`]: its slot, and which of the slot's entries over time it is.
///
/// Outside of the crate it travels as a `u64` (epoll's `data`, io_uring's `user_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The index that no table ever gives out. Keys with it are free for other uses: see
    /// [`Key::reserved`].
    const RESERVED: u32 = u32::MAX;

    /// Makes a key that no table ever finds. It is for marks that travel the same way as keys: the
    /// wake of the main future, the unpark event, the answer to a cancel. Different values of
    /// `mark` make different keys.
    pub const fn reserved(mark: u32) -> Key {
        Key { index: Self::RESERVED, generation: mark }
    }

    /// Returns the key as one number: generation in the upper half, index in the lower half.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// Returns the key that [`to_u64`](Self::to_u64) turned into this number.
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

/// A [`Slab`] that finds an entry only by the full [`Key`] it was inserted under.
///
/// Each table has one counter for generations, which moves with every new key. A stale key could
/// find a wrong entry only if it were kept for exactly 2^32 new keys *and* the last of them had
/// filled its slot.
#[derive(Debug)]
pub struct Table<T> {
    slots: Slab<Entry<T>>,
    next_generation: u32,
}

impl<T> Default for Table<T> {
    /// Makes an empty table. It allocates on first use.
    fn default() -> Self {
        Table { slots: Slab::new(), next_generation: 0 }
    }
}

impl<T> Table<T> {
    /// Inserts the value that `make` builds from the value's own key.
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

    /// Inserts a value that does not need its key.
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

    /// Gives the entry under `key` a new key, if it is still there and `is_free`. From then on, the
    /// old key finds nothing, as if the entry had been removed and another one inserted.
    pub fn renew(&mut self, key: Key, is_free: impl FnOnce(&T) -> bool) -> Option<(Key, &mut T)> {
        let entry = self.slots.get_mut(key.index as usize)?;
        if entry.generation != key.generation || !is_free(&entry.value) {
            return None;
        }
        entry.generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        Some((Key { index: key.index, generation: entry.generation }, &mut entry.value))
    }

    /// Removes the entry under `key` and returns it, if it is still there.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slots.remove(key.index as usize).value)
    }

    /// Returns all entries, in no useful order. (Removing "any entry that is left" one by one would
    /// search the empty slots each time.)
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().map(|(_, entry)| entry.value)
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns true if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns every entry with its key, in no useful order.
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
    fn a_renewed_entry_has_a_new_name_only() {
        let mut table = Table::default();
        let old = table.insert("entry");
        assert!(table.renew(old, |_| false).is_none() && table.get(old).is_some());
        let (new, value) = table.renew(old, |_| true).unwrap();
        *value = "entry, renewed";
        assert_eq!((new.index, table.get(old), table.get(new)), (old.index, None, Some(&"entry, renewed")));
        assert!(table.renew(old, |_| true).is_none() && table.remove(old).is_none());
        assert_ne!(table.insert("next"), new);
        assert_eq!(table.len(), 2);
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
