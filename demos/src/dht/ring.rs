//! The circle of numbers, and what one node knows of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A place on the circle. After the highest comes zero.
pub type Id = u64;

/// How many of its successors a node knows: so many minus one may die at once and the ring still holds.
pub const SUCCESSORS: usize = 8;
/// The most nodes that are named in an answer.
const NAMED: usize = 6;

/// A node and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub id: Id,
    pub at: SocketAddr,
}

/// Where something lies on the circle: spread evenly, whatever the names.
pub fn id_of(name: &str) -> Id {
    let digest = Sha256::digest(name.as_bytes());
    let (first, _) = digest.split_first_chunk().expect("it is longer");
    Id::from_be_bytes(*first)
}

/// How far it is from one place to the other, the only way round there is.
pub fn distance(from: Id, to: Id) -> u64 {
    to.wrapping_sub(from)
}

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These are nearer to the key, the nearest first.
    Closer(Vec<Contact>),
    /// The first of these that lives has the key.
    Owner(Vec<Contact>),
}

/// What a node knows of the others.
#[derive(Clone, Debug)]
pub struct Knowledge {
    me: Id,
    /// The next ones, in order.
    successors: Vec<Contact>,
    /// Those and the fingers, by their distance from this node.
    known: Vec<Contact>,
}

impl Knowledge {
    /// What a node knows when all is settled. `ring` is sorted by id and has `me`.
    pub fn settled(me: Contact, ring: &[Contact]) -> Knowledge {
        let place = ring.partition_point(|node| node.id <= me.id);
        let successors: Vec<Contact> =
            (0..SUCCESSORS.min(ring.len() - 1)).map(|next| ring[(place + next) % ring.len()]).collect();
        let fingers = (0..Id::BITS).map(|bit| owner(ring, me.id.wrapping_add(1 << bit)));
        Knowledge::new(me, successors, fingers)
    }

    /// What a node knows that has these successors, in order, and these fingers.
    pub fn new(me: Contact, successors: Vec<Contact>, fingers: impl IntoIterator<Item = Contact>) -> Knowledge {
        let mut known: Vec<Contact> = successors.iter().copied().chain(fingers).filter(|node| *node != me).collect();
        known.sort_by_key(|node| distance(me.id, node.id));
        known.dedup();
        Knowledge { me: me.id, successors, known }
    }

    /// Who is nearer to the key, or has it, if those in `avoid` are not there.
    pub fn next(&self, key: Id, avoid: &BTreeSet<Id>) -> Next {
        let there = |node: &&Contact| !avoid.contains(&node.id);
        let far = distance(self.me, key);
        let first = self.successors.iter().find(there);
        // Nobody is between this node and its first successor that lives: so what lies there is that one's.
        if first.is_none_or(|first| far != 0 && far <= distance(self.me, first.id)) {
            return Next::Owner(self.successors.iter().filter(there).take(NAMED).copied().collect());
        }
        let before = self
            .known
            .iter()
            .rev()
            .filter(there)
            .filter(|node| distance(self.me, node.id).wrapping_sub(1) < far.wrapping_sub(1));
        Next::Closer(before.take(NAMED).copied().collect())
    }
}

/// The first node at or after the key. `ring` is sorted by id, and not empty.
pub fn owner(ring: &[Contact], key: Id) -> Contact {
    let place = ring.partition_point(|node| node.id < key);
    ring[place % ring.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of so many; the port tells the node.
    fn ring(nodes: u16, random: &mut fastrand::Rng) -> Vec<Contact> {
        let contact = |port| Contact { id: random.u64(..), at: ([127, 0, 0, 1], port).into() };
        let mut ring: Vec<Contact> = (1..=nodes).map(contact).collect();
        ring.sort_by_key(|node| node.id);
        ring
    }

    #[test]
    fn the_first_at_or_after_a_key_has_it_all_around() {
        let mut random = fastrand::Rng::with_seed(1);
        let ring = ring(50, &mut random);
        assert_eq!(owner(&ring, ring[7].id), ring[7]);
        assert_eq!(owner(&ring, ring[7].id + 1), ring[8]);
        assert_eq!(owner(&ring, ring[49].id + 1), ring[0]);
        assert_eq!(owner(&ring, 0), ring[0]);
    }

    #[test]
    fn from_any_node_each_step_is_nearer_and_the_last_names_the_owner() {
        let mut random = fastrand::Rng::with_seed(2);
        for nodes in [2, 3, 9, 300] {
            let ring = ring(nodes, &mut random);
            let knowledge: Vec<_> = ring.iter().map(|node| Knowledge::settled(*node, &ring)).collect();
            let (mut steps, mut looks) = (0, 0);
            for _ in 0..2_000 {
                let key = if random.bool() { random.u64(..) } else { ring[random.usize(..ring.len())].id };
                let mut place = random.usize(..ring.len());
                looks += 1;
                loop {
                    match knowledge[place].next(key, &BTreeSet::new()) {
                        Next::Owner(nodes) => break assert_eq!(nodes[0], owner(&ring, key)),
                        Next::Closer(nodes) => {
                            let (before, after) = (distance(ring[place].id, key), distance(nodes[0].id, key));
                            assert!(after < before || before == 0, "{after} is not nearer than {before}");
                            place = ring.iter().position(|node| *node == nodes[0]).unwrap();
                            steps += 1;
                        }
                    }
                }
            }
            assert!(f64::from(steps) / f64::from(looks) < f64::from(nodes).log2(), "{steps} steps in {looks} look-ups");
        }
    }

    #[test]
    fn who_avoids_the_dead_finds_the_first_that_lives() {
        let mut random = fastrand::Rng::with_seed(3);
        let ring = ring(200, &mut random);
        let knowledge: Vec<_> = ring.iter().map(|node| Knowledge::settled(*node, &ring)).collect();
        let dead: BTreeSet<Id> = ring.iter().filter(|_| random.u8(..5) == 0).map(|node| node.id).collect();
        let living: Vec<Contact> = ring.iter().filter(|node| !dead.contains(&node.id)).copied().collect();
        for _ in 0..2_000 {
            let key = random.u64(..);
            let mut at = living[random.usize(..living.len())];
            loop {
                let place = ring.iter().position(|node| *node == at).unwrap();
                match knowledge[place].next(key, &dead) {
                    Next::Owner(nodes) => break assert_eq!(nodes[0], owner(&living, key)),
                    Next::Closer(nodes) => at = nodes[0],
                }
            }
        }
    }
}
