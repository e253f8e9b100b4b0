//! For tests: what the runtime waits for, in words, for a report of a hang.

use std::fmt::Write;

use super::driver::Driver;
use super::executor::Executor;

impl<D: Driver> Executor<D> {
    /// Each task with its state, and the timers: a task that is neither woken nor waits for anything that is
    /// listed has lost its wake. Spawns are told by the type of the future, which names the function.
    pub fn dump(&self) -> String {
        let event_loop = &self.event_loop;
        let mut text = format!("stats: {}\n", self.stats());
        for (key, task) in event_loop.tasks.borrow().iter() {
            let [local, remote, aborted] = task.waker().bits();
            let state = match (local, remote) {
                (true, _) => "woken, in the queue",
                (false, true) => "woken by another thread, in the inbox",
                (false, false) => "waits",
            };
            let aborted = if aborted { ", to be aborted" } else { "" };
            let _ = writeln!(text, "task {key:?} {state}{aborted}: {}", task.name());
        }
        let _ =
            writeln!(text, "timers: {}, the next at {:?}", event_loop.timers.len(), event_loop.timers.next_deadline());
        text
    }
}
