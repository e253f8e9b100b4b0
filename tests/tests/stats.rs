//! Goal: the figures mean what they say, have the same shape on every engine, and say nothing about
//! what an engine doesn't have.
//!
//! Method: each figure moved by one known event; the list of fields compared between the engines.

use std::future::{pending, poll_fn};
use std::io::Write;
use std::process::ExitCode;
use std::task::Poll;

use executor::{Config, Reader, yield_now};
use tests::net::pair;
use tests::{Bench, Engine, ProactorFull, ReactorEdge, ReactorLevel, Suite, ms, on_every_engine, run, settle};

fn each_figure_counts_its_own<E: Engine>() {
    let bench = Bench::<E>::with(Config { max_tasks: 2, ..Config::default() });
    let rt = bench.rt();
    let zero = rt.stats();
    let moving = ["tasks_now", "tasks_spawned", "polls", "turns", "timers_now", "timers_fired", "wakes_remote"];
    assert!(zero.fields().iter().all(|(name, value)| !moving.contains(&name.as_str()) || *value == 0), "{zero}");

    let task = rt.spawn(pending::<()>());
    let other = rt.spawn(rt.sleep(ms(5)));
    drop(rt.spawn(async {}));
    let stats = rt.stats();
    assert_eq!((stats.tasks_now, stats.tasks_spawned, stats.tasks_refused), (2, 2, 1));
    rt.block_on(yield_now());
    let stats = rt.stats();
    assert_eq!((stats.timers_now, stats.timers_fired), (1, 0));
    assert_eq!(stats.polls, 4, "two tasks once, the main future twice");
    rt.block_on(other).unwrap();
    let stats = rt.stats();
    assert_eq!((stats.timers_now, stats.timers_fired, stats.tasks_now), (0, 1, 1));
    assert!(stats.turns >= 1 && stats.wakes_local >= 4);
    task.abort();
    drop(task);
    settle::<E>(rt);
    let stats = bench.finish();
    assert_eq!((stats.tasks_spawned, stats.tasks_refused), (2, 1), "kept after the end");
}

/// What ends the sleep for another thread is the runtime's own affair.
fn a_wake_is_no_event<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let ended_sleeps = || {
        let calls = rt.stats().driver.system_calls;
        calls.iter().find(|(name, _)| *name == "write").map_or(0, |(_, count)| *count)
    };
    // One that comes before the sleep ends none.
    while ended_sleeps() < 3 {
        let waits = rt.spawn(pending::<()>());
        let abort = waits.abort_handle();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(ms(20));
            abort.abort();
        });
        assert!(rt.block_on(waits).is_err());
        thread.join().unwrap();
    }
    let driver = rt.stats().driver;
    assert_eq!((driver.events, driver.stale_events.unwrap_or(0)), (0, 0));
    bench.finish();
}

/// A task may be woken in its last poll, or after it.
fn wakes_that_come_too_late_are_counted<E: Engine>() {
    run::<E>(async |rt| {
        for wakes_itself in [false, true] {
            let before = rt.stats().wakes_stale;
            let task = rt.spawn(poll_fn(move |cx| {
                if wakes_itself {
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(cx.waker().clone())
            }));
            task.await.unwrap().wake();
            yield_now().await;
            assert_eq!(rt.stats().wakes_stale - before, 1, "wakes itself: {wakes_itself}");
        }
    });
}

fn a_line_leaves_zeros_out<E: Engine>() {
    run::<E>(async |rt| {
        rt.sleep(ms(1)).await;
        let (line, stats) = (rt.stats().to_string(), rt.stats());
        assert!(line.contains("polls=2 ") && !line.contains("=0"), "{line}");
        let sum: u64 = stats.driver.system_calls.iter().map(|(_, count)| count).sum();
        assert!(stats.driver.system_calls.iter().all(|(_, count)| *count > 0) && sum > 0);
        let fields = stats.fields();
        for (name, count) in &stats.driver.system_calls {
            assert!(fields.contains(&(format!("call.{name}"), *count)));
        }
    });
}

/// Absent, not zero: an engine that has no operations does not claim to have counted none.
fn what_does_not_exist_is_absent() {
    fn fields<E: Engine>() -> Vec<String> {
        let bench = Bench::<E>::new();
        let rt = bench.rt();
        rt.block_on(async {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            peer.write_all(b"x").unwrap();
            stream.recv().await.map(drop).unwrap();
        });
        settle::<E>(rt);
        let stats = bench.finish();
        let names = stats.fields().into_iter().map(|(name, _)| name);
        names.filter(|name| !name.starts_with("call.")).collect()
    }
    let (level, edge, proactor) = (fields::<ReactorLevel>(), fields::<ReactorEdge>(), fields::<ProactorFull>());
    assert_eq!(level, edge);
    let only = |of: &[String], not: &[String]| -> Vec<String> {
        of.iter().filter(|name| !not.contains(name)).cloned().collect()
    };
    assert_eq!(only(&level, &proactor), ["sources_now", "stale_events"]);
    let completion = only(&proactor, &level);
    for name in ["operations_now", "operations", "orphans", "ops_leaked", "ops_abandoned", "stray_cqes"] {
        assert!(completion.iter().any(|other| other == name), "{name} is missing from {completion:?}");
    }
    let shared = only(&level, &only(&level, &proactor));
    for name in
        ["tasks_now", "polls", "turns", "timers_now", "events", "accept_pauses", "chunks_lent_now", "pool_bytes_now"]
    {
        assert!(shared.iter().any(|other| other == name), "{name} is missing from {shared:?}");
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        each_figure_counts_its_own,
        wakes_that_come_too_late_are_counted,
        a_wake_is_no_event,
        a_line_leaves_zeros_out
    );
    if suite.is_available::<ProactorFull>() {
        suite.add_plain("what_does_not_exist_is_absent", what_does_not_exist_is_absent);
    }
    suite.run()
}
