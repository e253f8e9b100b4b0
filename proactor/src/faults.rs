//! For tests: the runtime's handle to the [`Seam`](executor::Seam), and a look inside.

use executor::{Editor, Judge};

use crate::proactor::Proactor;

impl Proactor {
    /// Hands every further system call and operation to `judge`, which may fail, shorten or delay it; `None`
    /// lets all pass again. For tests.
    pub fn set_judge(&self, judge: Option<Judge>) {
        self.context.seam.set_judge(judge);
    }

    /// Hands every further batch of completions to `editor` before the driver sees it; `None` leaves them as
    /// they are again. The editor may leave completions out, put them off and reorder them. What it changes or adds
    /// reaches the driver as a completion that names nothing: only the kernel can say that it has let go of memory.
    /// For tests.
    pub fn set_editor(&self, editor: Option<Editor>) {
        self.context.seam.set_editor(editor);
    }

    /// What there is and what it waits for: the runtime's tasks and its operations, one a line. For reports of hangs.
    pub fn dump(&self) -> String {
        self.executor.dump() + &self.context.operations.borrow().dump()
    }
}
