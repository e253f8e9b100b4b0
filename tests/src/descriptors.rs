//! The limit of descriptors of this process.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Leaves room for `free` more descriptors, until the limit is [lifted](lift_the_limit). The limit is on the
/// number, so what is returned fills all that are lower.
///
/// # Panics
/// If the limit can't be set.
#[must_use]
pub fn leave_room_for(free: u64) -> Vec<OwnedFd> {
    let number_of = |line: &String| line.split('"').nth(1).and_then(|number| number.parse::<i32>().ok());
    let highest = crate::open_fds().iter().filter_map(number_of).max().unwrap_or(0);
    let mut fillers: Vec<OwnedFd> = Vec::new();
    loop {
        let next = OwnedFd::from(File::open("/dev/null").expect("a descriptor"));
        let number = next.as_raw_fd();
        fillers.push(next);
        if number > highest {
            let current = u64::from(number.unsigned_abs()) + 1 + free;
            let limit = Rlimit { current: Some(current), ..getrlimit(Resource::Nofile) };
            setrlimit(Resource::Nofile, limit).expect("a lower limit");
            return fillers;
        }
    }
}

/// Allows as many as the process may have.
///
/// # Panics
/// If the limit can't be set.
pub fn lift_the_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("the limit as it was");
}
