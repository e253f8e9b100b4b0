//! Goal: a wake from another thread is never lost, whenever it comes: before the sleep, as it begins,
//! or during it. A wake goes to whoever asked last.
//!
//! Method: threads that wake at chosen and at random moments, counted on both sides. (The scenarios T1 to T6 do
//! that in large numbers, also after the task and after the runtime; `executor/src/tasks/queue_loom.rs` tries every
//! interleaving of the handshake itself.)

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use executor::{IoBuf, Listener, Reader, Runtime, Writer, yield_now};
use tests::net::{listen, pair};
use tests::{Engine, Suite, ms, on_every_engine, on_every_fallback, open_fds, poll_idle, poll_once, run};

/// Completes when the flag is set; sends its waker to the other side at each poll.
async fn wait_for(flag: Arc<AtomicBool>, wakers: mpsc::Sender<Waker>) {
    poll_fn(|cx| {
        let _ = wakers.send(cx.waker().clone());
        if flag.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn a_wake_during_the_sleep_ends_it<E: Engine>() {
    run::<E>(async |_rt| {
        let (flag, (sender, receiver)) = (Arc::new(AtomicBool::new(false)), mpsc::channel::<Waker>());
        let set = Arc::clone(&flag);
        let thread = std::thread::spawn(move || {
            let waker = receiver.recv().unwrap();
            std::thread::sleep(ms(50));
            set.store(true, Ordering::Release);
            waker.wake();
        });
        let start = Instant::now();
        wait_for(flag, sender).await;
        assert!(start.elapsed() >= ms(50));
        thread.join().unwrap();
    });
}

fn a_wake_before_the_sleep_prevents_it<E: Engine>() {
    run::<E>(async |rt| {
        let mut polls = 0;
        // The whole wake happens inside the poll, on another thread: its way is through the inbox.
        poll_fn(|cx| {
            polls += 1;
            let waker = cx.waker().clone();
            std::thread::spawn(move || waker.wake()).join().unwrap();
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert!(rt.stats().wakes_remote >= 2);
    });
}

/// Eight threads wake one task as fast as they can. Many wakes become one poll, but the last one is
/// never lost.
fn a_storm_of_wakes_loses_none<E: Engine>() {
    const THREADS: u64 = 8;
    const EACH: u64 = 20_000;
    run::<E>(async |rt| {
        let total = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        let polls = Cell::new(0u64);
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            while threads.len() < THREADS as usize {
                let (total, waker) = (Arc::clone(&total), cx.waker().clone());
                threads.push(std::thread::spawn(move || {
                    for _ in 0..EACH {
                        total.fetch_add(1, Ordering::Release);
                        waker.wake_by_ref();
                    }
                }));
            }
            if total.load(Ordering::Acquire) == THREADS * EACH { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let stats = rt.stats();
        assert!(stats.wakes_remote >= polls.get() - 1 && stats.wakes_remote <= THREADS * EACH, "{stats}");
    });
}

/// A wake from elsewhere is one, and does not go on waking.
fn after_a_wake_the_runtime_sleeps_again<E: Engine>() {
    run::<E>(async |rt| {
        let remote = rt.remote();
        std::thread::spawn(move || {
            std::thread::sleep(ms(20));
            drop(remote.spawn(|| async {}));
        });
        rt.sleep(ms(50)).await;
        let turns = rt.stats().turns;
        rt.sleep(ms(100)).await;
        let turns = rt.stats().turns - turns;
        assert!(turns <= 20, "{turns} turns while nothing happens");
    });
}

/// Longer than any machine needs for a wake.
const LONG: Duration = Duration::from_secs(20);

/// Has the future polled with a waker that does nothing, as a task would that handed it on; then awaits it here,
/// while something happens elsewhere that lets it go on.
async fn hand_on<R: Runtime, F: Future>(rt: &R, future: F, act: impl FnOnce() + Send + 'static) -> F::Output {
    let mut future = pin!(future);
    assert!(poll_idle(&mut future).is_pending());
    assert!(poll_once(&mut future).await.is_none());
    let thread = std::thread::spawn(move || {
        std::thread::sleep(ms(20));
        act();
    });
    // A timeout looks at its future once more when it is over: what was ready long before is late.
    let start = Instant::now();
    let output = rt.timeout(LONG, future).await.expect("only the first who asked was woken");
    assert!(start.elapsed() < LONG, "only the first who asked was woken");
    thread.join().unwrap();
    output
}

fn the_last_who_asked_is_woken<E: Engine>() {
    const LARGE: usize = 16 << 20;
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let connect = move || drop(TcpStream::connect(addr).unwrap());
        drop(hand_on(rt, listener.accept(), connect).await.unwrap());
        let (mut stream, peer) = pair::<E>(rt).await;
        let say = || {
            let mut peer = peer.try_clone().unwrap();
            move || peer.write_all(b"x").unwrap()
        };
        assert_eq!(hand_on(rt, stream.read(vec![0; 8]), say()).await.0.unwrap(), 1);
        assert_eq!(hand_on(rt, stream.recv(), say()).await.unwrap().bytes(), b"x");
        let mut reader = peer.try_clone().unwrap();
        let read = move || reader.read_exact(&mut vec![0; LARGE]).unwrap();
        hand_on(rt, stream.write_all(vec![0; LARGE]), read).await.0.unwrap();
    });
}

/// A waker holds the wake-up descriptor and nothing else of the runtime.
fn a_last_waker_dropped_elsewhere_frees_the_rest<E: Engine>() {
    let before = open_fds();
    let rt = E::build(executor::Config::default()).unwrap();
    let (sender, receiver) = mpsc::channel::<Waker>();
    rt.spawn(wait_for(Arc::default(), sender)).detach();
    rt.block_on(yield_now());
    let waker = receiver.recv().unwrap();
    drop(rt);
    assert!(open_fds().len() <= before.len() + 1, "{:?}", open_fds());
    std::thread::spawn(move || drop(waker)).join().unwrap();
    drop(receiver);
    assert_eq!(open_fds().len(), before.len());
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        a_wake_during_the_sleep_ends_it,
        a_wake_before_the_sleep_prevents_it,
        a_storm_of_wakes_loses_none,
        a_last_waker_dropped_elsewhere_frees_the_rest,
        the_last_who_asked_is_woken,
    );
    on_every_fallback!(suite, after_a_wake_the_runtime_sleeps_again);
    suite.run()
}
