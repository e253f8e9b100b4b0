//! For tests: what epoll watches, in words.

use std::fmt::Write;

use super::EpollDriver;

impl EpollDriver {
    /// Each source: its descriptor, what is ready, what epoll was asked, and who waits (read, write).
    pub(crate) fn dump(&self) -> String {
        let mut text = String::new();
        for (_, source) in self.sources.iter() {
            let _ = writeln!(text, "registration {source:?}");
        }
        text
    }
}
