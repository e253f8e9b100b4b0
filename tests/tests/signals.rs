//! Goal: writing to a connection that is gone is an error, never a signal; and signals that the program
//! does get disturb nothing.
//!
//! Method: a handler that notes SIGPIPE (std ignores it, and would hide one); a storm of handled
//! signals over a transfer.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use executor::{IoBuf, Reader, Runtime, Stats, Writer};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGPIPE, SIGUSR1};
use tests::net::{Pattern, duplex, pair, recv_exactly, reset};
use tests::{Engine, Suite, both, ms, on_every_engine, on_every_fallback, run};

fn writing_to_nobody_raises_no_signal<E: Engine>() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, Arc::clone(&raised)).unwrap();
    run::<E>(async |rt| {
        for large in [false, true] {
            let size = if large { 1 << 22 } else { 1 };
            let (mut stream, peer) = pair::<E>(rt).await;
            reset(peer);
            rt.sleep(ms(5)).await;
            // The first failure tells of the reset, each further one of the broken pipe.
            let mut kinds = Vec::new();
            for _ in 0..4 {
                kinds.push(stream.write_all(vec![0; size]).await.0.unwrap_err().kind());
            }
            assert!(kinds[1..].iter().all(|kind| *kind == ErrorKind::BrokenPipe), "{kinds:?}");
            assert_eq!(stream.write("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);

            // After our own end of the writing side.
            let (mut stream, _peer) = pair::<E>(rt).await;
            stream.shutdown().await.unwrap();
            assert_eq!(stream.write_all(vec![0; size]).await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    });
    assert!(!raised.load(Ordering::Relaxed), "SIGPIPE was raised");
}

fn the_check_for_sigpipe_works() {
    let raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, Arc::clone(&raised)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(rustix::io::write(&writer, b"x"), Err(rustix::io::Errno::PIPE));
    assert!(raised.load(Ordering::Relaxed));
}

fn a_storm_of_signals_changes_no_byte<E: Engine>() {
    const TOTAL: usize = 4 << 20;
    let hit = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGUSR1, Arc::clone(&hit)).unwrap();
    run::<E>(async |rt| {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let storm = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        let (mut here, mut there) = duplex::<E>(rt).await;
        let pattern = Pattern::new(1);
        for _ in 0..5 {
            let bytes = pattern.bytes(0, TOTAL);
            let (sent, received) = both(here.write_all(bytes), recv_exactly(&mut there, TOTAL)).await;
            sent.0.unwrap();
            pattern.check(0, &received);
            rt.sleep(ms(5)).await;
        }
        here.shutdown().await.unwrap();
        assert!(there.recv().await.unwrap().bytes().is_empty());
        stop.store(true, Ordering::Relaxed);
        storm.join().unwrap();
    });
    assert!(hit.load(Ordering::Relaxed));
}

/// A process that is stopped reads nothing, and its kernel goes on to answer for it: only a timeout ends a write
/// to it.
fn a_write_to_a_stopped_process_times_out<E: Engine>() {
    const LIMIT: Duration = ms(300);
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        let mut reader = Command::new("cat")
            .stdin(OwnedFd::from(peer))
            .stdout(Stdio::null())
            .spawn()
            .expect("cat, to read what we write");
        let process = Pid::from_child(&reader);
        kill_process(process, Signal::STOP).unwrap();
        let start = Instant::now();
        let elapsed = rt.timeout(LIMIT, stream.write_all(vec![1; 64 << 20])).await.map(drop).unwrap_err();
        assert_eq!(std::io::Error::from(elapsed).kind(), ErrorKind::TimedOut);
        let took = start.elapsed();
        assert!(took >= LIMIT && took < LIMIT * 10, "{took:?}");
        assert_eq!(stream.write("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
        drop(stream);
        // What the kernel was doing for us is over although the process still stands still.
        settle_io(rt).await;
        kill_process(process, Signal::CONT).unwrap();
        assert!(reader.wait().unwrap().success(), "it reads to the end");
    });
}

/// Until the driver is done with what was dropped.
async fn settle_io<R: Runtime>(rt: &R) {
    let is_busy = |stats: Stats| stats.driver.operations_now.or(stats.driver.sources_now) > Some(0);
    while is_busy(rt.stats()) {
        rt.sleep(ms(1)).await;
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.add_plain("the_check_for_sigpipe_works", the_check_for_sigpipe_works);
    on_every_fallback!(suite, writing_to_nobody_raises_no_signal, a_storm_of_signals_changes_no_byte);
    on_every_engine!(suite, a_write_to_a_stopped_process_times_out);
    suite.run()
}
