//! Goal: a wake from another thread is never lost, whenever it comes: before the sleep, as it begins,
//! during it, after the task, and after the runtime. And none of these writes to a stranger's
//! descriptor. A wake goes to whoever asked last.
//!
//! Method: threads that wake at random moments, counted on both sides; descriptors that take the place
//! of the runtime's after its end, searched for stray bytes. (`executor/src/queue_loom.rs` tries every
//! interleaving of the handshake itself.)

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::time::Instant;

use executor::{IoBuf, Listener, Reader, Runtime, Writer, yield_now};
use tests::net::{listen, pair};
use tests::{
    Bench, Engine, Suite, ms, on_every_engine, on_every_fallback, open_fds, poll_idle, poll_once, run, settle,
};

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

/// Wakes that race with the runtime's falling asleep, 20,000 times: each answer is waited for before
/// the next question, so one lost wake is a hang.
fn ping_pong_with_a_thread_never_hangs<E: Engine>() {
    const ROUNDS: u64 = 20_000;
    run::<E>(async |rt| {
        let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (sender, receiver) = mpsc::channel::<Waker>();
        let thread = std::thread::spawn({
            let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
            move || {
                let waker = receiver.recv().unwrap();
                for round in 1..=ROUNDS {
                    asked.store(round, Ordering::Release);
                    waker.wake_by_ref();
                    // A pause of varying length, so that the wake meets every stage of the sleep.
                    for _ in 0..fastrand::u32(0..200) {
                        std::hint::spin_loop();
                    }
                    while answered.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            }
        });
        let mut sender = Some(sender);
        poll_fn(|cx| {
            if let Some(sender) = sender.take() {
                sender.send(cx.waker().clone()).unwrap();
            }
            let round = asked.load(Ordering::Acquire);
            answered.store(round, Ordering::Release);
            if round == ROUNDS { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        thread.join().unwrap();
        assert!(rt.stats().wakes_remote <= ROUNDS);
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

fn wakers_of_finished_tasks_do_nothing<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let wakers = Rc::new(RefCell::new(Vec::<Waker>::new()));
    for _ in 0..100 {
        let wakers = Rc::clone(&wakers);
        let task = rt.spawn(poll_fn(move |cx| {
            wakers.borrow_mut().push(cx.waker().clone());
            Poll::Ready(())
        }));
        rt.block_on(task).unwrap();
    }
    let wakers = wakers.take();
    let polls = rt.stats().polls;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| wakers.iter().cloned().for_each(Waker::wake));
        }
    });
    rt.block_on(yield_now());
    // The keys may be looked up in vain, but the slots' next tenants are not polled for them.
    let tenant_polls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&tenant_polls);
    let tenant = rt.spawn(poll_fn(move |_| {
        counted.set(counted.get() + 1);
        Poll::<()>::Pending
    }));
    rt.block_on(yield_now());
    wakers.iter().for_each(Waker::wake_by_ref);
    rt.block_on(yield_now());
    assert_eq!(tenant_polls.get(), 1);
    assert!(rt.stats().wakes_stale > 0 && rt.stats().polls > polls);
    tenant.abort();
    settle::<E>(rt);
    // The wakers keep the wake-up descriptor open; see the next test for why.
    drop((wakers, tenant));
    bench.finish();
}

/// Descriptors opened after the end get the numbers the runtime's had. Wakers that live on must not
/// write there.
fn wakers_that_outlive_the_runtime_write_to_nobody<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.rt();
    let (sender, receiver) = mpsc::channel::<Waker>();
    rt.spawn(wait_for(Arc::default(), sender)).detach();
    rt.block_on(yield_now());
    let waker = receiver.recv().unwrap();
    let remote = rt.remote();
    // Asleep as far as the other threads know: a wake would unpark.
    rt.turn(Some(ms(1))).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (stop, waker, remote) = (Arc::clone(&stop), waker.clone(), remote.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    waker.wake_by_ref();
                    remote.stop();
                }
            })
        })
        .collect();
    bench.end();
    // Sockets, which would take any byte, in all places that became free.
    let mut sockets: Vec<(UnixStream, UnixStream)> = Vec::new();
    for round in 0..50 {
        sockets.extend((0..4).map(|_| UnixStream::pair().unwrap()));
        std::thread::sleep(ms(1));
        if round % 10 == 0 {
            sockets.drain(..2);
        }
    }
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for (one, two) in &mut sockets {
        for end in [one, two] {
            end.set_nonblocking(true).unwrap();
            let found = end.read(&mut [0; 64]).map_err(|error| error.kind());
            assert_eq!(found, Err(std::io::ErrorKind::WouldBlock), "a stray byte");
        }
    }
    assert!(remote.spawn(|| async {}).is_err());
    drop((sockets, waker, remote, receiver));
    bench.finish();
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
    let output = rt.timeout(ms(2000), future).await.expect("only the first who asked was woken");
    assert!(start.elapsed() < ms(2000), "only the first who asked was woken");
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
        ping_pong_with_a_thread_never_hangs,
        a_storm_of_wakes_loses_none,
        wakers_of_finished_tasks_do_nothing,
        wakers_that_outlive_the_runtime_write_to_nobody,
        a_last_waker_dropped_elsewhere_frees_the_rest,
        the_last_who_asked_is_woken,
    );
    on_every_fallback!(suite, after_a_wake_the_runtime_sleeps_again);
    suite.run()
}
