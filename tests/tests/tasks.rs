//! Goal: a task ends in exactly one of the documented ways, and its handle says which; no task can
//! take another one, or the runtime, with it.
//!
//! Method: each way once on every engine, with counted drops and the runtime used again afterwards.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use executor::{Config, JoinError, JoinHandle, JoinSet, Reader, panic_text, yield_now};
use tests::net::pair;
use tests::{Bench, CountsDrops, Engine, Suite, ms, on_every_engine, panics, poll_idle, poll_once, run, settle};

fn a_handle_gives_the_output<E: Engine>() {
    run::<E>(async |rt| {
        let early = rt.spawn(ready(1));
        let late = rt.spawn({
            let sleep = rt.sleep(ms(2));
            async move {
                sleep.await;
                2
            }
        });
        assert!(!early.is_finished(), "a task is not polled inside spawn");
        assert_eq!(late.await.unwrap(), 2);
        assert!(early.is_finished());
        assert_eq!(early.await.unwrap(), 1);
    });
}

fn abort_cancels_and_drops_the_future<E: Engine>() {
    run::<E>(async |rt| {
        let drops = Rc::new(Cell::new(0));
        let guard = CountsDrops(Rc::clone(&drops));
        let task = rt.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        task.abort();
        assert_eq!(drops.get(), 0, "only the executor drops futures, at its own step");
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
        assert_eq!(drops.get(), 1);

        // Before its first poll, after its end, and by itself.
        let unpolled = rt.spawn(async { panic!("never polled") });
        unpolled.abort();
        assert!(matches!(unpolled.await, Err::<(), _>(JoinError::Cancelled)));
        let done = rt.spawn(ready(3));
        yield_now().await;
        done.abort();
        assert_eq!(done.await.unwrap(), 3, "an abort after the end changes nothing");
        let own = Rc::new(RefCell::new(None::<executor::AbortHandle>));
        let suicidal = rt.spawn({
            let own = Rc::clone(&own);
            async move {
                own.borrow().as_ref().unwrap().abort();
                yield_now().await;
                unreachable!("polled after its abort");
            }
        });
        *own.borrow_mut() = Some(suicidal.abort_handle());
        assert!(matches!(suicidal.await, Err::<(), _>(JoinError::Cancelled)));
    });
}

fn an_abort_from_another_thread_ends_a_sleeping_task<E: Engine>() {
    run::<E>(async |rt| {
        let task = rt.spawn(pending::<()>());
        let abort = task.abort_handle();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(ms(20));
            abort.abort();
            abort.abort();
            abort
        });
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
        thread.join().unwrap().abort();
    });
}

fn dropping_the_handle_detaches<E: Engine>() {
    run::<E>(async |rt| {
        let done = Rc::new(Cell::new(false));
        drop(rt.spawn({
            let (done, sleep) = (Rc::clone(&done), rt.sleep(ms(2)));
            async move {
                sleep.await;
                done.set(true);
            }
        }));
        while !done.get() {
            yield_now().await;
        }
    });
}

fn a_panic_is_the_tasks_own<E: Engine>() {
    let detached = Rc::new(RefCell::new(Vec::new()));
    let hook = Rc::clone(&detached);
    let config = Config {
        on_task_panic: Rc::new(move |payload| hook.borrow_mut().push(panic_text(payload.as_ref()).to_owned())),
        ..Config::default()
    };
    let bench = Bench::<E>::with(config);
    let rt = bench.rt();
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            rt.spawn(async move {
                yield_now().await;
                assert!(n != 50, "number {n} panics");
                n
            })
        })
        .collect();
    let survivors = rt.block_on(async {
        let mut survivors = 0;
        for (n, task) in tasks.into_iter().enumerate() {
            match task.await {
                Ok(number) => survivors += usize::from(number == n),
                Err(JoinError::Panicked(payload)) => {
                    assert_eq!((n, payload.text().as_str()), (50, "number 50 panics"));
                    let payload = payload.into_inner();
                    assert_eq!(panic_text(payload.as_ref()), "number 50 panics");
                }
                Err(other) => panic!("{other}"),
            }
        }
        survivors
    });
    assert_eq!(survivors, 99);
    assert_eq!(rt.stats().tasks_panicked, 1, "a joined panic counts, too");
    assert!(detached.borrow().is_empty(), "the handle had it");
    rt.spawn(async { panic!("nobody waits") }).detach();
    rt.block_on(async { yield_now().await });
    assert_eq!(*detached.borrow(), ["nobody waits"]);
    assert_eq!(rt.stats().tasks_panicked, 2);
    bench.finish();
}

/// A value whose drop panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a destructor");
        }
    }
}

fn panicking_destructors_hurt_nobody_else<E: Engine>() {
    run::<E>(async |rt| {
        let inside = rt.spawn(async {
            let _bomb = Bomb;
            yield_now().await;
        });
        assert!(matches!(inside.await, Err(JoinError::Panicked(_))));
        // The output, wanted by nobody.
        rt.spawn(async { Bomb }).detach();
        // The future, when it is aborted.
        let bomb = Bomb;
        let aborted = rt.spawn(async move {
            let _bomb = bomb;
            pending::<()>().await;
        });
        yield_now().await;
        aborted.abort();
        assert!(matches!(aborted.await, Err(JoinError::Panicked(_))));
        let bystander = rt.spawn(ready(7));
        assert_eq!(bystander.await.unwrap(), 7);
    });
}

/// A waker of somebody else's making may panic. Those that are woken in the same turn are woken all the same.
fn a_panicking_waker_hurts_nobody_else<E: Engine>() {
    struct Strange;

    impl Wake for Strange {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }

    run::<E>(async |rt| {
        let deadline = rt.now() + ms(20);
        let mut first = rt.sleep_until(deadline);
        let strange = Waker::from(Arc::new(Strange));
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&strange)).is_pending());
        let others: Vec<_> = (0..10).map(|_| rt.spawn(rt.sleep_until(deadline))).collect();
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(rt.stats().tasks_panicked, 1);
    });
}

fn a_panic_of_the_main_future_goes_through<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    assert_eq!(panics(|| rt.block_on(async { panic!("main") })), "main");
    assert_eq!(rt.block_on(rt.spawn(ready(1))).unwrap(), 1, "the runtime is still good");
    settle::<E>(rt);
    bench.finish();
}

fn spawns_beyond_the_limit_are_refused<E: Engine>() {
    let bench = Bench::<E>::with(Config { max_tasks: 3, ..Config::default() });
    let rt = bench.rt();
    let tasks: Vec<_> = (0..3).map(|_| rt.spawn(pending::<()>())).collect();
    let drops = Rc::new(Cell::new(0));
    let guard = CountsDrops(Rc::clone(&drops));
    let refused = rt.spawn(async move { drop(guard) });
    assert_eq!(drops.get(), 1, "what is refused is dropped at once");
    assert!(refused.is_finished());
    refused.abort();
    assert!(matches!(rt.block_on(refused), Err(JoinError::Refused)));
    assert_eq!((rt.stats().tasks_refused, rt.stats().tasks_now), (1, 3));
    tasks[0].abort();
    rt.block_on(yield_now());
    assert_eq!(rt.block_on(rt.spawn(ready(1))).unwrap(), 1, "one left, so there is room");
    drop(tasks);
    bench.finish();
}

fn a_nested_block_on_panics_with_a_text_and_no_harm<E: Engine>() {
    const TEXT: &str = "block_on was called inside the loop of the same runtime: await the future, or spawn it";
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let handle = bench.handle();
    let nested = rt.spawn(async move { handle.block_on(async {}) });
    match rt.block_on(nested) {
        Err(JoinError::Panicked(payload)) => assert_eq!(payload.text(), TEXT),
        other => panic!("{other:?}"),
    }
    assert_eq!(panics(|| rt.block_on(async { rt.block_on(async {}) })), TEXT);
    let turn = panics(|| rt.block_on(async { drop(rt.turn(None)) }));
    assert!(turn.starts_with("turn was called inside the loop"), "{turn}");
    assert_eq!(rt.block_on(async { rt.sleep(ms(1)).await }), ());
    settle::<E>(rt);
    bench.finish();
}

fn two_runtimes_live_in_one_thread<E: Engine>() {
    let (one, two) = (Bench::<E>::new(), Bench::<E>::new());
    // A task of one awaits a task of the other, while each is driven inside the other's block_on.
    let inner = two.rt().spawn(async { 5 });
    let outcome = one.rt().block_on(async {
        assert_eq!(two.rt().block_on(async { two.rt().sleep(ms(1)).await }), ());
        inner.await.unwrap()
    });
    assert_eq!(outcome, 5);
    let waits = one.rt().spawn({
        let sleeper = two.rt().spawn(two.rt().sleep(ms(5)));
        async move { sleeper.await.is_ok() }
    });
    while two.rt().stats().tasks_now > 0 {
        two.rt().turn(Some(ms(10))).unwrap();
    }
    assert!(one.rt().block_on(waits).unwrap(), "woken by the other runtime, on the same thread");
    settle::<E>(two.rt());
    // Descriptors are compared with what there was before each: the later one goes first.
    two.finish();
    one.finish();
}

fn a_ready_main_future_does_not_wait_for_io<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    // A connection on which nothing ever comes, and a task that waits for it.
    let (mut stream, peer) = rt.block_on(pair::<E>(rt));
    let idle = rt.spawn(async move { stream.recv().await.map(drop) });
    rt.block_on(rt.sleep(ms(1)));
    let turns = rt.stats().turns;
    assert_eq!(rt.block_on(ready(1)), 1);
    assert_eq!(rt.stats().turns, turns, "ready at its first poll: no turn at all");
    // Woken by a task on the same thread.
    assert_eq!(rt.block_on(rt.spawn(ready(2))).unwrap(), 2);
    assert!(rt.stats().turns <= turns + 1, "{}", rt.stats());
    idle.abort();
    rt.block_on(async { drop(idle.await) });
    settle::<E>(rt);
    drop(peer);
    bench.finish();
}

/// A wake during the poll counts, however often it comes, for one more poll, after everybody who waits already.
fn a_wake_while_running_is_one_poll_at_the_back<E: Engine>() {
    run::<E>(async |rt| {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [0, 1, 2]
            .map(|wakes| {
                let trace = Rc::clone(&trace);
                let mut polls = 0;
                rt.spawn(std::future::poll_fn(move |cx| {
                    trace.borrow_mut().push(wakes);
                    polls += 1;
                    if polls == 1 {
                        (0..wakes).for_each(|_| cx.waker().wake_by_ref());
                    }
                    std::task::Poll::<()>::Pending
                }))
            })
            .into();
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!(*trace.borrow(), [0, 1, 2, 1, 2], "the name of each is how often it wakes itself");
        tasks.iter().for_each(JoinHandle::abort);
    });
}

/// A task that spawns for ever meets the limit. What is refused costs nothing, and the others go on.
fn a_task_that_spawns_for_ever_stops_nobody<E: Engine>() {
    const LIMIT: u64 = 10_000;
    let bench = Bench::<E>::with(Config { max_tasks: LIMIT as usize, ..Config::default() });
    let rt = bench.rt();
    let handle = bench.handle();
    let spawner = rt.spawn(async move {
        loop {
            for _ in 0..100 {
                handle.spawn(pending::<()>()).detach();
            }
            yield_now().await;
        }
    });
    let other = rt.spawn({
        let handle = bench.handle();
        async move {
            while handle.stats().tasks_refused < LIMIT {
                handle.sleep(ms(1)).await;
            }
        }
    });
    rt.block_on(other).unwrap();
    assert!(rt.stats().tasks_now <= LIMIT, "{}", rt.stats());
    spawner.abort();
    rt.block_on(spawner).unwrap_err();
    assert_eq!(rt.block_on(rt.spawn(ready(1))).unwrap(), 1, "there is room again");
    bench.finish();
}

fn polling_a_handle_again_panics_with_a_text<E: Engine>() {
    run::<E>(async |rt| {
        let mut task = rt.spawn(ready(1));
        while poll_once(&mut task).await.is_none() {
            yield_now().await;
        }
        let text = panics(|| drop(poll_idle(&mut task)));
        assert_eq!(text, "a JoinHandle was polled after it had given its output");
    });
}

fn a_join_handle_wakes_the_last_that_asked<E: Engine>() {
    run::<E>(async |rt| {
        let mut task = rt.spawn(rt.sleep(ms(5)));
        // A first look with a waker that wakes nobody, then the real wait.
        let noop = std::pin::Pin::new(&mut task);
        assert!(std::future::Future::poll(noop, &mut Context::from_waker(Waker::noop())).is_pending());
        task.await.unwrap();
    });
}

fn a_join_set_gives_results_as_tasks_end<E: Engine>() {
    run::<E>(async |rt| {
        let mut group = JoinSet::new();
        let start = Instant::now();
        for delay in [30, 10, 20] {
            let sleep = rt.sleep_until(start + ms(delay));
            group.add(rt.spawn(async move {
                sleep.await;
                delay
            }));
        }
        let bad = rt.spawn(async { panic!("one of the group") });
        group.add(bad);
        assert_eq!(group.len(), 4);
        assert!(matches!(group.join_next().await, Some(Err(JoinError::Panicked(_)))));
        for expected in [10, 20, 30] {
            // Dropping the future between two results loses none.
            assert!(rt.timeout(ms(0), pending::<()>()).await.is_err());
            assert_eq!(group.join_next().await.unwrap().unwrap(), expected);
        }
        assert!(group.join_next().await.is_none() && group.is_empty());
        group.add(rt.spawn(ready(1)));
        assert_eq!(group.join_next().await.unwrap().unwrap(), 1, "an emptied group can be used again");
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct CountsWakes(AtomicU32);

impl Wake for CountsWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl CountsWakes {
    /// Polls with a waker that counts here.
    fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Two wait for a group, one after the other, and two members end in the same turn: a single wake, of the last.
fn a_join_set_wakes_the_last_that_asked_once<E: Engine>() {
    run::<E>(async |rt| {
        let mut group = JoinSet::new();
        let deadline = rt.now() + ms(5);
        (0..2).for_each(|_| group.add(rt.spawn(rt.sleep_until(deadline))));
        let (first, last) = (Arc::new(CountsWakes::default()), Arc::new(CountsWakes::default()));
        for waits in [&first, &last] {
            assert!(waits.poll(pin!(group.join_next())).is_pending());
        }
        while rt.stats().tasks_now > 0 {
            rt.sleep(ms(1)).await;
        }
        assert_eq!((first.count(), last.count()), (0, 1));
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&last)), (1, 1), "a group keeps a waker it has used");
        while group.join_next().await.is_some() {}
    });
}

/// They end between two looks at the group, in another order than that in which they were added.
fn a_join_set_keeps_to_the_order_of_ends<E: Engine>() {
    run::<E>(async |rt| {
        let mut group = JoinSet::new();
        let ends: Vec<_> = (0..4).map(|_| Rc::new(Cell::new(false))).collect();
        for (number, end) in ends.iter().enumerate() {
            let end = Rc::clone(end);
            group.add(rt.spawn(async move {
                while !end.get() {
                    yield_now().await;
                }
                number
            }));
        }
        assert!(poll_once(&mut pin!(group.join_next())).await.is_none());
        for number in [2, 0, 3, 1] {
            ends[number].set(true);
            for _ in 0..3 {
                yield_now().await;
            }
        }
        assert_eq!(rt.stats().tasks_now, 0);
        for number in [2, 0, 3, 1] {
            assert_eq!(group.join_next().await.unwrap().unwrap(), number);
        }
        // Those that have ended before they join come in the order in which they do.
        let ended: Vec<_> = (0..4).map(|number| rt.spawn(ready(number))).collect();
        yield_now().await;
        ended.into_iter().rev().for_each(|task| group.add(task));
        for number in (0..4).rev() {
            assert_eq!(group.join_next().await.unwrap().unwrap(), number);
        }
    });
}

fn a_join_set_survives_a_dropped_wait_and_aborts_on_drop<E: Engine>() {
    run::<E>(async |rt| {
        let drops = Rc::new(Cell::new(0));
        let mut group = JoinSet::new();
        for _ in 0..10 {
            let (guard, sleep) = (CountsDrops(Rc::clone(&drops)), rt.sleep(ms(600_000)));
            group.add(rt.spawn(async move {
                let _guard = guard;
                sleep.await;
            }));
        }
        assert!(rt.timeout(ms(2), group.join_next()).await.is_err());
        group.abort_all();
        assert!(matches!(group.join_next().await, Some(Err(JoinError::Cancelled))));
        drop(group);
        yield_now().await;
        yield_now().await;
        assert_eq!(drops.get(), 10);
        assert_eq!(rt.stats().timers_now, 0);
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        a_handle_gives_the_output,
        abort_cancels_and_drops_the_future,
        an_abort_from_another_thread_ends_a_sleeping_task,
        dropping_the_handle_detaches,
        a_panic_is_the_tasks_own,
        panicking_destructors_hurt_nobody_else,
        a_panicking_waker_hurts_nobody_else,
        a_panic_of_the_main_future_goes_through,
        spawns_beyond_the_limit_are_refused,
        a_nested_block_on_panics_with_a_text_and_no_harm,
        two_runtimes_live_in_one_thread,
        a_ready_main_future_does_not_wait_for_io,
        a_wake_while_running_is_one_poll_at_the_back,
        a_task_that_spawns_for_ever_stops_nobody,
        polling_a_handle_again_panics_with_a_text,
        a_join_handle_wakes_the_last_that_asked,
        a_join_set_gives_results_as_tasks_end,
        a_join_set_wakes_the_last_that_asked_once,
        a_join_set_keeps_to_the_order_of_ends,
        a_join_set_survives_a_dropped_wait_and_aborts_on_drop,
    );
    suite.run()
}
