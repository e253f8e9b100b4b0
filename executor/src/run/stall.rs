//! The stall watch: finds the task that keeps the loop from all others.
//!
//! A poll cannot be interrupted. A poll that blocks or computes for long stops every task, timer
//! and stream of its runtime. From outside one only sees that everything is late. The watch times
//! each poll. If a poll holds the loop for too long, the watch names the task by the place where it
//! was spawned. It can report only after the poll has returned.
//!
//! It is off by default, and then costs one branch for each poll. When it is on, each poll reads
//! the clock twice, and each task has an entry in a table beside the tasks. Places are stored only
//! in that table, so a task without a watch is no larger.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::tasks::table::Key;

/// Reports long polls: sets the limit and the function to call. See
/// [`Config::stall_watch`](crate::Config::stall_watch).
#[derive(Clone)]
pub struct StallWatch {
    /// The shortest poll that is reported. Other work of the machine counts, too, so do not set it
    /// much below 10 ms.
    pub limit: Duration,
    /// Called after the poll, on the runtime's thread. A panic in it is treated like a panic of a
    /// task.
    pub on_stall: Rc<dyn Fn(&Stall)>,
}

impl fmt::Debug for StallWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallWatch").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A poll that held the loop.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// The place where the task was spawned. `None` means the main future of `block_on`.
    pub site: Option<&'static Location<'static>>,
    /// The time that the poll took.
    pub took: Duration,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Some(site) => write!(f, "the task spawned at {site} held the loop for {:?}", self.took),
            None => write!(f, "the main future held the loop for {:?}", self.took),
        }
    }
}

/// The place where a task was spawned.
pub(crate) type Site = &'static Location<'static>;
/// The places where the tasks were spawned. It is empty without a stall watch.
pub(super) type Sites = RefCell<HashMap<Key, Site>>;
