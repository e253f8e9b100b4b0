//! For tests: a layer between the kernel and the driver.

use std::collections::{HashMap, HashSet, VecDeque};

use executor::{Key, Report};

use super::completion::Completion;

/// The user data of a report that an editor made up. It names nothing.
const MADE_UP: Key = Key::reserved(3);

/// Operations that must fail, and completions that an editor changes before the driver sees them.
#[derive(Default)]
pub(crate) struct Faults {
    /// Operations that must fail, by the name of their submission, with their errno.
    pub(super) failing: HashMap<u64, i32>,
    /// Completions that an editor has left out so far, in the kernel's order. Each comes with the
    /// report that the editor saw.
    pub(super) withheld: Vec<(Report, Completion)>,
    /// Completions taken from the kernel, in the order that the test wants.
    pub(super) staged: VecDeque<Completion>,
}

impl Faults {
    pub(crate) fn next(&mut self) -> Option<Completion> {
        self.staged.pop_front()
    }

    /// Returns the completion that a report stands for. An editor may leave out, delay and reorder
    /// what the kernel reported. What it adds is not a report of the kernel, and must not end an
    /// operation that the kernel still holds, so it becomes a completion that names nothing.
    /// Reports of the operations that receive into buffers of the ring trade places, to stay in the
    /// kernel's order: only this order says where in a buffer the bytes are.
    pub(super) fn believe(&mut self, report: Report) -> Completion {
        let Some(place) = self.withheld.iter().position(|(told, _)| *told == report) else {
            return Completion { user_data: MADE_UP.to_u64(), result: report.result, flags: 0 };
        };
        let with_buffer = self.withheld.iter().filter(|(_, real)| real.buffer().is_some());
        let ordered: HashSet<u64> = with_buffer.map(|(_, real)| real.user_data).collect();
        let (_, mut real) = self.withheld.remove(place);
        if ordered.contains(&real.user_data) {
            let earlier = self.withheld[..place].iter_mut().rev().map(|(_, earlier)| earlier);
            for earlier in earlier.filter(|earlier| ordered.contains(&earlier.user_data)) {
                std::mem::swap(earlier, &mut real);
            }
        }
        real
    }
}
