//! For tests: describes in words what the runtime waits for, to explain a hang.

use std::fmt::Write;

use super::driver::Driver;
use super::executor::Executor;

impl<D: Driver> Executor<D> {
    /// Returns a text that lists each task with its state, and the timers. A task has lost its wake
    /// if it is not woken and waits for nothing in the list. The text names a task by the type of
    /// its future, which contains the name of the function.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// eprintln!("{}", rt.dump());
    /// # }
    /// ```
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
