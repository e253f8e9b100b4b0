//! For tests: makes operations fail or fall short, and shows completions to an editor first.

use executor::{Report, Seam};
use io_uring::{opcode, squeue};

use super::Ring;
use super::completion::Completion;
use crate::calls::place_of_operation;

impl Ring {
    /// Changes the submission of an operation as the test wants. An operation that must fail goes
    /// to the kernel as one that does nothing, so it completes in the usual way; only its result is
    /// replaced.
    pub(crate) fn judged(&mut self, seam: &Seam, entry: squeue::Entry) -> squeue::Entry {
        let Some(place) = place_of_operation(entry.get_opcode()) else { return entry };
        match seam.pass(place) {
            Ok(usize::MAX) => entry,
            Ok(limit) => shortened(entry, limit),
            Err(error) => {
                let name = entry.get_user_data();
                self.faults.failing.insert(name, -error.raw_os_error().expect("a verdict is an errno"));
                opcode::Nop::new().build().user_data(name)
            }
        }
    }

    /// Takes all completions out of the queue, replaces the results of operations that must fail,
    /// and passes the batch to the test's editor. Returns how many are staged now.
    pub(crate) fn stage(&mut self, seam: &Seam) -> u32 {
        let editor = seam.editor();
        if editor.is_none() && self.faults.failing.is_empty() {
            return 0;
        }
        let mut reports = Vec::new();
        while let Some(mut completion) = self.pop() {
            completion.result = self.faults.failing.remove(&completion.user_data).unwrap_or(completion.result);
            let Completion { user_data: name, result, flags } = completion;
            let report = Report { name, result, flags };
            reports.push(report);
            self.faults.withheld.push((report, completion));
        }
        if let Some(editor) = editor {
            editor(&mut reports);
        }
        for report in reports {
            let completion = self.faults.believe(report);
            self.faults.staged.push_back(completion);
        }
        u32::try_from(self.faults.staged.len()).expect("a queue full")
    }
}

/// The offset of the length in a submission, in bytes: see `struct io_uring_sqe`.
const LENGTH_AT: usize = 24;

/// Limits the number of bytes that the submission moves. It then completes visibly; otherwise its
/// sender would believe that everything was sent.
fn shortened(entry: squeue::Entry, limit: usize) -> squeue::Entry {
    let is_send = entry.get_opcode() == u32::from(opcode::Send::CODE);
    let mut entry = if is_send { entry.clear_flags() } else { entry };
    let length = (&raw mut entry).cast::<u8>().wrapping_add(LENGTH_AT).cast::<u32>();
    let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
    // SAFETY: an entry is one io_uring_sqe, which has an aligned u32 there, and nothing else refers
    // to it.
    let length = unsafe { &mut *length };
    // A smaller length names a part of the memory that the entry may name.
    *length = limit.min(*length);
    entry
}
