//! Goal: "as long as it takes" and "as many as you like" can be said. The largest duration and the largest number do what
//! they say, everywhere a program can say them; they neither overflow nor count as none.
//!
//! Method: each of them set to its largest value, while the runtime does what it otherwise does.

use std::future::pending;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use executor::{BlockingConfig, Config, ListenOptions, MissedTickBehavior, Reader, Runtime, StallWatch, yield_now};
use tests::net::{V4, pair, recv_exactly};
use tests::{Bench, Engine, Suite, ms, on_every_engine, on_every_fallback, poll_once, settle, start_then_drop};

/// The end waits without a limit: for the kernel, and for a job that runs. Both take no longer than they need.
fn the_end_may_take_as_long_as_it_takes<E: Engine>() {
    let mut bench = Bench::<E>::with(Config { shutdown_deadline: Duration::MAX, ..Config::default() });
    let rt = bench.handle();
    let (mut stream, peer) = rt.block_on(pair::<E>(&rt));
    let (started, starts) = mpsc::channel();
    let (over, is_over) = mpsc::channel();
    let job = rt.spawn_blocking(move || {
        started.send(()).unwrap();
        std::thread::sleep(ms(50));
        over.send(()).unwrap();
    });
    starts.recv().unwrap();
    rt.spawn(async move {
        let read = stream.read(vec![0; 100]).await;
        unreachable!("{read:?}");
    })
    .detach();
    rt.block_on(yield_now());
    rt.turn(Some(Duration::ZERO)).unwrap();
    let took = bench.end();
    assert!(is_over.try_recv().is_ok() && took < ms(10_000), "{took:?}");
    assert_eq!(rt.stats().blocking.abandoned, 0);
    drop((job, peer, rt));
    bench.finish();
}

/// All limits of a configuration at once.
fn every_limit_at_its_largest<E: Engine>() {
    let blocking = BlockingConfig { max_threads: usize::MAX, max_jobs: usize::MAX, keep_alive: Duration::MAX };
    let stall_watch = Some(StallWatch {
        limit: Duration::MAX,
        on_stall: Rc::new(|stall: &_| panic!("nothing takes so long: {stall}")),
    });
    let max_tasks = usize::MAX;
    let shutdown_deadline = Duration::MAX;
    let config =
        Config { max_tasks, shutdown_deadline, blocking, stall_watch, spin: Duration::MAX, ..Config::default() };
    let bench = Bench::<E>::with(config);
    let rt = bench.rt();
    let options = ListenOptions { backlog: u32::MAX, ..ListenOptions::default() };
    drop(rt.listen(V4, &options).unwrap());
    rt.block_on(async {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let answers = rt.spawn(async move { recv_exactly(&mut stream, 2).await });
        std::io::Write::write_all(&mut peer, b"hi").unwrap();
        assert_eq!(answers.await.unwrap(), b"hi");
        assert_eq!(rt.spawn_blocking(|| 7).await.unwrap(), 7);
        rt.spawn(yield_now()).await.unwrap();
        rt.sleep(ms(5)).await;
    });
    settle::<E>(rt);
    bench.finish();
}

fn times_that_never_come<E: Engine>() {
    let bench = Bench::<E>::new();
    let rt = bench.rt();
    rt.block_on(async {
        start_then_drop(rt.sleep(Duration::MAX), rt.sleep(ms(2))).await;
        start_then_drop(rt.sleep_until(None), rt.sleep(ms(2))).await;
        let mut far = rt.sleep_until(Instant::now().checked_add(Duration::from_secs(1 << 40)));
        assert!(poll_once(&mut far).await.is_none());
        rt.sleep(ms(2)).await;
        far.reset(rt.now());
        far.await;
        assert_eq!(rt.timeout(Duration::MAX, async { 3 }).await, Ok(3));
        assert!(rt.timeout(ms(2), rt.timeout(Duration::MAX, pending::<()>())).await.is_err());
        let behaviors = [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip];
        for (behavior, period) in
            behaviors.into_iter().flat_map(|b| [(b, Duration::MAX), (b, Duration::from_secs(1 << 40))])
        {
            let mut interval = rt.interval(period);
            interval.set_missed_tick_behavior(behavior);
            interval.tick().await;
            assert!(rt.timeout(ms(2), interval.tick()).await.is_err(), "{behavior:?}");
        }
    });
    // A turn that may take for ever ends when there is something.
    rt.spawn(rt.sleep(ms(20))).detach();
    let mut turns = 0;
    while !rt.turn(Some(Duration::MAX)).unwrap() {
        turns += 1;
    }
    assert!(turns < 20, "{turns}");
    settle::<E>(rt);
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, the_end_may_take_as_long_as_it_takes, times_that_never_come);
    on_every_engine!(suite, every_limit_at_its_largest);
    suite.run()
}
