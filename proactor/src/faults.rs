//! For tests: access to the [`Seam`](executor::Seam) from the runtime's handle, and a dump of the
//! runtime's state.

use executor::{Editor, Judge};

use crate::proactor::Proactor;

impl Proactor {
    /// For tests. Passes every further system call and operation to `judge`, which may fail,
    /// shorten or delay it. `None` lets all pass again.
    pub fn set_judge(&self, judge: Option<Judge>) {
        self.context.seam.set_judge(judge);
    }

    /// For tests. Passes every further batch of completions to `editor` before the driver sees it.
    /// `None` stops this. The editor may leave out, delay and reorder completions. Whatever it
    /// changes or adds reaches the driver as a completion that names nothing, because only the
    /// kernel can report that it no longer uses memory.
    pub fn set_editor(&self, editor: Option<Editor>) {
        self.context.seam.set_editor(editor);
    }

    /// Lists the runtime's tasks and operations, one per line, and what each waits for. For reports
    /// of hangs.
    pub fn dump(&self) -> String {
        self.executor.dump() + &self.context.operations.borrow().dump()
    }
}
