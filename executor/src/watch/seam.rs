//! The seam every system call of a driver passes, and every report of the kernel's comes back through.
//!
//! It counts the calls by name. With the feature `faults`, which no release build has on, a test can
//! also decide about each call: let it pass, fail it with an errno, shorten it, or delay it; and it can
//! edit what the kernel reports: put it in another order, double it, add to it. Without the feature
//! [`Seam::pass`] is an increment, the call behind it a direct one, and there is nothing to edit with.

use std::cell::Cell;
use std::io;

/// What a test decides about one call.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The call is made as it is.
    Pass,
    /// The call is not made; it fails with this errno.
    Fail(i32),
    /// The call is made with at most this many bytes (calls that move bytes only).
    Shorten(usize),
    /// The call is made after this time.
    Delay(std::time::Duration),
}

/// Decides about a call, given its name and how many of that name there were before.
#[cfg(feature = "faults")]
pub type Judge = std::rc::Rc<dyn Fn(&'static str, u64) -> Verdict>;

/// One thing the kernel reported: an event of epoll, or a completion of io_uring.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of what: epoll's `data`, io_uring's `user_data`.
    pub name: u64,
    /// A completion's result; 0 of an event.
    pub result: i32,
    /// An event's mask, a completion's flags.
    pub flags: u32,
}

/// Edits a batch of reports before the driver sees it.
#[cfg(feature = "faults")]
pub type Editor = std::rc::Rc<dyn Fn(&mut Vec<Report>)>;

#[cfg(feature = "faults")]
thread_local! {
    static JUDGE_OF_SETUPS: std::cell::RefCell<Option<Judge>> = const { std::cell::RefCell::new(None) };
}

/// Has `judge` decide about the runtimes that this thread builds from now on, from their first call: what
/// [`Seam::set_judge`] comes too late for. `None` lets all pass again.
#[cfg(feature = "faults")]
pub fn judge_setups(judge: Option<Judge>) {
    JUDGE_OF_SETUPS.set(judge);
}

/// Counts the calls by name, and under test decides about them.
pub struct Seam {
    names: &'static [&'static str],
    counts: Box<[Cell<u64>]>,
    #[cfg(feature = "faults")]
    judge: std::cell::RefCell<Option<Judge>>,
    #[cfg(feature = "faults")]
    editor: std::cell::RefCell<Option<Editor>>,
}

impl Seam {
    /// A seam for the calls of these names; a call is then given by its place among them.
    pub fn new(names: &'static [&'static str]) -> Self {
        Seam {
            names,
            counts: vec![Cell::new(0); names.len()].into(),
            #[cfg(feature = "faults")]
            judge: JUDGE_OF_SETUPS.with_borrow(Clone::clone).into(),
            #[cfg(feature = "faults")]
            editor: std::cell::RefCell::default(),
        }
    }

    /// Hands every further call to `judge`; `None` lets all pass again.
    #[cfg(feature = "faults")]
    pub fn set_judge(&self, judge: Option<Judge>) {
        *self.judge.borrow_mut() = judge;
    }

    /// Hands every further batch of reports to `editor`; `None` leaves them as they are again.
    #[cfg(feature = "faults")]
    pub fn set_editor(&self, editor: Option<Editor>) {
        *self.editor.borrow_mut() = editor;
    }

    /// Who edits the reports, if anybody does.
    #[cfg(feature = "faults")]
    pub fn editor(&self) -> Option<Editor> {
        self.editor.borrow().clone()
    }

    /// Announces a call. Returns how many bytes it may move at most.
    ///
    /// # Errors
    /// The error a test wants the call to fail with; the call must not be made then.
    #[inline]
    pub fn pass(&self, call: usize) -> io::Result<usize> {
        let counter = &self.counts[call];
        let before = counter.get();
        counter.set(before + 1);
        #[cfg(feature = "faults")]
        return self.ask(self.names[call], before);
        #[cfg(not(feature = "faults"))]
        Ok(usize::MAX)
    }

    /// Out of line, so that it can be seen that a release build hasn't got it.
    #[cfg(feature = "faults")]
    #[inline(never)]
    fn ask(&self, name: &'static str, before: u64) -> io::Result<usize> {
        let Some(judge) = self.judge.borrow().clone() else { return Ok(usize::MAX) };
        match judge(name, before) {
            Verdict::Pass => Ok(usize::MAX),
            Verdict::Fail(errno) => Err(io::Error::from_raw_os_error(errno)),
            Verdict::Shorten(limit) => Ok(limit),
            Verdict::Delay(time) => {
                std::thread::sleep(time);
                Ok(usize::MAX)
            }
        }
    }

    /// The calls made so far, by name, those made at least once; with those of one name that were made `elsewhere`.
    pub fn counts(&self, elsewhere: (&str, u64)) -> Vec<(&'static str, u64)> {
        let more = |name| if name == elsewhere.0 { elsewhere.1 } else { 0 };
        let counts = self.names.iter().zip(&self.counts).map(|(name, count)| (*name, count.get() + more(*name)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl std::fmt::Debug for Seam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Seam").field(&self.counts(("", 0))).finish()
    }
}
