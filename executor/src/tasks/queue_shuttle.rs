//! Tests of the handshakes of `queue.rs` with more threads and more wakes than loom can try.
//! Shuttle draws schedules at random. Half of them are drawn evenly. The other half has few changes
//! of thread, at chosen places (PCT): it finds bugs that need only few changes.
//!
//! Run with: RUSTFLAGS="--cfg shuttle" cargo test -p executor --lib --release
//!
//! The environment variable SCHEDULES sets the number of schedules of each kind (default: 10,000).
//! A pass proves nothing, but a failure names a schedule that can be replayed.

use std::sync::Arc as StdArc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread;

use crate::tasks::queue_loom::Loop;
use crate::tasks::remote::RemoteHandle;
use crate::tasks::sync::Arc;

/// The number of changes of thread in a schedule of the second kind.
const DEPTH: usize = 3;

/// Runs the model in the number of schedules that SCHEDULES asks for.
pub(crate) fn try_many(model: impl Fn() + Sync + Send + 'static) {
    let schedules = std::env::var("SCHEDULES").map_or(10_000, |text| text.parse().expect("SCHEDULES: a number"));
    let model = StdArc::new(model);
    let again = StdArc::clone(&model);
    shuttle::check_random(move || model(), schedules);
    shuttle::check_pct(move || again(), schedules, DEPTH);
}

const THREADS: u32 = 5;
const WAKES: u32 = 4;

/// Five threads wake one task again and again, and the task wakes itself, too. A poll after a wake
/// sees everything that was set before that wake.
#[test]
fn of_many_wakes_the_last_is_not_lost() {
    try_many(|| {
        let mut the_loop = Loop::new();
        let count = StdArc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (task, count) = (Arc::clone(&the_loop.task), StdArc::clone(&count));
                thread::spawn(move || {
                    for _ in 0..WAKES {
                        count.fetch_add(1, Ordering::SeqCst);
                        task.wake();
                    }
                })
            })
            .collect();
        the_loop.run(|the_loop| {
            if the_loop.polls == 2 {
                the_loop.task.wake_local(&the_loop.queue);
            }
            count.load(Ordering::SeqCst) == THREADS * WAKES
        });
        assert!(the_loop.polls <= THREADS * WAKES + 1);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The runtime ends at once or after some turns, while five threads do everything to it that
/// threads can do. After that nothing happens any more, and nothing is left that keeps anything
/// alive.
#[test]
fn an_end_in_the_middle_of_everything_leaves_nothing() {
    try_many(|| {
        let mut the_loop = Loop::new();
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let task = Arc::clone(&the_loop.task);
                let remote = RemoteHandle::new(Arc::clone(&the_loop.inbox));
                thread::spawn(move || {
                    for _ in 0..WAKES {
                        match number % 4 {
                            0 | 1 => task.wake(),
                            2 => drop(remote.spawn(|| async {})),
                            _ => task.abort(),
                        }
                    }
                    remote.stop();
                })
            })
            .collect();
        for _ in 0..thread_rng().gen_range(0..3) {
            // Each thread sends a stop last. Until the first stop has come, there is something to
            // wait for.
            if the_loop.is_stopped {
                break;
            }
            the_loop.turn();
            the_loop.next();
        }
        drop(the_loop.inbox.close());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        the_loop.task.wake();
        assert!(the_loop.inbox.close().wakes.is_empty(), "a wake after the end was kept");
        assert_eq!(Arc::strong_count(&the_loop.task), 1);
        assert_eq!(Arc::strong_count(&the_loop.inbox), 3, "the loop's, its queue's, and its task's");
    });
}
