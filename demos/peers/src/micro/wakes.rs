//! What it costs to wake a task from another thread.

use std::future::poll_fn;
use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::benchmark::Effort;
use super::figure::Figure;
use super::process;
use super::subjects::Subject;
use super::tasks::Yield;

/// The other thread gives the loop this much time to fall asleep.
const TIME_TO_PARK: Duration = Duration::from_micros(100);
/// Tasks that are woken in turn while the loop is busy: more than one, or most wakes would find the task
/// in the queue already.
const TARGETS: usize = 64;
/// Wakes in one sample of their throughput.
const WAKES: usize = 100_000;

/// A place where a task leaves its waker for another thread, and the thread the time of its wake.
struct Meeting {
    waker: Mutex<Option<Waker>>,
    start: Instant,
    /// Nanoseconds since `start`; 0: not yet.
    woken_at: AtomicU64,
}

impl Meeting {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn leave(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn take(&self) -> Option<Waker> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn spin_until(mut is_over: impl FnMut() -> bool) {
    while !is_over() {
        hint::spin_loop();
    }
}

/// From the wake on another thread until the task runs, the loop being asleep: median and 99th percentile
/// of each sample, in nanoseconds.
pub async fn parked<S: Subject>(_rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    let samples = effort.samples.min(5);
    let meeting = Arc::new(Meeting { waker: Mutex::default(), start: Instant::now(), woken_at: AtomicU64::new(0) });
    let waking = thread::spawn({
        let (meeting, wakes) = (Arc::clone(&meeting), samples * effort.wakes);
        move || wake_parked(&meeting, wakes)
    });
    for _ in 0..samples {
        let mut latencies = Vec::with_capacity(effort.wakes);
        for _ in 0..effort.wakes {
            let woken_at = poll_fn(|cx| match meeting.woken_at.swap(0, Ordering::Acquire) {
                0 => {
                    meeting.leave(cx.waker());
                    Poll::Pending
                }
                woken_at => Poll::Ready(woken_at),
            });
            let woken_at = woken_at.await;
            latencies.push((meeting.now() - woken_at) as f64);
        }
        latencies.sort_by(f64::total_cmp);
        medians.push(latencies[latencies.len() / 2]);
        tails.push(latencies[latencies.len() * 99 / 100]);
    }
    waking.join().map_err(|_| anyhow::anyhow!("the waking thread panicked"))??;
    Ok(vec![Figure::nanoseconds("wake-parked-p50", medians), Figure::nanoseconds("wake-parked-p99", tails)])
}

fn wake_parked(meeting: &Meeting, wakes: usize) -> anyhow::Result<()> {
    process::pin(1)?;
    for _ in 0..wakes {
        let mut waker = None;
        spin_until(|| {
            waker = meeting.take();
            waker.is_some()
        });
        let pause = Instant::now();
        spin_until(|| pause.elapsed() >= TIME_TO_PARK);
        meeting.woken_at.store(meeting.now().max(1), Ordering::Release);
        waker.context("just found")?.wake();
    }
    Ok(())
}

/// Wakes of 64 tasks in turn from another thread, the loop being kept busy by a task that yields:
/// nanoseconds for each call of `wake_by_ref`.
pub async fn running<S: Subject>(rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let is_over = Arc::new(AtomicBool::new(false));
    let wakers: Vec<_> = (0..TARGETS).map(|_| Arc::new(Mutex::new(None))).collect();
    let targets: Vec<_> =
        wakers.iter().map(|waker| rt.spawn(target(Arc::clone(waker), Arc::clone(&is_over)))).collect();
    Yield { is_done: false }.await;
    let waking = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || wake_running(&wakers, effort.samples, &is_over)
    });
    while !is_over.load(Ordering::Acquire) {
        Yield { is_done: false }.await;
    }
    for target in targets {
        target.await;
    }
    let values = waking.join().map_err(|_| anyhow::anyhow!("the waking thread panicked"))??;
    Ok(vec![Figure::nanoseconds("wake-running", values)])
}

/// Leaves its waker once, then just takes wakes.
async fn target(waker: Arc<Mutex<Option<Waker>>>, is_over: Arc<AtomicBool>) {
    poll_fn(|cx| {
        let mut waker = waker.lock().unwrap_or_else(PoisonError::into_inner);
        waker.get_or_insert_with(|| cx.waker().clone());
        if is_over.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn wake_running(
    wakers: &[Arc<Mutex<Option<Waker>>>],
    samples: usize,
    is_over: &AtomicBool,
) -> anyhow::Result<Vec<f64>> {
    process::pin(1)?;
    let mut found = Vec::new();
    spin_until(|| {
        let all = wakers.iter().map(|waker| waker.lock().unwrap_or_else(PoisonError::into_inner).clone());
        found = all.flatten().collect();
        found.len() == wakers.len()
    });
    let mut values = Vec::with_capacity(samples);
    for _ in 0..samples {
        let start = Instant::now();
        found.iter().cycle().take(WAKES).for_each(Waker::wake_by_ref);
        values.push(start.elapsed().as_nanos() as f64 / WAKES as f64);
    }
    is_over.store(true, Ordering::Release);
    found.iter().for_each(Waker::wake_by_ref);
    Ok(values)
}
