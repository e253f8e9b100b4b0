//! Goal: what the kernel reports is taken for what it is. In whatever order it comes, the outcome is the same;
//! reports of what is gone, of what never was, and reports twice are counted, and touch nothing.
//!
//! Method: an editor between the kernel's batches and the driver, over conversations of many clients at a time.
//! The counters say exactly how many reports there were too many.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use executor::{Editor, Report};
use tests::judges::{is_final, names_something, shuffled};
use tests::{Bench, Engine, Suite, TRANSCRIPT, conversation, on_engines, on_every_fallback, on_reactors, settle};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// Conversations at a time, enough that batches are of many reports.
const CONVERSATIONS: usize = 12;

async fn converse<E: Engine>(rt: &E::Rt) {
    let talks: Vec<_> = (0..CONVERSATIONS).map(|_| rt.spawn(conversation::<E>(rt.clone()))).collect();
    let mut transcripts = Vec::new();
    for talk in talks {
        transcripts.push(talk.await.expect("no panic").expect("no error"));
    }
    assert!(transcripts.iter().all(|transcript| transcript.len() == TRANSCRIPT && *transcript == transcripts[0]));
}

fn any_order_will_do<E: Engine>() {
    for seed in 0..8 {
        let bench = Bench::<E>::new();
        let rt = bench.rt();
        let (shuffle, batches) = (shuffled(seed), Rc::new(Cell::new(0)));
        let counted = Rc::clone(&batches);
        let editor = move |reports: &mut Vec<Report>| {
            counted.set(counted.get() + u32::from(reports.len() > 1));
            shuffle(reports);
        };
        E::set_editor(rt, Some(Rc::new(editor)));
        rt.block_on(converse::<E>(rt));
        settle::<E>(rt);
        let batches = batches.get();
        assert!(batches > 10, "{batches} batches of more than one: too few to prove anything");
        bench.finish();
    }
}

/// What an index that was never given out is called, in a generation that was.
const NEVER_GIVEN_OUT: u64 = 0x00ff_ffff;
/// Turns a name into that of the same place in a generation that won't come in a test's life.
const OTHER_GENERATION: u64 = 1 << 63;

/// Adds to each batch. Returns how many reports were added that must be counted as strays.
fn adding(add: impl Fn(&Report) -> Vec<Report> + 'static) -> (Editor, Rc<Cell<u64>>) {
    let added = Rc::new(Cell::new(0));
    let counter = Rc::clone(&added);
    let editor = move |reports: &mut Vec<Report>| {
        let mut edited = Vec::new();
        for report in reports.drain(..) {
            edited.push(report);
            if names_something(&report) {
                let more = add(&report);
                counter.set(counter.get() + more.len() as u64);
                edited.extend(more);
            }
        }
        *reports = edited;
    };
    (Rc::new(editor), added)
}

fn stray_completions_touch_nothing<E: Engine>() {
    let twice: fn(&Report) -> Vec<Report> = |report| if is_final(report) { vec![*report] } else { Vec::new() };
    let older: fn(&Report) -> Vec<Report> = |report| vec![Report { name: report.name ^ OTHER_GENERATION, ..*report }];
    let unknown: fn(&Report) -> Vec<Report> = |report| {
        let failed = Report { name: report.name | NEVER_GIVEN_OUT, result: -5, flags: 0 };
        vec![failed, Report { result: 3, ..failed }]
    };
    for add in [twice, older, unknown] {
        let mut bench = Bench::<E>::new();
        let rt = bench.rt();
        let (editor, added) = adding(add);
        E::set_editor(rt, Some(editor));
        rt.block_on(converse::<E>(rt));
        E::set_editor(rt, None);
        let stats = rt.stats();
        assert!(added.get() > 100, "{} added: too few to prove anything", added.get());
        assert_eq!(stats.driver.stray_cqes, Some(added.get()), "{stats}");
        bench.end();
        let stats = bench.handle().stats();
        assert_eq!((stats.driver.operations_now, stats.driver.chunks_lent_now), (Some(0), 0), "{stats}");
        assert_eq!(stats.driver.ops_abandoned, Some(0), "{stats}");
    }
}

/// Only the kernel can say that it has let go of memory. A report that names an operation under way, and is not the
/// kernel's, is one too many, and ends nothing.
fn what_an_editor_makes_up_is_not_believed<E: Engine>() {
    let too_early: fn(&Report) -> Report = |report| Report { result: 5, flags: 0, ..*report };
    let failed: fn(&Report) -> Report = |report| Report { result: -5, flags: 0, ..*report };
    for make_up in [too_early, failed] {
        let bench = Bench::<E>::new();
        let rt = bench.rt();
        let added = Rc::new(Cell::new(0));
        let counter = Rc::clone(&added);
        let editor = move |reports: &mut Vec<Report>| {
            let made_up: Vec<_> = reports.iter().filter(|report| names_something(report)).map(make_up).collect();
            // What is the kernel's own by chance is a report twice.
            counter.set(counter.get() + made_up.len() as u64);
            reports.splice(..0, made_up);
        };
        E::set_editor(rt, Some(Rc::new(editor)));
        rt.block_on(converse::<E>(rt));
        E::set_editor(rt, None);
        let stats = rt.stats();
        assert!(added.get() > 100, "{} added: too few to prove anything", added.get());
        assert_eq!(stats.driver.stray_cqes, Some(added.get()), "{stats}");
    }
}

/// Readable, writable: as far as epoll is concerned, anything may be ready.
const READY: u32 = 0x5;

fn stale_and_spurious_events_touch_nothing<E: Engine>() {
    for is_spurious in [false, true] {
        let bench = Bench::<E>::new();
        let rt = bench.rt();
        let (editor, added) = adding(move |report| {
            let others = [report.name ^ OTHER_GENERATION, report.name | NEVER_GIVEN_OUT];
            let names = if is_spurious { vec![report.name; 2] } else { others.to_vec() };
            names.into_iter().map(|name| Report { name, result: 0, flags: READY }).collect()
        });
        E::set_editor(rt, Some(editor));
        rt.block_on(converse::<E>(rt));
        E::set_editor(rt, None);
        let stats = rt.stats();
        assert!(added.get() > 100, "{} added: too few to prove anything", added.get());
        assert_eq!(stats.driver.stale_events, Some(if is_spurious { 0 } else { added.get() }), "{stats}");
        settle::<E>(rt);
        bench.finish();
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, any_order_will_do);
    on_engines!(suite, [ProactorFull, ProactorBare, ProactorOneshot], stray_completions_touch_nothing);
    on_engines!(suite, [ProactorFull, ProactorBare, ProactorOneshot], what_an_editor_makes_up_is_not_believed);
    on_reactors!(suite, stale_and_spurious_events_touch_nothing);
    suite.run()
}
