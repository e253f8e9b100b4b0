//! The growing pause of an accept loop that has run out of descriptors or memory.

use std::time::Duration;

/// The first pause. Long enough that a loop at the descriptor limit costs nothing to speak of.
const FIRST: Duration = Duration::from_millis(10);
/// The longest pause, so that at most 11 tries are made per second, and a freed descriptor is used
/// within this time.
const LONGEST: Duration = Duration::from_millis(100);

/// Doubles with every failure in a row, from 10 ms to 100 ms.
#[derive(Debug, Default)]
pub struct AcceptPause {
    last: Option<Duration>,
}

impl AcceptPause {
    /// How long to wait after one more failure.
    pub fn grow(&mut self) -> Duration {
        let next = self.last.map_or(FIRST, |last| (last * 2).min(LONGEST));
        *self.last.insert(next)
    }

    /// A success: the next failure starts small again.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_starts_over() {
        let mut pause = AcceptPause::default();
        let millis: Vec<_> = (0..6).map(|_| pause.grow().as_millis()).collect();
        assert_eq!(millis, [10, 20, 40, 80, 100, 100]);
        pause.reset();
        assert_eq!(pause.grow(), FIRST);
    }
}
