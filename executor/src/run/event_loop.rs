//! The loop: owns the tasks and the driver, and lets them take turns.
//!
//! ```text
//!      +--> poll up to 64 ready tasks, or 1 ms of them
//!      |                  |
//!      |     time until the next timer; 0 if tasks are ready or other threads left mail
//!      |                  |
//!      |     driver.turn: publish requests, sleep, see what fired
//!      |                  |
//!      +--- wake: mail from other threads, due timers, what fired; drop garbage
//! ```
//!
//! **Bounds.** The driver's turn comes after at most [`POLL_BUDGET`] polls or [`TIME_BUDGET`]. (The
//! clock is looked at after every 16 polls, and the first look starts the time: it comes after at
//! most 32 polls that are long.) This holds no matter how many tasks are ready and how often they
//! wake themselves. Tasks are polled first come, first served.
//!
//! **Borrows.** No user code (futures, destructors, wakers, closures) runs while tasks, timers or
//! driver are borrowed: decide under the borrow, act after it.
//!
//! **Shutdown.** Dropping the owner, also by unwinding, ends the runtime:
//! 1. It refuses new work: spawns, requests to the driver, messages from other threads, blocking
//!    jobs. Blocking jobs that have not begun are dropped.
//! 2. It drops all tasks, one after another. Their handles return `Cancelled`.
//! 3. It forgets the timers.
//! 4. The driver cancels what the kernel still does, and waits for it until the deadline.
//! 5. It waits for running blocking jobs until the same deadline.
//! 6. It closes the driver. Handles and streams that are left answer [`closed`](crate::closed).
//!    Only the descriptor that wakers of other threads write to stays open, until the last of them
//!    is dropped.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::blocking;
use super::config::{Config, closed};
use super::driver::{Driver, Fired};
use super::foreign::{Payload, dispose, guarded};
use super::stall::{Site, Sites, Stall};
use super::wake_all::WakeAll;
use crate::tasks::queue::{Inbox, LocalFuture, LocalQueue, Mail, Spawner, TaskWaker};
use crate::tasks::table::{Key, Table};
use crate::tasks::task::{JoinHandle, Ran, Task, task};
use crate::time::timer::Timers;
use crate::watch::stats::Stats;

/// The maximum number of polls between two turns of the driver.
pub const POLL_BUDGET: u32 = 64;
/// The time between two turns of the driver. The loop looks at the clock after every 16 polls,
/// because that costs more than switching tasks. The first look starts the time.
pub const TIME_BUDGET: Duration = Duration::from_millis(1);
const POLLS_PER_LOOK_AT_THE_CLOCK: u32 = 16;

/// The maximum number of wakers kept for further tasks. They take 48 KiB.
const SPARE_WAKERS: usize = 1024;

/// The key under which the main future of `block_on` is woken.
const MAIN: Key = Key::reserved(0);

/// The state that the owner and the handles share: the loop, and everything it works on.
pub(super) struct EventLoop<D> {
    /// `None` once the runtime is closed.
    pub(super) driver: RefCell<Option<D>>,
    pub(super) tasks: RefCell<Table<Rc<dyn Task>>>,
    pub(super) queue: Rc<LocalQueue>,
    pub(super) inbox: Arc<Inbox>,
    /// Wakers of finished tasks, kept for new ones. This saves an allocation in each spawn: see
    /// `executor/MEASURED.md`.
    spare_wakers: RefCell<Vec<Arc<TaskWaker>>>,
    pub(super) timers: Rc<Timers>,
    /// See [`Executor::stopped`](crate::Executor::stopped).
    pub(super) stopped: Rc<WakeAll>,
    pub(super) blocking: Arc<blocking::Pool>,
    sites: Sites,
    config: Config,
    pub(super) phase: Cell<Phase>,
    /// True while a `block_on` or `turn` is on the stack.
    pub(super) running: Cell<bool>,
    /// True if a foreign loop may sleep on the driver's descriptor: a loop of the program, which
    /// calls `turn`, and whose guest the runtime then is.
    pub(super) is_guest: Cell<bool>,
    /// The first panic of `on_task_panic`, on its way out of the loop.
    hook_panic: Cell<Option<Payload>>,
    has_hook_panic: Cell<bool>,
    /// Empty between turns. It is kept for its capacity, so that a turn allocates nothing.
    fired: Cell<Fired>,
    pub(super) turn_time: Cell<Instant>,
    /// The time since which there is nothing to do, while the loop spins.
    idle_since: Cell<Option<Instant>>,
    /// The loop's counters, and the driver's counters as they were at the end.
    pub(super) counts: RefCell<Stats>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The owner was dropped inside the loop. The loop ends the runtime as soon as it has unwound.
    Ending,
    Closed,
}

impl<D: Driver> EventLoop<D> {
    pub(super) fn new(driver: D, config: Config) -> Self {
        let inbox = Inbox::new(driver.unparker());
        EventLoop {
            queue: LocalQueue::register(&inbox),
            inbox,
            spare_wakers: RefCell::default(),
            timers: Timers::new(driver.now()),
            stopped: Rc::default(),
            turn_time: Cell::new(driver.now()),
            driver: RefCell::new(Some(driver)),
            tasks: RefCell::default(),
            blocking: blocking::Pool::new("blocking", config.blocking),
            sites: Sites::default(),
            config,
            phase: Cell::new(Phase::Open),
            running: Cell::new(false),
            is_guest: Cell::new(false),
            hook_panic: Cell::default(),
            has_hook_panic: Cell::new(false),
            fired: Cell::default(),
            idle_since: Cell::new(None),
            counts: RefCell::default(),
        }
    }

    /// See [`Executor::block_on`](crate::Executor::block_on).
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _guest = self.queue.ends_sleep.get().then(|| EndsForeignSleep(&self.queue));
        let _running = self.start_running("block_on");
        let mut future = pin!(future);
        let waker = TaskWaker::new(MAIN, Arc::clone(&self.inbox));
        waker.wake_local(&self.queue);
        let mut output = None;
        loop {
            self.run_batch(&mut || {
                waker.start_poll();
                let waker = futures_task::waker_ref(&waker);
                if let Poll::Ready(ready) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    output = Some(ready);
                }
                output.is_some()
            });
            self.let_hook_panic_go_on();
            if let Some(output) = output {
                return output;
            }
            if let Err(error) = self.turn(None) {
                panic!("the {} cannot go on: {error}", std::any::type_name::<D>());
            }
        }
    }

    /// Polls ready tasks, within the budgets. `poll_main` polls the main future and returns true if
    /// that is done, which ends the batch.
    pub(super) fn run_batch(&self, poll_main: &mut dyn FnMut() -> bool) {
        let mut start = None;
        for polls in 1..=POLL_BUDGET {
            let Some(key) = self.queue.pop() else { return };
            self.counts.borrow_mut().polls += 1;
            if self.poll(key, poll_main) {
                return;
            }
            if polls % POLLS_PER_LOOK_AT_THE_CLOCK == 0 {
                let now = self.now();
                if now - *start.get_or_insert(now) >= TIME_BUDGET {
                    return;
                }
            }
        }
    }

    /// Gives the driver a turn of at most `max`, and acts on the result.
    pub(super) fn turn(&self, max: Option<Duration>) -> io::Result<()> {
        let timeout = self.time_to_sleep(max);
        let mut fired = self.fired.take();
        self.counts.borrow_mut().turns += 1;
        let turned = {
            let mut driver = self.driver.borrow_mut();
            let driver = driver.as_mut().ok_or_else(closed)?;
            driver.turn(timeout, &mut fired).map(|()| driver.now())
        };
        let Ok(now) = turned else {
            self.act(&mut fired);
            return turned.map(drop);
        };
        self.turn_time.set(now);
        self.timers.expire(now, &mut fired);
        if let Some(mail) = self.inbox.wake_up() {
            self.deliver(mail, &mut fired);
        }
        self.act(&mut fired);
        self.fired.set(fired);
        if !self.queue.is_empty() {
            self.idle_since.set(None);
        }
        Ok(())
    }

    /// Returns the time that the driver may sleep. Announces the sleep, if there is one.
    fn time_to_sleep(&self, max: Option<Duration>) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline = self.timers.next_deadline();
        let until_timer = deadline.map(|deadline| {
            let now = self.driver.borrow().as_ref().map_or(deadline, D::now);
            deadline.saturating_duration_since(now)
        });
        let timeout = until_timer.into_iter().chain(max).min();
        if timeout != Some(Duration::ZERO) && (self.is_spinning() || !self.inbox.fall_asleep()) {
            return Some(Duration::ZERO);
        }
        timeout
    }

    /// Returns true if it is too early to sleep: see [`Config::spin`].
    fn is_spinning(&self) -> bool {
        if self.config.spin.is_zero() {
            return false;
        }
        let now = self.now();
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        now - since < self.config.spin
    }

    /// Does what other threads asked for.
    fn deliver(&self, mail: Mail, fired: &mut Fired) {
        mail.wakes.iter().for_each(|waker| waker.arrive(&self.queue));
        for start in mail.spawns {
            // A refused task is dropped here at once, and its destructor is foreign code.
            self.guard(|| start(self));
        }
        if mail.stop {
            self.stopped.stop(fired);
        }
    }

    /// Polls a task or the main future. Returns true if the main future is done, which ends the
    /// batch.
    fn poll(&self, key: Key, poll_main: &mut dyn FnMut() -> bool) -> bool {
        let Some(watch) = &self.config.stall_watch else { return self.poll_unwatched(key, poll_main) };
        let start = self.now();
        let is_over = self.poll_unwatched(key, poll_main);
        let took = self.now() - start;
        let is_gone = self.tasks.borrow().get(key).is_none();
        let mut sites = self.sites.borrow_mut();
        let site = if is_gone { sites.remove(&key) } else { sites.get(&key).copied() };
        drop(sites);
        // A task that had ended before this poll took no time.
        if took >= watch.limit && (site.is_some() || key == MAIN) {
            self.guard(|| (watch.on_stall)(&Stall { site, took }));
        }
        is_over
    }

    // Inlined into both callers, with and without the stall watch. Otherwise it would be a function
    // of its own, which costs 28 instructions in every poll.
    #[inline(always)]
    fn poll_unwatched(&self, key: Key, poll_main: &mut dyn FnMut() -> bool) -> bool {
        if key == MAIN {
            return poll_main();
        }
        self.poll_task(key);
        false
    }

    // Inlined for the same reason.
    #[inline(always)]
    fn poll_task(&self, key: Key) {
        let Some(task) = self.tasks.borrow().get(key).map(Rc::clone) else {
            self.counts.borrow_mut().wakes_stale += 1;
            return;
        };
        let ran = task.run();
        if !matches!(ran, Ran::Pending) {
            let finished = self.tasks.borrow_mut().remove(key);
            let mut spare = self.spare_wakers.borrow_mut();
            if spare.len() < SPARE_WAKERS {
                spare.extend(finished.as_ref().map(|task| Arc::clone(task.waker())));
            }
            drop((spare, finished));
            self.report(ran);
        }
    }

    /// Runs the foreign code of a turn, with nothing borrowed. A panic in one item is reported, and
    /// does not keep the others from running.
    pub(super) fn act(&self, fired: &mut Fired) {
        fired.wakers.drain(..).for_each(|waker| self.guard(|| waker.wake()));
        fired.garbage.drain(..).for_each(|item| self.guard(|| drop(item)));
    }

    /// Calls foreign code, and reports its panic.
    fn guard(&self, act: impl FnOnce()) {
        if let Err(payload) = guarded(act) {
            self.report(Ran::Panicked(payload));
        }
    }

    /// Counts panics, and calls the hook for each panic that no handle delivers. Never panics
    /// itself. The hook may panic, but the loop must first finish what it has begun.
    fn report(&self, ran: Ran) {
        match ran {
            Ran::Pending | Ran::Finished => {}
            Ran::PanicDelivered => self.counts.borrow_mut().tasks_panicked += 1,
            Ran::Panicked(payload) => {
                self.counts.borrow_mut().tasks_panicked += 1;
                if let Err(payload) = guarded(|| (self.config.on_task_panic)(payload)) {
                    self.keep_hook_panic(payload);
                }
            }
        }
    }

    #[cold]
    fn keep_hook_panic(&self, payload: Payload) {
        if self.has_hook_panic.replace(true) {
            return dispose(payload);
        }
        self.hook_panic.set(Some(payload));
    }

    /// Resumes a panic of the hook, at a point where nothing is half done.
    pub(super) fn let_hook_panic_go_on(&self) {
        if self.has_hook_panic.get() {
            self.has_hook_panic.set(false);
            if let Some(payload) = self.hook_panic.take() {
                resume_unwind(payload);
            }
        }
    }

    pub(super) fn start_running(&self, what: &str) -> Running<'_, D> {
        assert!(
            !self.running.get(),
            "{what} was called inside the loop of the same runtime: await the future, or spawn it"
        );
        assert!(self.phase.get() == Phase::Open, "{what} was called on a closed runtime");
        self.running.set(true);
        self.queue.ends_sleep.set(false);
        self.turn_time.set(self.now());
        Running(self)
    }

    /// Returns the time on the driver's clock. Everything that depends on time uses it, so a run in
    /// simulated time is the same each time.
    pub(super) fn now(&self) -> Instant {
        self.driver.borrow().as_ref().map_or_else(Instant::now, D::now)
    }

    pub(super) fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F, site: Site) -> JoinHandle<F::Output> {
        if self.is_full() {
            self.counts.borrow_mut().tasks_refused += 1;
            return JoinHandle::refused();
        }
        self.counts.borrow_mut().tasks_spawned += 1;
        let mut spawned = None;
        self.tasks.borrow_mut().insert_with(|key| {
            self.note_site(key, site);
            let spare = self.spare_wakers.borrow_mut().pop();
            let waker = spare.and_then(|waker| TaskWaker::renamed(waker, key));
            let waker = waker.unwrap_or_else(|| TaskWaker::new(key, Arc::clone(&self.inbox)));
            waker.wake_local(&self.queue);
            let (task, handle) = task(waker, future);
            spawned = Some(handle);
            task
        });
        spawned.expect("insert_with calls its closure")
    }

    /// Returns true if a spawn must be refused now.
    pub(super) fn is_full(&self) -> bool {
        self.phase.get() != Phase::Open || self.tasks.borrow().len() >= self.config.max_tasks
    }

    /// Stores the place where a task was spawned, if there is a stall watch.
    fn note_site(&self, key: Key, site: Site) {
        if self.config.stall_watch.is_some() {
            self.sites.borrow_mut().insert(key, site);
        }
    }

    /// Ends the runtime, in the order of the module's text. It may run while a panic unwinds, so no
    /// panic may leave it. The driver must be drained, so no panic may skip a step. So each piece
    /// of foreign code is guarded separately.
    pub(super) fn end(&self) {
        if self.phase.get() != Phase::Open {
            return;
        }
        if self.running.get() {
            self.phase.set(Phase::Ending);
            return;
        }
        self.phase.set(Phase::Closed);
        self.with_driver(D::close);
        self.blocking.close().for_each(|job| self.guard(|| drop(job)));
        self.inbox.close().spawns.into_iter().for_each(|spawn| self.guard(|| drop(spawn)));
        let tasks = self.tasks.take();
        for task in tasks.into_values() {
            // The clone stands for the table's reference: see TaskCell::is_joined.
            self.report(Rc::clone(&task).cancel());
            self.guard(|| drop(task));
        }
        self.timers.clear().into_values().for_each(|waker| self.guard(|| drop(waker)));
        let mut fired = Fired::default();
        self.stopped.stop(&mut fired);
        let deadline = self.now().checked_add(self.config.shutdown_deadline);
        // `drain` leaks and counts what it could not wait for. A drop has no way to report an
        // error.
        self.with_driver(|driver| drop(driver.drain(deadline, &mut fired)));
        self.blocking.wait(self.config.shutdown_deadline);
        self.with_driver(|driver| self.counts.borrow_mut().driver = driver.stats());
        let driver = self.driver.try_borrow_mut().ok().and_then(|mut driver| driver.take());
        drop(driver);
        self.act(&mut fired);
        self.queue.unregister();
        self.spare_wakers.take();
        self.hook_panic.take().into_iter().for_each(dispose);
    }

    /// Calls `act` with the driver, if the driver exists and is not borrowed. It is never borrowed
    /// while code of a program runs.
    fn with_driver(&self, act: impl FnMut(&mut D)) {
        if let Ok(mut driver) = self.driver.try_borrow_mut() {
            driver.iter_mut().for_each(act);
        }
    }
}

/// Ends the sleep of a foreign loop. `turn` has returned false, so the foreign loop may sleep; a
/// `block_on` makes this out of date. So the foreign loop must call `turn` again.
struct EndsForeignSleep<'a>(&'a LocalQueue);

impl Drop for EndsForeignSleep<'_> {
    fn drop(&mut self) {
        self.0.end_sleep();
    }
}

/// Marks that the loop is on the stack.
pub(super) struct Running<'a, D: Driver>(&'a EventLoop<D>);

impl<D: Driver> Drop for Running<'_, D> {
    fn drop(&mut self) {
        self.0.running.set(false);
        if self.0.phase.get() == Phase::Ending {
            self.0.phase.set(Phase::Open);
            self.0.end();
        }
    }
}

impl<D: Driver> Spawner for EventLoop<D> {
    fn spawn_boxed(&self, future: LocalFuture, site: Site) -> Option<Arc<TaskWaker>> {
        self.spawn(future, site).abort_handle().waker
    }
}
