//! For tests: lets an editor change what epoll reports before the driver sees it.

use executor::Report;

use super::Events;
use crate::sys::Sys;

impl Events {
    /// Passes the batch to the test's editor, if there is one.
    pub(super) fn edit(&mut self, sys: &Sys) {
        let Some(editor) = sys.seam().editor() else { return };
        let batch = self.memory[..self.count].iter();
        let mut reports = batch.map(|event| Report { name: event.u64, result: 0, flags: event.events }).collect();
        editor(&mut reports);
        let mut memory = std::mem::take(&mut self.memory).into_vec();
        memory.resize(memory.len().max(reports.len()), libc::epoll_event { events: 0, u64: 0 });
        for (event, report) in memory.iter_mut().zip(&reports) {
            *event = libc::epoll_event { events: report.flags, u64: report.name };
        }
        self.memory = memory.into();
        self.count = reports.len();
    }
}
