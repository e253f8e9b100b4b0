//! Tests of the handshakes of `queue.rs`. loom tries every interleaving of their threads, and every
//! reordering that the memory model allows.
//!
//! Run with: RUSTFLAGS="--cfg loom" cargo test -p executor --lib --release
//!
//! A lost wake shows as a deadlock: the loop parks, and no thread is left to unpark it.
//!
//! The same models run under shuttle, which tries schedules at random. See `queue_shuttle.rs` for
//! the models that are too large for loom.

use std::sync::Arc as StdArc;

#[cfg(loom)]
use loom as checker;
#[cfg(shuttle)]
use shuttle as checker;

use checker::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use checker::sync::{Condvar, Mutex};
use checker::thread;

use crate::run::driver::Unpark;
use crate::tasks::queue::{Inbox, LocalQueue, SpawnError, TaskWaker};
use crate::tasks::remote::RemoteHandle;
use crate::tasks::sync::Arc;
use crate::tasks::table::Key;

/// Stands for the driver's sleep. It keeps a wake that comes before the sleep, as an eventfd does.
#[derive(Default)]
struct Parker {
    is_woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    fn park(&self) {
        let mut is_woken = self.is_woken.lock().unwrap();
        while !*is_woken {
            is_woken = self.changed.wait(is_woken).unwrap();
        }
        *is_woken = false;
    }
}

impl Unpark for Parker {
    fn unpark(&self) {
        *self.is_woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// The loop's side, with one task. The queue is not registered with the thread, on purpose: loom
/// runs all its threads on one thread of the system, so every wake would find the queue.
pub(crate) struct Loop {
    pub(crate) inbox: Arc<Inbox>,
    parker: StdArc<Parker>,
    pub(crate) queue: LocalQueue,
    pub(crate) task: Arc<TaskWaker>,
    pub(crate) polls: u32,
    pub(crate) is_stopped: bool,
}

const TASK: Key = Key::from_u64(7);

impl Loop {
    pub(crate) fn new() -> Loop {
        let parker = StdArc::new(Parker::default());
        let inbox = Inbox::new(StdArc::clone(&parker) as StdArc<dyn Unpark>);
        let task = TaskWaker::new(TASK, Arc::clone(&inbox));
        let queue = LocalQueue::new(&inbox);
        Loop { inbox, parker, queue, task, polls: 0, is_stopped: false }
    }

    /// Does what `EventLoop::turn` in `run/event_loop.rs` does.
    pub(crate) fn turn(&mut self) {
        if self.queue.is_empty() && self.inbox.fall_asleep() {
            self.parker.park();
        }
        if let Some(mail) = self.inbox.wake_up() {
            mail.wakes.iter().for_each(|waker| waker.arrive(&self.queue));
            self.is_stopped |= mail.stop;
        }
    }

    /// Does what `EventLoop::run_batch` does: takes the task out of the queue, if it is there.
    /// Returns true if the task is to be polled.
    pub(crate) fn next(&mut self) -> bool {
        let Some(key) = self.queue.pop() else { return false };
        assert_eq!(key, TASK);
        assert!(self.queue.is_empty(), "a task is in the queue at most once");
        self.task.start_poll();
        self.polls += 1;
        true
    }

    /// Runs until a poll says that the task is done.
    pub(crate) fn run(&mut self, mut poll: impl FnMut(&Loop) -> bool) {
        loop {
            if self.next() && poll(self) {
                return;
            }
            self.turn();
        }
    }
}

/// Tries every interleaving that interrupts a thread at most three times where it could have gone
/// on. According to loom's authors, more interruptions find no more bugs. With three threads they
/// take hours.
#[cfg(loom)]
fn try_all(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Tries schedules drawn at random.
#[cfg(shuttle)]
fn try_all(model: impl Fn() + Sync + Send + 'static) {
    crate::tasks::queue_shuttle::try_many(model);
}

/// Starts a thread that sets the flag and then wakes the task. The flag itself orders nothing: the
/// wake must.
fn set_and_wake(task: &Arc<TaskWaker>, flag: &StdArc<AtomicBool>) -> thread::JoinHandle<()> {
    let (task, flag) = (Arc::clone(task), StdArc::clone(flag));
    thread::spawn(move || {
        flag.store(true, Ordering::Relaxed);
        task.wake();
    })
}

#[test]
fn a_wake_that_meets_the_sleep_is_not_lost() {
    try_all(|| {
        let mut the_loop = Loop::new();
        let flag = StdArc::new(AtomicBool::new(false));
        let thread = set_and_wake(&the_loop.task, &flag);
        the_loop.run(|_| flag.load(Ordering::Relaxed));
        assert_eq!(the_loop.polls, 1, "one wake, one poll");
        thread.join().unwrap();
    });
}

#[test]
fn of_two_wakes_the_last_is_not_lost() {
    try_all(|| {
        let mut the_loop = Loop::new();
        let flags = [(); 2].map(|()| StdArc::new(AtomicBool::new(false)));
        let threads = flags.each_ref().map(|flag| set_and_wake(&the_loop.task, flag));
        the_loop.run(|_| flags.iter().all(|flag| flag.load(Ordering::Relaxed)));
        assert!(the_loop.polls <= 2, "{} polls for two wakes", the_loop.polls);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The task wakes itself at its first poll, while another thread wakes it, too. So the wakes come
/// in both ways at once.
#[test]
fn wakes_on_both_roads_are_not_lost() {
    try_all(|| {
        let mut the_loop = Loop::new();
        let flag = StdArc::new(AtomicBool::new(false));
        the_loop.task.wake_local(&the_loop.queue);
        let thread = set_and_wake(&the_loop.task, &flag);
        let mut own_wakes = 0;
        the_loop.run(|the_loop| {
            if own_wakes == 0 {
                own_wakes = 1;
                the_loop.task.wake_local(&the_loop.queue);
                return false;
            }
            own_wakes = 2;
            flag.load(Ordering::Relaxed)
        });
        assert_eq!(own_wakes, 2);
        assert!(the_loop.polls <= 3, "{} polls for three wakes", the_loop.polls);
        thread.join().unwrap();
    });
}

/// The same thread wakes twice, with something new each time.
#[test]
fn a_wake_during_the_poll_counts_again() {
    try_all(|| {
        let mut the_loop = Loop::new();
        let count = StdArc::new(AtomicU32::new(0));
        let (task, counted) = (Arc::clone(&the_loop.task), StdArc::clone(&count));
        let thread = thread::spawn(move || {
            for _ in 0..2 {
                counted.fetch_add(1, Ordering::Relaxed);
                task.wake();
            }
        });
        the_loop.run(|_| count.load(Ordering::Relaxed) == 2);
        assert!(the_loop.polls <= 2);
        thread.join().unwrap();
    });
}

#[test]
fn a_stop_and_an_abort_reach_the_loop() {
    try_all(|| {
        let mut the_loop = Loop::new();
        let (task, inbox) = (Arc::clone(&the_loop.task), Arc::clone(&the_loop.inbox));
        let threads = [thread::spawn(move || task.abort()), thread::spawn(move || inbox.stop())];
        the_loop.run(|the_loop| {
            assert!(the_loop.task.is_aborted(), "nothing else woke it");
            true
        });
        while !the_loop.is_stopped {
            the_loop.turn();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The runtime ends while a wake is on its way. The wake is either in the mail that `close`
/// returns, or refused. Nothing stays in the box, because there the waker and the inbox would keep
/// each other alive.
#[test]
fn a_wake_that_meets_the_end_leaves_nothing() {
    try_all(|| {
        let the_loop = Loop::new();
        let task = Arc::clone(&the_loop.task);
        let thread = thread::spawn(move || task.wake());
        let mail = the_loop.inbox.close();
        drop(mail);
        thread.join().unwrap();
        the_loop.task.wake();
        assert_eq!(Arc::strong_count(&the_loop.task), 1);
        assert_eq!(Arc::strong_count(&the_loop.inbox), 3, "the loop's, its queue's, and its task's");
    });
}

/// A wake that came before the end is not lost without a trace: it is in the mail that `close`
/// returns.
#[test]
fn a_wake_before_the_end_is_in_the_last_mail() {
    try_all(|| {
        let the_loop = Loop::new();
        let is_over = StdArc::new(AtomicBool::new(false));
        let (task, over) = (Arc::clone(&the_loop.task), StdArc::clone(&is_over));
        let thread = thread::spawn(move || {
            task.wake();
            over.store(true, Ordering::Release);
        });
        let was_over = is_over.load(Ordering::Acquire);
        let mail = the_loop.inbox.close();
        assert!(!was_over || mail.wakes.len() == 1, "{} wakes in the mail", mail.wakes.len());
        drop(mail);
        thread.join().unwrap();
        assert_eq!(Arc::strong_count(&the_loop.task), 1);
    });
}

/// A spawn returns the truth: either it is in the mail that the loop gets, or it is refused.
#[test]
fn a_spawn_that_meets_the_end_is_told() {
    try_all(|| {
        let the_loop = Loop::new();
        let remote = RemoteHandle::new(Arc::clone(&the_loop.inbox));
        let thread = thread::spawn(move || remote.spawn(|| async {}).map(drop));
        let mail = the_loop.inbox.close();
        let told = thread.join().unwrap();
        match mail.spawns.len() {
            0 => assert_eq!(told, Err(SpawnError::Closed)),
            spawns => assert_eq!((told, spawns), (Ok(()), 1)),
        }
        drop(mail);
        assert_eq!(Arc::strong_count(&the_loop.inbox), 3, "the loop's, its queue's, and its task's");
    });
}

/// Another thread wakes a task and drops the waker. Meanwhile the loop polls the task to its end
/// and reuses its waker for the next task. The wake of the old task must not reach the new one.
#[test]
fn a_waker_that_is_dropped_meanwhile_serves_the_next_task() {
    const NEXT: Key = Key::from_u64(8);
    try_all(|| {
        let Loop { inbox, queue, task, .. } = Loop::new();
        let waker = Arc::clone(&task);
        let thread = thread::spawn(move || {
            waker.wake();
            drop(waker);
        });
        // The task is done at its first poll.
        task.wake_local(&queue);
        assert_eq!(queue.pop(), Some(TASK));
        task.start_poll();
        let mut next = TaskWaker::renamed(task, NEXT);
        let arrive = || inbox.wake_up().into_iter().flat_map(|mail| mail.wakes).for_each(|waker| waker.arrive(&queue));
        arrive();
        thread.join().unwrap();
        arrive();
        // Late wakes name the old task, which is no longer in the table.
        while let Some(key) = queue.pop() {
            assert_eq!(key, TASK, "a wake of the old task came to the new one");
            assert!(next.is_none(), "nobody held the waker, so nobody could wake by it");
        }
        if let Some(next) = &mut next {
            assert_eq!(Arc::strong_count(next), 1);
            next.wake_local(&queue);
            assert_eq!(queue.pop(), Some(NEXT));
        }
    });
}
