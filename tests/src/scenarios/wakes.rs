//! Wakes: many at once, after the task, after the runtime, and from threads while the runtime falls asleep or ends.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use executor::{Runtime, yield_now};

use super::{Scenario, scenario};
use crate::bench::Bench;
use crate::engine::Engine;
use crate::ms;
use crate::rounds::Rounds;
use crate::times::Times;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "T1",
        "100,000 wakes between two polls take one place in the queue and are one poll",
        10,
        [ReactorLevel, ReactorEdge, ProactorFull],
        many_wakes_are_one_poll
    );
    scenario!(
        all,
        "T3",
        "wakers of a task that is over are woken, cloned and dropped by nine threads: nobody is polled",
        10,
        [ReactorLevel, ReactorEdge, ProactorFull],
        wakes_after_the_task
    );
    scenario!(
        all,
        "T4",
        "wakers that outlive the runtime write nothing to the descriptors that take its numbers",
        10,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare],
        wakes_after_the_runtime
    );
    scenario!(
        all,
        "T5",
        "the runtime ends while threads wake its tasks, spawn, abort and stop",
        100,
        [ReactorLevel, ReactorEdge, ProactorFull],
        wakes_while_the_runtime_ends
    );
    scenario!(
        all,
        "T6",
        "two threads wake a task that is about to fall asleep: it is polled after the last wake, every time",
        3000,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare],
        ping_pong_with_two_threads
    );
}

/// Spawns a task that counts its polls and never ends. Its waker comes with its first poll, which has happened.
async fn endless_task<R: Runtime>(rt: &R) -> (executor::JoinHandle<()>, Rc<Cell<u64>>, Waker) {
    let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
    let (counted, kept) = (Rc::clone(&polls), Rc::clone(&waker));
    let task = rt.spawn(poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        kept.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }));
    yield_now().await;
    let waker = waker.take().expect("polled once");
    (task, polls, waker)
}

fn many_wakes_are_one_poll<E: Engine>(rounds: &mut Rounds) {
    const WAKES: u32 = 100_000;
    crate::run::<E>(async |rt| {
        let (task, polls, waker) = endless_task(rt).await;
        for round in rounds {
            let queued = rt.stats().wakes_local;
            for _ in 0..WAKES {
                waker.wake_by_ref();
            }
            assert_eq!(rt.stats().wakes_local - queued, 1, "places in the queue");
            yield_now().await;
            assert_eq!(polls.get(), round + 2, "one poll at the start, and one for each round");
        }
        task.abort();
    });
}

/// Everything that can be done with a waker.
fn use_in_every_way(waker: Waker) {
    for _ in 0..1000 {
        waker.wake_by_ref();
        waker.clone().wake();
        drop(waker.clone());
    }
}

/// That the wakers are freed with the last of them is the balance check's: each keeps the runtime's wake-up
/// descriptor open.
fn wakes_after_the_task<E: Engine>(rounds: &mut Rounds) {
    const THREADS: usize = 8;
    crate::run::<E>(async |rt| {
        for _ in rounds {
            let (sender, receiver) = mpsc::channel();
            let over = rt.spawn(poll_fn(move |cx| Poll::Ready(sender.send(cx.waker().clone()))));
            over.await.expect("it does not panic").expect("somebody receives");
            let waker: Waker = receiver.recv().expect("just sent");
            // It gets the place in the table that became free.
            let (tenant, polls, _) = endless_task(rt).await;
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let waker = waker.clone();
                    thread::spawn(move || use_in_every_way(waker))
                })
                .collect();
            use_in_every_way(waker);
            while threads.iter().any(|thread| !thread.is_finished()) {
                // What they left is looked at meanwhile.
                yield_now().await;
            }
            threads.into_iter().for_each(|thread| thread.join().expect("a waker does not panic"));
            yield_now().await;
            assert_eq!(polls.get(), 1, "a wake of the task that is over polled the one in its place");
            tenant.abort();
            drop(tenant.await);
        }
        assert!(rt.stats().wakes_stale > 0, "the wakes arrived");
    });
}

fn wakes_after_the_runtime<E: Engine>(rounds: &mut Rounds) {
    const WAKERS: usize = 500;
    for _ in rounds {
        let mut bench = Bench::<E>::new();
        let rt = bench.rt();
        let wakers: Vec<Waker> = rt.block_on(async {
            let mut wakers = Vec::new();
            for _ in 0..WAKERS {
                wakers.push(endless_task(rt).await.2);
            }
            wakers
        });
        let remote = rt.remote();
        // Asleep, as far as other threads know: a wake would end that.
        rt.turn(Some(Duration::ZERO)).expect("a turn");
        rt.turn(Some(ms(1))).expect("a turn");
        bench.end();
        let waking = thread::spawn(move || {
            for waker in &wakers {
                waker.wake_by_ref();
                remote.stop();
                assert!(remote.spawn(|| async {}).is_err());
            }
        });
        // Sockets, which would take any byte, in all places that became free.
        let mut sockets: Vec<_> = (0..8).map(|_| UnixStream::pair().expect("a pair")).collect();
        waking.join().expect("a wake does not panic");
        for end in sockets.iter_mut().flat_map(|(one, two)| [one, two]) {
            end.set_nonblocking(true).expect("a socket");
            let found = end.read(&mut [0; 64]).map_err(|error| error.kind());
            assert_eq!(found, Err(ErrorKind::WouldBlock), "a stray byte");
        }
        drop(sockets);
        bench.finish();
    }
}

fn wakes_while_the_runtime_ends<E: Engine>(rounds: &mut Rounds) {
    let mut random = fastrand::Rng::with_seed(rounds.seed());
    for _ in rounds {
        let mut bench = Bench::<E>::new();
        let rt = bench.rt();
        let (task, _, waker) = rt.block_on(endless_task(rt));
        let (abort, remote, handshake) = (task.abort_handle(), rt.remote(), Arc::new(std::sync::Barrier::new(2)));
        let (spins, ready) = (random.u32(..2000), Arc::clone(&handshake));
        let thread = thread::spawn(move || {
            ready.wait();
            (0..spins).for_each(|_| std::hint::spin_loop());
            waker.wake_by_ref();
            drop(remote.spawn(|| async {}));
            remote.stop();
            abort.abort();
            // The last one of them all, perhaps.
            waker.wake();
        });
        handshake.wait();
        (0..random.u32(..2000)).for_each(|_| std::hint::spin_loop());
        drop(task);
        bench.end();
        thread.join().expect("a wake does not panic");
        bench.finish();
    }
}

/// One thread's side of the ping-pong.
#[derive(Default)]
struct Player {
    answered: AtomicU64,
    /// When, in nanoseconds since the game began.
    at: AtomicU64,
}

/// Each answer is waited for before the next question, so one lost wake is a hang.
fn ping_pong_with_two_threads<E: Engine>(rounds: &mut Rounds) {
    let (begun, mut latency) = (Instant::now(), Times::new());
    let since_begun = move || u64::try_from(begun.elapsed().as_nanos()).expect("a short game");
    let asked = Arc::new(AtomicU64::new(0));
    crate::run::<E>(async |_| {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let players = [1, 2].map(|_| Arc::new(Player::default()));
        let threads = [0, 1].map(|number| {
            let (asked, player, waker) = (Arc::clone(&asked), Arc::clone(&players[number]), waker.clone());
            let mut random = fastrand::Rng::with_seed(rounds.seed() + number as u64);
            thread::spawn(move || {
                for round in 1.. {
                    while asked.load(Ordering::Acquire) < round {
                        thread::yield_now();
                    }
                    if asked.load(Ordering::Acquire) == u64::MAX {
                        return;
                    }
                    // A pause of varying length, so that the wake meets every stage of the sleep.
                    (0..random.u32(..300)).for_each(|_| std::hint::spin_loop());
                    player.at.store(since_begun(), Ordering::Relaxed);
                    player.answered.store(round, Ordering::Release);
                    waker.wake_by_ref();
                }
            })
        });
        for round in rounds.by_ref() {
            asked.store(round + 1, Ordering::Release);
            let have_answered = || players.iter().all(|player| player.answered.load(Ordering::Acquire) == round + 1);
            poll_fn(|_| if have_answered() { Poll::Ready(()) } else { Poll::Pending }).await;
            let last = players.iter().map(|player| player.at.load(Ordering::Relaxed)).max().expect("two");
            latency.add(Duration::from_nanos(since_begun().saturating_sub(last)));
        }
        asked.store(u64::MAX, Ordering::Release);
        threads.into_iter().for_each(|thread| thread.join().expect("a wake does not panic"));
    });
    latency.report(rounds, "from wake to poll");
}
