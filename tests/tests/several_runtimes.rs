//! Goal: runtimes stand beside and inside of each other. What belongs to one works in a task of another, and wakes that
//! task; where one has ended, no other is disturbed. A runtime may live in a thread-local and in a blocking job.
//!
//! Method: several runtimes on one thread, of which one runs a task and another gets its turns by hand. A wake that gets
//! lost is a hang, for nothing else polls the task.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::{Read as _, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use executor::{Config, IoBuf, JoinHandle, Reader, Stream as _, Writer, yield_now};
use tests::net::{pair, recv_exactly};
use tests::{Bench, Engine, Suite, ms, on_every_engine, on_every_fallback, open_fds, poll_idle, poll_once, settle};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// Two runtimes. `home` runs the task that `body` makes; `guest`, whose things it uses, gets turns until the task has ended.
fn beside<E: Engine, F: Future<Output = ()> + 'static>(body: impl FnOnce(E::Rt) -> F) {
    let (home, guest) = (Bench::<E>::new(), Bench::<E>::new());
    let task = home.rt().spawn(body(guest.handle()));
    home.rt().block_on(async {
        while !task.is_finished() {
            guest.rt().turn(Some(ms(1))).unwrap();
            yield_now().await;
        }
        task.await.unwrap();
    });
    settle::<E>(guest.rt());
    settle::<E>(home.rt());
    // Descriptors are compared with what there was before each: the later one goes first.
    guest.finish();
    home.finish();
}

fn a_sleep_of_another_wakes_this_one<E: Engine>() {
    beside::<E, _>(|guest| async move {
        for _ in 0..5 {
            let deadline = guest.now() + ms(2);
            guest.sleep_until(deadline).await;
            assert!(guest.now() >= deadline);
        }
        assert!(guest.timeout(ms(2), pending::<()>()).await.is_err());
        let mut interval = guest.interval(ms(1));
        let first = interval.tick().await;
        assert_eq!(interval.tick().await, first + ms(1));
    });
}

fn a_stream_of_another_is_used_here<E: Engine>() {
    const LEN: usize = 3_000_000;
    beside::<E, _>(|guest| async move {
        let (stream, mut peer) = pair::<E>(&guest).await;
        let echo = thread::spawn(move || {
            let mut all = vec![0; LEN];
            peer.read_exact(&mut all).unwrap();
            peer.write_all(&all).unwrap();
            peer.read_exact(&mut [0; 8]).unwrap();
            thread::sleep(ms(5));
            peer.write_all(b"answer").unwrap();
        });
        let sent = tests::net::Pattern::new(1).bytes(0, LEN);
        let (mut read, mut write) = stream.split();
        let (result, sent) = write.write_all(sent).await;
        result.unwrap();
        assert!(recv_exactly(&mut read, LEN).await == sent);
        write.write_all("question").await.0.unwrap();
        assert_eq!(read.recv().await.unwrap().bytes(), b"answer");
        assert!(read.recv().await.unwrap().bytes().is_empty());
        echo.join().unwrap();
    });
}

/// Its clock stands still: see `Sleep`.
fn a_sleep_of_one_that_has_ended_pends<E: Engine>() {
    let home = Bench::<E>::new();
    let mut ended = Bench::<E>::new();
    let mut begun = ended.rt().sleep(ms(1));
    let fresh = ended.rt().sleep(ms(1));
    assert!(poll_idle(&mut begun).is_pending());
    let handle = ended.handle();
    ended.end();
    home.rt().block_on(async {
        let rt = home.rt();
        for sleep in [begun, fresh, handle.sleep(ms(0))] {
            assert!(rt.timeout(ms(5), sleep).await.is_err(), "it is over");
        }
        assert!(rt.timeout(ms(5), handle.timeout(ms(1), pending::<()>())).await.is_err());
        assert_eq!(handle.timeout(ms(1), async { 7 }).await, Ok(7), "what is ready needs no clock");
        assert_eq!((handle.stats().timers_now, rt.stats().timers_now), (0, 0));
    });
    drop(handle);
    ended.finish();
    settle::<E>(home.rt());
    home.finish();
}

/// A task of each waits for a task of the next, and the first is waited for here. The last ends first.
fn a_ring_of_runtimes_ends_from_its_last<E: Engine>() {
    const RUNTIMES: usize = 8;
    let benches: Vec<_> = (0..RUNTIMES).map(|_| Bench::<E>::new()).collect();
    let (order, go) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
    let released = Rc::clone(&go);
    let last = poll_fn(move |cx| {
        // The one task that polls itself.
        cx.waker().wake_by_ref();
        if released.get() { Poll::Ready(()) } else { Poll::Pending }
    });
    let mut next: JoinHandle<()> = benches[RUNTIMES - 1].rt().spawn(last);
    for (number, bench) in benches.iter().enumerate().rev() {
        let (waits_for, order) = (next, Rc::clone(&order));
        next = bench.rt().spawn(async move {
            waits_for.await.unwrap();
            order.borrow_mut().push(number);
        });
    }
    for round in 0..100 {
        go.set(round >= 10);
        for bench in &benches {
            bench.rt().turn(Some(ms(0))).unwrap();
        }
        assert!(round >= 10 || order.borrow().is_empty());
    }
    assert!(order.borrow().iter().copied().eq((0..RUNTIMES).rev()), "{order:?}");
    assert!(next.is_finished());
    drop(next);
    benches.iter().for_each(|bench| settle::<E>(bench.rt()));
    benches.into_iter().rev().for_each(|bench| drop(bench.finish()));
}

thread_local! {
    /// A runtime, as an owner whose type this need not know.
    static KEPT: RefCell<Option<Box<dyn std::any::Any>>> = const { RefCell::new(None) };
}

/// Counts its drops.
struct Counts(Arc<AtomicU32>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The thread ends, and the runtime ends with it: after the thread's own list of queues may be gone.
fn one_in_a_thread_local_ends_with_its_thread<E: Engine>() {
    const TASKS: u32 = 10;
    let (before, drops) = (open_fds(), Arc::new(AtomicU32::new(0)));
    // The list may be made first or last, and so be gone first or last.
    for is_kept_first in [true, false] {
        let counted = Arc::clone(&drops);
        let work = move || {
            if is_kept_first {
                KEPT.set(None);
            }
            let rt = E::build(Config::default()).unwrap();
            rt.block_on(async {
                for _ in 0..TASKS {
                    let ((mut stream, peer), guard) = (pair::<E>(&rt).await, Counts(Arc::clone(&counted)));
                    rt.spawn(async move {
                        drop(stream.recv().await);
                        drop((peer, guard));
                    })
                    .detach();
                }
                rt.spawn_blocking(|| thread::sleep(ms(5))).detach();
                rt.sleep(ms(1)).await;
            });
            KEPT.set(Some(Box::new(rt)));
        };
        thread::spawn(work).join().unwrap();
    }
    assert_eq!(drops.load(Ordering::Relaxed), 2 * TASKS);
    assert_eq!(open_fds(), before);
}

/// A job runs a runtime, which runs a job; and it gives its own runtime a task.
fn a_job_runs_a_runtime_and_that_a_job<E: Engine>() {
    tests::run::<E>(async |rt| {
        let (remote, home) = (rt.remote(), thread::current().id());
        let ran = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&ran);
        let job = rt.spawn_blocking(move || {
            let inner = E::build(Config::default()).unwrap();
            let counted = Arc::clone(&count);
            let inside = inner.block_on(async {
                inner.sleep(ms(1)).await;
                let (mut stream, mut peer) = pair::<E>(&inner).await;
                peer.write_all(b"x").unwrap();
                assert_eq!(stream.recv().await.unwrap().bytes(), b"x");
                inner.spawn_blocking(move || counted.fetch_add(1, Ordering::Relaxed)).await.unwrap();
                thread::current().id()
            });
            let task = remote.spawn(move || async move {
                assert_eq!(thread::current().id(), home);
                count.fetch_add(10, Ordering::Relaxed);
            });
            drop(task.unwrap());
            inside
        });
        assert_ne!(job.await.unwrap(), home);
        while ran.load(Ordering::Relaxed) < 11 {
            rt.sleep(ms(1)).await;
        }
    });
}

/// Unparks the thread that waits.
struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor of other people: it sleeps between the polls.
fn foreign_block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// It stops the loop, so only what another thread does can end it. Afterwards the loop goes on.
fn an_executor_of_others_runs_in_a_task<E: Engine>() {
    tests::run::<E>(async |rt| {
        let handle = rt.clone();
        let task = rt.spawn(async move {
            let job = || {
                thread::sleep(ms(5));
                3
            };
            let inner = foreign_block_on(handle.unblock(job)).unwrap();
            // What another runtime does on its own thread.
            let (remote, (sender, receiver)) = (handle.remote(), std::sync::mpsc::channel::<Waker>());
            let thread = thread::spawn(move || receiver.recv().unwrap().wake());
            let mut polls = 0;
            foreign_block_on(poll_fn(|cx| {
                sender.send(cx.waker().clone()).ok();
                polls += 1;
                if polls > 1 { Poll::Ready(()) } else { Poll::Pending }
            }));
            thread.join().unwrap();
            remote.stop();
            inner
        });
        rt.stopped().await;
        assert_eq!(task.await.unwrap(), 3);
        let mut sleep = rt.sleep(ms(1));
        assert!(poll_once(&mut sleep).await.is_none());
        sleep.await;
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        a_sleep_of_another_wakes_this_one,
        a_stream_of_another_is_used_here,
        one_in_a_thread_local_ends_with_its_thread,
    );
    on_every_engine!(
        suite,
        a_sleep_of_one_that_has_ended_pends,
        a_ring_of_runtimes_ends_from_its_last,
        a_job_runs_a_runtime_and_that_a_job,
        an_executor_of_others_runs_in_a_task,
    );
    suite.run()
}
