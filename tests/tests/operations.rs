//! Goal: what only the proactor has keeps its promises: every fallback serves, tiny queues lose
//! nothing, an empty pool stalls nobody, leaked futures and a deaf kernel are counted and cost no
//! memory safety.
//!
//! Method: runtimes built without single features, with rings of a few entries, with all chunks of the
//! pool in the program's hands, and with a seam that lets nothing through at the end.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use executor::{Config, DriverStats, IoBuf, Listener, Reader, Stream as _, Verdict, Writer, yield_now};
use proactor::{Builder, Feature, Gate, Proactor};
use socket2::SockRef;
use tests::net::{Pattern, ask, duplex, echo, listen, pair, recv_exactly};
use tests::{
    Bench, Engine, ProactorFull, ProactorTiny, ProactorWhole, Suite, both, ms, on_engines, open_fds, poll_once, run,
    settle, start_then_drop,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

fn each_feature_can_be_done_without() {
    for feature in Feature::all() {
        let before = open_fds().len();
        let rt = Builder::new().without(feature).build().unwrap();
        assert!(!rt.features().has(feature), "{feature:?}");
        rt.block_on(serve_a_few(&rt));
        drop(rt);
        assert_eq!(open_fds().len(), before, "{feature:?}");
    }
}

/// A thread has sixteen places for registered rings. A runtime that kept its own would leave the
/// seventeenth without, and its ring with the kernel.
fn a_thread_may_have_many_runtimes_in_turn() {
    let can_register = Proactor::new().unwrap().features().has(Feature::RegisteredRing);
    for n in 0..40 {
        let rt = Proactor::new().unwrap();
        assert_eq!(rt.features().has(Feature::RegisteredRing), can_register, "runtime {n}");
        rt.block_on(yield_now());
    }
}

/// The completion of a send would end the wait for the answer. Without it one call does for both.
fn an_exchange_is_one_call() {
    const TIMES: u64 = 200;
    run::<ProactorFull>(async |rt| {
        let (mut stream, mut peer) = pair::<ProactorFull>(rt).await;
        let thread = std::thread::spawn(move || {
            let mut byte = [0];
            while peer.read_exact(&mut byte).is_ok() {
                // So late that the other end sleeps.
                std::thread::sleep(std::time::Duration::from_micros(200));
                peer.write_all(&byte).unwrap();
            }
        });
        let enters = || rt.stats().driver.system_calls.iter().find(|call| call.0 == "io_uring_enter").unwrap().1;
        let before = enters();
        for _ in 0..TIMES {
            stream.exchange("x").await.unwrap();
        }
        let exchanging = enters() - before;
        for _ in 0..TIMES {
            stream.write_all("x").await.0.unwrap();
            stream.recv().await.unwrap();
        }
        let one_by_one = enters() - before - exchanging;
        assert!(exchanging < TIMES * 5 / 4, "{exchanging} calls for {TIMES} exchanges");
        assert!(one_by_one > TIMES * 7 / 4, "{one_by_one} calls: the other way costs no more, then why have both?");
        drop(stream);
        thread.join().unwrap();
    });
}

async fn serve_a_few(rt: &Proactor) {
    let (mut listener, addr) = listen(rt);
    let handle = rt.clone();
    let server = rt.spawn(async move {
        for _ in 0..5 {
            handle.spawn(echo(listener.accept().await.unwrap())).detach();
        }
    });
    let thread = std::thread::spawn(move || {
        for n in 0..5u8 {
            let mut peer = TcpStream::connect(addr).unwrap();
            for size in [1usize, 100, 50_000] {
                ask(&mut peer, &vec![n; size]);
            }
        }
    });
    server.await.unwrap();
    while !thread.is_finished() {
        rt.sleep(ms(1)).await;
    }
    thread.join().unwrap();
}

/// More operations than the ring has room for: they wait their turn, first come, first served.
fn operations_beyond_the_queues_wait() {
    const MANY: usize = 300;
    run::<ProactorTiny>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let (mut peers, mut streams, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..MANY {
            let mut peer = TcpStream::connect(addr).unwrap();
            // It is there before anybody asks, so no receive holds its place for long.
            peer.write_all(&n.to_le_bytes()).unwrap();
            peers.push(peer);
            streams.push(listener.accept().await.unwrap());
        }
        for (n, mut stream) in streams.into_iter().enumerate() {
            tasks.push(rt.spawn(async move {
                let (result, bytes) = stream.read([0; 8]).await;
                assert_eq!((result.unwrap(), usize::from_le_bytes(bytes)), (8, n));
                stream.write_all(bytes).await.0.unwrap();
            }));
        }
        // All have started. Half of them are given up, some of which the kernel hasn't seen.
        yield_now().await;
        for task in tasks.iter().step_by(2) {
            task.abort();
        }
        let mut served = 0;
        for (n, task) in tasks.into_iter().enumerate() {
            served += usize::from(task.await.is_ok());
            assert!(served >= n / 2);
        }
        assert!(served >= MANY / 2);
        assert!(rt.stats().driver.operations_deferred > Some(0), "{}", rt.stats());
        for (n, mut peer) in peers.into_iter().enumerate() {
            let mut answer = Vec::new();
            // The aborted ones ended, or were reset because of what they never read.
            if peer.read_to_end(&mut answer).is_ok() && !answer.is_empty() {
                assert_eq!(answer, n.to_le_bytes());
            } else {
                assert_eq!(n % 2, 0);
            }
        }
    });
}

/// A stream whose receive waits for room goes to std all the same: there is nothing that the kernel could give back.
fn a_stream_that_waits_for_room_goes_to_std() {
    const MANY: usize = 50;
    run::<ProactorTiny>(async |rt| {
        let mut pairs = Vec::new();
        for _ in 0..MANY {
            pairs.push(pair::<ProactorTiny>(rt).await);
        }
        let (mut streams, peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        for stream in &mut streams {
            assert!(poll_once(&mut pin!(stream.recv())).await.is_none());
        }
        assert!(rt.stats().driver.operations_deferred > Some(0), "{}", rt.stats());
        let last = streams.pop().unwrap();
        let (std, rest) = rt.timeout(ms(10_000), last.into_std()).await.expect("it hangs").unwrap();
        assert!(rest.is_empty());
        (&std).write_all(b"x").unwrap();
        peers.last().unwrap().read_exact(&mut [0]).unwrap();
    });
}

/// An end without any time still lets the kernel answer the cancels once.
fn an_end_without_time_leaks_nothing_that_is_answered_at_once() {
    let before = open_fds().len();
    for _ in 0..5 {
        let rt = Builder::new().config(Config { shutdown_deadline: ms(0), ..Config::default() }).build().unwrap();
        let (stream, _peer) = rt.block_on(pair::<ProactorFull>(&rt));
        rt.spawn(async move {
            let mut stream = stream;
            let _ = stream.recv().await;
        })
        .detach();
        rt.block_on(rt.sleep(ms(1)));
        let handle = rt.clone();
        drop(rt);
        assert_eq!(handle.stats().driver.ops_abandoned, Some(0), "{}", handle.stats());
    }
    assert_eq!(open_fds().len(), before);
}

/// Completions beyond the queue's room are kept by the kernel, and have to be fetched.
fn completions_beyond_the_queue_are_fetched() {
    const CLIENTS: usize = 200;
    run::<ProactorTiny>(async |rt| {
        let (mut listener, addr) = listen(rt);
        assert!(rt.timeout(ms(5), listener.accept()).await.is_err());
        // All at once, as far as the runtime can see, which is blocked meanwhile.
        let mut peers: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let mut streams = Vec::new();
        for _ in 0..CLIENTS {
            streams.push(rt.timeout(ms(10_000), listener.accept()).await.expect("lost").unwrap());
        }
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        for mut stream in streams {
            let (result, _) = stream.read([0; 8]).await;
            assert_eq!(result.unwrap(), 1);
        }
    });
}

/// The wake-up poll completes at each wake. With a tiny queue full of them, none is lost.
fn wakes_through_a_tiny_queue() {
    run::<ProactorTiny>(async |rt| {
        let (mut stream, mut peer) = pair::<ProactorTiny>(rt).await;
        let (remote, count) = (rt.remote(), 2000);
        let ran = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = std::sync::Arc::clone(&ran);
        let thread = std::thread::spawn(move || {
            for n in 0..count {
                let counted = std::sync::Arc::clone(&counted);
                let spawned = remote.spawn(move || async move {
                    counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                });
                drop(spawned.unwrap());
                if n % 10 == 0 {
                    peer.write_all(b"0123456789").unwrap();
                }
            }
            remote.stop();
        });
        assert_eq!(recv_exactly(&mut stream, count as usize).await.len(), count as usize);
        rt.stopped().await;
        thread.join().unwrap();
        while ran.load(std::sync::atomic::Ordering::Relaxed) < count {
            yield_now().await;
        }
    });
}

/// Nothing arrives, and the stream lives on: what ends the dropped operation is its cancel alone.
fn dropped_operations_are_cancelled() {
    run::<ProactorFull>(async |rt| {
        let (stream, mut peer) = pair::<ProactorFull>(rt).await;
        let (mut read, mut write) = stream.split();
        for _ in 0..100 {
            start_then_drop(read.read(vec![0; 100]), rt.sleep(ms(0))).await;
            settle_operations(rt).await;
        }
        start_then_drop(write.write_all(vec![0; 64 << 20]), rt.sleep(ms(5))).await;
        settle_operations(rt).await;
        let stats = rt.stats();
        // The write may just have been about to go on with the rest, which the kernel then never sees.
        assert!(matches!(stats.driver.orphans, Some(100 | 101)), "{stats}");
        assert_eq!(stats.driver.operations_now, Some(0), "{stats}");
        // It goes on where it was.
        peer.write_all(b"hello").unwrap();
        assert_eq!(recv_exactly(&mut read, 5).await, b"hello");
    });
}

/// A read is given up when its bytes have arrived, in every way a buffer can be stowed. They are the
/// next one's.
fn bytes_of_given_up_reads_are_the_next_ones() {
    run::<ProactorFull>(async |rt| {
        let (mut stream, mut peer) = pair::<ProactorFull>(rt).await;
        let arrive = async |peer: &mut TcpStream, text: &[u8]| {
            rt.sleep(ms(1)).await;
            peer.write_all(text).unwrap();
            rt.sleep(ms(5)).await;
        };
        start_then_drop(stream.read(vec![0; 100]), arrive(&mut peer, b"vec")).await;
        the_next_gets(&mut stream, b"vec").await;
        start_then_drop(stream.read([0u8; 100]), arrive(&mut peer, b"array")).await;
        the_next_gets(&mut stream, b"array").await;
        start_then_drop(stream.read(vec![0; 100].slice(5..50)), arrive(&mut peer, b"slice")).await;
        the_next_gets(&mut stream, b"slice").await;
    });
}

async fn the_next_gets<R: Reader>(reader: &mut R, expected: &[u8]) {
    assert_eq!(reader.recv().await.map(|chunk| chunk.bytes().to_vec()).unwrap(), expected);
}

/// The program keeps every chunk the pool has. Others are served all the same, from memory of their
/// own; and when the chunks come home, the pool is used again.
fn an_empty_pool_stalls_nobody() {
    run::<ProactorWhole>(async |rt| {
        let (mut hoarder, mut peer) = pair::<ProactorWhole>(rt).await;
        let mut hoard = Vec::new();
        for n in 0..1100u32 {
            peer.write_all(&n.to_le_bytes()).unwrap();
            hoard.push(rt.timeout(ms(5000), hoarder.recv()).await.expect("stalled").unwrap());
        }
        let stats = rt.stats();
        assert_eq!(stats.driver.chunks_lent_now, 1100);
        assert!(stats.driver.pool_misses > Some(0), "{stats}");
        let (mut here, mut there) = duplex::<ProactorWhole>(rt).await;
        let pattern = Pattern::new(1);
        let transfer = both(here.write_all(pattern.bytes(0, 1 << 20)), recv_exactly(&mut there, 1 << 20));
        let (sent, received) = rt.timeout(ms(10_000), transfer).await.expect("stalled");
        sent.0.unwrap();
        pattern.check(0, &received);
        for (n, chunk) in hoard.iter().enumerate() {
            assert_eq!(chunk.bytes(), u32::try_from(n).unwrap().to_le_bytes());
        }
        fastrand::shuffle(&mut hoard);
        hoard.clear();
        // Whatever the operation that is under way brings; the ones after it find the pool full.
        for _ in 0..2 {
            peer.write_all(b"x").unwrap();
            hoarder.recv().await.unwrap();
        }
        let misses = rt.stats().driver.pool_misses;
        for _ in 0..100 {
            peer.write_all(b"x").unwrap();
            hoarder.recv().await.unwrap();
        }
        assert_eq!(rt.stats().driver.pool_misses, misses);
    });
}

/// A receive that repeats itself goes on in a steady load, whatever the number of connections: each end costs a
/// completion, an operation and a submission.
fn receives_go_on_in_a_steady_load<E: Engine<Rt = Proactor>>() {
    const STREAMS: usize = 300;
    const ROUNDS: usize = 10;
    run::<E>(async |rt| {
        let mut pairs = Vec::new();
        for _ in 0..STREAMS {
            pairs.push(pair::<E>(rt).await);
        }
        let mut before = rt.stats().driver;
        for round in 0..=ROUNDS {
            if round == 1 {
                // The first made the pool as large as it has to be.
                before = rt.stats().driver;
            }
            pairs.iter_mut().for_each(|(_, peer)| peer.write_all(b"x").unwrap());
            let mut chunks = Vec::new();
            for (stream, _) in &mut pairs {
                chunks.push(stream.recv().await.unwrap());
            }
        }
        let after = rt.stats().driver;
        let ends = |stats: &DriverStats| {
            [stats.receives_dry, stats.receives_stopped, stats.receives_ended].into_iter().flatten().sum::<u64>()
        };
        let most = (STREAMS * ROUNDS * 5 / 1000) as u64;
        assert!(ends(&after) - ends(&before) <= most, "{before:?}, then {after:?}");
        assert_eq!(after.pool_misses, before.pool_misses);
    });
}

/// Small messages share a buffer, so that a crowd of streams needs little memory.
fn small_messages_share_a_buffer() {
    const STREAMS: usize = 300;
    let features = Proactor::new().unwrap().features();
    if !features.has(Feature::IncrementalBuffers) {
        return;
    }
    run::<ProactorFull>(async |rt| {
        let mut pairs = Vec::new();
        for _ in 0..STREAMS {
            pairs.push(pair::<ProactorFull>(rt).await);
        }
        pairs.iter_mut().for_each(|(_, peer)| peer.write_all(b"0123456789").unwrap());
        let mut chunks = Vec::new();
        for (stream, _) in &mut pairs {
            chunks.push(stream.recv().await.unwrap());
        }
        assert!(chunks.iter().all(|chunk| chunk.bytes() == b"0123456789"));
        let stats = rt.stats().driver;
        assert_eq!(stats.chunks_lent_now, STREAMS as u64);
        assert!(stats.pool_bytes_now <= 1 << 20, "{stats:?}");
    });
}

/// Leaking a future is safe code. What it leaves behind is the runtime's to clean up.
fn leaked_futures_are_counted() {
    let mut bench = Bench::<ProactorFull>::new();
    let rt = bench.rt();
    let mut peers = Vec::new();
    rt.block_on(async {
        for n in 0..1050 {
            let (mut stream, peer) = pair::<ProactorFull>(rt).await;
            SockRef::from(&stream.as_fd()).set_send_buffer_size(4096).unwrap();
            SockRef::from(&peer).set_recv_buffer_size(4096).unwrap();
            peers.push(peer);
            let mut future: std::pin::Pin<Box<dyn Future<Output = ()>>> = match n % 2 {
                0 => Box::pin(async move { drop(stream.read(vec![0; 1000]).await) }),
                _ => Box::pin(async move { drop(stream.write_all(vec![0; 1 << 20]).await) }),
            };
            assert!(poll_once(&mut future).await.is_none());
            std::mem::forget(future);
        }
        rt.sleep(ms(20)).await;
        for peer in peers.iter_mut().step_by(2).take(50) {
            peer.write_all(b"into leaked memory").unwrap();
        }
        rt.sleep(ms(5)).await;
    });
    let took = bench.end();
    assert!(took < ms(2000), "{took:?}");
    let stats = bench.handle().stats();
    assert_eq!(stats.driver.operations_now, Some(0), "{stats}");
    assert_eq!(stats.driver.ops_leaked, Some(1050), "also the fifty that had completed; {stats}");
    assert_eq!(stats.driver.ops_abandoned, Some(0), "{stats}");
}

/// The kernel answers nothing any more: at the deadline the runtime gives up, leaks what the kernel may
/// still write to, and says so.
fn a_deaf_kernel_is_given_up_at_the_deadline() {
    let config = Config { shutdown_deadline: ms(100), ..Config::default() };
    let mut bench = Bench::<ProactorFull>::with(config);
    let rt = bench.rt();
    let mut peers = Vec::new();
    rt.block_on(async {
        for _ in 0..10 {
            let (mut stream, peer) = pair::<ProactorFull>(rt).await;
            peers.push(peer);
            rt.spawn(async move { drop(stream.read(vec![7; 4096]).await) }).detach();
        }
        rt.sleep(ms(5)).await;
    });
    let deaf = |name: &'static str, _| if name == "io_uring_enter" { Verdict::Fail(16) } else { Verdict::Pass };
    ProactorFull::set_judge(rt, Some(Rc::new(deaf)));
    let start = Instant::now();
    bench.end();
    assert!(start.elapsed() >= ms(100), "{:?}", start.elapsed());
    // What arrives now goes to memory that nobody else has got.
    let fresh: Vec<Vec<u8>> = (0..100).map(|_| vec![1; 4096]).collect();
    peers.iter_mut().for_each(|peer| peer.write_all(&[0xdd; 4096]).unwrap());
    std::thread::sleep(ms(20));
    assert!(fresh.iter().flatten().all(|byte| *byte == 1));
    let stats = bench.handle().stats();
    assert_eq!(stats.driver.ops_abandoned, Some(10), "{stats}");
}

/// A read that was given up, whose memory was freed and taken by somebody else at once, while the peer
/// writes. The kernel must not write there.
fn given_up_reads_write_to_nobody() {
    run::<ProactorFull>(async |rt| {
        let (mut stream, mut peer) = pair::<ProactorFull>(rt).await;
        let mut sent = 0usize;
        let mut received = 0usize;
        let pattern = Pattern::new(9);
        for round in 0..500 {
            {
                let mut read = pin!(stream.read(vec![0; 4096]));
                if let Some((result, bytes)) = poll_once(&mut read).await {
                    let count = result.unwrap();
                    pattern.check(received, &bytes[..count]);
                    received += count;
                } else if round % 3 > 0 {
                    rt.sleep(ms(0)).await;
                }
            }
            let canaries: Vec<Vec<u8>> = (0..8).map(|_| vec![0xa5; 4096]).collect();
            peer.write_all(&pattern.bytes(sent, 100)).unwrap();
            sent += 100;
            if round % 2 == 0 {
                rt.sleep(ms(0)).await;
            }
            assert!(canaries.iter().flatten().all(|byte| *byte == 0xa5), "round {round}");
        }
        let rest = recv_exactly(&mut stream, sent - received).await;
        pattern.check(received, &rest);
        assert!(rt.stats().driver.orphans > Some(50), "{}", rt.stats());
    });
}

fn a_ring_that_cannot_be_had_says_why() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..limit }).unwrap();
    let error = Builder::new().build().map(drop).unwrap_err();
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(error.gate(), Gate::Descriptors, "{error}");
    assert!(error.to_string().contains("ulimit -n"), "{error}");
    assert!(std::io::Error::from(error).get_ref().is_some());
}

/// Rings are charged to the user, and the charge outlives them for some milliseconds: many runtimes one
/// after another must not run into that.
fn many_rings_in_a_row() {
    let bench = Bench::<ProactorFull>::new();
    for _ in 0..300 {
        drop(Builder::new().build().unwrap_or_else(|error| panic!("{error}")));
    }
    settle::<ProactorFull>(bench.rt());
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    if suite.is_available::<ProactorFull>() {
        let cases: [(&str, fn()); 19] = [
            ("a_thread_may_have_many_runtimes_in_turn", a_thread_may_have_many_runtimes_in_turn),
            ("an_exchange_is_one_call", an_exchange_is_one_call),
            ("each_feature_can_be_done_without", each_feature_can_be_done_without),
            ("operations_beyond_the_queues_wait", operations_beyond_the_queues_wait),
            ("completions_beyond_the_queue_are_fetched", completions_beyond_the_queue_are_fetched),
            ("wakes_through_a_tiny_queue", wakes_through_a_tiny_queue),
            ("a_stream_that_waits_for_room_goes_to_std", a_stream_that_waits_for_room_goes_to_std),
            (
                "an_end_without_time_leaks_nothing_that_is_answered_at_once",
                an_end_without_time_leaks_nothing_that_is_answered_at_once,
            ),
            ("an_empty_pool_stalls_nobody", an_empty_pool_stalls_nobody),
            ("leaked_futures_are_counted", leaked_futures_are_counted),
            ("a_deaf_kernel_is_given_up_at_the_deadline", a_deaf_kernel_is_given_up_at_the_deadline),
            ("given_up_reads_write_to_nobody", given_up_reads_write_to_nobody),
            ("a_ring_that_cannot_be_had_says_why", a_ring_that_cannot_be_had_says_why),
            ("many_rings_in_a_row", many_rings_in_a_row),
            ("dropped_operations_are_cancelled", dropped_operations_are_cancelled),
            ("bytes_of_given_up_reads_are_the_next_ones", bytes_of_given_up_reads_are_the_next_ones),
            ("cancels_beyond_the_queue_are_kept", cancels_beyond_the_queue_are_kept),
            ("futures_dropped_in_every_state", futures_dropped_in_every_state),
            ("small_messages_share_a_buffer", small_messages_share_a_buffer),
        ];
        for (name, body) in cases {
            suite.add_plain(&format!("{}::{name}", ProactorFull::NAME), body);
        }
    }
    on_engines!(suite, [ProactorFull, ProactorWhole], receives_go_on_in_a_steady_load);
    suite.run()
}

/// Many operations started in one poll, and dropped in the states an operation can be in: the table is
/// empty at the end (the balance check), and every cancel was submitted.
fn futures_dropped_in_every_state() {
    run::<ProactorTiny>(async |rt| {
        for pause in [None, Some(0), Some(2)] {
            let mut pairs = Vec::new();
            for _ in 0..40 {
                pairs.push(pair::<ProactorTiny>(rt).await);
            }
            let (streams, mut peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let mut futures: Vec<_> = streams
                .into_iter()
                .map(|mut stream| Box::pin(async move { drop(stream.read(vec![0; 64]).await) }))
                .collect();
            for future in &mut futures {
                assert!(poll_once(future).await.is_none());
            }
            if let Some(pause) = pause {
                rt.sleep(ms(pause)).await;
            }
            for peer in peers.iter_mut().step_by(3) {
                peer.write_all(b"x").unwrap();
            }
            fastrand::shuffle(&mut futures);
            drop(futures);
            settle_operations(rt).await;
        }
    });
}

/// More operations are dropped in one poll than the submission queue has places (1024) for their cancels. Nothing
/// arrives, and the streams live on: what ends an operation is its cancel alone.
fn cancels_beyond_the_queue_are_kept() {
    const MANY: usize = 1200;
    run::<ProactorFull>(async |rt| {
        let mut pairs = Vec::new();
        for _ in 0..MANY {
            pairs.push(pair::<ProactorFull>(rt).await);
        }
        let (mut streams, mut peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let mut reads: Vec<_> = streams.iter_mut().map(|stream| Box::pin(stream.read(vec![0; 64]))).collect();
        for read in &mut reads {
            assert!(poll_once(read).await.is_none());
        }
        rt.sleep(ms(1)).await;
        drop(reads);
        assert_eq!(rt.stats().driver.orphans, Some(MANY as u64), "{}", rt.stats());
        settle_operations(rt).await;
        for (stream, peer) in streams.iter_mut().zip(&mut peers) {
            peer.write_all(b"hello").unwrap();
            assert_eq!(recv_exactly(stream, 5).await, b"hello");
        }
    });
}

async fn settle_operations(rt: &Proactor) {
    while rt.stats().driver.operations_now > Some(0) {
        rt.sleep(ms(1)).await;
    }
}
