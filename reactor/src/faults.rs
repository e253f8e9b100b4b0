//! For tests: access to the [`Seam`](executor::Seam) from the runtime's handle, and a dump of the
//! runtime's state.

use executor::{Editor, Judge};

use crate::reactor::Reactor;

impl Reactor {
    /// For tests. Passes every further system call to `judge`, which may fail, shorten or delay it.
    /// `None` lets all pass again.
    pub fn set_judge(&self, judge: Option<Judge>) {
        self.context.sys.seam().set_judge(judge);
    }

    /// For tests. Passes every further batch of events to `editor` before the driver sees it.
    /// `None` stops this.
    pub fn set_editor(&self, editor: Option<Editor>) {
        self.context.sys.seam().set_editor(editor);
    }

    /// Lists the runtime's tasks and sources, one per line, and what each waits for. For reports of
    /// hangs.
    pub fn dump(&self) -> String {
        self.executor.dump() + &self.context.dump()
    }
}
