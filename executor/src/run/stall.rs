//! The stall watch: finds the task that keeps the loop from all others.
//!
//! A poll can't be interrupted. One that blocks or computes for long stops every task, timer and stream of its runtime,
//! and all that can be seen from outside is that everything is late. The watch times each poll, and names the task by the
//! place it was spawned at when a poll has held the loop for too long. It can tell only when the poll has returned.
//!
//! It is off by default, and costs a branch for each poll then. When it is on, each poll costs two looks at the clock, and
//! each task an entry in a table beside the tasks: places are kept nowhere else, so a task without a watch is no larger.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use crate::tasks::table::Key;

/// When a poll is to be reported, and to whom: see [`Config::stall_watch`](crate::Config::stall_watch).
#[derive(Clone)]
pub struct StallWatch {
    /// The shortest that is reported. What else the machine does counts, too, so not much below 10 ms.
    pub limit: Duration,
    /// Called after the poll, on the runtime's thread. A panic in it goes where the panics of tasks go.
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
    /// Where its task was spawned; `None`: it was the main future of `block_on`.
    pub site: Option<&'static Location<'static>>,
    /// How long the poll took.
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

/// Where a task was spawned.
pub(crate) type Site = &'static Location<'static>;
/// Where the tasks were spawned, if somebody watches.
pub(super) type Sites = RefCell<HashMap<Key, Site>>;
