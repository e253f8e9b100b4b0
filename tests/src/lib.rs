//! The harness of the tests: one body per property, run on every engine.
//!
//! A file in `tests/` states a property. Its bodies are generic over an [`Engine`], and its `main`
//! lists them:
//!
//! ```text
//! fn bytes_arrive<E: Engine>() {
//!     run::<E>(async |rt| { ... });
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let mut suite = Suite::new();
//!     on_every_engine!(suite, bytes_arrive);
//!     suite.run()
//! }
//! ```
//!
//! Three things hold for every body:
//!
//! - It runs in a process of its own (`suite.rs`), so that descriptors, limits and signals are its own
//!   affair, and a crash is one failed test.
//! - It runs under a watchdog (`watchdog.rs`): a hang is a failure with a dump.
//! - It ends with the balance check (`bench.rs`): descriptors, tasks, wakers, timers, sources (as we count them,
//!   and as the kernel does), operations, lent buffers and blocking jobs (and after the end their threads) are back to where they were, *before* the runtime is
//!   dropped and after. Then the `oracles` are asked whether the kernel wrote to memory that was given back: to a
//!   `PageBuffer`, or, in a file that makes their `Quarantine` its global allocator, to anything that was on the heap.
//!
//! Timings decide a test only with bounds at least ten times wider than what is expected.

#![forbid(unsafe_code)]

mod bench;
mod by_hand;
mod conversation;
pub mod datagrams;
pub mod descriptors;
mod engine;
pub mod filters;
mod flat;
mod guests;
pub mod judges;
pub mod net;
mod process;
mod rounds;
pub mod scenarios;
mod suite;
mod times;
mod victim;
pub mod watchdog;

pub use bench::{Bench, blocking_threads, is_closed, kernel_registrations, open_fds, run, settle};
pub use by_hand::{ByHand, by_hand};
pub use conversation::{TRANSCRIPT, conversation};
pub use engine::{
    Chunk, Engine, ProactorBare, ProactorFull, ProactorOneshot, ProactorTiny, ProactorWhole, ReactorEdge, ReactorLevel,
    ReactorMillis, Stream, Subject, unavailable,
};
pub use flat::{Flat, HEAP_LEVEL, Usage};
pub use process::{CaseProcess, Ended};
pub use rounds::{Rounds, Until};
pub use suite::Suite;
pub use times::Times;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::mpsc::{self, TryRecvError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Milliseconds.
#[must_use]
pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Polls once with the task's own waker; the output if that was enough.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Polls once, insists that it has to wait, waits for `pause`, and drops it.
pub async fn start_then_drop<F: Future>(future: F, pause: impl Future) {
    let mut future = pin!(future);
    assert!(poll_once(&mut future).await.is_none(), "it was meant to have to wait");
    pause.await;
}

/// Polls outside of any runtime, with a waker that does nothing.
pub fn poll_idle<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Completes when both have.
pub async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (None, None);
    poll_fn(|cx| {
        if left.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            left = Some(output);
        }
        if right.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            right = Some(output);
        }
        if left.is_some() && right.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (left.expect("just checked"), right.expect("just checked"))
}

/// Runs `act` on a thread of its own, and waits for what it gives without keeping the runtime from its work.
///
/// # Panics
/// If `act` does.
pub async fn elsewhere<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Dropped after the sender, so that the wake is the last that happens, also if `act` panics.
        let _wakes = WakesOnDrop(waker);
        let sender = sender;
        let _ = sender.send(act());
    });
    let output = poll_fn(|_| match receiver.try_recv() {
        Err(TryRecvError::Empty) => Poll::Pending,
        output => Poll::Ready(output.ok()),
    })
    .await;
    thread.join().expect("the thread panicked");
    output.expect("sent before the end")
}

/// Wakes when it is dropped.
struct WakesOnDrop(Waker);

impl Drop for WakesOnDrop {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// Counts its drops in a shared counter.
#[derive(Debug, Clone)]
pub struct CountsDrops(pub Rc<Cell<u32>>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Runs `act`, which must panic; returns the text of the panic.
pub fn panics(act: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).expect_err("no panic");
    executor::panic_text(payload.as_ref()).to_owned()
}
