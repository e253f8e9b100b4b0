//! Goal: with `Builder::spin` a runtime that has run out of work looks for more before it sleeps, for so long
//! and no longer, and misses nothing meanwhile.
//!
//! Method: turns are counted, for each look is one, and the thread's processor time is read. A driver whose clock moves
//! by a millisecond with each look says exactly how many looks there are before each sleep.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::{Config, Driver, DriverStats, Executor, Fired, IoBuf, Reader, Unpark, Writer};
use rustix::time::{ClockId, clock_gettime};
use tests::net::pair;
use tests::{Bench, Engine, Suite, ms, on_every_engine, settle};

/// More than any test here sleeps, and less than the watchdog's patience.
const LONG: Duration = ms(5000);

fn spinning<E: Engine>(spin: Duration) -> Bench<E> {
    Bench::with(Config { spin, ..Config::default() })
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

/// Whenever it runs out of work, and not only the first time.
fn it_spins_and_then_sleeps<E: Engine>() {
    let bench = spinning::<E>(ms(60));
    let rt = bench.rt();
    for period in 1..=2 {
        let (turns, used) = (rt.stats().turns, processor_time());
        rt.block_on(rt.sleep(ms(600)));
        let (turns, used) = (rt.stats().turns - turns, processor_time() - used);
        assert!(turns > 20, "{turns} turns: it did not spin, period {period}");
        assert!(used < ms(300), "{used:?} of processor time: it did not sleep, period {period}");
    }
    bench.finish();
}

/// A driver with no kernel. A look takes a millisecond of its clock, and a sleep as long as it may.
struct Looks {
    now: Cell<Instant>,
    /// How long each turn might sleep.
    turns: Rc<RefCell<Vec<Duration>>>,
}

struct Silent;

impl Unpark for Silent {
    fn unpark(&self) {}
}

impl Driver for Looks {
    fn turn(&mut self, timeout: Option<Duration>, _fired: &mut Fired) -> io::Result<()> {
        let timeout = timeout.expect("there is a timer");
        self.turns.borrow_mut().push(timeout);
        self.now.set(self.now.get() + timeout.max(ms(1)));
        Ok(())
    }

    fn close(&mut self) {}

    fn drain(&mut self, _deadline: Option<Instant>, _fired: &mut Fired) -> io::Result<()> {
        Ok(())
    }

    fn now(&self) -> Instant {
        self.now.get()
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Silent)
    }

    fn as_fd(&mut self) -> io::Result<BorrowedFd<'_>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stats(&self) -> DriverStats {
        DriverStats::default()
    }
}

/// Work ends an idle period, and the next one has a spin of its own.
fn each_idle_period_has_a_spin_of_its_own() {
    let turns = Rc::new(RefCell::new(Vec::new()));
    let driver = Looks { now: Cell::new(Instant::now()), turns: Rc::clone(&turns) };
    let rt = Executor::new(driver, Config { spin: ms(5), ..Config::default() });
    for period in 1..=3 {
        rt.block_on(rt.sleep(ms(100)));
        let expected = [[Duration::ZERO; 5].as_slice(), &[ms(95)]].concat();
        assert_eq!(turns.take(), expected, "five looks and a sleep for the rest, in period {period}");
    }
    // A part of a spin does not count for the next.
    for _ in 0..3 {
        rt.block_on(rt.sleep(ms(3)));
        assert_eq!(turns.take(), [Duration::ZERO; 3]);
    }
}

fn without_it_sleeps_at_once<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    let turns = rt.stats().turns;
    rt.block_on(rt.sleep(ms(50)));
    let turns = rt.stats().turns - turns;
    assert!(turns <= 5, "{turns} turns in one sleep");
    bench.finish();
}

/// Everything that ends a sleep ends a spin: a timer, another thread, a message.
fn nothing_is_missed<E: Engine>() {
    let bench = spinning::<E>(LONG);
    let rt = bench.rt();
    rt.block_on(rt.sleep(ms(10)));

    let remote = rt.remote();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(ms(20));
        remote.stop();
    });
    rt.block_on(rt.stopped());
    thread.join().unwrap();

    rt.block_on(async {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let thread = std::thread::spawn(move || {
            for number in 0..100 {
                peer.write_all(&[number]).unwrap();
                let mut answer = [0];
                peer.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [number]);
            }
        });
        for _ in 0..100 {
            let chunk = stream.recv().await.unwrap();
            assert_eq!(chunk.bytes().len(), 1);
            stream.write_all(chunk).await.0.unwrap();
        }
        thread.join().unwrap();
    });
    bench.finish();
}

/// While the loop looks by itself, nothing has to wake it.
fn a_wake_during_the_spin_costs_no_call<E: Engine>() {
    let bench = spinning::<E>(LONG);
    let rt = bench.rt();
    let writes = || {
        let calls = rt.stats().driver.system_calls;
        calls.iter().find(|(name, _)| *name == "write").map_or(0, |(_, count)| *count)
    };
    let (before, remote) = (writes(), rt.remote());
    let thread = std::thread::spawn(move || {
        for _ in 0..1000 {
            drop(remote.spawn(|| async {}).unwrap());
            std::thread::sleep(Duration::from_micros(50));
        }
        remote.stop();
    });
    rt.block_on(rt.stopped());
    thread.join().unwrap();
    assert_eq!(writes(), before);
    settle::<E>(rt);
    bench.finish();
}

/// A wake that comes when the spin is over finds the loop asleep, and wakes it.
fn the_sleep_after_it_is_a_usual_one<E: Engine>() {
    let bench = spinning::<E>(ms(1));
    let rt = bench.rt();
    let remote = rt.remote();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(ms(100));
        remote.stop();
    });
    rt.block_on(rt.stopped());
    thread.join().unwrap();
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.add_plain("each_idle_period_has_a_spin_of_its_own", each_idle_period_has_a_spin_of_its_own);
    on_every_engine!(
        suite,
        it_spins_and_then_sleeps,
        without_it_sleeps_at_once,
        nothing_is_missed,
        a_wake_during_the_spin_costs_no_call,
        the_sleep_after_it_is_a_usual_one
    );
    suite.run()
}
