//! Pauses that grow, for what can't be waited for but only tried again.

use std::time::Duration;

/// A row of pauses: each is twice as long as the one before, up to the longest.
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
}

/// Until there is room in the queue of a Unix socket.
pub(crate) const FOR_ROOM: Backoff = Backoff::new(1, 64);
/// Until an accept loop in trouble tries again. The first is so long that a loop at the descriptor limit costs nothing to
/// speak of. The longest means that at most some ten tries are made per second, and a freed descriptor is used within
/// this time.
pub(crate) const TO_ACCEPT: Backoff = Backoff::new(10, 100);

impl Backoff {
    /// In milliseconds.
    const fn new(first: u64, longest: u64) -> Backoff {
        Backoff { first: Duration::from_millis(first), longest: Duration::from_millis(longest) }
    }

    /// The pause after one of `last`; after none, which is zero, the first.
    pub(crate) fn after(&self, last: Duration) -> Duration {
        (last * 2).clamp(self.first, self.longest)
    }

    /// All of them, without end.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = Duration> {
        std::iter::successors(Some(self.first), |last| Some(self.after(*last)))
    }
}
