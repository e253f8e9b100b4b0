//! Goal: the end comes while there is load. A server that is stopped in a flood of clients answers those that it took, and
//! leaves none waiting. A runtime that ends under load ends every connection, and runs no job twice.
//!
//! Method: threads of std's blocking clients that connect and ask as fast as they can, before, during and after the end;
//! what they got is compared with what the server did. Jobs that count their runs and their drops.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use executor::{BlockingConfig, Config, JoinSet, Listener, Runtime, Stream};
use tests::net::{Pattern, listen, serve};
use tests::{Bench, Engine, Suite, ms, on_every_engine, on_every_fallback, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

const CLIENTS: usize = 4;
const SOON: Duration = Duration::from_secs(20);

/// How a client that is not served may learn of it.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionRefused)
}

/// Asks one question on each of its connections, until none can be made. Returns how many were answered.
fn flood(addr: SocketAddr) -> u64 {
    let mut answers = 0;
    loop {
        let mut peer = match TcpStream::connect(addr) {
            Ok(peer) => peer,
            Err(error) => {
                assert!(is_end(&error), "{error}");
                return answers;
            }
        };
        peer.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = [0];
        match peer.write_all(b"?").and_then(|()| peer.read(&mut answer)) {
            Ok(0) => {}
            Ok(_) => {
                assert_eq!(&answer, b"!");
                answers += 1;
            }
            Err(error) => assert!(is_end(&error), "{error}"),
        }
    }
}

/// Answers one question, and then waits for the client's end: a close with unread input would be a reset.
async fn answer(mut stream: impl Stream) -> io::Result<()> {
    let (result, question) = stream.read_exact([0]).await;
    result?;
    assert_eq!(&question, b"?");
    stream.write_all("!").await.0?;
    stream.recv().await.map(drop)
}

/// Accepts until the stop, and then closes the listener and waits for those that were accepted. Returns their number.
async fn serve_until_stopped<R: Runtime>(rt: &R, mut listener: R::Listener, stop_at: u64) -> u64 {
    let (mut accepted, mut connections) = (0, JoinSet::new());
    let mut stopped = pin!(rt.stopped());
    loop {
        let mut accept = pin!(listener.accept());
        let next = poll_fn(|cx| match stopped.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => accept.as_mut().poll(cx).map(Some),
        });
        let Some(stream) = next.await else { break };
        connections.add(rt.spawn(answer(stream.unwrap())));
        accepted += 1;
        if accepted == stop_at {
            let remote = rt.remote();
            thread::spawn(move || remote.stop());
        }
        while connections.len() > 100 {
            connections.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    drop(listener);
    while let Some(served) = connections.join_next().await {
        served.unwrap().unwrap();
    }
    accepted
}

fn a_stop_in_a_flood_answers_those_it_took<E: Engine>() {
    run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let clients: Vec<_> = (0..CLIENTS).map(|_| thread::spawn(move || flood(addr))).collect();
        let accepted = serve_until_stopped(rt, listener, 300).await;
        while clients.iter().any(|client| !client.is_finished()) {
            rt.sleep(ms(1)).await;
        }
        let answers: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert_eq!(answers, accepted, "answers, and connections that were accepted");
        assert!(accepted >= 300);
    });
}

/// Asks on one connection until that ends. Every byte that comes back is right.
fn converse(addr: SocketAddr, total: &AtomicU64) {
    let pattern = Pattern::new(9);
    let mut peer = TcpStream::connect(addr).unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    peer.set_write_timeout(Some(SOON)).unwrap();
    let (mut place, mut piece) = (0, vec![0; 30_000]);
    loop {
        let asked = peer.write_all(&pattern.bytes(place, piece.len()));
        let mut missing = piece.len();
        while missing > 0 {
            match asked.as_ref().map_err(|error| io::Error::from(error.kind())).and_then(|()| peer.read(&mut piece)) {
                Ok(0) => return,
                Ok(count) => {
                    pattern.check(place, &piece[..count]);
                    (place, missing) = (place + count, missing - count.min(missing));
                    total.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) => {
                    assert!(is_end(&error), "{error}");
                    return;
                }
            }
        }
    }
}

fn each_client_sees_the_end_of_the_runtime<E: Engine>() {
    for bytes in [0, 1, 1 << 20, 8 << 20] {
        let mut bench = Bench::<E>::new();
        let total = Arc::new(AtomicU64::new(0));
        let (listener, addr) = listen(bench.rt());
        let clients: Vec<_> = (0..2 * CLIENTS)
            .map(|_| {
                let total = Arc::clone(&total);
                thread::spawn(move || converse(addr, &total))
            })
            .collect();
        serve(bench.rt(), listener).detach();
        let rt = bench.handle();
        rt.block_on(async {
            // All are connected, or it would be the end of those that are not.
            while rt.stats().tasks_now < 1 + clients.len() as u64 || total.load(Ordering::Relaxed) < bytes {
                rt.sleep(Duration::from_micros(100)).await;
            }
        });
        bench.end();
        clients.into_iter().for_each(|client| client.join().unwrap());
        drop(rt);
        bench.finish();
    }
}

/// Counts its drops, on any thread.
struct Counts(Arc<AtomicU32>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Jobs that return and that panic; awaited, detached, aborted and dropped. The end comes in their midst. Each has run once
/// or never, and each is dropped once.
fn a_storm_of_jobs_ends_in_order<E: Engine>() {
    const JOBS: usize = 2000;
    std::panic::set_hook(Box::new(|_| {}));
    let blocking = BlockingConfig { max_threads: 4, ..BlockingConfig::default() };
    let config = Config { blocking, on_task_panic: Rc::new(drop), ..Config::default() };
    let mut bench = Bench::<E>::with(config);
    let rt = bench.handle();
    let drops = Arc::new(AtomicU32::new(0));
    let runs: Arc<Vec<_>> = Arc::new((0..JOBS).map(|_| AtomicU32::new(0)).collect());
    let mut waiting = Vec::new();
    rt.block_on(async {
        for number in 0..JOBS {
            let (runs, guard) = (Arc::clone(&runs), Counts(Arc::clone(&drops)));
            let job = move || {
                let _guard = guard;
                runs[number].fetch_add(1, Ordering::Relaxed);
                assert!(!number.is_multiple_of(3), "a job's own");
                thread::sleep(Duration::from_micros(50));
            };
            match number % 5 {
                0 => rt.spawn_blocking(job).detach(),
                1 => rt.spawn_blocking(job).abort(),
                2 => drop(rt.unblock(job)),
                _ => waiting.push(rt.spawn_blocking(job)),
            }
        }
        let mut ended = 0;
        for job in waiting.drain(..JOBS / 5) {
            ended += usize::from(job.await.is_ok());
        }
        assert!(ended > 0);
    });
    bench.end();
    drop(waiting);
    let runs: Vec<_> = runs.iter().map(|runs| runs.load(Ordering::Relaxed)).collect();
    assert_eq!(drops.load(Ordering::Relaxed) as usize, JOBS, "each is dropped once");
    assert!(runs.iter().all(|runs| *runs <= 1), "one has run twice");
    drop(std::panic::take_hook());
    drop(rt);
    bench.finish();
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, a_stop_in_a_flood_answers_those_it_took, each_client_sees_the_end_of_the_runtime);
    on_every_engine!(suite, a_storm_of_jobs_ends_in_order);
    suite.run()
}
