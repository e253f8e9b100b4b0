//! Goal: blocking calls run beside the loop, on a bounded number of threads; results and panics arrive, nothing is
//! run that nobody waits for any more if it had not begun, and the end of the runtime drops, waits for, or leaves each
//! job as it says.
//!
//! Method: jobs that wait at gates the test holds, so that which of them run and which wait is decided by events; jobs
//! with guards that count their drops and say on which thread; a job that never returns.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use executor::{BlockingConfig, Config, JoinError, panic_text, yield_now};
use tests::{Bench, Engine, Suite, blocking_threads, both, ms, on_every_engine, poll_idle, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

fn limited(max_threads: usize, max_jobs: usize) -> Config {
    let blocking = BlockingConfig { max_threads, max_jobs, ..BlockingConfig::default() };
    Config { blocking, ..Config::default() }
}

/// Where jobs wait until the test lets them go; it knows how many do, and how many did at most.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        state.1 = state.1.max(state.0);
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| !state.2).unwrap();
        state.0 -= 1;
    }

    fn open(&self) {
        self.state.lock().unwrap().2 = true;
        self.changed.notify_all();
    }

    /// Waits until so many are here. It keeps the loop from its work, which is a test of its own.
    fn wait_for(&self, count: usize) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| state.0 < count).unwrap());
    }

    fn most(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

/// Tells when, and on which thread, it is dropped.
struct Tells(Sender<ThreadId>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

fn teller() -> (Tells, Receiver<ThreadId>) {
    let (sender, receiver) = mpsc::channel();
    (Tells(sender), receiver)
}

fn results_arrive_while_the_loop_goes_on<E: Engine>() {
    run::<E>(async |rt| {
        let home = thread::current().id();
        assert_eq!(blocking_threads(), 0, "none before it is needed");
        let gate = Arc::new(Gate::default());
        let inside = Arc::clone(&gate);
        let job = rt.spawn_blocking(move || {
            inside.pass();
            thread::current().id()
        });
        let timer = rt.sleep(ms(1));
        let ticks = rt.spawn(async move {
            for _ in 0..100 {
                yield_now().await;
            }
            timer.await;
            gate.open();
        });
        assert_ne!(job.await.unwrap(), home);
        ticks.await.unwrap();
        // Awaited from the main future and from tasks, with results that own something.
        let jobs: Vec<_> = (0..100).map(|number| rt.spawn_blocking(move || vec![number; number])).collect();
        for (number, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap().len(), number);
        }
        let sum = both(rt.unblock(|| 1), rt.unblock(|| 2)).await;
        assert_eq!((sum.0.unwrap(), sum.1.unwrap()), (1, 2));
    });
}

fn a_panic_is_the_jobs_own<E: Engine>() {
    let reported = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&reported);
    let on_task_panic = Rc::new(move |payload: Box<dyn std::any::Any + Send>| {
        seen.borrow_mut().push(panic_text(payload.as_ref()).to_owned());
    });
    let bench = Bench::<E>::with(Config { on_task_panic, ..limited(1, 100) });
    let rt = bench.rt();
    rt.block_on(async {
        let Err(JoinError::Panicked(payload)) = rt.spawn_blocking(|| panic!("alone")).await else { panic!("no panic") };
        assert_eq!(payload.text(), "alone");
        let result = rt.unblock(|| panic!("in place")).await;
        assert!(matches!(result, Err(JoinError::Panicked(payload)) if payload.text() == "in place"));
        rt.spawn_blocking(|| panic!("unseen")).detach();
        // The one thread takes them in order, and has survived.
        assert_eq!(rt.spawn_blocking(|| 3).await.unwrap(), 3);
        while rt.stats().tasks_now > 0 {
            yield_now().await;
        }
    });
    assert_eq!(*reported.borrow(), ["unseen"]);
    assert_eq!(bench.finish().tasks_panicked, 2, "the task's and the detached one's");
}

/// A destructor that panics on the pool's thread, in a result nobody wants, costs no thread.
fn a_result_that_panics_hurts_nobody<E: Engine>() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            assert!(thread::panicking(), "thrown on a pool's thread");
        }
    }
    let bench = Bench::<E>::with(limited(1, 100));
    let rt = bench.rt();
    rt.block_on(async {
        let gate = Arc::new(Gate::default());
        let inside = Arc::clone(&gate);
        let mut unwanted = rt.unblock(move || {
            inside.pass();
            Grenade
        });
        gate.wait_for(1);
        assert!(poll_once(&mut unwanted).await.is_none());
        drop(unwanted);
        gate.open();
        assert_eq!(rt.spawn_blocking(|| 3).await.unwrap(), 3);
        assert_eq!((rt.stats().blocking.threads_now, blocking_threads()), (1, 1));
    });
    bench.finish();
}

fn threads_and_jobs_are_bounded<E: Engine>() {
    const THREADS: usize = 3;
    const JOBS: usize = 10;
    let bench = Bench::<E>::with(limited(THREADS, JOBS));
    let rt = bench.rt();
    rt.block_on(async {
        let gate = Arc::new(Gate::default());
        let job = || {
            let gate = Arc::clone(&gate);
            move || gate.pass()
        };
        let jobs: Vec<_> = (0..JOBS).map(|_| rt.spawn_blocking(job())).collect();
        gate.wait_for(THREADS);
        assert_eq!(blocking_threads(), THREADS);
        let stats = rt.stats().blocking;
        assert_eq!((stats.threads_now, stats.jobs_now), (THREADS as u64, JOBS as u64));
        // One too many: dropped at once, here, and it says so.
        let (tells, told) = teller();
        let refused = rt.spawn_blocking(move || drop(tells));
        assert_eq!(told.try_recv().unwrap(), thread::current().id());
        assert!(refused.is_finished());
        assert!(matches!(refused.await, Err(JoinError::Refused)));
        assert!(matches!(rt.unblock(|| ()).await, Err(JoinError::Refused)));
        gate.open();
        for job in jobs {
            job.await.unwrap();
        }
        assert_eq!(gate.most(), THREADS);
        while rt.stats().blocking.jobs_now > 0 {
            yield_now().await;
        }
        assert_eq!(rt.spawn_blocking(|| 1).await.unwrap(), 1, "there is room again");
    });
    assert_eq!(bench.finish().tasks_refused, 1);
}

/// Without room for the task that waits, the job must not run.
fn a_job_without_a_task_is_refused<E: Engine>() {
    let bench = Bench::<E>::with(Config { max_tasks: 0, ..Config::default() });
    let ran = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ran);
    let refused = bench.rt().spawn_blocking(move || counter.fetch_add(1, Ordering::Relaxed));
    assert!(matches!(bench.rt().block_on(refused), Err(JoinError::Refused)));
    assert_eq!(blocking_threads(), 0);
    assert_eq!((Arc::strong_count(&ran), ran.load(Ordering::Relaxed)), (1, 0));
    bench.finish();
}

/// With one thread that is held, all others wait: those nobody wants are dropped here, at once, and make room.
fn a_job_that_has_not_begun_can_be_taken_back<E: Engine>() {
    let bench = Bench::<E>::with(limited(1, 4));
    let rt = bench.rt();
    let home = thread::current().id();
    rt.block_on(async {
        let gate = Arc::new(Gate::default());
        let inside = Arc::clone(&gate);
        let held = rt.spawn_blocking(move || inside.pass());
        gate.wait_for(1);
        let ((aborted, told_aborted), (dropped, told_dropped)) = (teller(), teller());
        let aborted = rt.spawn_blocking(move || drop(aborted));
        let dropped = rt.unblock(move || drop(dropped));
        let last = rt.spawn_blocking(|| 7);
        assert!(matches!(rt.unblock(|| ()).await, Err(JoinError::Refused)));
        aborted.abort();
        assert!(matches!(aborted.await, Err(JoinError::Cancelled)));
        assert_eq!(told_aborted.try_recv().unwrap(), home);
        drop(dropped);
        assert_eq!(told_dropped.try_recv().unwrap(), home);
        assert_eq!(rt.stats().blocking.jobs_now, 2);
        let next = rt.spawn_blocking(|| 8);
        gate.open();
        held.await.unwrap();
        assert_eq!((last.await.unwrap(), next.await.unwrap()), (7, 8));
    });
    bench.finish();
}

/// One that has begun goes on, and what it returns is dropped where it ends. A dropped handle detaches.
fn a_job_that_runs_goes_on<E: Engine>() {
    run::<E>(async |rt| {
        let home = thread::current().id();
        let gate = Arc::new(Gate::default());
        let (sender, ended) = mpsc::channel();
        let job = |tells: Tells| {
            let (gate, sender) = (Arc::clone(&gate), sender.clone());
            move || {
                gate.pass();
                sender.send(()).unwrap();
                tells
            }
        };
        let ((first, told_first), (second, told_second), (third, told_third)) = (teller(), teller(), teller());
        let aborted = rt.spawn_blocking(job(first));
        let dropped = rt.unblock(job(second));
        rt.spawn_blocking(job(third)).detach();
        gate.wait_for(3);
        aborted.abort();
        assert!(matches!(aborted.await, Err(JoinError::Cancelled)));
        drop(dropped);
        gate.open();
        for _ in 0..3 {
            ended.recv().unwrap();
        }
        assert_ne!(told_first.recv().unwrap(), home);
        assert_ne!(told_second.recv().unwrap(), home);
        // This one's task still waited, and drops it.
        while rt.stats().tasks_now > 0 {
            yield_now().await;
        }
        assert_eq!(told_third.try_recv().unwrap(), home);
    });
}

fn idle_threads_end_and_others_are_started<E: Engine>() {
    let blocking = BlockingConfig { keep_alive: ms(1), ..BlockingConfig::default() };
    let bench = Bench::<E>::with(Config { blocking, ..Config::default() });
    let rt = bench.rt();
    rt.block_on(async {
        for round in 0..20 {
            let jobs: Vec<_> = (0..8).map(|number| rt.spawn_blocking(move || round + number)).collect();
            for (number, job) in jobs.into_iter().enumerate() {
                assert_eq!(job.await.unwrap(), round + number);
            }
            // Every second time they are all gone; else some are about to.
            while round % 2 == 0 && blocking_threads() > 0 {
                rt.sleep(ms(1)).await;
            }
        }
    });
    bench.finish();
}

/// A job that comes as the last thread is about to end is not lost between the two.
fn a_job_meets_the_end_of_an_idle_thread<E: Engine>() {
    let blocking = BlockingConfig { keep_alive: Duration::ZERO, ..BlockingConfig::default() };
    let bench = Bench::<E>::with(Config { blocking, ..Config::default() });
    bench.rt().block_on(async {
        for number in 0..2000 {
            assert_eq!(bench.rt().unblock(move || number).await.unwrap(), number);
        }
    });
    bench.finish();
}

/// One thread is idle, and three jobs need three.
fn an_idle_thread_is_no_reason_to_wait<E: Engine>() {
    run::<E>(async |rt| {
        rt.unblock(|| ()).await.unwrap();
        while rt.stats().blocking.jobs_now > 0 {
            yield_now().await;
        }
        assert_eq!(rt.stats().blocking.threads_now, 1);
        let gate = Arc::new(Gate::default());
        let jobs: Vec<_> =
            (0..3).map(|_| Arc::clone(&gate)).map(|gate| rt.spawn_blocking(move || gate.pass())).collect();
        gate.wait_for(3);
        assert_eq!(rt.stats().blocking.threads_now, 3);
        gate.open();
        for job in jobs {
            job.await.unwrap();
        }
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct CountsWakes(AtomicUsize);

impl Wake for CountsWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Two wait for a job, one after the other.
fn the_last_that_asked_is_woken<E: Engine>() {
    run::<E>(async |rt| {
        let gate = Arc::new(Gate::default());
        let inside = Arc::clone(&gate);
        let mut job = rt.unblock(move || inside.pass());
        gate.wait_for(1);
        let (first, last) = (Arc::new(CountsWakes::default()), Arc::new(CountsWakes::default()));
        for waits in [&first, &last] {
            let waker = Waker::from(Arc::clone(waits));
            assert!(Pin::new(&mut job).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        gate.open();
        while rt.stats().blocking.jobs_now > 0 {
            yield_now().await;
        }
        let woken = [&first, &last].map(|waits| waits.0.load(Ordering::Relaxed));
        assert_eq!(woken, [0, 1]);
        job.await.unwrap();
    });
}

/// With one thread, which is held until all of them wait.
fn jobs_begin_in_the_order_in_which_they_came<E: Engine>() {
    let bench = Bench::<E>::with(limited(1, 100));
    bench.rt().block_on(async {
        let (gate, order) = (Arc::new(Gate::default()), Arc::new(Mutex::new(Vec::new())));
        let jobs: Vec<_> = (0..20)
            .map(|number| {
                let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
                bench.rt().unblock(move || {
                    gate.pass();
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        gate.wait_for(1);
        gate.open();
        for job in jobs {
            job.await.unwrap();
        }
        assert!(order.lock().unwrap().iter().copied().eq(0..20), "{order:?}");
    });
    bench.finish();
}

/// A limit of none would leave every job waiting.
fn there_may_always_be_one_thread<E: Engine>() {
    let bench = Bench::<E>::with(limited(0, 100));
    assert_eq!(bench.rt().block_on(bench.rt().spawn_blocking(|| 7)).unwrap(), 7);
    bench.finish();
}

/// Sends when it is dropped.
struct SendsOnDrop(Sender<()>);

impl Drop for SendsOnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// An idle thread would stay for an hour, and the end may last as long: the one is told that there is no more work, and
/// the other that the last thread has ended. That one runs a job until the end has dropped the tasks.
fn the_end_waits_for_threads_and_not_for_time<E: Engine>() {
    const HOUR: Duration = Duration::from_secs(3600);
    let blocking = BlockingConfig { keep_alive: HOUR, ..BlockingConfig::default() };
    let mut bench = Bench::<E>::with(Config { blocking, shutdown_deadline: HOUR, ..Config::default() });
    let gate = Arc::new(Gate::default());
    let rt = bench.rt();
    rt.block_on(async {
        let jobs: Vec<_> = (0..3).map(|_| Arc::clone(&gate)).map(|gate| rt.unblock(move || gate.pass())).collect();
        gate.wait_for(3);
        gate.open();
        for job in jobs {
            job.await.unwrap();
        }
        while rt.stats().blocking.jobs_now > 0 {
            yield_now().await;
        }
    });
    let (sender, dropped) = mpsc::channel();
    let (begun, begins) = mpsc::channel();
    rt.spawn_blocking(move || {
        begun.send(()).unwrap();
        dropped.recv().unwrap();
        // By then the end waits for this thread.
        thread::sleep(ms(50));
    })
    .detach();
    let sends = SendsOnDrop(sender);
    rt.spawn(async move {
        let _sends = sends;
        pending::<()>().await;
    })
    .detach();
    begins.recv().unwrap();
    bench.end();
    assert_eq!(bench.finish().blocking.threads_now, 0);
}

/// Who has stopped waiting for a job that runs is not woken by it.
fn a_dropped_wait_leaves_no_waker<E: Engine>() {
    run::<E>(async |rt| {
        let gate = Arc::new(Gate::default());
        let inside = Arc::clone(&gate);
        let mut job = rt.unblock(move || inside.pass());
        assert!(poll_once(&mut job).await.is_none());
        gate.wait_for(1);
        drop(job);
        let before = rt.stats().wakes_remote;
        gate.open();
        while rt.stats().blocking.jobs_now > 0 {
            yield_now().await;
        }
        assert_eq!(rt.stats().wakes_remote, before);
    });
}

/// Many more jobs than threads, from many tasks: each result is its own, and nothing is lost as threads fall idle.
fn many_jobs_all_arrive<E: Engine>() {
    const TASKS: u64 = 100;
    const EACH: u64 = 50;
    let bench = Bench::<E>::with(limited(4, 1 << 16));
    let rt = bench.rt();
    let threads = rt.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let handle = bench.handle();
                rt.spawn(async move {
                    let mut threads = HashSet::new();
                    for number in 0..EACH {
                        let job = move || (task * EACH + number, thread::current().id());
                        let (result, thread) = handle.spawn_blocking(job).await.unwrap();
                        assert_eq!(result, task * EACH + number);
                        threads.insert(thread);
                    }
                    threads
                })
            })
            .collect();
        let mut threads = HashSet::new();
        for task in tasks {
            threads.extend(task.await.unwrap());
        }
        threads
    });
    assert!(threads.len() <= 4, "{threads:?}");
    bench.finish();
}

/// Of the two jobs one runs and one waits. The end drops the second, which is what the first one waits for.
fn the_end_drops_what_waits_and_waits_for_what_runs<E: Engine>() {
    let mut bench = Bench::<E>::with(limited(1, 10));
    let (begun, begins) = mpsc::channel();
    let (tells, told) = teller();
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let mut running = bench.rt().spawn_blocking(move || {
        begun.send(()).unwrap();
        told.recv().unwrap();
        // Far longer than the end takes if it doesn't wait.
        thread::sleep(ms(50));
        counter.fetch_add(1, Ordering::Relaxed)
    });
    begins.recv().unwrap();
    let counter = Arc::clone(&ended);
    let mut waiting = bench.rt().spawn_blocking(move || {
        drop(tells);
        counter.fetch_add(10, Ordering::Relaxed)
    });
    let mut in_place = bench.rt().unblock(|| ());
    bench.end();
    assert_eq!(ended.load(Ordering::Relaxed), 1, "the one that ran, to its end");
    assert!(matches!(poll_idle(&mut running), Poll::Ready(Err(JoinError::Cancelled))));
    assert!(matches!(poll_idle(&mut waiting), Poll::Ready(Err(JoinError::Cancelled))));
    assert!(matches!(poll_idle(&mut in_place), Poll::Ready(Err(JoinError::Cancelled))));
    let handle = bench.handle();
    assert!(matches!(poll_idle(&mut handle.spawn_blocking(|| ())), Poll::Ready(Err(JoinError::Refused))));
    assert!(matches!(poll_idle(&mut handle.unblock(|| ())), Poll::Ready(Err(JoinError::Refused))));
    drop((running, waiting, in_place, handle));
    bench.finish();
}

/// A job that doesn't return keeps the runtime until the deadline, is counted, and no longer keeps anybody: neither
/// what comes after, nor the end of the process, for the second one never returns at all.
fn a_job_that_hangs_is_left_behind<E: Engine>() {
    const DEADLINE: Duration = ms(100);
    let rt = E::build(Config { shutdown_deadline: DEADLINE, ..Config::default() }).unwrap();
    let handle = rt.clone();
    let (release, released) = mpsc::channel::<()>();
    let (tells, told) = teller();
    let gate = Arc::new(Gate::default());
    let inside = Arc::clone(&gate);
    rt.spawn_blocking(move || {
        inside.pass();
        let _ = released.recv();
        drop(tells);
    })
    .detach();
    let inside = Arc::clone(&gate);
    rt.spawn_blocking(move || {
        inside.pass();
        loop {
            thread::park();
        }
    })
    .detach();
    gate.wait_for(2);
    gate.open();
    let start = std::time::Instant::now();
    drop(rt);
    let took = start.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE * 50, "{took:?}");
    assert_eq!(handle.stats().blocking.abandoned, 2);
    assert!(handle.stats().to_string().contains("blocking_jobs_abandoned=2"), "{}", handle.stats());
    // What is left behind does no harm when it comes to its end.
    drop((handle, release));
    assert_ne!(told.recv().unwrap(), thread::current().id());
    while blocking_threads() > 1 {
        thread::yield_now();
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        results_arrive_while_the_loop_goes_on,
        a_panic_is_the_jobs_own,
        a_result_that_panics_hurts_nobody,
        threads_and_jobs_are_bounded,
        a_job_without_a_task_is_refused,
        a_job_that_has_not_begun_can_be_taken_back,
        a_job_that_runs_goes_on,
        idle_threads_end_and_others_are_started,
        a_job_meets_the_end_of_an_idle_thread,
        an_idle_thread_is_no_reason_to_wait,
        the_last_that_asked_is_woken,
        jobs_begin_in_the_order_in_which_they_came,
        there_may_always_be_one_thread,
        the_end_waits_for_threads_and_not_for_time,
        a_dropped_wait_leaves_no_waker,
        many_jobs_all_arrive,
        the_end_drops_what_waits_and_waits_for_what_runs,
        a_job_that_hangs_is_left_behind,
    );
    suite.run()
}
