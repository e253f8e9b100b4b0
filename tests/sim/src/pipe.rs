//! One direction of a connection: bytes on their way, and bytes that wait to be read.

use std::collections::VecDeque;
use std::time::Duration;

/// Data on its way, or what takes its place.
#[derive(Debug)]
pub(crate) enum Segment {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// At its reader's end: when that is gone, so is what was on its way.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) on_the_way: VecDeque<Segment>,
    pub(crate) unread: VecDeque<u8>,
    pub(crate) capacity: usize,
    pub(crate) written: u64,
    pub(crate) taken: u64,
    pub(crate) has_ended: bool,
    /// What comes later arrives no earlier.
    pub(crate) last_arrival: Duration,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Pipe {
        Pipe {
            on_the_way: VecDeque::new(),
            unread: VecDeque::new(),
            capacity,
            written: 0,
            taken: 0,
            has_ended: false,
            last_arrival: Duration::ZERO,
        }
    }

    /// Bytes it holds.
    pub(crate) fn held(&self) -> usize {
        usize::try_from(self.written - self.taken).expect("what is in memory")
    }

    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.held())
    }

    /// Takes out the first bytes.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let (first, second) = self.unread.as_slices();
        let from_first = count.min(first.len());
        let mut bytes = Vec::with_capacity(count);
        bytes.extend_from_slice(&first[..from_first]);
        bytes.extend_from_slice(&second[..count - from_first]);
        self.unread.drain(..count);
        self.taken += count as u64;
        self.check();
        bytes
    }

    /// What was written is on its way, unread, or taken.
    pub(crate) fn check(&self) {
        let on_the_way = self.on_the_way.iter().map(|segment| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::End | Segment::Reset => 0,
        });
        let there = on_the_way.sum::<usize>() + self.unread.len();
        assert_eq!(there, self.held(), "bytes were lost or made: {} written, {} taken", self.written, self.taken);
    }
}
