//! Judges and editors: which system calls fail, and what becomes of what the kernel reports.
//!
//! A [`Judge`] decides about each call that passes a runtime's seam, an [`Editor`] about each batch of events or
//! completions; see [`Engine::set_judge`](crate::Engine::set_judge) and
//! [`set_editor`](crate::Engine::set_editor). Calls are named as strace names them. On the proactor each operation
//! passes, too, under a name such as `op_accept`. All count from when they are made, unless they say otherwise.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use executor::{Editor, Judge, Report, Verdict};

/// Errors by their numbers on Linux.
pub mod errno {
    #![allow(missing_docs)]
    pub const EPERM: i32 = 1;
    pub const EINTR: i32 = 4;
    pub const EAGAIN: i32 = 11;
    pub const ENOMEM: i32 = 12;
    pub const EBUSY: i32 = 16;
    pub const EINVAL: i32 = 22;
    pub const ENFILE: i32 = 23;
    pub const EMFILE: i32 = 24;
    pub const ENOSPC: i32 = 28;
    pub const ENOSYS: i32 = 38;
    pub const EPROTO: i32 = 71;
    pub const EOPNOTSUPP: i32 = 95;
    pub const EADDRNOTAVAIL: i32 = 99;
    pub const ECONNABORTED: i32 = 103;
    pub const ENOBUFS: i32 = 105;
    pub const ECANCELED: i32 = 125;
}

/// Decides about those calls of `name` (any, if empty) whose number among them `is_due` picks.
fn when(name: &'static str, is_due: impl Fn(u64) -> bool + 'static, verdict: Verdict) -> Judge {
    let calls = Cell::new(0);
    Rc::new(move |call, _| {
        let is_named = call == name || name.is_empty();
        let number = calls.get();
        calls.set(number + u64::from(is_named));
        if is_named && is_due(number) { verdict } else { Verdict::Pass }
    })
}

/// Only the `k`-th call of a name, from 0.
#[must_use]
pub fn at(name: &'static str, k: u64, verdict: Verdict) -> Judge {
    when(name, move |number| number == k, verdict)
}

/// The first so many calls of a name.
#[must_use]
pub fn first(name: &'static str, count: u64, verdict: Verdict) -> Judge {
    when(name, move |number| number < count, verdict)
}

/// Every `k`-th call of a name.
#[must_use]
pub fn every(name: &'static str, k: u64, verdict: Verdict) -> Judge {
    when(name, move |number| number % k == k - 1, verdict)
}

/// Calls of a name by a schedule: passes and verdicts, in this order, and then all pass.
#[must_use]
pub fn scheduled(name: &'static str, schedule: Vec<Verdict>) -> Judge {
    let left = RefCell::new(VecDeque::from(schedule));
    Rc::new(move |call, _| {
        let verdict = (call == name).then(|| left.borrow_mut().pop_front()).flatten();
        verdict.unwrap_or(Verdict::Pass)
    })
}

/// One call in `one_in`, by chance from a seed, meets what `choose` has for it. Also says how often it did.
#[must_use]
pub fn chance(
    seed: u64,
    one_in: u32,
    choose: impl Fn(&mut fastrand::Rng, &'static str) -> Verdict + 'static,
) -> (Judge, Rc<Cell<u64>>) {
    let random = RefCell::new(fastrand::Rng::with_seed(seed));
    let met = Rc::new(Cell::new(0));
    let counter = Rc::clone(&met);
    let judge = move |call, _| {
        let mut random = random.borrow_mut();
        if random.u32(0..one_in) > 0 {
            return Verdict::Pass;
        }
        let verdict = choose(&mut random, call);
        counter.set(counter.get() + u64::from(verdict != Verdict::Pass));
        verdict
    };
    (Rc::new(judge), met)
}

/// Faults that a runtime has to bear without anybody's noticing: signals, shortages that pass, short and late
/// calls. For [`chance`].
#[must_use]
pub fn bearable(random: &mut fastrand::Rng, call: &'static str) -> Verdict {
    use errno::{EAGAIN, EBUSY, ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let errnos: &[i32] = match call {
        "recvfrom" | "sendto" | "epoll_pwait2" | "epoll_wait" | "op_recv" | "op_send" => &[EINTR],
        "accept4" | "op_accept" => &[EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM],
        "io_uring_enter" => &[EINTR, EAGAIN, EBUSY, ENOMEM],
        _ => &[],
    };
    match random.u8(0..3) {
        0 if !errnos.is_empty() => Verdict::Fail(errnos[random.usize(..errnos.len())]),
        1 if matches!(call, "recvfrom" | "sendto" | "op_recv" | "op_send") => Verdict::Shorten(random.usize(1..100)),
        _ => Verdict::Delay(Duration::from_micros(random.u64(1..300))),
    }
}

/// Set in a completion after which more come of the same operation: `IORING_CQE_F_MORE`.
const MORE: u32 = 1 << 1;

/// Whether this is an operation's last completion.
#[must_use]
pub fn is_final(report: &Report) -> bool {
    report.flags & MORE == 0
}

/// Keys with this index name neither an operation nor a source, but the wake and the answers to cancels.
const RESERVED: u64 = 0xffff_ffff;

/// Whether this is about an operation or a source.
#[must_use]
pub fn names_something(report: &Report) -> bool {
    report.name & RESERVED != RESERVED
}

/// Puts each batch in another order. What concerns the same thing stays in its own order, which the kernel
/// promises.
#[must_use]
pub fn shuffled(seed: u64) -> Editor {
    let random = RefCell::new(fastrand::Rng::with_seed(seed));
    Rc::new(move |reports| {
        let mut queues: HashMap<u64, VecDeque<Report>> = HashMap::new();
        for report in reports.iter() {
            queues.entry(report.name).or_default().push_back(*report);
        }
        random.borrow_mut().shuffle(reports);
        for report in reports {
            *report = queues.get_mut(&report.name).and_then(VecDeque::pop_front).expect("as many as before");
        }
    })
}
