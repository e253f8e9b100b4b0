//! Goal: what a program hands to the runtime (hooks, wakers, futures, jobs, outputs, the payloads of its panics) may panic
//! wherever the runtime calls or drops it. All else that has to happen happens: every wake, every step of the end.
//!
//! Method: all of them panic, with payloads that panic again when they are dropped; in the loop, at the end, and at an end
//! that is itself a part of an unwinding. Two that are dropped together without a guard end the process.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::io::Write as _;
use std::net::UdpSocket as StdSocket;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use executor::{BlockingConfig, Config, IoBuf, JoinHandle, JoinSet, Net as _, Reader, yield_now};
use tests::net::{V4, pair};
use tests::{Bench, Engine, Suite, ms, on_every_engine, on_every_fallback, on_reactors, open_fds, panics, settle};

/// The payload of a panic. Its destructor panics, too.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("a payload's drop");
    }
}

static BOMBS: AtomicU32 = AtomicU32::new(0);

/// Counts its drop, and panics with a [`Payload`].
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        BOMBS.fetch_add(1, Ordering::Relaxed);
        panic_any(Payload);
    }
}

fn bombs() -> u32 {
    BOMBS.load(Ordering::Relaxed)
}

struct PanicsOnWake;

impl Wake for PanicsOnWake {
    fn wake(self: Arc<Self>) {
        panic!("a wake");
    }
}

/// A waker of which the last reference panics.
struct PanicsOnDrop(#[allow(dead_code)] Bomb);

impl Wake for PanicsOnDrop {
    fn wake(self: Arc<Self>) {
        std::mem::forget(self);
    }
}

fn bad_to_wake() -> Waker {
    Arc::new(PanicsOnWake).into()
}

fn bad_to_drop() -> Waker {
    Arc::new(PanicsOnDrop(Bomb)).into()
}

/// A waker that counts.
struct Counter(AtomicU32);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter() -> (Arc<Counter>, Waker) {
    let counter = Arc::new(Counter(AtomicU32::new(0)));
    (Arc::clone(&counter), counter.into())
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// What the panics of these tests say.
const EXPECTED: [&str; 6] = ["a wake", "a payload's drop", "the first", "the third", "why it ends", "by unwinding"];

/// std's panic hook says nothing of these from now on.
fn hush() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_expected = EXPECTED.contains(&executor::panic_text(panic.payload()));
        if !is_expected && !panic.payload().is::<Payload>() {
            report(panic);
        }
    }));
}

/// The hook of a program that wants to end with the first panic.
fn fatal() -> Config {
    Config { on_task_panic: Rc::new(|payload| resume_unwind(payload)), ..Config::default() }
}

/// What `act` panics with, which must not be dropped without care.
fn caught(act: impl FnOnce()) -> Option<&'static str> {
    let payload = catch_unwind(AssertUnwindSafe(act)).err()?;
    let text = payload.downcast_ref::<&'static str>().copied();
    std::mem::forget(payload);
    Some(text.unwrap_or("(no text)"))
}

fn a_payload_that_panics_when_dropped_ends_nothing<E: Engine>() {
    hush();
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let ran = Rc::new(Cell::new(false));
    let note = Rc::clone(&ran);
    rt.block_on(async {
        rt.spawn(async { panic_any(Payload) }).detach();
        rt.spawn(async move {
            let _bomb = Bomb;
            yield_now().await;
        })
        .detach();
        rt.spawn(async move { note.set(true) }).detach();
        rt.sleep(ms(5)).await;
    });
    assert!(ran.get());
    assert_eq!(rt.stats().tasks_panicked, 2);
    settle::<E>(rt);
    bench.finish();
}

fn a_hook_that_panics_loses_no_wake<E: Engine>() {
    hush();
    let bench = Bench::<E>::with(fatal());
    let rt = bench.rt();
    let deadline = rt.now() + ms(20);
    let mut spoiled = rt.sleep_until(deadline);
    assert!(poll_with(&mut spoiled, &bad_to_wake()).is_pending());
    let (mut stream, mut peer) = rt.block_on(pair::<E>(rt));
    let reads = rt.spawn(async move { stream.recv().await.unwrap().bytes().to_vec() });
    let tasks: Vec<JoinHandle<()>> = (0..5).map(|_| rt.spawn(rt.sleep_until(deadline))).collect();
    rt.block_on(async { yield_now().await });
    // All of it is there in the same turn.
    peer.write_all(b"x").unwrap();
    std::thread::sleep(ms(25));
    assert_eq!(panics(|| rt.block_on(pending())), "a wake");
    for task in tasks {
        rt.block_on(rt.timeout(Duration::from_secs(5), task)).expect("it was woken").unwrap();
    }
    assert_eq!(rt.block_on(reads).unwrap(), b"x");
    rt.block_on(spoiled);
    drop(peer);
    settle::<E>(rt);
    bench.finish();
}

/// Of several panics the first goes on, once what was begun is done; and then the loop can be entered again.
fn the_first_panic_of_the_hook_goes_on<E: Engine>() {
    hush();
    let bench = Bench::<E>::with(fatal());
    let rt = bench.rt();
    let ran = Rc::new(Cell::new(0));
    let spawn_some = || {
        rt.spawn(async { panic!("the first") }).detach();
        rt.spawn(async { panic_any(Payload) }).detach();
        rt.spawn(async { panic!("the third") }).detach();
        let ran = Rc::clone(&ran);
        rt.spawn(async move { ran.set(ran.get() + 1) }).detach();
    };
    spawn_some();
    assert_eq!(caught(|| rt.block_on(pending())), Some("the first"));
    assert_eq!(ran.get(), 1, "the batch goes on to its end");
    assert_eq!(caught(|| rt.block_on(rt.sleep(ms(1)))), None, "it is told once");
    spawn_some();
    // It does not sleep on a panic: that would last for ever.
    assert_eq!(caught(|| drop(rt.turn(Some(Duration::MAX)))), Some("the first"));
    assert_eq!(ran.get(), 2);
    assert_eq!(caught(|| drop(rt.turn(Some(Duration::ZERO)))), None);
    assert_eq!(rt.stats().tasks_panicked, 6);
    settle::<E>(rt);
    bench.finish();
}

/// Gives a runtime things to drop at its end that panic, two and more of each kind, and ways to wait that must be woken.
/// Returns what `then` makes of it, before all that outlives the runtime is dropped.
fn with_bombs<E: Engine>(mut bench: Bench<E>, end: impl FnOnce(E::Rt)) {
    let before = bombs();
    let rt = bench.handle();
    let (mut stream, peer) = rt.block_on(pair::<E>(&rt));
    let started = Arc::new(AtomicU32::new(0));
    let starting = Arc::clone(&started);
    rt.spawn_blocking(move || {
        starting.store(1, Ordering::Relaxed);
        std::thread::sleep(ms(50));
    })
    .detach();
    while started.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(ms(1));
    }
    // Jobs that never begin.
    let job = || {
        let bomb = Bomb;
        move || drop(bomb)
    };
    let mut jobs = [rt.unblock(job()), rt.unblock(job())];
    jobs.iter_mut().for_each(|job| assert!(poll_with(job, &bad_to_wake()).is_pending()));
    rt.spawn_blocking(job()).detach();
    // Tasks.
    for _ in 0..3 {
        rt.spawn(async {
            let _bombs = Bomb;
            pending::<()>().await;
        })
        .detach();
    }
    let mut handle = rt.spawn(async { pending::<()>().await });
    assert!(poll_with(&mut handle, &bad_to_wake()).is_pending());
    rt.block_on(async { yield_now().await });
    // Timers.
    let (drop_first, drop_second, wake_first) = (bad_to_drop(), bad_to_drop(), bad_to_wake());
    let mut sleeps = [rt.sleep(Duration::from_secs(100)), rt.sleep(Duration::from_secs(100))];
    assert!(poll_with(&mut sleeps[0], &drop_first).is_pending());
    assert!(poll_with(&mut sleeps[1], &drop_second).is_pending());
    drop((drop_first, drop_second));
    // What waits elsewhere: the first panics when it is told.
    let mut stopped = pin!(rt.stopped());
    assert!(poll_with(&mut stopped, &wake_first).is_pending());
    let (told, waker) = counter();
    let mut receiving = Box::pin(stream.recv());
    assert!(poll_with(&mut receiving, &waker).is_pending());
    // Mail that is not delivered.
    for _ in 0..2 {
        let bomb = Bomb;
        let spawned = rt.remote().spawn(move || async move { drop(bomb) });
        drop(spawned.unwrap());
    }
    let owner = bench.take_owner();
    end(owner);
    assert_eq!(told.0.load(Ordering::Relaxed), 1, "what waits elsewhere is told");
    assert!(poll_with(&mut receiving, &waker).is_ready());
    assert!(poll_with(&mut stopped, &waker).is_ready());
    assert_eq!(bombs() - before, 2 + 1 + 3 + 2 + 2, "each was dropped, once");
    assert!(!rt.stats().driver.system_calls.is_empty(), "the driver's figures are kept");
    assert!(matches!(poll_with(&mut handle, &waker), Poll::Ready(Err(executor::JoinError::Cancelled))));
    drop((sleeps, jobs, peer));
    drop(receiving);
    drop((stream, rt, handle));
    bench.finish();
}

fn one_thread(config: Config) -> Config {
    Config { blocking: BlockingConfig { max_threads: 1, ..BlockingConfig::default() }, ..config }
}

fn the_end_does_every_step<E: Engine>() {
    hush();
    for config in [Config::default(), fatal()] {
        let bench = Bench::<E>::with(one_thread(config));
        with_bombs::<E>(bench, |owner| assert_eq!(caught(|| drop(owner)), None, "nothing unwinds out of the end"));
        // What comes after it, on the same thread, at the same addresses.
        let bench = Bench::<E>::new();
        bench.rt().block_on(async {
            yield_now().await;
            bench.rt().spawn(yield_now()).await.unwrap();
            bench.rt().sleep(ms(1)).await;
        });
        bench.finish();
    }
}

fn the_end_while_a_panic_unwinds<E: Engine>() {
    hush();
    let bench = Bench::<E>::with(one_thread(fatal()));
    with_bombs::<E>(bench, |owner| {
        let unwind = || {
            let _owner = owner;
            panic!("why it ends");
        };
        assert_eq!(caught(unwind), Some("why it ends"));
    });
}

/// A thread forgets each runtime that ends on it, however it ends.
fn a_thread_keeps_no_queue_of_a_runtime_that_is_gone<E: Engine>() {
    hush();
    let before = executor::queues_of_this_thread();
    for round in 0..20 {
        let rt = E::build(fatal()).unwrap();
        assert_eq!(executor::queues_of_this_thread(), before + 1);
        rt.spawn(async {
            let _bomb = Bomb;
            pending::<()>().await;
        })
        .detach();
        rt.block_on(async { yield_now().await });
        let handle = rt.clone();
        match round % 3 {
            0 => assert_eq!(caught(|| drop(rt)), None),
            1 => assert_eq!(caught(|| handle.clone().block_on(async { drop(rt) })), None),
            _ => {
                let unwind = || {
                    let _rt = rt;
                    panic!("by unwinding");
                };
                assert_eq!(caught(unwind), Some("by unwinding"));
            }
        }
        assert_eq!(executor::queues_of_this_thread(), before);
        drop(handle);
    }
}

thread_local! {
    /// What [`DropsTheHandle`] drops.
    static HANDLE: RefCell<Option<JoinHandle<Bomb>>> = const { RefCell::new(None) };
}

/// Drops the handle of the task that wakes it, and so leaves the output to the task.
struct DropsTheHandle;

impl Wake for DropsTheHandle {
    fn wake(self: Arc<Self>) {
        drop(HANDLE.take());
    }
}

/// Ready at once, with an output that panics when it is dropped; and so does the future itself.
struct BadToDrop(#[allow(dead_code)] Bomb);

impl Future for BadToDrop {
    type Output = Bomb;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Bomb> {
        Poll::Ready(Bomb)
    }
}

fn outputs_and_joiners_hurt_nothing<E: Engine>() {
    hush();
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let go_on = || rt.block_on(async { yield_now().await });
    // The joiner's waker leaves the output to the task.
    let before = bombs();
    let mut handle = rt.spawn(async {
        yield_now().await;
        Bomb
    });
    assert!(poll_with(&mut handle, &Arc::new(DropsTheHandle).into()).is_pending());
    HANDLE.set(Some(handle));
    go_on();
    go_on();
    assert_eq!(bombs() - before, 1);
    // The future's destructor panics, and so does that of its output, with a handle and without.
    let handle = rt.spawn(BadToDrop(Bomb));
    go_on();
    let Err(executor::JoinError::Panicked(payload)) = rt.block_on(handle) else { panic!("its panic is the result") };
    std::mem::forget(payload);
    rt.spawn(BadToDrop(Bomb)).detach();
    go_on();
    assert_eq!(bombs() - before, 5);
    // A handle leaves a waker that panics when it is dropped.
    let mut handle = rt.spawn(yield_now());
    let waker = bad_to_drop();
    assert!(poll_with(&mut handle, &waker).is_pending());
    drop((waker, handle));
    go_on();
    go_on();
    assert_eq!(bombs() - before, 6);
    // Two outputs that go with their group.
    let mut group = JoinSet::new();
    for _ in 0..2 {
        group.add(rt.spawn(async { Bomb }));
    }
    go_on();
    assert_eq!(caught(|| drop(group)), None);
    assert_eq!(bombs() - before, 8);
    settle::<E>(rt);
    bench.finish();
}

/// Three wait on one socket, of which the first has a waker that panics.
fn a_waker_that_panics_hurts_none_that_share_a_socket<E: Engine>() {
    const DATAGRAMS: u32 = 10;
    hush();
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let socket = Rc::new(rt.bind_udp(V4).unwrap());
    let (addr, peer) = (socket.local_addr().unwrap(), StdSocket::bind(V4).unwrap());
    let served = Rc::new(Cell::new(0));
    rt.block_on(async {
        let mut spoiled = Box::pin(socket.recv_from());
        assert!(poll_with(&mut spoiled, &bad_to_wake()).is_pending());
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                let (socket, served) = (Rc::clone(&socket), Rc::clone(&served));
                rt.spawn(async move {
                    loop {
                        socket.recv_from().await.unwrap();
                        served.set(served.get() + 1);
                    }
                })
            })
            .collect();
        yield_now().await;
        for number in 1..=DATAGRAMS {
            peer.send_to(b"x", addr).unwrap();
            let all_served = async {
                while served.get() < number {
                    rt.sleep(ms(1)).await;
                }
            };
            rt.timeout(Duration::from_secs(5), all_served).await.expect("one of them receives it");
        }
        assert!(receivers.iter().all(|receiver| !receiver.is_finished()));
        for receiver in receivers {
            receiver.abort();
            drop(receiver.await);
        }
        // The future whose waker panicked is as good as any.
        peer.send_to(b"last", addr).unwrap();
        rt.sleep(ms(20)).await;
        assert_eq!(spoiled.await.unwrap().bytes.bytes(), b"last");
    });
    drop((socket, peer));
    settle::<E>(rt);
    bench.finish();
}

/// Handles and streams that are left keep no descriptor of the loop.
fn the_end_closes_epoll_although_handles_live<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let (stream, peer) = rt.block_on(pair::<E>(&rt));
    let is_there = || open_fds().iter().any(|fd| fd.contains("eventpoll"));
    assert!(is_there());
    bench.end();
    assert!(!is_there(), "{:?}", open_fds());
    drop((rt, stream, peer));
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, a_hook_that_panics_loses_no_wake, the_end_does_every_step, the_end_while_a_panic_unwinds);
    on_every_engine!(
        suite,
        a_payload_that_panics_when_dropped_ends_nothing,
        the_first_panic_of_the_hook_goes_on,
        a_thread_keeps_no_queue_of_a_runtime_that_is_gone,
        outputs_and_joiners_hurt_nothing,
        a_waker_that_panics_hurts_none_that_share_a_socket,
    );
    on_reactors!(suite, the_end_closes_epoll_although_handles_live);
    suite.run()
}
