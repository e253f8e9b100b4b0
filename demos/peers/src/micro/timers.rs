//! What timers cost: to set, to cancel, to let fire. CPU time of the whole process, because some of it
//! is the kernel's, and most of the time passes asleep.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::benchmark::Effort;
use super::figure::Figure;
use super::process::cpu_ns;
use super::subjects::Subject;
use super::tasks::Latch;

/// Between one deadline and the next, on average: a million of them lie within a second.
const GAP: Duration = Duration::from_micros(1);
/// Far enough for none to fire.
const FAR: Duration = Duration::from_secs(3600);
/// How often the timers may be due too early for what is to be measured; each time they get twice as long.
const ATTEMPTS: usize = 4;
/// Timers that are set and dropped to find out how long it takes to set all of them.
const PILOT: usize = 50_000;

/// Numbers that look random and are the same in each run: xorshift64, with the shifts (13, 7, 17) of
/// Marsaglia, "Xorshift RNGs" (2003).
struct Random(u64);

impl Random {
    fn new() -> Random {
        Random(0x9E37_79B9_7F4A_7C15)
    }

    /// Below `limit`. The bias of the remainder is of no account here.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// One of `count` deadlines.
    fn deadline(&mut self, count: usize) -> Duration {
        Duration::from_nanos(self.below(GAP.as_nanos() as u64 * count as u64))
    }
}

/// Wakes nobody, and costs as much to clone and drop as a task's waker: a shared count. One task's own
/// would not do, because glommio allows no more than 32,767 wakers of a task.
struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// Sets `count` timers that are an hour and a bit away.
fn set_far<S: Subject>(rt: &S, count: usize, random: &mut Random) -> Vec<Pin<Box<impl Future + 'static>>> {
    let waker = Waker::from(Arc::new(Nobody));
    let sleeps = (0..count).map(|_| {
        let mut sleep = Box::pin(rt.sleep(FAR + random.deadline(count)));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        sleep
    });
    sleeps.collect()
}

/// Timers set (made, boxed and polled once), then dropped in another order: CPU nanoseconds for each.
pub async fn cancel<S: Subject>(rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let (mut random, count) = (Random::new(), effort.many);
    let (mut set, mut cancelled) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let start = cpu_ns();
        let mut sleeps = set_far(rt, count, &mut random);
        set.push((cpu_ns() - start) / count as f64);
        // Fisher-Yates.
        for last in (1..count).rev() {
            sleeps.swap(last, random.below(last as u64 + 1) as usize);
        }
        let start = cpu_ns();
        drop(sleeps);
        cancelled.push((cpu_ns() - start) / count as f64);
    }
    Ok(vec![Figure::nanoseconds("timer-set", set), Figure::nanoseconds("timer-cancel", cancelled)])
}

/// Tasks that sleep until their time has come: CPU nanoseconds to spawn and let them wait, to wake and
/// end them, and both together.
pub async fn fire<S: Subject>(rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let (mut random, count) = (Random::new(), effort.many);
    let mut lead = lead(rt, count, &mut random);
    for _ in 0..ATTEMPTS {
        if let Some([insert, fire]) = fire_after(rt, count, lead, &mut random).await? {
            let per_timer = |ns: f64| vec![ns / count as f64];
            return Ok(vec![
                Figure::nanoseconds("timer-insert", per_timer(insert)),
                Figure::nanoseconds("timer-fire", per_timer(fire)),
                Figure::nanoseconds("timer-total", per_timer(insert + fire)),
            ]);
        }
        lead *= 2;
    }
    bail!("the first timers fired before the last was set, {ATTEMPTS} times: is the machine busy?")
}

/// CPU nanoseconds to spawn all, and until all have ended; `None` if the first timers fired before the last
/// was set.
async fn fire_after<S: Subject>(
    rt: &S,
    count: usize,
    lead: Duration,
    random: &mut Random,
) -> anyhow::Result<Option<[f64; 2]>> {
    let (waiting, ended) = (Latch::new(count), Latch::new(count));
    let (start, start_cpu) = (Instant::now(), cpu_ns());
    for _ in 0..count {
        let (sleep, waiting, ended) = (rt.sleep(lead + random.deadline(count)), waiting.clone(), ended.clone());
        rt.detach(async move {
            let mut sleep = pin!(sleep);
            let mut is_set = false;
            poll_fn(|cx| {
                let polled = sleep.as_mut().poll(cx);
                if !std::mem::replace(&mut is_set, true) {
                    waiting.arrive();
                }
                polled
            })
            .await;
            ended.arrive();
        });
    }
    waiting.wait().await;
    let (set, is_clean) = (cpu_ns(), ended.left() == count && start.elapsed() < lead);
    ended.wait().await;
    ensure!(start.elapsed() >= lead, "a timer fired early");
    Ok(is_clean.then_some([set - start_cpu, cpu_ns() - set]))
}

/// How far away the first deadline should be for all timers to be set by then: four times what a trial
/// with fewer timers suggests, because tasks are made as well and structures grow.
fn lead<S: Subject>(rt: &S, count: usize, random: &mut Random) -> Duration {
    let start = Instant::now();
    drop(set_far(rt, PILOT, random));
    let trial = start.elapsed().mul_f64(count as f64 / PILOT as f64);
    Duration::from_millis(100) + trial * 4
}
