//! For tests: what the runtime waits for, in words, for a report of a hang.

use std::fmt::Write;

use super::driver::Driver;
use super::executor::Executor;

impl<D: Driver> Executor<D> {
    /// Each task with its state, and the timers: a task that is neither woken nor waits for anything that is
    /// listed has lost its wake. Spawns are told by the type of the future, which names the function.
    pub fn dump(&self) -> String {
        let shared = &self.shared;
        let mut text = format!("stats: {}\n", self.stats());
        for (key, task) in shared.tasks.borrow().iter() {
            let [local, remote, aborted] = task.waker().bits();
            let state = match (local, remote) {
                (true, _) => "woken, in the queue",
                (false, true) => "woken by another thread, in the inbox",
                (false, false) => "waits",
            };
            let aborted = if aborted { ", to be aborted" } else { "" };
            let _ = writeln!(text, "task {key:?} {state}{aborted}: {}", task.name());
        }
        let _ = writeln!(text, "timers: {}, the next at {:?}", shared.timers.len(), shared.timers.next_deadline());
        text
    }
}
