//! Goal: with `Builder::spin` a runtime that has run out of work looks for more before it sleeps, for so long
//! and no longer, and misses nothing meanwhile.
//!
//! Method: turns are counted, for each look is one, and the thread's processor time is read.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use executor::{Config, IoBuf, Reader, Writer};
use rustix::time::{ClockId, clock_gettime};
use tests::net::pair;
use tests::{Bench, Engine, Suite, ms, on_every_engine};

/// More than any test here sleeps, and less than the watchdog's patience.
const LONG: Duration = ms(5000);

fn spinning<E: Engine>(spin: Duration) -> Bench<E> {
    Bench::with(Config { spin, ..Config::default() })
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

fn it_spins_and_then_sleeps<E: Engine>() {
    let bench = spinning::<E>(ms(20));
    let rt = bench.rt();
    let (turns, used) = (rt.stats().turns, processor_time());
    rt.block_on(rt.sleep(ms(600)));
    let (turns, used) = (rt.stats().turns - turns, processor_time() - used);
    assert!(turns > 20, "{turns} turns: it did not spin");
    assert!(used < ms(300), "{used:?} of processor time: it did not sleep");
    bench.finish();
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
    on_every_engine!(
        suite,
        it_spins_and_then_sleeps,
        without_it_sleeps_at_once,
        nothing_is_missed,
        the_sleep_after_it_is_a_usual_one
    );
    suite.run()
}
