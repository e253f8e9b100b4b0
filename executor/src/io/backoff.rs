//! Pauses that grow, for things that cannot be awaited but only tried again.

use std::time::Duration;

/// A series of pauses: each is twice as long as the one before, up to the longest.
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

/// Used until there is room in the queue of a Unix socket.
pub(crate) const FOR_ROOM: Backoff = Backoff::new(1, 64);
/// Used until an accept loop in trouble tries again. The first pause is so long that a loop at the
/// descriptor limit costs almost nothing. The longest limits the loop to about ten tries a second,
/// and a freed descriptor is used within this time.
pub(crate) const TO_ACCEPT: Backoff = Backoff::new(10, 100);

impl Backoff {
    /// Takes both in milliseconds.
    const fn new(first: u64, longest: u64) -> Backoff {
        Backoff { first: Duration::from_millis(first), longest: Duration::from_millis(longest) }
    }

    /// Returns the pause that follows `last`. If `last` is zero, there was none yet: returns the
    /// first.
    pub(crate) fn after(&self, last: Duration) -> Duration {
        (last * 2).clamp(self.first, self.longest)
    }

    /// Returns all pauses in order, without end.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(self.first), |last| Some(self.after(*last)))
    }
}
