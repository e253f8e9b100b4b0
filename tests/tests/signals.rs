//! Goal: writing to a connection that is gone is an error, never a signal; and signals that the program
//! does get disturb nothing.
//!
//! Method: a handler that notes SIGPIPE (std ignores it, and would hide one); a storm of handled
//! signals over a transfer.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use executor::{IoBuf, Reader, Writer};
use signal_hook::consts::{SIGPIPE, SIGUSR1};
use tests::net::{Pattern, duplex, pair, recv_exactly, reset};
use tests::{Engine, Suite, both, ms, on_every_fallback, run};

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

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.add_plain("the_check_for_sigpipe_works", the_check_for_sigpipe_works);
    on_every_fallback!(suite, writing_to_nobody_raises_no_signal, a_storm_of_signals_changes_no_byte);
    suite.run()
}
