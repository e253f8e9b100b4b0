//! For tests: the runtime's handle to the [`Seam`](executor::Seam), and a look inside.

use executor::{Editor, Judge};

use crate::reactor::Reactor;

impl Reactor {
    /// Hands every further system call to `judge`, which may fail, shorten or delay it; `None` lets all
    /// pass again. For tests.
    pub fn set_judge(&self, judge: Option<Judge>) {
        self.context.sys.seam().set_judge(judge);
    }

    /// Hands every further batch of events to `editor` before the driver sees it; `None` leaves them as they
    /// are again. For tests.
    pub fn set_editor(&self, editor: Option<Editor>) {
        self.context.sys.seam().set_editor(editor);
    }

    /// What there is and what it waits for: the runtime's tasks and its sources, one a line. For reports of hangs.
    pub fn dump(&self) -> String {
        self.executor.dump() + &self.context.dump()
    }
}
