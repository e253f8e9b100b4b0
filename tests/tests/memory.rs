//! Goal: a connection at work allocates nothing, one that is idle costs little, and what is kept for the next has a bound.
//!
//! Method: an allocator that counts what this thread, which is the runtime's, asks for. Peers are std's
//! blocking streams on a thread of their own. Counts, not resident pages: those belong to a benchmark.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;

use allocation_counter::{AllocationInfo, measure};
use executor::{IoBuf, Listener, Reader, Stream, live_headers, yield_now};
use tests::net::{listen, pair};
use tests::{Bench, Engine, Suite, on_every_engine, poll_once, run};

/// Bytes of heap for an idle connection: its task, its socket, its places in the tables. (600 but for two things of
/// the proactor: a chunk names its part of a block by two numbers, and has a place in the socket and in the task; and the
/// slot of a stream's sends stays.)
const IDLE_BYTES: i64 = 648;
const IDLE: usize = 500;

/// By turns in one step and in two.
async fn echo<S: Stream>(mut stream: S) {
    let mut received = stream.recv().await;
    let mut turn = 0;
    while let Ok(chunk) = received
        && !chunk.bytes().is_empty()
    {
        turn += 1;
        received = if turn % 2 == 1 {
            stream.exchange(chunk).await
        } else {
            drop(stream.write_all(chunk).await);
            stream.recv().await
        };
    }
}

/// A bench with an echo server.
fn server<E: Engine>() -> (Bench<E>, SocketAddr) {
    let bench = Bench::<E>::new();
    let rt = bench.rt().clone();
    let (mut listener, addr) = listen(&rt);
    let runtime = rt.clone();
    let accepting = async move {
        while let Ok(stream) = listener.accept().await {
            runtime.spawn(echo(stream)).detach();
        }
    };
    rt.spawn(accepting).detach();
    (bench, addr)
}

/// Runs the runtime while `peer` does its part on another thread, and counts what it allocates.
fn count<E: Engine, T: Send + 'static>(
    bench: &Bench<E>,
    peer: impl FnOnce() -> T + Send + 'static,
) -> (AllocationInfo, T) {
    let rt = bench.rt();
    let remote = rt.remote();
    let (go, start) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        start.recv().unwrap();
        let output = peer();
        remote.stop();
        output
    });
    let stopped = rt.stopped();
    let info = measure(|| {
        go.send(()).unwrap();
        rt.block_on(stopped);
    });
    (info, thread.join().unwrap())
}

fn say_and_hear(stream: &mut TcpStream, times: usize) {
    let mut answer = [0; 64];
    for _ in 0..times {
        stream.write_all(&[7; 64]).unwrap();
        stream.read_exact(&mut answer).unwrap();
    }
}

/// All that the same client does twice as often costs not one allocation more.
fn round_trips_allocate_nothing<E: Engine>() {
    let allocations = [100, 1100].map(|times| {
        let (bench, addr) = server::<E>();
        let run = move || say_and_hear(&mut TcpStream::connect(addr).unwrap(), times);
        let (info, ()) = count(&bench, run);
        bench.finish();
        info.count_total
    });
    assert!(allocations[1] <= allocations[0] + 2, "for 100 and 1,100 round trips: {allocations:?}");
    assert!(allocations[0] > 0, "a connection was made, and that allocates");
}

fn idle_connections_are_small<E: Engine>() {
    let bytes = [IDLE, 2 * IDLE].map(|number| {
        let (bench, addr) = server::<E>();
        let open = move || {
            let mut peers: Vec<_> = (0..number).map(|_| TcpStream::connect(addr).unwrap()).collect();
            peers.iter_mut().for_each(|peer| say_and_hear(peer, 1 + usize::from(fastrand::bool())));
            peers
        };
        let (info, peers) = count(&bench, open);
        drop(peers);
        bench.finish();
        info.bytes_current
    });
    let each = (bytes[1] - bytes[0]) / i64::try_from(IDLE).unwrap();
    assert!((1..=IDLE_BYTES).contains(&each), "{each} bytes for each idle connection");
}

/// Reads in flight are dropped where memory may be what is short.
fn dropping_reads_allocates_nothing<E: Engine>() {
    const STREAMS: usize = 200;
    run::<E>(async |rt| {
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(pair::<E>(rt).await);
        }
        for _ in 0..3 {
            let mut reads = Vec::new();
            for (stream, _) in &mut streams {
                let mut read = Box::pin(stream.read(vec![0; 16]));
                assert!(poll_once(&mut read).await.is_none());
                reads.push(read);
            }
            yield_now().await;
            let allocated = measure(|| drop(reads));
            // The list of what is to be cancelled may grow, by doubling.
            assert!(allocated.count_total <= 10, "{allocated:?}");
        }
    });
}

/// Bytes of receive buffers that a runtime keeps for the next receives.
fn most_kept<E: Engine>() -> u64 {
    if E::NAME.starts_with("reactor") { 2 << 20 } else { 32 << 20 }
}

/// A program may hold many chunks at once. When it drops them, most of their memory goes back to the system.
fn buffers_are_kept_up_to_a_bound<E: Engine>() {
    const CHUNKS: usize = 1100;
    const BYTES: usize = 16 * 1024;
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let (mut lent, mut received) = (Vec::new(), 0);
        for n in 1..=CHUNKS {
            peer.write_all(&[b'x'; BYTES]).unwrap();
            while received < n * BYTES {
                lent.push(stream.recv().await.unwrap());
                received += lent.last().unwrap().bytes().len();
            }
        }
        drop(lent);
        let kept = rt.stats().driver.pool_bytes_now;
        let most = most_kept::<E>();
        assert!((most / 2..=most).contains(&kept), "{kept} bytes are kept");
    });
}

/// Thousands of tasks at once leave wakers for the next ones, and not all of theirs.
fn wakers_are_kept_up_to_a_bound<E: Engine>() {
    const KEPT: u64 = 1024;
    run::<E>(async |rt| {
        let before = live_headers();
        for round in 0..3 {
            let tasks: Vec<_> = (0..3 * KEPT).map(|_| rt.spawn(yield_now())).collect();
            assert!(live_headers() >= 3 * KEPT);
            for task in tasks {
                task.await.unwrap();
            }
            let kept = live_headers() - before;
            assert!((1..=KEPT).contains(&kept), "{kept} are kept in round {round}");
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_engine!(suite, buffers_are_kept_up_to_a_bound, wakers_are_kept_up_to_a_bound);
    on_every_engine!(suite, round_trips_allocate_nothing, idle_connections_are_small, dropping_reads_allocates_nothing);
    suite.run()
}
