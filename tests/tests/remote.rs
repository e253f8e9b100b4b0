//! Goal: other threads can spawn, abort and stop; what they send runs, lives and dies on the runtime's
//! thread; when the runtime is gone, they are told.
//!
//! Method: threads that use a `RemoteHandle` while the runtime sleeps, works, and after its end.

use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::ThreadId;
use std::time::Instant;

use executor::{Config, RemoteHandle, SpawnError, yield_now};
use tests::{Bench, Engine, Suite, ms, on_every_engine, run, settle};

fn threads_spawn_onto_a_sleeping_runtime<E: Engine>() {
    const THREADS: u32 = 4;
    const EACH: u32 = 500;
    run::<E>(async |rt| {
        let (ran, home) = (Arc::new(AtomicU32::new(0)), std::thread::current().id());
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (remote, ran) = (rt.remote(), Arc::clone(&ran));
                std::thread::spawn(move || {
                    for _ in 0..EACH {
                        let (ran, again) = (Arc::clone(&ran), remote.clone());
                        let task = remote.spawn(move || async move {
                            assert_eq!(std::thread::current().id(), home);
                            yield_now().await;
                            if ran.fetch_add(1, Ordering::Relaxed) + 1 == THREADS * EACH {
                                again.stop();
                            }
                        });
                        drop(task.unwrap());
                    }
                })
            })
            .collect();
        rt.stopped().await;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(ran.load(Ordering::Relaxed), THREADS * EACH);
    });
}

fn a_remote_task_can_be_aborted_at_any_time<E: Engine>() {
    struct Flag(Arc<AtomicU32>, ThreadId);
    impl Drop for Flag {
        fn drop(&mut self) {
            assert_eq!(std::thread::current().id(), self.1, "dropped on the runtime's thread");
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    run::<E>(async |rt| {
        let (drops, home, remote) = (Arc::new(AtomicU32::new(0)), std::thread::current().id(), rt.remote());
        let counted = Arc::clone(&drops);
        std::thread::spawn(move || {
            for round in 0..200 {
                let flag = Flag(Arc::clone(&counted), home);
                let task = remote.spawn(move || async move {
                    let _flag = flag;
                    pending::<()>().await;
                });
                let task = task.unwrap();
                // At once, most likely before it arrived; or when it most likely runs.
                if round % 2 == 0 {
                    std::thread::sleep(ms(1));
                }
                task.abort();
                task.abort();
            }
            remote.stop();
        });
        rt.stopped().await;
        while rt.stats().tasks_now > 0 {
            yield_now().await;
        }
        assert_eq!(drops.load(Ordering::Relaxed), 200);
    });
}

fn a_stop_is_remembered_and_reaches_all<E: Engine>() {
    run::<E>(async |rt| {
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let handle = rt.clone();
                rt.spawn(async move { handle.stopped().await })
            })
            .collect();
        yield_now().await;
        let remote = rt.remote();
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(ms(20));
            remote.stop();
        });
        for task in waiting {
            task.await.unwrap();
        }
        assert!(start.elapsed() >= ms(20));
        rt.stopped().await;
        thread.join().unwrap();
    });
}

fn a_panic_in_the_closure_is_the_tasks<E: Engine>() {
    run::<E>(async |rt| {
        let remote = rt.remote();
        let thread = std::thread::spawn(move || {
            fn bad() -> std::future::Ready<()> {
                panic!("in the closure")
            }
            drop(remote.spawn(bad).unwrap());
            remote.stop();
        });
        rt.stopped().await;
        yield_now().await;
        yield_now().await;
        assert_eq!(rt.stats().tasks_panicked, 1);
        thread.join().unwrap();
    });
}

fn everything_is_refused_after_the_end<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let remote = bench.rt().remote();
    // Posted, but the runtime ends before it looks.
    let dropped = Arc::new(AtomicBool::new(false));
    struct SetOnDrop(Arc<AtomicBool>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = SetOnDrop(Arc::clone(&dropped));
    let posted = remote.spawn(move || async move { drop(flag) }).unwrap();
    bench.end();
    assert!(dropped.load(Ordering::Relaxed), "its closure was dropped with the runtime");
    posted.abort();
    let thread = std::thread::spawn(move || {
        assert_eq!(remote.spawn(|| async {}).unwrap_err(), SpawnError::Closed);
        remote.stop();
    });
    thread.join().unwrap();
    drop(posted);
    bench.finish();
}

/// A runtime that does not get round to its mail refuses more, and drops what it refused where it can
/// do what any destructor may do: here, use the same handle.
fn a_full_inbox_refuses<E: Engine>() {
    struct StopOnDrop(RemoteHandle);
    impl Drop for StopOnDrop {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let remote = rt.remote();
    let thread = std::thread::spawn(move || {
        let mut accepted = 0u32;
        loop {
            let guard = StopOnDrop(remote.clone());
            match remote.spawn(move || async move { drop(guard) }) {
                Ok(_task) => accepted += 1,
                Err(error) => return (accepted, error),
            }
        }
    });
    let (accepted, error) = thread.join().unwrap();
    assert_eq!((accepted, error), (65_536, SpawnError::Full));
    rt.block_on(async {
        rt.stopped().await;
        while rt.stats().tasks_now > 0 {
            yield_now().await;
        }
    });
    assert_eq!(rt.stats().tasks_spawned, 65_536);
    settle::<E>(rt);
    bench.finish();
}

/// Refused on arrival: the runtime is at its limit of tasks. The wakes that came with the same mail are
/// delivered all the same, although the destructor of what is refused panics.
fn a_spawn_refused_on_arrival_takes_nothing_with_it<E: Engine>() {
    struct PanicOnDrop;
    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic!("refused");
        }
    }
    let bench = Bench::<E>::with(Config { max_tasks: 1, ..Config::default() });
    let rt = bench.rt();
    let only = rt.spawn(pending::<()>());
    let remote = rt.remote();
    rt.block_on(async {
        let waiting = rt.stopped();
        std::thread::spawn(move || {
            let guard = PanicOnDrop;
            remote.spawn(move || async move { drop(guard) }).unwrap();
            remote.stop();
        })
        .join()
        .unwrap();
        waiting.await;
    });
    assert_eq!(rt.stats().tasks_refused, 1);
    only.abort();
    settle::<E>(rt);
    drop(only);
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        threads_spawn_onto_a_sleeping_runtime,
        a_remote_task_can_be_aborted_at_any_time,
        a_stop_is_remembered_and_reaches_all,
        a_panic_in_the_closure_is_the_tasks,
        everything_is_refused_after_the_end,
        a_full_inbox_refuses,
        a_spawn_refused_on_arrival_takes_nothing_with_it,
    );
    suite.run()
}
