//! Nobody starves: not the driver beside a task that is always ready, no task behind ten thousand others, no
//! client beside one that sends as fast as it can.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use executor::{IoBuf, JoinHandle, Listener, POLL_BUDGET, Reader, Runtime, yield_now};
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::net::{ask, echo, listen, pair, serve};
use crate::rounds::Rounds;
use crate::times::Times;
use crate::{elsewhere, ms};

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "Q1",
        "a task that always wakes itself beside a timer and a client: never more than 64 polls between two turns",
        3,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare],
        a_restless_task
    );
    scenario!(
        all,
        "Q2",
        "10,000 tasks that are always ready: each is polled once before any is polled twice, in the same order",
        20,
        [ReactorLevel, ReactorEdge, ProactorFull],
        ten_thousand_ready_tasks
    );
    scenario!(
        all,
        "ET6",
        "one client that sends as fast as it can, and 100 that ask and wait: these get their answers as they should",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare, ProactorOneshot],
        a_firehose_among_the_polite
    );
}

/// What a task that wakes itself for ever has seen.
#[derive(Default)]
struct Restless {
    stop: Cell<bool>,
    polls: Cell<u64>,
    /// The most polls, of any task, that there were between two turns.
    most_between_turns: Cell<u64>,
}

fn restless<R: Runtime>(rt: &R) -> (Rc<Restless>, JoinHandle<()>) {
    let (shared, handle) = (Rc::new(Restless::default()), rt.clone());
    let seen = Rc::clone(&shared);
    // The turn it last saw, and the polls before its own then.
    let mut last = (u64::MAX, 0);
    let task = rt.spawn(poll_fn(move |cx| {
        if seen.stop.get() {
            return Poll::Ready(());
        }
        let stats = handle.stats();
        if stats.turns != last.0 {
            last = (stats.turns, stats.polls - 1);
        }
        seen.polls.set(seen.polls.get() + 1);
        seen.most_between_turns.set(seen.most_between_turns.get().max(stats.polls - last.1));
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    (shared, task)
}

/// How long each of some questions takes, one after the other.
fn ask_a_few(peer: &mut TcpStream) -> Times {
    let mut times = Times::new();
    for _ in 0..50 {
        let start = Instant::now();
        ask(peer, b"are you there?");
        times.add(start.elapsed());
    }
    times
}

fn a_restless_task<E: Engine>(rounds: &mut Rounds) {
    let (mut quiet, mut disturbed, mut lateness) = (Times::new(), Times::new(), Times::new());
    let (mut polls, mut most) = (0, 0);
    crate::run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let server = rt.spawn(echo(stream));
        for _ in rounds.by_ref() {
            let times;
            (peer, times) = elsewhere(move || {
                let times = ask_a_few(&mut peer);
                (peer, times)
            })
            .await;
            quiet.append(&times);
            let (seen, task) = restless(rt);
            let deadline = rt.now() + ms(10);
            let timer = rt.spawn({
                let sleep = rt.sleep_until(deadline);
                async move {
                    sleep.await;
                    Instant::now().checked_duration_since(deadline).expect("early")
                }
            });
            let times;
            (peer, times) = elsewhere(move || {
                let times = ask_a_few(&mut peer);
                (peer, times)
            })
            .await;
            disturbed.append(&times);
            lateness.add(timer.await.expect("not early"));
            // It is to be kept busy, too, however slow the machine is.
            while seen.polls.get() < 1000 {
                yield_now().await;
            }
            seen.stop.set(true);
            task.await.expect("it does not panic");
            (polls, most) = (polls + seen.polls.get(), most.max(seen.most_between_turns.get()));
            assert!(most <= u64::from(POLL_BUDGET), "{most} polls between two turns");
        }
        drop(peer);
        server.await.expect("it does not panic");
    });
    rounds.figure("most polls between two turns", most);
    rounds.figure("polls of the restless task", polls);
    quiet.report(rounds, "an answer");
    disturbed.report(rounds, "an answer beside the restless task");
    lateness.report(rounds, "timer late");
}

fn ten_thousand_ready_tasks<E: Engine>(rounds: &mut Rounds) {
    const TASKS: u32 = 10_000;
    crate::run::<E>(async |rt| {
        let (stop, trace) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let (stop, trace) = (Rc::clone(&stop), Rc::clone(&trace));
                rt.spawn(async move {
                    while !stop.get() {
                        trace.borrow_mut().push(number);
                        yield_now().await;
                    }
                })
            })
            .collect();
        for _ in rounds {
            // To the back of the queue: everybody else comes first.
            yield_now().await;
            assert!(trace.take().into_iter().eq(0..TASKS), "each once, and in order");
        }
        stop.set(true);
        for task in tasks {
            task.await.expect("it does not panic");
        }
    });
}

/// The cores for the server and for its clients, where there are two. If they shared them, the figures would tell
/// how the machine deals out its cores (by ticks of milliseconds), and not how the loop deals out its turns.
#[derive(Clone, Copy)]
struct Cores {
    server: CpuSet,
    clients: CpuSet,
}

impl Cores {
    fn choose() -> Cores {
        let all = sched_getaffinity(None).expect("the cores of this thread");
        let mut each = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| {
            let mut one = CpuSet::new();
            one.set(core);
            one
        });
        match (each.next(), each.next()) {
            (Some(server), Some(clients)) => Cores { server, clients },
            _ => Cores { server: all, clients: all },
        }
    }
}

/// Keeps this thread on these cores.
fn keep_to(cores: &CpuSet) {
    sched_setaffinity(None, cores).expect("they were allowed before");
}

/// Asks on all connections at once, again and again, and notes how long each answer takes.
fn ask_all(peers: &mut [TcpStream]) -> Times {
    // In a release build, whose figures count, what the first moments cost (a thread, a connection) is no hundredth of it.
    const ROUNDS: u8 = if cfg!(debug_assertions) { 10 } else { 250 };
    let mut times = Times::new();
    for round in 0..ROUNDS {
        let asked: Vec<_> = peers
            .iter_mut()
            .map(|peer| {
                peer.write_all(&[round; 32]).expect("write");
                Instant::now()
            })
            .collect();
        for (peer, asked) in peers.iter_mut().zip(asked) {
            let mut answer = [0; 32];
            peer.read_exact(&mut answer).expect("everybody is answered");
            assert_eq!(answer, [round; 32]);
            times.add(asked.elapsed());
        }
    }
    times
}

/// A connection whose peer sends all the time, until the flag is set, to a task that receives and counts. The peer has
/// the clients' cores when they do not need them.
async fn firehose<E: Engine>(rt: &E::Rt, cores: Cores, stop: &Arc<AtomicBool>) -> (JoinHandle<u64>, Arc<AtomicU64>) {
    let (mut listener, addr) = listen(rt);
    let mut peer = TcpStream::connect(addr).expect("connect");
    let mut stream = listener.accept().await.expect("accept");
    let (until, received) = (Arc::clone(stop), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&received);
    let reader = rt.spawn(async move {
        loop {
            match stream.recv().await.expect("recv").bytes().len() {
                0 => return counted.load(Ordering::Relaxed),
                count => drop(counted.fetch_add(count as u64, Ordering::Relaxed)),
            }
        }
    });
    std::thread::spawn(move || {
        keep_to(&cores.clients);
        setpriority_process(None, 19).expect("one may always step back");
        let block = [7; 1 << 16];
        while !until.load(Ordering::Relaxed) {
            peer.write_all(&block).expect("write");
        }
    });
    (reader, received)
}

/// The contract: see the executor's documentation, "Fairness". A client that is starved waits for ever, or as
/// long as the firehose runs; so the bound, ten times what is promised, need not be met in every window.
fn a_firehose_among_the_polite<E: Engine>(rounds: &mut Rounds) {
    const POLITE: usize = 100;
    const ALLOWED: u32 = 20;
    let (mut quiet, mut flooded) = (Times::new(), Times::new());
    let (mut least_flooded, mut most_quiet, mut bytes) = (Duration::MAX, Duration::ZERO, 0);
    let cores = Cores::choose();
    keep_to(&cores.server);
    crate::run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        let mut peers: Vec<_> = (0..POLITE).map(|_| TcpStream::connect(addr).expect("connect")).collect();
        for _ in rounds.by_ref() {
            let window = |mut peers: Vec<TcpStream>| {
                elsewhere(move || {
                    keep_to(&cores.clients);
                    let times = ask_all(&mut peers);
                    (peers, times)
                })
            };
            let times;
            (peers, times) = window(peers).await;
            most_quiet = most_quiet.max(times.quantile(0.99));
            quiet.append(&times);
            let stop = Arc::new(AtomicBool::new(false));
            let (reader, received) = firehose::<E>(rt, cores, &stop).await;
            while received.load(Ordering::Relaxed) == 0 {
                yield_now().await;
            }
            let times;
            (peers, times) = window(peers).await;
            least_flooded = least_flooded.min(times.quantile(0.99));
            flooded.append(&times);
            stop.store(true, Ordering::Relaxed);
            bytes += reader.await.expect("it does not panic");
        }
        drop(peers);
        server.abort();
        while rt.stats().tasks_now > 0 {
            rt.sleep(ms(1)).await;
        }
    });
    assert!(
        least_flooded <= most_quiet * ALLOWED,
        "the 99th percentile is {least_flooded:?} at best beside a firehose, and {most_quiet:?} at worst without"
    );
    quiet.report(rounds, "an answer");
    flooded.report(rounds, "an answer beside the firehose");
    rounds.figure("p99 ratio", flooded.quantile(0.99).as_secs_f64() / quiet.quantile(0.99).as_secs_f64());
    rounds.figure("MB from the firehose", bytes / 1_000_000);
}
