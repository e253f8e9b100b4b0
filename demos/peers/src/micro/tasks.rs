//! What tasks cost: to make, to switch, to keep.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::benchmark::Effort;
use super::figure::Figure;
use super::process::resident_bytes;
use super::subjects::Subject;

/// Tasks of one batch where many are spawned at once.
const TASKS: usize = 1_000;
/// Things done in one batch where they follow each other.
const STEPS: usize = 10_000;

/// 1,000 tasks spawned, then all awaited: nanoseconds for each.
pub async fn spawn<S: Subject>(rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let mut handles = Vec::with_capacity(TASKS);
    let values = effort.sample(TASKS, async || {
        handles.extend((0..TASKS).map(|_| rt.spawn(async {})));
        for handle in handles.drain(..) {
            handle.await;
        }
    });
    Ok(vec![Figure::nanoseconds("spawn", values.await)])
}

/// Tasks spawned and awaited one by one: nanoseconds for each.
pub async fn spawn_await<S: Subject>(rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let values = effort.sample(TASKS, async || {
        for _ in 0..TASKS {
            rt.spawn(async {}).await;
        }
    });
    Ok(vec![Figure::nanoseconds("spawn-await", values.await)])
}

/// `tasks` tasks that yield in turn: nanoseconds for each yield.
pub async fn yields<S: Subject>(rt: &S, effort: Effort, tasks: usize, name: &str) -> anyhow::Result<Vec<Figure>> {
    let yields = STEPS * 10 / tasks;
    let values = effort.sample(tasks * yields, async || {
        let handles: Vec<_> = (0..tasks).map(|_| rt.spawn(yield_times(yields))).collect();
        for handle in handles {
            handle.await;
        }
    });
    Ok(vec![Figure::nanoseconds(name, values.await)])
}

async fn yield_times(times: usize) {
    for _ in 0..times {
        Yield { is_done: false }.await;
    }
}

/// Wakes its own task once. The same on all runtimes, whose own `yield_now` differ in what they promise.
pub struct Yield {
    pub is_done: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_done {
            return Poll::Ready(());
        }
        self.is_done = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// One slot for a value, and the waker of whoever waits for one.
#[derive(Default)]
struct Channel {
    slot: RefCell<Option<usize>>,
    waiting: RefCell<Option<Waker>>,
}

impl Channel {
    fn send(&self, value: usize) {
        assert!(self.slot.replace(Some(value)).is_none(), "the slot was taken");
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    async fn receive(&self) -> usize {
        poll_fn(|cx| match self.slot.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waiting.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

/// Two tasks that send each other a value: nanoseconds for each switch from one to the other.
pub async fn ping_pong<S: Subject>(rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let values = effort.sample(2 * STEPS, async || {
        let (there, back) = (Rc::new(Channel::default()), Rc::new(Channel::default()));
        let pong = rt.spawn({
            let (there, back) = (Rc::clone(&there), Rc::clone(&back));
            async move {
                for _ in 0..STEPS {
                    back.send(there.receive().await + 1);
                }
            }
        });
        let ping = rt.spawn(async move {
            for step in 0..STEPS {
                there.send(step);
                assert_eq!(back.receive().await, step + 1);
            }
        });
        ping.await;
        pong.await;
    });
    Ok(vec![Figure::nanoseconds("ping-pong", values.await)])
}

/// Waits until a number of things have happened.
#[derive(Clone)]
pub struct Latch(Rc<LatchState>);

struct LatchState {
    left: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

impl Latch {
    pub fn new(count: usize) -> Latch {
        Latch(Rc::new(LatchState { left: Cell::new(count), waiting: RefCell::default() }))
    }

    /// One of the things has happened.
    pub fn arrive(&self) {
        self.0.left.set(self.0.left.get() - 1);
        if self.0.left.get() == 0
            && let Some(waker) = self.0.waiting.take()
        {
            waker.wake();
        }
    }

    /// How many have not.
    pub fn left(&self) -> usize {
        self.0.left.get()
    }

    /// Completes when all have.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.left() == 0 {
                return Poll::Ready(());
            }
            self.0.waiting.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Waits for ever, and keeps its waker as any future does that waits. Three words.
struct Idle {
    waker: Option<Waker>,
    latch: Latch,
}

impl Future for Idle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.waker.replace(cx.waker().clone()).is_none() {
            self.latch.arrive();
        }
        Poll::Pending
    }
}

/// Tasks that wait: bytes of resident memory for each, and nanoseconds to make it and let it wait.
pub async fn idle<S: Subject>(rt: &S, effort: Effort) -> anyhow::Result<Vec<Figure>> {
    let tasks = effort.many;
    let latch = Latch::new(tasks);
    let (memory, start) = (resident_bytes()?, Instant::now());
    for _ in 0..tasks {
        rt.detach(Idle { waker: None, latch: latch.clone() });
    }
    latch.wait().await;
    let elapsed = start.elapsed();
    let memory = resident_bytes()? - memory;
    Ok(vec![
        Figure::bytes("idle-bytes", vec![memory / tasks as f64]),
        Figure::nanoseconds("idle-create", vec![elapsed.as_nanos() as f64 / tasks as f64]),
    ])
}
