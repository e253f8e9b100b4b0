//! Goal: names become addresses without the loop standing still, errors name the name, and a look-up that is dropped
//! leaves nothing behind.
//!
//! Method: names that need no network; a pool whose only thread is held, so that a look-up has to wait.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;

use executor::{BlockingConfig, Config};
use tests::{Bench, Engine, Suite, blocking_threads, ms, on_every_engine, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

fn names_become_addresses<E: Engine>() {
    run::<E>(async |rt| {
        for literal in ["127.0.0.1:80", "[::1]:443"] {
            let expected: SocketAddr = literal.parse().unwrap();
            assert_eq!(rt.lookup(literal).await.unwrap(), [expected]);
        }
        assert_eq!(blocking_threads(), 0, "addresses need none");
        let found = rt.lookup("localhost:8080").await.unwrap();
        assert!(
            !found.is_empty() && found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 8080),
            "{found:?}"
        );
        assert_eq!(blocking_threads(), 1);
    });
}

fn what_is_no_name_is_an_error_that_names_it<E: Engine>() {
    run::<E>(async |rt| {
        for wrong in ["localhost", "localhost:", "localhost:http", "localhost:65536", ":", ""] {
            let error = rt.lookup(wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
        // No resolver asks anybody for a name with a blank in it.
        let error = rt.lookup("no such host:80").await.unwrap_err();
        assert!(error.to_string().contains("\"no such host:80\""), "{error}");
    });
}

fn a_dropped_look_up_leaves_nothing<E: Engine>() {
    let blocking = BlockingConfig { max_threads: 1, max_jobs: 2, ..BlockingConfig::default() };
    let bench = Bench::<E>::with(Config { blocking, ..Config::default() });
    let rt = bench.rt();
    rt.block_on(async {
        let (release, released) = mpsc::channel::<()>();
        let held = rt.spawn_blocking(move || released.recv().is_err());
        // With room for one that waits, the second would be refused if the first were still there.
        for _ in 0..3 {
            let mut lookup = Box::pin(rt.lookup("localhost:80"));
            assert!(poll_once(&mut lookup).await.is_none());
            assert_eq!(rt.lookup("localhost:81").await.unwrap_err().kind(), ErrorKind::ResourceBusy);
        }
        assert!(rt.timeout(ms(1), rt.lookup("localhost:80")).await.is_err(), "the thread is held");
        assert_eq!(rt.stats().blocking.jobs_now, 1);
        drop(release);
        assert!(held.await.unwrap());
        assert!(!rt.lookup("localhost:80").await.unwrap().is_empty());
    });
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(
        suite,
        names_become_addresses,
        what_is_no_name_is_an_error_that_names_it,
        a_dropped_look_up_leaves_nothing,
    );
    suite.run()
}
