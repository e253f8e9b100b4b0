//! The same with threads of the operating system in place of tasks, for comparison.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::bail;

use super::benchmark::{Benchmark, Effort};
use super::figure::Figure;
use super::process::resident_bytes;

/// Threads of a batch, and those that wait at once.
const THREADS: usize = 1_000;
const SWITCHES: usize = 2_000;
/// The least glibc allows is 16 KiB; no more memory is touched than is used in any case.
const STACK: usize = 64 * 1024;

/// Which benchmarks make sense for threads.
pub fn can(benchmark: Benchmark) -> bool {
    matches!(benchmark, Benchmark::Spawn | Benchmark::SpawnAwait | Benchmark::PingPong | Benchmark::Idle)
}

/// Runs a benchmark in this process.
///
/// # Errors
/// Threads that can't be made, and benchmarks that make no sense for threads.
pub fn measure(benchmark: Benchmark, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    match benchmark {
        Benchmark::Spawn => futures_lite::future::block_on(spawn(effort)),
        Benchmark::SpawnAwait => futures_lite::future::block_on(spawn_join(effort)),
        Benchmark::PingPong => futures_lite::future::block_on(ping_pong(effort)),
        Benchmark::Idle => idle(),
        _ => bail!("there is no {benchmark} with threads"),
    }
}

fn start(body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().stack_size(STACK).spawn(body).expect("a thread")
}

/// 1,000 threads spawned, then all joined: nanoseconds for each.
async fn spawn(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let values = effort.sample(THREADS, async || {
        let threads: Vec<_> = (0..THREADS).map(|_| start(|| {})).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("an empty thread"));
    });
    Ok(vec![Figure::nanoseconds("spawn", values.await)])
}

/// Threads spawned and joined one by one: nanoseconds for each.
async fn spawn_join(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let values = effort.sample(1, async || start(|| {}).join().expect("an empty thread"));
    Ok(vec![Figure::nanoseconds("spawn-await", values.await)])
}

/// A number that two threads take turns to count up.
#[derive(Default)]
struct Turns {
    turn: Mutex<usize>,
    changed: Condvar,
}

impl Turns {
    /// Takes every second turn, beginning with `first`.
    fn play(&self, first: usize) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for own in (first..SWITCHES).step_by(2) {
            while *turn != own {
                turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
            }
            *turn += 1;
            self.changed.notify_one();
        }
    }
}

/// Two threads on one core that wake each other through a condition variable: nanoseconds for each switch.
async fn ping_pong(effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let values = effort.sample(SWITCHES, async || {
        let turns = Arc::new(Turns::default());
        let others = Arc::clone(&turns);
        let thread = start(move || others.play(1));
        turns.play(0);
        thread.join().expect("the other player");
    });
    Ok(vec![Figure::nanoseconds("ping-pong", values.await)])
}

/// Threads that wait: bytes of resident memory for each (in user space; the kernel's own stack of 16 KiB
/// is not in it), and nanoseconds to make it and let it wait.
fn idle() -> anyhow::Result<Vec<Figure>> {
    let waiting = Arc::new(AtomicUsize::new(0));
    let (memory, begin) = (resident_bytes()?, Instant::now());
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let waiting = Arc::clone(&waiting);
            start(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                thread::park();
            })
        })
        .collect();
    while waiting.load(Ordering::SeqCst) < THREADS {
        thread::yield_now();
    }
    let elapsed = begin.elapsed();
    let memory = resident_bytes()? - memory;
    for thread in threads {
        thread.thread().unpark();
        thread.join().expect("an idle thread");
    }
    Ok(vec![
        Figure::bytes("idle-bytes", vec![memory / THREADS as f64]),
        Figure::nanoseconds("idle-create", vec![elapsed.as_nanos() as f64 / THREADS as f64]),
    ])
}
