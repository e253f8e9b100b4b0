//! For tests: what lies between the kernel and the driver.

use std::collections::{HashMap, VecDeque};

use executor::{Key, Report};

use super::completion::Completion;

/// The user data of a report that an editor made up: it names nothing.
const MADE_UP: Key = Key::reserved(3);

/// Operations that are made to fail, and completions that are edited before they are handed out.
#[derive(Default)]
pub(crate) struct Faults {
    /// Operations that fail, by the name of their submission, with this errno.
    pub(super) failing: HashMap<u64, i32>,
    /// Completions that an editor has left out so far, each with what the editor was told of it, in the kernel's order.
    pub(super) withheld: Vec<(Report, Completion)>,
    /// Completions that were taken from the kernel, as the test wants them.
    pub(super) staged: VecDeque<Completion>,
}

impl Faults {
    pub(crate) fn next(&mut self) -> Option<Completion> {
        self.staged.pop_front()
    }

    /// The completion that a report stands for. An editor may leave out, put off and reorder what the kernel reported.
    /// What it adds is no report of the kernel's, and must not end an operation that the kernel still holds: it comes
    /// as one that names nothing. Reports that name one receive buffer stay in the kernel's order, which alone says
    /// where in the buffer their bytes are: they trade places.
    pub(super) fn believe(&mut self, report: Report) -> Completion {
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
