//! What tells one state of a file from another: RFC 9110, section 8.8.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    /// An entity tag, in quotes.
    pub tag: String,
    /// The file may change once more with the same tag and time: it changed a moment ago, and the clock is coarse.
    pub is_weak: bool,
    /// The last change, in whole seconds.
    pub modified: SystemTime,
}

impl Validators {
    /// Those of the file with this number, this size, and a last change `since_epoch`.
    pub(crate) fn new(inode: u64, len: u64, since_epoch: Duration, now: SystemTime) -> Validators {
        const COARSE: Duration = Duration::from_secs(1);
        let (seconds, nanos) = (since_epoch.as_secs(), since_epoch.subsec_nanos());
        let changed = UNIX_EPOCH + since_epoch;
        Validators {
            tag: format!("\"{inode:x}-{len:x}-{seconds:x}.{nanos:x}\""),
            is_weak: now.duration_since(changed).map_or(true, |age| age < COARSE),
            // Section 8.8.2.1: not later than the response's own date.
            modified: (UNIX_EPOCH + Duration::from_secs(seconds)).min(now),
        }
    }

    /// As it stands in a response.
    pub(crate) fn field(&self) -> String {
        if self.is_weak { format!("W/{}", self.tag) } else { self.tag.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_weak_while_the_clock_may_stand_still() {
        let changed = Duration::from_secs(1_700_000_000) + Duration::from_millis(500);
        let after = |age| Validators::new(0xab, 1000, changed, UNIX_EPOCH + changed + age);
        assert_eq!(after(Duration::from_secs(1)).field(), "\"ab-3e8-6553f100.1dcd6500\"");
        assert_eq!(after(Duration::from_millis(999)).field(), "W/\"ab-3e8-6553f100.1dcd6500\"");
        let early = Validators::new(1, 1, Duration::from_secs(100), UNIX_EPOCH + Duration::from_secs(90));
        assert_eq!(early.modified, UNIX_EPOCH + Duration::from_secs(90), "not in the future");
    }
}
