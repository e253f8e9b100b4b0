//! Goal: where there is no memory for a buffer, whoever asked is told, and nothing else happens: no abort, no byte
//! lost, and with memory it goes on.
//!
//! Method: an allocator that refuses what is as large as a buffer, from the k-th on, for each k. What is small it
//! always gives: only buffers are asked for in a way that can be refused.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, Ordering};

use executor::{IoBuf, Reader};
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

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(suite, a_receive_without_memory_is_an_error);
    on_engines!(suite, [ProactorBare], a_receive_without_memory_is_an_error);
    suite.run()
}
