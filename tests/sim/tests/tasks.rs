//! Goal: the loop owes each task its polls and its time, to the poll and to the nanosecond: nothing is late, early,
//! done twice or left out, whatever its neighbours do.
//!
//! Method: random programs of tasks that sleep, yield, wake themselves, pass handles and timers on, give up, abort
//! and panic. In calm weather time passes only when all wait, so each task knows what the clock has to say after
//! each of its steps, and how often it has to be polled until its end. In a world that takes time for each turn,
//! busy tasks see that they take turns. The others: a waker that panics, a loop in the loop, and an end that comes
//! early. Panics that are meant to be are not announced.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use executor::{JoinSet, POLL_BUDGET};
use fastrand::Rng;
use sim::{Builder, JoinError, Sim, Weather};

const HOUR: Duration = Duration::from_secs(3600);

/// A task of a program.
struct Life {
    sim: Sim,
    random: Rng,
    /// What the clock has to say.
    due: Duration,
    /// How often it has been woken.
    wakes: u32,
    /// Generations below it, at most.
    heirs: u32,
}

impl Life {
    /// Spawns it, and checks at its end that it was polled once for each wake.
    fn begin(mut self) -> sim::JoinHandle<Duration> {
        let sim = self.sim.clone();
        let mut life: Pin<Box<dyn Future<Output = (Duration, u32)>>> = Box::pin(async move {
            for _ in 0..self.random.u32(1..8) {
                let step = self.random.u32(0..9);
                self.step(step).await;
                assert_eq!(self.sim.elapsed(), self.due, "after step {step}");
            }
            (self.due, self.wakes)
        });
        let mut polls = 0;
        sim.spawn(poll_fn(move |cx| {
            polls += 1;
            let (due, wakes) = std::task::ready!(life.as_mut().poll(cx));
            assert_eq!(polls, 1 + wakes, "polls, and the first poll and the wakes");
            Poll::Ready(due)
        }))
    }

    fn time(&mut self) -> Duration {
        Duration::from_nanos(self.random.u64(1..2_000_000))
    }

    async fn step(&mut self, step: u32) {
        match step {
            0 | 1 => {
                let time = self.time();
                self.sleep(time).await;
            }
            2 => {
                for _ in 0..self.random.u32(1..200) {
                    self.wakes += 1;
                    sim::yield_now().await;
                }
            }
            3 => self.wake_twice().await,
            4 if self.heirs > 0 => {
                let heir = Life { random: self.random.fork(), heirs: self.heirs - 1, sim: self.sim.clone(), ..*self };
                self.wakes += 1;
                self.due = Life { wakes: 0, ..heir }.begin().await.unwrap();
            }
            4 | 5 => self.pass_on().await,
            6 => {
                // The timer is taken away, and wakes nobody.
                let (sim, time) = (self.sim.clone(), self.time());
                self.wakes += 1;
                sim.timeout(time, sim::yield_now()).await.unwrap();
                self.sleep(2 * time).await;
                // What is ready at the deadline is in time.
                self.due += time;
                self.wakes += 1;
                sim.timeout(time, sim.sleep(time)).await.unwrap();
            }
            7 => self.abort().await,
            _ => self.outlive().await,
        }
    }

    async fn sleep(&mut self, time: Duration) {
        self.due += time;
        self.wakes += 1;
        self.sim.sleep(time).await;
    }

    /// Two wakes at once are one poll.
    async fn wake_twice(&mut self) {
        self.wakes += 1;
        let mut is_woken = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut is_woken, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Begins to wait for a timer, a task and a group, and lets another task wait for them in the end.
    async fn pass_on(&mut self) {
        let time = self.time();
        let mut sleep = self.sim.sleep(time);
        let mut sleeper = self.sim.spawn(self.sim.sleep(2 * time));
        assert!(!is_ready(&mut sleep).await && !is_ready(&mut sleeper).await, "time passes while a task is polled");
        let mut group = JoinSet::new();
        group.add(self.sim.spawn(self.sim.sleep(3 * time)));
        assert!(!is_ready(&mut pin!(group.join_next())).await);
        self.due += 3 * time;
        self.wakes += 1;
        let (sim, [soon, later, late]) = (self.sim.clone(), [2, 1, 0].map(|times| self.due - times * time));
        let waits = self.sim.spawn(async move {
            sleep.await;
            assert_eq!(sim.elapsed(), soon, "a timer that was passed on");
            sleeper.await.unwrap();
            assert_eq!(sim.elapsed(), later, "a handle that was passed on");
            group.join_next().await.unwrap().unwrap();
            assert_eq!(sim.elapsed(), late, "a group that was passed on");
        });
        waits.await.unwrap();
    }

    /// What is aborted is over at once, and its future gone; who comes after it in its place is not.
    async fn abort(&mut self) {
        let guard = Rc::new(());
        let (sim, held) = (self.sim.clone(), Rc::clone(&guard));
        let task = self.sim.spawn(async move {
            sim.sleep(HOUR).await;
            drop(held);
        });
        if self.random.bool() {
            self.wakes += 1;
            sim::yield_now().await;
        }
        task.abort();
        self.wakes += 1;
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
        assert_eq!(Rc::strong_count(&guard), 1, "an aborted task's future is still there");
        self.wakes += 1;
        self.sim.spawn(async {}).await.unwrap();
    }

    /// A panic is the task's own, and so is a wake that comes too late for its task.
    async fn outlive(&mut self) {
        let task = self.sim.spawn(async { resume_unwind(Box::new("in a task")) });
        self.wakes += 1;
        assert!(matches!(task.await, Err(JoinError::Panicked(_))));
        let last_words = poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        });
        self.wakes += 1;
        self.sim.spawn(last_words).await.unwrap();
    }
}

async fn is_ready<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_ready())).await
}

#[test]
fn nothing_is_late_early_or_done_twice() {
    sim::for_each_seed(200, |seed| {
        let sim = Sim::calm(seed);
        sim.block_on(async {
            let mut random = Rng::with_seed(seed);
            let lives: Vec<_> = (0..random.u32(1..12))
                .map(|_| Life { sim: sim.clone(), random: random.fork(), due: sim.elapsed(), wakes: 0, heirs: 2 })
                .map(Life::begin)
                .collect();
            for life in lives {
                life.await.unwrap();
            }
        });
        let stats = sim.stats();
        assert_eq!((stats.tasks_now, stats.timers_now), (0, 0), "{stats}");
        sim.finish();
    });
}

/// All have ended when the group is asked for the first.
#[test]
fn a_group_gives_results_in_the_order_of_their_ends() {
    sim::for_each_seed(50, |seed| {
        let sim = Sim::calm(seed);
        let mut random = Rng::with_seed(seed);
        sim.block_on(async {
            let mut group = JoinSet::new();
            for number in 0..random.u32(1..20) {
                let (time, sim_of_task) = (Duration::from_millis(random.u64(1..10)), sim.clone());
                group.add(sim.spawn(async move {
                    sim_of_task.sleep(time).await;
                    (time, number)
                }));
            }
            assert!(!is_ready(&mut pin!(group.join_next())).await);
            sim.sleep(HOUR).await;
            let mut ends = Vec::new();
            while let Some(end) = group.join_next().await {
                ends.push(end.unwrap());
            }
            assert!(ends.is_sorted(), "{ends:?}");
        });
        sim.finish();
    });
}

#[test]
fn busy_tasks_take_turns_and_time_goes_on() {
    sim::for_each_seed(50, |seed| {
        let turn = Duration::from_micros(1)..=Duration::from_micros(20);
        let sim = Builder::new(seed).weather(Weather { turn, ..Weather::calm() }).build();
        let mut random = Rng::with_seed(seed);
        let rounds: Rc<[Cell<u32>]> = (0..random.usize(2..100)).map(|_| Cell::new(0)).collect();
        let polls_now = Rc::new(Cell::new((Duration::ZERO, 0)));
        sim.block_on(async {
            let until = sim.now() + Duration::from_micros(random.u64(100..2000));
            let busy = |place: usize| {
                let (sim, rounds, polls_now) = (sim.clone(), Rc::clone(&rounds), Rc::clone(&polls_now));
                sim.clone().spawn(async move {
                    while sim.now() < until {
                        let (now, (time, polls)) = (sim.elapsed(), polls_now.get());
                        polls_now.set((now, if now == time { polls + 1 } else { 1 }));
                        assert!(polls_now.get().1 <= POLL_BUDGET, "more polls than that in one turn");
                        let mine = rounds[place].get() + 1;
                        rounds[place].set(mine);
                        assert!(rounds.iter().all(|other| mine <= other.get() + 1), "one is polled, and others wait");
                        sim::yield_now().await;
                    }
                })
            };
            let tasks: Vec<_> = (0..rounds.len()).map(busy).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        sim.finish();
    });
}

/// A waker of somebody else's making.
struct Mine;

impl Wake for Mine {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("in a waker"));
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_from_being_woken() {
    sim::for_each_seed(20, |seed| {
        let sim = Sim::calm(seed);
        let mut random = Rng::with_seed(seed);
        let (count, due, woken) = (random.usize(1..10), sim.now() + HOUR, Rc::new(Cell::new(0)));
        let panics = random.usize(0..count);
        let run = || {
            sim.block_on(async {
                let mut mine = pin!(sim.sleep_until(due));
                for place in 0..count {
                    if place == panics {
                        let waker = Waker::from(Arc::new(Mine));
                        assert!(mine.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                    }
                    let (sleep, woken) = (sim.sleep_until(due), Rc::clone(&woken));
                    let sleeper = sim.spawn(async move {
                        sleep.await;
                        woken.set(woken.get() + 1);
                    });
                    sleeper.detach();
                    // It is to be asked in its turn, so that the timers are in this order.
                    sim::yield_now().await;
                }
                pending::<()>().await;
            });
        };
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("nobody awaits a waker");
        assert_eq!(executor::panic_text(panic.as_ref()), "in a waker");
        assert_eq!(woken.get(), count, "woken");
        sim.finish();
    });
}

#[test]
fn a_loop_in_the_loop_is_refused_and_does_no_harm() {
    sim::for_each_seed(20, |seed| {
        let sim = Sim::calm(seed);
        let mut random = Rng::with_seed(seed);
        sim.block_on(async {
            for _ in 0..random.u32(1..5) {
                let nested = catch_unwind(AssertUnwindSafe(|| sim.block_on(async {})));
                assert!(nested.is_err(), "a loop in the loop");
                let (time, due) = (Duration::from_nanos(random.u64(1..1_000_000)), sim.elapsed());
                sim.sleep(time).await;
                assert_eq!(sim.elapsed(), due + time);
            }
        });
        sim.finish();
    });
}

/// Counts how often it is dropped.
struct Guard(Rc<Cell<usize>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn the_end_drops_each_unfinished_task_once() {
    sim::for_each_seed(50, |seed| {
        let sim = Sim::calm(seed);
        let mut random = Rng::with_seed(seed);
        let (dropped, count) = (Rc::new(Cell::new(0)), random.usize(1..20));
        let handles = RefCell::new(Vec::new());
        sim.block_on(async {
            for _ in 0..count {
                let (guard, time) = (Guard(Rc::clone(&dropped)), Duration::from_millis(random.u64(1..100)));
                let asleep = sim.sleep(time);
                let task = sim.spawn(async move {
                    asleep.await;
                    drop(guard);
                });
                if random.bool() {
                    handles.borrow_mut().push(task);
                } else {
                    task.detach();
                }
            }
            sim.sleep(Duration::from_millis(random.u64(0..100))).await;
        });
        let unfinished = sim.stats().tasks_now;
        assert_eq!(dropped.get() as u64 + unfinished, count as u64);
        sim.finish();
        assert_eq!(dropped.get(), count, "{unfinished} were unfinished at the end, of {count}");
        drop(handles);
        assert_eq!(dropped.get(), count);
    });
}
