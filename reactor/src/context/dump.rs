//! For tests: what epoll watches, in words.

use std::fmt::Write;

use super::Context;

impl Context {
    /// Lists each source: its descriptor, what is ready, what we asked epoll, and which directions
    /// a task waits for (read, write).
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        if let Some(sources) = self.sources.borrow().as_ref() {
            for (_, source) in sources.table.iter() {
                let _ = writeln!(text, "registration {source:?}");
            }
        }
        text
    }
}
