//! Goal: a runtime that is a guest in a foreign loop, which sleeps on its descriptor, learns of what the program does from
//! outside: whatever makes a task ready ends that sleep, and nothing else does.
//!
//! Method: the foreign loop is poll(2). Between two turns the program wakes, aborts, spawns and stops on its own thread,
//! and the descriptor is asked.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use executor::{JoinHandle, Net as _, Writer, yield_now};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tests::net::pair;
use tests::{Bench, Engine, Suite, ms, on_every_fallback, settle};

/// A flag, and the waker of the task that waits for it. What a channel is made of.
#[derive(Default)]
struct Flag {
    is_set: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Flag {
    async fn wait(&self) {
        poll_fn(|cx| {
            if self.is_set.replace(false) {
                return Poll::Ready(());
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn set(&self) {
        self.is_set.set(true);
        self.waker.take().expect("a task waits").wake();
    }
}

/// The foreign loop: the runtime as a guest, its descriptor, and a task of it.
struct Host<'a, E: Engine> {
    rt: &'a E::Rt,
    fd: OwnedFd,
}

impl<E: Engine> Host<'_, E> {
    fn is_readable(&self, limit: Duration) -> bool {
        let limit = Timespec { tv_sec: 0, tv_nsec: limit.as_nanos().try_into().expect("less than a second") };
        poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&limit)).expect("poll") > 0
    }

    fn turns(&self) {
        while self.rt.turn(Some(Duration::ZERO)).expect("a turn") {}
    }

    /// Turns until there is nothing to do, and the descriptor says so. (It may report once more what is dealt with.)
    fn go_idle(&self) {
        for _ in 0..3 {
            self.turns();
            if !self.is_readable(ms(20)) {
                return;
            }
        }
        panic!("the descriptor stays readable, but there is nothing to do");
    }

    /// Does something to the runtime from outside, which must end the sleep.
    fn is_told_of(&self, what: &str, act: impl FnOnce()) {
        self.go_idle();
        act();
        assert!(self.is_readable(ms(900)), "{what}: the foreign loop would sleep through it");
        self.turns();
    }
}

fn what_happens_outside_of_a_turn_ends_the_sleep<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let host = Host::<E> { rt, fd: rt.as_fd().unwrap() };
    let (flag, count) = (Rc::new(Flag::default()), Rc::new(Cell::new(0)));
    let guest = rt.spawn({
        let (flag, count) = (Rc::clone(&flag), Rc::clone(&count));
        async move {
            loop {
                flag.wait().await;
                count.set(count.get() + 1);
            }
        }
    });
    for round in 1..=3 {
        host.is_told_of("a wake", || flag.set());
        assert_eq!(count.get(), round);
    }
    let spawned = Rc::new(Cell::new(false));
    let note = Rc::clone(&spawned);
    host.is_told_of("a spawn", || rt.spawn(async move { note.set(true) }).detach());
    assert!(spawned.get());
    host.is_told_of("a second wake after that", || flag.set());
    let stopped = rt.spawn(rt.stopped());
    host.is_told_of("a stop", || rt.stop());
    assert!(stopped.is_finished());
    host.is_told_of("an abort", || guest.abort());
    assert!(guest.is_finished());
    // On another thread, as ever.
    let remote = rt.remote();
    host.is_told_of("a spawn elsewhere", || {
        std::thread::spawn(move || drop(remote.spawn(|| async {}).unwrap())).join().unwrap();
    });
    host.go_idle();
    drop((guest, stopped, host, flag));
    settle::<E>(rt);
    bench.finish();
}

/// The descriptor is asked for when the guest is idle already: the next wake is told all the same.
fn a_descriptor_asked_for_late_is_told_too<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let flag = Rc::new(Flag::default());
    let waiting = Rc::clone(&flag);
    let guest: JoinHandle<()> = rt.spawn(async move { waiting.wait().await });
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
    let host = Host::<E> { rt, fd: rt.as_fd().unwrap() };
    assert!(!host.is_readable(ms(20)), "nothing has happened yet");
    flag.set();
    assert!(host.is_readable(ms(900)));
    host.turns();
    assert!(guest.is_finished());
    drop((guest, host, flag));
    settle::<E>(rt);
    bench.finish();
}

/// One that never asks for the descriptor pays nothing: no wake on the own thread makes a system call. And one that does
/// pays one for each sleep, not one for each wake.
fn wakes_cost_no_calls_but_the_first_after_an_idle_turn<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let writes = || rt.stats().driver.system_calls.iter().find(|call| call.0 == "write").map_or(0, |call| call.1);
    let spawn_some = || (0..100).for_each(|_| rt.spawn(yield_now()).detach());
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
    spawn_some();
    while rt.turn(Some(Duration::ZERO)).unwrap() {}
    assert_eq!(writes(), 0);
    let fd = rt.as_fd().unwrap();
    let before = writes();
    for _ in 0..5 {
        while rt.turn(Some(Duration::ZERO)).unwrap() {}
        spawn_some();
    }
    let more = writes() - before;
    assert!((5..=10).contains(&more), "{more} writes for five sleeps");
    // Inside of the loop there is no sleep to end.
    let before = writes();
    rt.block_on(async {
        spawn_some();
        rt.sleep(ms(5)).await;
    });
    assert_eq!(writes(), before);
    rt.spawn(pending::<()>()).abort();
    drop(fd);
    settle::<E>(rt);
    bench.finish();
}

/// A send that the socket takes in pieces, or that has more parts than one submission names, goes on by itself: no task
/// is woken for the rest, and so no turn says that there is more to do.
fn a_send_in_pieces_goes_on<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let host = Host::<E> { rt, fd: rt.as_fd().expect("as_fd") };
    let (reader, writer) = std::io::pipe().unwrap();
    let ((mut stream, peer), mut writer) = (rt.block_on(pair::<E>(rt)), rt.pipe_writer(writer).unwrap());
    let parts: Vec<[u8; 3]> = vec![[7; 3]; 5000];
    let sending = [
        rt.spawn(async move { drop((stream.write_all_vectored(parts).await.0.unwrap(), stream)) }),
        rt.spawn(async move { drop((writer.write_all(vec![7; 1 << 20]).await.0.unwrap(), writer)) }),
    ];
    let readers = [count(peer), count(reader)];
    let start = Instant::now();
    while !sending.iter().all(JoinHandle::is_finished) {
        host.turns();
        let is_told = host.is_readable(ms(900));
        assert!(is_told || sending.iter().all(JoinHandle::is_finished), "the host sleeps, and the rest is never sent");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    drop(sending);
    let read: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert_eq!(read, [15_000, 1 << 20]);
    drop(host);
    settle::<E>(rt);
    bench.finish();
}

/// Reads to the end, on a thread.
fn count(mut reader: impl Read + Send + 'static) -> JoinThread {
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap())
}

type JoinThread = std::thread::JoinHandle<u64>;

/// `block_on` in between takes back what the last turn announced. The host must not sleep on that.
fn a_block_on_in_between_is_told<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let host = Host::<E> { rt, fd: rt.as_fd().expect("as_fd") };
    let ran = Rc::new(Cell::new(false));
    host.is_told_of("a spawn in block_on", || {
        let (handle, ran) = (rt.clone(), Rc::clone(&ran));
        rt.block_on(async move { handle.spawn(async move { ran.set(true) }).detach() });
    });
    assert!(ran.get());
    host.go_idle();
    rt.block_on(rt.sleep(ms(1)));
    let remote = rt.remote();
    host.turns();
    while host.is_readable(ms(20)) {
        host.turns();
    }
    rt.block_on(yield_now());
    std::thread::spawn(move || remote.spawn(|| async {}).map(drop).unwrap()).join().unwrap();
    assert!(host.is_readable(ms(900)), "a wake of another thread does not end the sleep");
    host.turns();
    drop(host);
    settle::<E>(rt);
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        what_happens_outside_of_a_turn_ends_the_sleep,
        a_descriptor_asked_for_late_is_told_too,
        wakes_cost_no_calls_but_the_first_after_an_idle_turn,
        a_send_in_pieces_goes_on,
        a_block_on_in_between_is_told,
    );
    suite.run()
}
