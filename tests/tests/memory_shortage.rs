//! Goal: where there is no memory for a buffer, whoever asked is told, and nothing else happens: no abort, no byte
//! lost, and with memory it goes on.
//!
//! Method: an allocator that refuses what is as large as a buffer, from the k-th on, for each k. What is small it
//! always gives: only buffers are asked for in a way that can be refused. And the real limit of address space, which leaves
//! no room for the stack of a thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use executor::{IoBuf, JoinError, Reader, yield_now};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::net::{pair, recv_exactly};
use tests::{Engine, Suite, ms, on_engines, on_every_engine, run};

/// No runtime asks for more at a time, but for buffers.
const LARGE: usize = 4096;

/// Gives so many more large pieces.
struct Short(AtomicI64);

#[global_allocator]
static SHORT: Short = Short(AtomicI64::new(i64::MAX));

// SAFETY: all is passed on to the system's allocator, or refused, which an allocator may.
unsafe impl GlobalAlloc for Short {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE && self.0.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return std::ptr::null_mut();
        }
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller; all of ours came from there.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// The runtime's buffers are made when they are first needed: here, with memory for `k` of them.
fn a_receive_without_memory_is_an_error<E: Engine>() {
    let mut refused = 0;
    for k in 0..70 {
        run::<E>(async |rt| {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            peer.write_all(b"hello").unwrap();
            SHORT.0.store(k, Ordering::Relaxed);
            let first = stream.recv().await;
            SHORT.0.store(i64::MAX, Ordering::Relaxed);
            match first {
                Ok(chunk) => assert_eq!(chunk.bytes(), b"hello"),
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
                    assert_eq!(recv_exactly(&mut stream, 5).await, b"hello", "still there");
                }
            }
            peer.write_all(b"again").unwrap();
            assert_eq!(rt.timeout(ms(10_000), recv_exactly(&mut stream, 5)).await.expect("not stuck"), b"again");
        });
    }
    assert_eq!(refused, 1, "with memory for one buffer it goes on");
}

/// Lets the process have so much address space.
fn limit_address_space(bytes: Option<u64>) {
    let limit = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: bytes, ..limit }).expect("a limit that is no higher");
}

/// Bytes of address space that this process has.
fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// No room for the stack of a thread. A job is refused before it begins, and all that needs no thread goes on.
fn without_room_for_a_thread_a_job_is_refused<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let ran = Arc::new(AtomicI64::new(0));
        let job = || {
            let ran = Arc::clone(&ran);
            move || ran.fetch_add(1, Ordering::Relaxed)
        };
        limit_address_space(Some(address_space() + (1 << 20)));
        let refused = [rt.spawn_blocking(job()).await, rt.unblock(job()).await];
        let timer = rt.sleep(ms(1)).await;
        peer.write_all(b"hello").unwrap();
        let received = recv_exactly(&mut stream, 5).await;
        limit_address_space(None);
        assert_eq!((timer, &received[..]), ((), &b"hello"[..]));
        for result in refused {
            assert!(matches!(result, Err(JoinError::Refused)), "{result:?}");
        }
        assert_eq!((ran.load(Ordering::Relaxed), rt.stats().blocking.jobs_now), (0, 0));
        // With room it goes on.
        assert_eq!(rt.spawn_blocking(job()).await.unwrap(), 0);
        while rt.stats().blocking.jobs_now > 0 {
            yield_now().await;
        }
        // There is a thread, so a job waits for that.
        limit_address_space(Some(address_space() + (1 << 20)));
        let jobs = [rt.spawn_blocking(job()), rt.spawn_blocking(job()), rt.spawn_blocking(job())];
        for one in jobs {
            one.await.unwrap();
        }
        limit_address_space(None);
        assert_eq!(ran.load(Ordering::Relaxed), 4);
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(suite, a_receive_without_memory_is_an_error, without_room_for_a_thread_a_job_is_refused);
    on_engines!(suite, [ProactorBare], a_receive_without_memory_is_an_error);
    suite.run()
}
