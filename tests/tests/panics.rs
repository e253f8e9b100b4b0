//! Goal: a panic amid I/O is the affair of whoever panicked: the other events of the same turn are delivered, and
//! what the kernel worked on for the one who is gone is cleaned up.
//!
//! Method: many streams become readable at once, some of which wake a waker that panics; tasks that panic while
//! they hold reads and writes in flight.

use std::io::Write;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake, Waker};

use executor::{Config, IoBuf, JoinError, Reader, Stream as _, Writer};
use oracles::PageBuffer;
use tests::net::{pair, recv_exactly};
use tests::{Bench, Engine, Suite, ms, on_every_fallback, poll_once, settle};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// Counts wakes, then panics if it is to.
struct Alarm {
    woken: Arc<AtomicU32>,
    panics: bool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics, "a waker's panic");
    }
}

/// A bench that keeps to itself what panics say.
fn quiet<E: Engine>() -> Bench<E> {
    Bench::with(Config { on_task_panic: std::rc::Rc::new(drop), ..Config::default() })
}

fn a_waker_that_panics_keeps_no_other_from_being_woken<E: Engine>() {
    const STREAMS: usize = 30;
    let bench = quiet::<E>();
    let rt = bench.handle();
    std::panic::set_hook(Box::new(|_| {}));
    rt.block_on(async {
        let (mut streams, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            let (stream, peer) = pair::<E>(&rt).await;
            streams.push(stream);
            peers.push(peer);
        }
        let woken = Arc::new(AtomicU32::new(0));
        let mut reads: Vec<_> = streams.iter_mut().map(|stream| Box::pin(stream.recv())).collect();
        for (n, read) in reads.iter_mut().enumerate() {
            let alarm = Alarm { woken: Arc::clone(&woken), panics: n % 3 == 0 };
            let poll = Pin::new(read).poll(&mut Context::from_waker(&Waker::from(Arc::new(alarm))));
            assert!(poll.is_pending());
        }
        rt.sleep(ms(1)).await;
        // All of them are there when the next turn begins.
        peers.iter_mut().for_each(|peer| peer.write_all(b"x").unwrap());
        while woken.load(Ordering::Relaxed) < u32::try_from(STREAMS).unwrap() {
            rt.sleep(ms(1)).await;
        }
        for read in reads {
            assert_eq!(read.await.unwrap().bytes(), b"x");
        }
        assert_eq!(woken.load(Ordering::Relaxed), u32::try_from(STREAMS).unwrap(), "each once");
    });
    assert_eq!(rt.stats().tasks_panicked, u64::try_from(STREAMS.div_ceil(3)).unwrap());
    drop(rt);
    settle::<E>(bench.rt());
    drop(std::panic::take_hook());
    bench.finish();
}

fn tasks_that_panic_with_operations_in_flight<E: Engine>() {
    let bench = quiet::<E>();
    let rt = bench.handle();
    std::panic::set_hook(Box::new(|_| {}));
    rt.block_on(async {
        for round in 0..20 {
            let (stream, mut peer) = pair::<E>(&rt).await;
            let (mut read, mut write) = stream.split();
            let task = rt.spawn(async move {
                let mut reading = pin!(read.read(PageBuffer::new(1000)));
                let mut writing = pin!(write.write_all(vec![0; 6 << 20]));
                assert!(poll_once(&mut reading).await.is_none() && poll_once(&mut writing).await.is_none());
                executor::yield_now().await;
                panic!("holding two operations");
            });
            if round % 2 == 0 {
                executor::yield_now().await;
            }
            peer.write_all(b"for nobody").unwrap();
            assert!(matches!(task.await, Err(JoinError::Panicked(_))));
        }
        // The runtime is as it was.
        let (mut stream, mut peer) = pair::<E>(&rt).await;
        peer.write_all(b"hello").unwrap();
        assert_eq!(recv_exactly(&mut stream, 5).await, b"hello");
    });
    drop(rt);
    settle::<E>(bench.rt());
    drop(std::panic::take_hook());
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        a_waker_that_panics_keeps_no_other_from_being_woken,
        tasks_that_panic_with_operations_in_flight,
    );
    suite.run()
}
