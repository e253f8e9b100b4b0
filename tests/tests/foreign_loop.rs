//! Goal: a program with a loop of its own can drive the runtime: `turn` until there is nothing to do,
//! then sleep on `as_fd` and `next_deadline`. It neither spins nor sleeps through anything.
//!
//! Method: the smallest such loop, over poll(2); its rounds are counted, and everything that can happen
//! to a runtime happens while the loop is asleep.

use std::cell::Cell;
use std::io::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use executor::{IoBuf, Listener, Reader, Writer, yield_now};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tests::net::{ask, echo, listen, pair};
use tests::{Bench, Engine, Suite, ms, on_every_fallback, on_every_variant, settle};

/// Drives the runtime until `done`. Returns how often it slept.
fn drive<E: Engine>(rt: &E::Rt, done: impl Fn() -> bool) -> u32 {
    let fd = rt.as_fd().expect("a descriptor");
    let mut sleeps = 0;
    loop {
        while rt.turn(Some(Duration::ZERO)).expect("a turn") {}
        if done() {
            return sleeps;
        }
        sleeps += 1;
        let left = rt.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn timers_and_tasks<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let fired = Rc::new(Cell::new(0));
    let start = Instant::now();
    for n in 1..=20 {
        let (sleep, fired) = (rt.sleep(ms(5 * n)), Rc::clone(&fired));
        rt.spawn(async move {
            sleep.await;
            yield_now().await;
            fired.set(fired.get() + 1);
        })
        .detach();
    }
    let sleeps = drive::<E>(rt, || fired.get() == 20);
    assert!(start.elapsed() >= ms(100));
    assert!(sleeps <= 100, "{sleeps} sleeps for 20 timers");
    settle::<E>(rt);
    bench.finish();
}

fn sockets<E: Engine>() {
    const ROUNDS: u32 = 500;
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let (stream, mut peer) = rt.block_on(pair::<E>(rt));
    let server = rt.spawn(echo(stream));
    let thread = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            if round % 100 == 0 {
                std::thread::sleep(ms(10));
            }
            ask(&mut peer, &round.to_le_bytes());
        }
    });
    let sleeps = drive::<E>(rt, || server.is_finished());
    thread.join().unwrap();
    assert!(sleeps <= 10 * ROUNDS, "{sleeps} sleeps for {ROUNDS} questions");
    drop(server);
    settle::<E>(rt);
    bench.finish();
}

/// More than one batch of polls, and more bytes than one turn moves: `turn` says that there is more.
fn much_at_once<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let (mut stream, mut peer) = rt.block_on(pair::<E>(rt));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            rt.spawn(async {
                for _ in 0..5 {
                    yield_now().await;
                }
            })
        })
        .collect();
    let reader = rt.spawn(async move {
        let mut total = 0;
        loop {
            match stream.recv().await.unwrap().bytes().len() {
                0 => return total,
                count => total += count,
            }
        }
    });
    let thread = std::thread::spawn(move || peer.write_all(&vec![0; 8 << 20]).unwrap());
    drive::<E>(rt, || reader.is_finished() && tasks.iter().all(executor::JoinHandle::is_finished));
    thread.join().unwrap();
    assert_eq!(rt.block_on(reader).unwrap(), 8 << 20);
    drop(tasks);
    settle::<E>(rt);
    bench.finish();
}

/// More completions than the ring's queue holds, if that is tiny: those the kernel keeps are fetched before the
/// foreign loop sleeps.
fn more_connections_than_the_queue_holds<E: Engine>() {
    const CLIENTS: usize = 200;
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let (mut listener, addr) = listen(rt);
    let server = rt.spawn(async move {
        for _ in 0..CLIENTS {
            drop(listener.accept().await.expect("accept"));
        }
    });
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
    let peers: Vec<_> = (0..CLIENTS).map(|_| std::net::TcpStream::connect(addr).unwrap()).collect();
    drive::<E>(rt, || server.is_finished());
    drop((peers, server));
    settle::<E>(rt);
    bench.finish();
}

/// Wakes and spawns from other threads arrive while the foreign loop sleeps, and while it doesn't.
fn other_threads<E: Engine>() {
    const SPAWNS: u32 = 2000;
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let remote = rt.remote();
    let counted = std::sync::Arc::clone(&count);
    let thread = std::thread::spawn(move || {
        for n in 0..SPAWNS {
            let counted = std::sync::Arc::clone(&counted);
            let spawned = remote.spawn(move || async move {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
            drop(spawned.unwrap());
            for _ in 0..fastrand::u32(0..2000) {
                std::hint::spin_loop();
            }
            if n % 500 == 0 {
                std::thread::sleep(ms(20));
            }
        }
    });
    drive::<E>(rt, || count.load(std::sync::atomic::Ordering::Relaxed) == SPAWNS);
    thread.join().unwrap();
    settle::<E>(rt);
    bench.finish();
}

/// An idle runtime's descriptor is quiet: poll(2) sleeps for as long as it is told.
fn silence<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let fd = rt.as_fd().unwrap();
    let (mut stream, mut peer) = rt.block_on(pair::<E>(rt));
    let waits = rt.spawn(async move {
        let chunk = stream.recv().await.unwrap();
        stream.write_all(chunk).await.0.unwrap();
        stream
    });
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
    // The kernel may report what a turn has dealt with already, a little later: once, not for ever.
    let quiet = |what: &str| {
        let limit = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        for _ in 0..3 {
            let start = Instant::now();
            if poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap() == 0 {
                assert!(start.elapsed() >= ms(100), "{what}");
                return;
            }
            while rt.turn(Some(Duration::ZERO)).unwrap() {}
        }
        panic!("{what}: it reports and reports, but there is nothing to do");
    };
    quiet("a receive waits");
    ask_and_drive::<E>(rt, &mut peer, &waits);
    quiet("after it");
    let remote = rt.remote();
    std::thread::spawn(move || drop(remote.spawn(|| async {}))).join().unwrap();
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap();
    assert_eq!(ready, 1, "a spawn from elsewhere ends the sleep");
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
    quiet("after that");
    drop((rt.block_on(waits).unwrap(), peer));
    settle::<E>(rt);
    drop(fd);
    bench.finish();
}

fn ask_and_drive<E: Engine>(rt: &E::Rt, peer: &mut std::net::TcpStream, done: &executor::JoinHandle<tests::Stream<E>>) {
    peer.write_all(b"wake up").unwrap();
    drive::<E>(rt, || done.is_finished());
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
}

/// The descriptor is a duplicate: it may outlive the runtime, and then is never readable again.
fn after_the_end<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let fd = bench.rt().as_fd().unwrap();
    let remote = bench.rt().remote();
    bench.rt().turn(Some(Duration::ZERO)).unwrap();
    bench.end();
    remote.stop();
    let limit = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(ready, 0);
    drop((fd, remote));
    bench.finish();
}

/// A time beyond what the kernel's clock can hold is a long time, not an error and not a short one.
fn the_longest_turn<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let remote = rt.remote();
    let is_sent = Arc::new(AtomicBool::new(false));
    let sent = Arc::clone(&is_sent);
    let waker = std::thread::spawn(move || {
        std::thread::sleep(ms(50));
        sent.store(true, Ordering::SeqCst);
        remote.spawn(|| async {}).unwrap();
    });
    while !rt.turn(Some(Duration::MAX)).expect("a turn") {}
    assert!(is_sent.load(Ordering::SeqCst), "it slept until there was something to do");
    assert!(rt.stats().turns <= 10, "{}", rt.stats());
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
    waker.join().unwrap();
    settle::<E>(rt);
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        timers_and_tasks,
        sockets,
        much_at_once,
        other_threads,
        silence,
        the_longest_turn,
        after_the_end
    );
    on_every_variant!(suite, more_connections_than_the_queue_holds);
    suite.run()
}
