//! For tests: operations that are made to fail or to be short, and completions edited before they are handed out.

use std::collections::{HashMap, VecDeque};

use executor::{Key, Report, Seam};
use io_uring::{opcode, squeue};

use super::{Completion, Ring};
use crate::calls::place_of_operation;

/// The user data of a report that an editor made up: it names nothing.
const MADE_UP: Key = Key::reserved(3);

/// What lies between the kernel and the driver.
#[derive(Default)]
pub(crate) struct Faults {
    /// Operations that fail, by the name of their submission, with this errno.
    failing: HashMap<u64, i32>,
    /// Completions that an editor has left out so far, each with what the editor was told of it, in the kernel's order.
    withheld: Vec<(Report, Completion)>,
    /// Completions that were taken from the kernel, as the test wants them.
    staged: VecDeque<Completion>,
}

impl Faults {
    pub(crate) fn next(&mut self) -> Option<Completion> {
        self.staged.pop_front()
    }

    /// The completion that a report stands for. An editor may leave out, put off and reorder what the kernel reported.
    /// What it adds is no report of the kernel's, and must not end an operation that the kernel still holds: it comes
    /// as one that names nothing. Reports that name one receive buffer stay in the kernel's order, which alone says
    /// where in the buffer their bytes are: they trade places.
    fn believe(&mut self, report: Report) -> Completion {
        let Some(place) = self.withheld.iter().position(|(told, _)| *told == report) else {
            return Completion { user_data: MADE_UP.to_u64(), result: report.result, flags: 0 };
        };
        let (_, mut real) = self.withheld.remove(place);
        if let Some(number) = real.buffer() {
            let earlier = self.withheld[..place].iter_mut().rev().map(|(_, earlier)| earlier);
            for earlier in earlier.filter(|earlier| earlier.buffer() == Some(number)) {
                std::mem::swap(earlier, &mut real);
            }
        }
        real
    }
}

impl Ring {
    /// The submission of an operation, as a test wants it. One that is to fail goes to the kernel as an
    /// operation that does nothing, so it completes on the usual road, and only the result is another.
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

    /// Takes all completions out of the queue, has operations fail that are to, and hands the batch to the
    /// test's editor. Returns how many are staged now.
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

/// The bytes of a submission at which its length lies: see struct io_uring_sqe.
const LENGTH_AT: usize = 24;

/// The submission, with at most so many bytes to move. It completes visibly, for its sender would otherwise
/// take it for whole.
fn shortened(entry: squeue::Entry, limit: usize) -> squeue::Entry {
    let is_send = entry.get_opcode() == u32::from(opcode::Send::CODE);
    let mut entry = if is_send { entry.clear_flags() } else { entry };
    let length = (&raw mut entry).cast::<u8>().wrapping_add(LENGTH_AT).cast::<u32>();
    let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
    // SAFETY: an entry is one io_uring_sqe, which has an aligned u32 there, and nobody else refers to it.
    let length = unsafe { &mut *length };
    // A smaller length names less of the memory that the entry may name.
    *length = limit.min(*length);
    entry
}
