//! Goal: the check that what a process holds stays as it was, on which the long runs rely, notices a small leak and
//! nothing else.
//!
//! Method: rounds in which 100 bytes are forgotten for each connection, and rounds in which much is allocated and
//! freed.

use std::process::ExitCode;

use executor::{IoBuf, Runtime, Stream as _};
use peak_alloc::PeakAlloc;
use tests::net::{listen, serve};
use tests::{Engine, Flat, HEAP_LEVEL, Suite, on_every_engine, panics, run};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const CONNECTIONS: usize = 50;

/// Rounds of connections to an echo server, and what is done besides for each.
fn rounds<E: Engine>(count: usize, besides: impl Fn(usize)) {
    run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        let mut flat = Flat::new(rt).await;
        for _ in 0..count {
            for number in 0..CONNECTIONS {
                let mut stream = rt.connect(addr).await.expect("connect");
                assert!(!stream.exchange(vec![1; 64]).await.expect("an echo").bytes().is_empty());
                besides(number);
            }
            flat.check(rt).await;
        }
        server.abort();
    });
}

fn a_small_leak_is_found<E: Engine>() {
    let needed = HEAP_LEVEL / (100 * CONNECTIONS);
    let text = panics(|| rounds::<E>(2 * needed, |_| std::mem::forget(vec![0; 100])));
    assert!(text.starts_with("the heap has risen by"), "{text}");
}

fn what_is_freed_is_no_leak<E: Engine>() {
    rounds::<E>(20, |number| drop(vec![0; 1000 * number]));
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(suite, a_small_leak_is_found, what_is_freed_is_no_leak);
    suite.run()
}
