//! The seam. Every system call of a driver passes through it, and every report of the kernel comes
//! back through it.
//!
//! It counts the calls by name. With the feature `faults`, a test can also decide about each call:
//! let it pass, fail it with an errno, shorten it, or delay it. A test can also edit the kernel's
//! reports: reorder them, repeat them, add to them. No release build has this feature on. Without
//! it [`Seam::pass`] is an increment, the call behind it is a direct one, and nothing can be
//! edited.

use std::cell::Cell;
use std::io;

/// A test's decision about one call.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Makes the call as it is.
    Pass,
    /// Does not make the call. It fails with this errno.
    Fail(i32),
    /// Makes the call with at most this many bytes (only for calls that move bytes).
    Shorten(usize),
    /// Makes the call after this time.
    Delay(std::time::Duration),
}

/// Decides about a call. Its arguments are the call's name and the number of earlier calls with
/// that name.
#[cfg(feature = "faults")]
pub type Judge = std::rc::Rc<dyn Fn(&'static str, u64) -> Verdict>;

/// One report of the kernel: an event of epoll, or a completion of io_uring.
#[cfg(feature = "faults")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name of the source or operation: epoll's `data`, io_uring's `user_data`.
    pub name: u64,
    /// The result of a completion; 0 for an event.
    pub result: i32,
    /// The mask of an event, or the flags of a completion.
    pub flags: u32,
}

/// Edits a batch of reports before the driver sees it.
#[cfg(feature = "faults")]
pub type Editor = std::rc::Rc<dyn Fn(&mut Vec<Report>)>;

#[cfg(feature = "faults")]
thread_local! {
    static JUDGE_OF_SETUPS: std::cell::RefCell<Option<Judge>> = const { std::cell::RefCell::new(None) };
}

/// Makes `judge` decide about the calls of every runtime that this thread builds from now on, from
/// the first call. [`Seam::set_judge`] comes too late for the calls of a setup. `None` lets all
/// calls pass again.
#[cfg(feature = "faults")]
pub fn judge_setups(judge: Option<Judge>) {
    JUDGE_OF_SETUPS.set(judge);
}

/// Counts the calls by name, and in tests decides about them.
pub struct Seam {
    names: &'static [&'static str],
    counts: Box<[Cell<u64>]>,
    #[cfg(feature = "faults")]
    judge: std::cell::RefCell<Option<Judge>>,
    #[cfg(feature = "faults")]
    editor: std::cell::RefCell<Option<Editor>>,
}

impl Seam {
    /// Makes a seam for the calls with these names. From then on a call is given by its index among
    /// them.
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

    /// Passes every further call to `judge`. `None` lets all calls pass again.
    #[cfg(feature = "faults")]
    pub fn set_judge(&self, judge: Option<Judge>) {
        *self.judge.borrow_mut() = judge;
    }

    /// Passes every further batch of reports to `editor`. `None` leaves them as they are again.
    #[cfg(feature = "faults")]
    pub fn set_editor(&self, editor: Option<Editor>) {
        *self.editor.borrow_mut() = editor;
    }

    /// Returns the editor of the reports, if one is set.
    #[cfg(feature = "faults")]
    pub fn editor(&self) -> Option<Editor> {
        self.editor.borrow().clone()
    }

    /// Announces a call. Returns the maximum number of bytes that it may move.
    ///
    /// # Errors
    /// The error that a test chose for the call. The call must not be made then.
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

    /// A function of its own, so that its absence from a release build can be checked.
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

    /// Returns the number of calls so far by name, without names that have none. `elsewhere` names
    /// calls that were made outside of the seam, and their number: they are added.
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
