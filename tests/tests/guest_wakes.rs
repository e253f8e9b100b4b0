//! Goal: a runtime that is a guest in a foreign loop, which sleeps on its descriptor, learns of what the program does from
//! outside: whatever makes a task ready ends that sleep, and nothing else does.
//!
//! Method: the foreign loop is poll(2). Between two turns the program wakes, aborts, spawns and stops on its own thread,
//! and the descriptor is asked.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use executor::{JoinHandle, yield_now};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        what_happens_outside_of_a_turn_ends_the_sleep,
        a_descriptor_asked_for_late_is_told_too,
        wakes_cost_no_calls_but_the_first_after_an_idle_turn,
    );
    suite.run()
}
