//! Goal: a signal is told to all who ask for it, whenever it comes; none that came is lost, and who asks no more leaves
//! nothing behind.
//!
//! Method: signals raised here, by other threads and by other processes; on every engine and with every fallback.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::Poll;

use executor::{Config, Net, yield_now};
use signal_hook::consts::{SIGFPE, SIGHUP, SIGILL, SIGKILL, SIGSEGV, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::low_level::raise;
use tests::{
    Bench, Engine, Suite, both, elsewhere, is_closed, ms, on_every_variant, open_fds, poll_idle, run, start_then_drop,
};

fn told_whenever_they_come<E: Engine>() {
    run::<E>(async |rt| {
        let mut signals = rt.signals([SIGUSR1, SIGHUP]).unwrap();
        // Before it is asked for.
        raise(SIGUSR1).unwrap();
        assert_eq!(signals.next().await.unwrap(), SIGUSR1);
        // While it is waited for: from here, ...
        let (told, ()) = both(signals.next(), async { raise(SIGHUP).unwrap() }).await;
        assert_eq!(told.unwrap(), SIGHUP);
        // ... a thread, ...
        let (told, ()) = both(signals.next(), elsewhere(|| raise(SIGUSR1).unwrap())).await;
        assert_eq!(told.unwrap(), SIGUSR1);
        // ... another process.
        let kill = || Command::new("sh").args(["-c", "kill -HUP $PPID"]).status().expect("a shell");
        let (told, status) = both(signals.next(), elsewhere(kill)).await;
        assert_eq!(told.unwrap(), SIGHUP);
        assert!(status.success());
        start_then_drop(signals.next(), yield_now()).await;
    });
}

fn of_one_kind_one_of_each_kind_each<E: Engine>() {
    run::<E>(async |rt| {
        // Named twice, it is still asked for once.
        let mut signals = rt.signals([SIGUSR1, SIGUSR2, SIGUSR1, SIGTERM, 64]).unwrap();
        for signal in [SIGUSR1, SIGUSR2, SIGUSR1, 64, SIGUSR1, SIGTERM] {
            raise(signal).unwrap();
        }
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(signals.next().await.unwrap());
        }
        assert_eq!(BTreeSet::from_iter(told), BTreeSet::from([SIGUSR1, SIGUSR2, SIGTERM, 64]));
        start_then_drop(signals.next(), rt.sleep(ms(1))).await;
    });
}

fn a_dropped_wait_loses_none<E: Engine>() {
    run::<E>(async |rt| {
        let mut signals = rt.signals([SIGUSR1, SIGUSR2]).unwrap();
        for round in 0..50 {
            let raising = async {
                raise(if round % 2 == 0 { SIGUSR1 } else { SIGUSR2 }).unwrap();
                // Long enough for the byte to arrive, or too short.
                if round % 3 == 0 {
                    rt.sleep(ms(1)).await;
                }
            };
            start_then_drop(signals.next(), raising).await;
            assert_eq!(signals.next().await.unwrap(), if round % 2 == 0 { SIGUSR1 } else { SIGUSR2 });
        }
    });
}

/// More than fit between the handler and us are one, and one kind that comes all the time keeps no other back.
fn a_flood_hides_no_other<E: Engine>() {
    run::<E>(async |rt| {
        let mut signals = rt.signals([SIGHUP, SIGUSR1, SIGTERM]).unwrap();
        (0..5_000).for_each(|_| raise(SIGUSR1).unwrap());
        raise(SIGTERM).unwrap();
        let told = [signals.next().await.unwrap(), signals.next().await.unwrap()];
        assert_eq!(BTreeSet::from(told), BTreeSet::from([SIGUSR1, SIGTERM]));
        // SIGHUP has the lowest number, SIGTERM the highest of these.
        for hidden in [SIGTERM, SIGUSR1] {
            raise(hidden).unwrap();
            let mut others = 0;
            loop {
                raise(SIGHUP).unwrap();
                match signals.next().await.unwrap() {
                    SIGHUP => others += 1,
                    told => break assert_eq!(told, hidden),
                }
                assert!(others < 5, "{hidden} is kept back");
            }
        }
    });
}

/// Each who asks is told: two here, and one on a runtime of another thread.
fn all_who_ask_are_told<E: Engine>() {
    run::<E>(async |rt| {
        let mut one = rt.signals([SIGUSR1]).unwrap();
        let mut other = rt.signals([SIGUSR1, SIGUSR2]).unwrap();
        let (ready, is_ready) = mpsc::channel();
        let third = std::thread::spawn(move || {
            let rt = E::build(Config::default()).unwrap();
            let mut third = rt.signals([SIGUSR1]).unwrap();
            ready.send(()).unwrap();
            rt.block_on(third.next()).unwrap()
        });
        elsewhere(move || is_ready.recv().unwrap()).await;
        raise(SIGUSR1).unwrap();
        assert_eq!(one.next().await.unwrap(), SIGUSR1);
        assert_eq!(other.next().await.unwrap(), SIGUSR1);
        assert_eq!(elsewhere(move || third.join().unwrap()).await, SIGUSR1);
        // Who leaves takes nothing from the others, and an old handler is none of ours.
        let noted = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&noted)).unwrap();
        drop(one);
        raise(SIGUSR1).unwrap();
        assert_eq!(other.next().await.unwrap(), SIGUSR1);
        assert!(noted.load(Ordering::Relaxed));
    });
}

fn who_leaves_leaves_nothing<E: Engine>() {
    run::<E>(async |rt| {
        drop(rt.signals([SIGUSR1, SIGUSR2]).unwrap());
        rt.sleep(ms(1)).await;
        let before = open_fds();
        for round in 0..100 {
            let mut signals = rt.signals([SIGUSR1, SIGUSR2]).unwrap();
            raise(SIGUSR2).unwrap();
            match round % 3 {
                0 => assert_eq!(signals.next().await.unwrap(), SIGUSR2),
                1 => {
                    start_then_drop(Box::pin(async { signals.next().await.and(signals.next().await) }), yield_now())
                        .await
                }
                _ => {}
            }
        }
        rt.sleep(ms(1)).await;
        assert_eq!(open_fds(), before);
        // Its action was to end the process.
        raise(SIGUSR1).unwrap();
        assert!(rt.signals([]).is_ok());
    });
}

fn what_cannot_be_handled_is_refused<E: Engine>() {
    run::<E>(async |rt| {
        for wrong in [SIGKILL, SIGSTOP, SIGSEGV, SIGFPE, SIGILL, 0, -1, 65, i32::MIN, i32::MAX] {
            let error = rt.signals([SIGUSR1, wrong]).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("signal {wrong} cannot be handled"));
        }
        // 32 is the C library's own.
        assert_eq!(rt.signals([SIGUSR1, 32]).map(drop).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

fn the_end_of_the_runtime_is_told<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let mut signals = bench.rt().signals([SIGUSR1]).unwrap();
    bench.rt().block_on(start_then_drop(signals.next(), yield_now()));
    let handle = bench.handle();
    bench.end();
    match poll_idle(&mut Box::pin(signals.next())) {
        Poll::Ready(Err(error)) => assert!(is_closed(&error), "{error}"),
        _ => panic!("it waits on"),
    }
    assert!(is_closed(&handle.signals([SIGUSR1]).map(drop).unwrap_err()));
    drop((signals, handle));
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        told_whenever_they_come,
        of_one_kind_one_of_each_kind_each,
        a_dropped_wait_loses_none,
        a_flood_hides_no_other,
        all_who_ask_are_told,
        who_leaves_leaves_nothing,
        what_cannot_be_handled_is_refused,
        the_end_of_the_runtime_is_told,
    );
    suite.run()
}
