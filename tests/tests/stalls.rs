//! Goal: a poll that holds the loop for too long is reported once, with the place its task was spawned at; no other is;
//! tasks that have ended leave nothing with the watch; and a runtime without a watch has nothing of it.
//!
//! Method: a clock that is moved by hand, inside of polls, says exactly how long each took; on the engines, where clocks
//! move by themselves, a sleep that blocks. What stays of many tasks is counted by an allocator.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::pending;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use executor::{Config, Executor, Stall, StallWatch, yield_now};
use tests::{Bench, ByHand, Engine, Suite, by_hand, ms, on_every_engine};

const LIMIT: Duration = ms(20);

type Stalls = Rc<RefCell<Vec<Stall>>>;

fn watched() -> (Config, Stalls) {
    let stalls = Stalls::default();
    let seen = Rc::clone(&stalls);
    let on_stall = Rc::new(move |stall: &Stall| seen.borrow_mut().push(stall.clone()));
    (Config { stall_watch: Some(StallWatch { limit: LIMIT, on_stall }), ..Config::default() }, stalls)
}

/// The line and the time of each report so far.
fn taken(stalls: &Stalls) -> Vec<(u32, Duration)> {
    let stalls = stalls.take();
    stalls.iter().map(|stall| (stall.site.map_or(0, |site| site.line()), stall.took)).collect()
}

/// Holds the loop: time passes inside of a poll.
fn hold(clock: &Cell<Instant>, time: Duration) {
    clock.set(clock.get() + time);
}

fn each_stall_is_reported_once_and_no_other_poll() {
    let (config, stalls) = watched();
    let (rt, clock) = by_hand(config);
    let inside = Rc::clone(&clock);
    let polls = [ms(19), ms(20), ms(1), ms(500), ms(0)];
    let task = rt.spawn(async move {
        for time in polls {
            hold(&inside, time);
            yield_now().await;
        }
    });
    let line = line!() - 6;
    rt.block_on(async {
        let quick = rt.spawn(async { yield_now().await });
        task.await.unwrap();
        quick.await.unwrap();
    });
    assert_eq!(taken(&stalls), [(line, ms(20)), (line, ms(500))]);
    // In the poll in which it ends, too, and in the main future.
    let inside = Rc::clone(&clock);
    let last = rt.spawn(async move { hold(&inside, ms(30)) });
    let line = line!() - 1;
    rt.block_on(async {
        last.await.unwrap();
        hold(&clock, ms(40));
    });
    assert_eq!(taken(&stalls), [(line, ms(30)), (0, ms(40))]);
}

/// The place is the program's, whichever way the task is spawned.
fn the_place_is_the_callers() {
    let (config, stalls) = watched();
    let (rt, clock) = by_hand(config);
    rt.block_on(async {
        let mut group = executor::JoinSet::new();
        let inside = Rc::clone(&clock);
        group.add(rt.spawn(async move { hold(&inside, LIMIT) }));
        let first = line!() - 1;
        group.join_next().await.unwrap().unwrap();
        rt.spawn(async { panic!("a poll that panics is a poll") }).detach();
        let blocking = rt.spawn_blocking(|| ());
        blocking.await.unwrap();
        let remote = rt.remote();
        let (clock, now) = (Rc::clone(&clock), clock.get());
        thread_local!(static CLOCK: RefCell<Option<Rc<Cell<Instant>>>> = const { RefCell::new(None) });
        CLOCK.set(Some(clock));
        let post = move || remote.spawn(|| async { CLOCK.with_borrow(|clock| hold(clock.as_ref().unwrap(), LIMIT)) });
        let second = line!() - 1;
        thread::spawn(post).join().unwrap().unwrap();
        while rt.now() == now {
            yield_now().await;
        }
        yield_now().await;
        CLOCK.take();
        let places: Vec<_> = stalls.borrow().iter().map(|stall| stall.site.unwrap().file()).collect();
        assert_eq!(places, [file!(), file!()]);
        let text = stalls.borrow()[0].to_string();
        assert!(text.contains(&format!("{}:{first}:", file!())) && text.ends_with("held the loop for 20ms"), "{text}");
        assert_eq!(taken(&stalls), [(first, LIMIT), (second, LIMIT)]);
    });
}

/// A task takes the name of one that is gone, and is not taken for it. A hook that panics harms nobody.
fn a_hook_that_panics_and_names_used_again() {
    let reports = Rc::new(Cell::new(0));
    let (counter, panics) = (Rc::clone(&reports), Rc::new(Cell::new(0)));
    let on_stall = Rc::new(move |_: &Stall| {
        counter.set(counter.get() + 1);
        panic!("in the hook");
    });
    let seen = Rc::clone(&panics);
    let config = Config {
        stall_watch: Some(StallWatch { limit: LIMIT, on_stall }),
        on_task_panic: Rc::new(move |_| seen.set(seen.get() + 1)),
        ..Config::default()
    };
    let (rt, clock) = by_hand(config);
    rt.block_on(async {
        for round in 0..100 {
            let inside = Rc::clone(&clock);
            let time = if round % 2 == 0 { LIMIT } else { ms(0) };
            rt.spawn(async move { hold(&inside, time) }).await.unwrap();
        }
    });
    assert_eq!((reports.get(), panics.get()), (50, 50));
}

/// A hook is code of the program's: it may do all that a task may.
fn a_hook_may_use_the_runtime() {
    type Rt = Rc<OnceCell<Executor<ByHand>>>;
    let (slot, ran, panics) = (Rt::default(), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (of_hook, counter, seen) = (Rc::clone(&slot), Rc::clone(&ran), Rc::clone(&panics));
    let on_stall = Rc::new(move |_: &Stall| {
        let counter = Rc::clone(&counter);
        of_hook.get().expect("set below").spawn(async move { counter.set(counter.get() + 1) }).detach();
    });
    let config = Config {
        stall_watch: Some(StallWatch { limit: LIMIT, on_stall }),
        on_task_panic: Rc::new(move |_| seen.set(seen.get() + 1)),
        ..Config::default()
    };
    let (rt, clock) = by_hand(config);
    assert!(slot.set(rt.clone()).is_ok());
    rt.block_on(async {
        for _ in 0..3 {
            let inside = Rc::clone(&clock);
            rt.spawn(async move { hold(&inside, LIMIT) }).await.unwrap();
        }
        yield_now().await;
    });
    assert_eq!((ran.get(), panics.get()), (3, 0));
}

/// Tasks return, panic, or are aborted, polled before or not. A place takes 24 bytes, and none may stay.
fn tasks_that_have_ended_leave_nothing() {
    const TASKS: u32 = 10_000;
    for config in [watched().0, Config::default()] {
        let (is_watched, (rt, _clock)) = (config.stall_watch.is_some(), by_hand(config));
        let begin_and_end = async |count| {
            for number in 0..count {
                let task = rt.spawn(async move {
                    match number % 4 {
                        0 => yield_now().await,
                        1 => resume_unwind(Box::new("not announced")),
                        _ => pending().await,
                    }
                });
                if number % 4 == 2 {
                    yield_now().await;
                }
                if number % 4 >= 2 {
                    task.abort();
                }
                assert_eq!(task.await.is_ok(), number % 4 == 0);
            }
        };
        rt.block_on(begin_and_end(100));
        let stays = measure(|| rt.block_on(begin_and_end(TASKS)));
        assert!(stays.bytes_current < 10_000, "{stays:?} of {TASKS} tasks, watched: {is_watched}");
    }
}

fn a_task_that_blocks_is_found<E: Engine>() {
    let (config, stalls) = watched();
    let bench = Bench::<E>::with(config);
    let rt = bench.rt();
    rt.block_on(async {
        let blocks = rt.spawn(async { thread::sleep(LIMIT) });
        let other = rt.spawn(async { yield_now().await });
        blocks.await.unwrap();
        other.await.unwrap();
    });
    let line = line!() - 5;
    // A machine that is busy may stall the others, too.
    let found = taken(&stalls);
    assert!(found.iter().all(|(_, took)| *took >= LIMIT), "{found:?}");
    assert_eq!(found.iter().filter(|stall| stall.0 == line).count(), 1, "{found:?}");
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.add_plain("each_stall_is_reported_once_and_no_other_poll", each_stall_is_reported_once_and_no_other_poll);
    suite.add_plain("the_place_is_the_callers", the_place_is_the_callers);
    suite.add_plain("a_hook_that_panics_and_names_used_again", a_hook_that_panics_and_names_used_again);
    suite.add_plain("a_hook_may_use_the_runtime", a_hook_may_use_the_runtime);
    suite.add_plain("tasks_that_have_ended_leave_nothing", tasks_that_have_ended_leave_nothing);
    on_every_engine!(suite, a_task_that_blocks_is_found);
    suite.run()
}
