//! Goal: a waker is foreign code. If one panics, when it is cloned, woken or dropped, the runtime reports the panic,
//! wakes all others of the same turn, and works on. A wake may use the runtime, and drop what is due.
//!
//! Method: futures of the runtime polled with wakers of our own making, between others that behave.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{Read as _, Write};
use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, RawWaker, RawWakerVTable, Wake, Waker};

use executor::{Config, IoBuf, JoinHandle, Net as _, Reader, Sleep, Writer as _, panic_text, yield_now};
use tests::net::pair;
use tests::{Bench, Engine, Suite, ms, on_every_engine, panics, run, settle};

struct PanicsOnWake;

impl Wake for PanicsOnWake {
    fn wake(self: Arc<Self>) {
        panic!("a wake");
    }
}

struct PanicsOnDrop;

impl Wake for PanicsOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("a waker's drop");
    }
}

/// A waker whose clone panics. std's safe ways to make one always clone an `Arc`.
fn panics_on_clone() -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(|_| panic!("a waker's clone"), |_| {}, |_| {}, |_| {});
    // SAFETY: the functions of the table use no data, may be called from any thread, and uphold the contract: a
    // clone, the only one that would have to give something back, never returns.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) }
}

/// The text of the panic in which this poll ends.
fn poll_with_a_bad_clone<F: Future + Unpin>(future: &mut F) -> String {
    panics(|| assert!(!poll_with(future, panics_on_clone())))
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: Waker) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(&waker)).is_ready()
}

/// A runtime that takes down the panics nobody else is told of.
fn bench<E: Engine>() -> (Bench<E>, Rc<RefCell<Vec<String>>>) {
    let reported = Rc::new(RefCell::new(Vec::new()));
    let hook = Rc::clone(&reported);
    let on_task_panic = Rc::new(move |payload: Box<dyn std::any::Any + Send>| {
        hook.borrow_mut().push(panic_text(payload.as_ref()).to_owned());
    });
    (Bench::with(Config { on_task_panic, ..Config::default() }), reported)
}

/// Nineteen timers of one deadline, and in the middle one whose waker panics.
fn timers_of_the_same_turn_all_fire<E: Engine>() {
    for (bad, text) in
        [(Waker::from(Arc::new(PanicsOnWake)), "a wake"), (Waker::from(Arc::new(PanicsOnDrop)), "a waker's drop")]
    {
        let (bench, reported) = bench::<E>();
        let rt = bench.rt();
        let deadline = rt.now() + ms(5);
        let mut spoiled = rt.sleep_until(deadline);
        let mut bad = Some(bad);
        let tasks: Vec<JoinHandle<()>> = (0..20)
            .map(|number| {
                if number == 10 {
                    // In order: those before are set first.
                    rt.block_on(yield_now());
                    assert!(!poll_with(&mut spoiled, bad.take().expect("once")));
                }
                rt.spawn(rt.sleep_until(deadline))
            })
            .collect();
        for task in tasks {
            rt.block_on(task).unwrap();
        }
        assert_eq!(*reported.borrow(), [text]);
        rt.block_on(spoiled);
        settle::<E>(rt);
        bench.finish();
    }
}

/// The same with sockets: what the kernel reported in the same turn reaches everybody else.
fn streams_of_the_same_turn_are_all_served<E: Engine>() {
    let (bench, reported) = bench::<E>();
    let rt = bench.rt().clone();
    bench.rt().block_on(async {
        let (mut tasks, mut peers): (Vec<_>, Vec<TcpStream>) = (Vec::new(), Vec::new());
        let (mut spoiled, mut spoiled_peer) = pair::<E>(&rt).await;
        for _ in 0..20 {
            let (mut stream, peer) = pair::<E>(&rt).await;
            tasks.push(rt.spawn(async move { stream.recv().await.unwrap().bytes().to_vec() }));
            peers.push(peer);
        }
        yield_now().await;
        let mut received = pin!(spoiled.recv());
        assert!(!poll_with(&mut received, Waker::from(Arc::new(PanicsOnWake))));
        rt.sleep(ms(1)).await;
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.write_all(b"x").unwrap();
            if number == 10 {
                spoiled_peer.write_all(b"y").unwrap();
            }
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), b"x");
        }
        while reported.borrow().is_empty() {
            yield_now().await;
        }
        assert_eq!(received.await.unwrap().bytes(), b"y", "and it was received");
    });
    assert_eq!(*reported.borrow(), ["a wake"]);
    drop(rt);
    settle::<E>(bench.rt());
    bench.finish();
}

/// Who joins a task may bring a waker that panics: the task is over all the same.
fn a_joiners_waker_is_not_the_tasks<E: Engine>() {
    let (bench, reported) = bench::<E>();
    let rt = bench.rt();
    let mut task = rt.spawn(rt.sleep(ms(1)));
    assert!(!poll_with(&mut task, Waker::from(Arc::new(PanicsOnWake))));
    rt.block_on(rt.sleep(ms(5)));
    assert_eq!(*reported.borrow(), ["a wake"]);
    rt.block_on(task).unwrap();
    settle::<E>(rt);
    bench.finish();
}

/// A clone panics in the poll of whoever brought the waker, before anything was changed.
fn a_clone_that_panics_changes_nothing<E: Engine>() {
    const TEXT: &str = "a waker's clone";
    run::<E>(async |rt| {
        let mut sleep = rt.sleep(ms(5));
        assert_eq!(poll_with_a_bad_clone(&mut sleep), TEXT);
        assert_eq!(rt.stats().timers_now, 0);
        sleep.await;
        let mut task = rt.spawn(rt.sleep(ms(1)));
        assert_eq!(poll_with_a_bad_clone(&mut task), TEXT);
        task.await.unwrap();
        let (mut stream, mut peer) = pair::<E>(rt).await;
        for _ in 0..3 {
            assert_eq!(poll_with_a_bad_clone(&mut pin!(stream.recv())), TEXT);
        }
        peer.write_all(b"x").unwrap();
        assert_eq!(stream.recv().await.unwrap().bytes(), b"x");
        assert_eq!(poll_with_a_bad_clone(&mut pin!(stream.write_all(vec![0; 1 << 25]))), TEXT);
    });
}

thread_local! {
    /// What the drop of a waker does. A waker crosses threads, and can't have it itself.
    static AT_THE_DROP: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

struct ActsOnDrop;

impl Wake for ActsOnDrop {
    fn wake(self: Arc<Self>) {}
}

impl Drop for ActsOnDrop {
    fn drop(&mut self) {
        AT_THE_DROP.with_borrow(|act| act.as_ref().expect("set before the first waker")());
    }
}

/// A waker may be the last that holds something, and that may use the runtime as it goes: here it sets a timer. So no
/// timer is under way when a waker is dropped: with its `Sleep`, for another waker, for another deadline, when it has
/// fired.
fn a_waker_may_set_a_timer_as_it_goes<E: Engine>() {
    run::<E>(async |rt| {
        let (handle, drops) = (rt.clone(), Rc::new(Cell::new(0)));
        let counter = Rc::clone(&drops);
        let act = move || {
            assert!(!poll_with(&mut handle.sleep(ms(1000)), Waker::noop().clone()));
            counter.set(counter.get() + 1);
        };
        AT_THE_DROP.set(Some(Box::new(act)));
        let begun = |length| {
            let mut sleep = rt.sleep(length);
            assert!(!poll_with(&mut sleep, Waker::from(Arc::new(ActsOnDrop))));
            sleep
        };
        drop(begun(ms(1000)));
        assert_eq!(drops.get(), 1, "its sleep is dropped");
        let mut sleep = begun(ms(1000));
        assert!(!poll_with(&mut sleep, Waker::noop().clone()));
        assert_eq!(drops.get(), 2, "another waker takes its place");
        let mut sleep = begun(ms(1000));
        sleep.reset(None);
        assert_eq!(drops.get(), 3, "its sleep has another deadline");
        let fired = begun(ms(1));
        fired.await;
        assert_eq!(drops.get(), 4, "another waker takes its place, and the timer fires");
        let _fired = begun(ms(1));
        rt.sleep(ms(5)).await;
        assert_eq!(drops.get(), 5, "it has fired");
        AT_THE_DROP.take();
    });
}

thread_local! {
    /// What the next wake of [`ActsOnWake`] does.
    static AT_THE_WAKE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

struct ActsOnWake;

impl Wake for ActsOnWake {
    fn wake(self: Arc<Self>) {
        if let Some(act) = AT_THE_WAKE.take() {
            act();
        }
    }
}

fn acts_on_wake(act: impl FnOnce() + 'static) -> Waker {
    AT_THE_WAKE.set(Some(Box::new(act)));
    Waker::from(Arc::new(ActsOnWake))
}

/// A timer fires, and the wake drops it, another that is due in the same turn, one that is not, and a stream; and it gives a
/// third that is due another deadline. What is due besides fires.
fn a_wake_may_drop_what_is_due<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let (deadline, later) = (rt.now() + ms(5), rt.now() + ms(30));
        let begun = |deadline| {
            let mut sleep = rt.sleep_until(deadline);
            assert!(!poll_with(&mut sleep, Waker::noop().clone()));
            sleep
        };
        let moved = Rc::new(RefCell::new(None));
        let (own, kept) = (Rc::new(RefCell::new(None)), Rc::clone(&moved));
        let (dropped, fired) = (Rc::clone(&own), Rc::new(Cell::new(false)));
        let (others, acted) = ([begun(deadline), begun(deadline + ms(3_600_000))], Rc::clone(&fired));
        let waker = acts_on_wake(move || {
            drop((dropped.take(), others, stream));
            kept.borrow_mut().as_mut().map(|sleep: &mut Sleep| sleep.reset(later)).expect("it is there");
            acted.set(true);
        });
        let mut first = rt.sleep_until(deadline);
        assert!(!poll_with(&mut first, waker));
        own.replace(Some(first));
        moved.replace(Some(begun(deadline)));
        let last = rt.spawn(rt.sleep_until(deadline));
        last.await.unwrap();
        assert!(fired.get() && own.borrow().is_none());
        let end = tests::elsewhere(move || peer.read(&mut [0])).await;
        assert_eq!(end.unwrap(), 0, "the stream is gone");
        moved.take().expect("it is there").await;
        assert!(rt.now() >= later);
        assert_eq!(rt.stats().timers_now, 0);
    });
}

/// A wake takes its time, spawns, sets a timer, opens a socket, and stops the runtime. Only a turn of the same loop is
/// refused, and that is reported.
fn a_wake_may_use_the_runtime<E: Engine>() {
    for way in 0..3 {
        let (bench, reported) = bench::<E>();
        let rt = bench.handle();
        let (mut stream, mut peer) = rt.block_on(pair::<E>(&rt));
        let spawned = Rc::new(Cell::new(false));
        let (handle, note) = (rt.clone(), Rc::clone(&spawned));
        let waker = acts_on_wake(move || {
            std::thread::sleep(ms(5));
            handle.spawn(async move { note.set(true) }).detach();
            assert!(!poll_with(&mut handle.sleep(ms(1000)), Waker::noop().clone()));
            drop((handle.stats(), handle.bind_udp(tests::net::V4).unwrap()));
            handle.stop();
            drop(handle.turn(None));
        });
        rt.block_on(async {
            let (mut sleep, mut task) = (rt.sleep(ms(1)), rt.spawn(rt.sleep(ms(1))));
            let mut received = pin!(stream.recv());
            match way {
                0 => assert!(!poll_with(&mut sleep, waker)),
                1 => assert!(!poll_with(&mut task, waker)),
                _ => assert!(!poll_with(&mut received, waker)),
            }
            peer.write_all(b"x").unwrap();
            rt.stopped().await;
            assert_eq!(received.await.unwrap().bytes(), b"x");
            sleep.await;
            task.await.unwrap();
            yield_now().await;
        });
        assert!(spawned.get(), "way {way}");
        let reported = reported.borrow();
        assert!(reported.len() == 1 && reported[0].starts_with("turn was called inside the loop"), "{reported:?}");
        drop((rt, stream, peer));
        settle::<E>(bench.rt());
        bench.finish();
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        timers_of_the_same_turn_all_fire,
        streams_of_the_same_turn_are_all_served,
        a_joiners_waker_is_not_the_tasks,
        a_clone_that_panics_changes_nothing,
        a_waker_may_set_a_timer_as_it_goes,
        a_wake_may_drop_what_is_due,
        a_wake_may_use_the_runtime,
    );
    suite.run()
}
