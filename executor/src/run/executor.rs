//! The executor: owns the tasks and the driver, and runs the loop.
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
//! **Bounds.** A driver's turn comes after at most [`POLL_BUDGET`] polls or [`TIME_BUDGET`] (plus the
//! length of one poll, and of the polls until the clock is looked at again), however many tasks are
//! ready and however often they wake themselves. Tasks are polled first come, first served.
//!
//! **Borrows.** No user code (futures, destructors, wakers, closures) runs while tasks, timers or
//! driver are borrowed: decide under the borrow, act after it.
//!
//! **Shutdown**, when the owner is dropped, also by unwinding:
//! 1. new work is refused: spawns, requests to the driver, messages from other threads, blocking jobs; of these,
//!    those that have not begun are dropped;
//! 2. all tasks are dropped, one after another; their handles get `Cancelled`;
//! 3. the timers are forgotten;
//! 4. the driver cancels what the kernel still does, and waits for it until the deadline;
//! 5. blocking jobs that run are waited for until the same deadline;
//! 6. the driver is closed. Handles and streams that are left answer [`closed`]; only the descriptor
//!    that wakers of other threads write to stays open until the last of them is dropped.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::driver::{Driver, Fired};
use super::foreign::{Payload, dispose, guarded};
use super::{blocking, stall};
use crate::tasks::queue::{Inbox, LocalQueue, Mail, TaskWaker};
use crate::tasks::remote::RemoteHandle;
use crate::tasks::table::{Key, Table};
use crate::tasks::task::{JoinHandle, Ran, Task, task};
use crate::time::timer::{Elapsed, Interval, Sleep, Timers, timeout_at};
use crate::watch::stats::Stats;

/// Polls between two turns of the driver.
pub const POLL_BUDGET: u32 = 64;
/// Time between two turns of the driver, looked at after every 16 polls: reading the clock costs more
/// than switching tasks.
pub const TIME_BUDGET: Duration = Duration::from_millis(1);
const POLLS_PER_LOOK_AT_THE_CLOCK: u32 = 16;

/// Wakers kept for further tasks. They take 48 KiB.
const SPARE_WAKERS: usize = 1024;

/// The name under which the main future of `block_on` is woken.
pub(super) const MAIN: Key = Key::reserved(0);

/// Receives the payload of a panic that no `JoinHandle` will deliver.
pub type PanicHook = Rc<dyn Fn(Box<dyn std::any::Any + Send>)>;

/// What every runtime can be told when it is built.
#[derive(Clone)]
pub struct Config {
    /// Tasks that may exist at once; further spawns are refused. Default: 2^20.
    pub max_tasks: usize,
    /// How long the end of the runtime may wait for the kernel, and for blocking jobs that run. Default: 5 s.
    pub shutdown_deadline: Duration,
    /// Threads and jobs of [`Executor::spawn_blocking`].
    pub blocking: blocking::BlockingConfig,
    /// How long the loop keeps looking for work before it sleeps. What comes in this time is served without
    /// the cost of falling asleep and being woken, which is most of what a single slow conversation costs; the
    /// price is a processor that is busy for so long after each thing that happened. Default: zero.
    pub spin: Duration,
    /// Who is told of tasks that hold the loop for long. Default: `None`, which costs nothing.
    ///
    /// ```
    /// # use std::{rc::Rc, time::Duration};
    /// use executor::{Config, StallWatch};
    ///
    /// let on_stall = Rc::new(|stall: &_| eprintln!("{stall}"));
    /// let stall_watch = Some(StallWatch { limit: Duration::from_millis(50), on_stall });
    /// let config = Config { stall_watch, ..Config::default() };
    /// ```
    pub stall_watch: Option<stall::StallWatch>,
    /// Called with the payload when a task nobody awaits panics. The others run on. The default does
    /// nothing more, because the panic has been reported by then: std's panic hook, which the program
    /// can replace, prints to stderr.
    ///
    /// To make such a panic the end of the program, go on with it: `Rc::new(|payload| std::panic::resume_unwind(payload))`.
    /// A panic of this function leaves `block_on` or `turn` as soon as what the loop is about to do is done: the batch
    /// of polls, or all wakes of a turn. So a program that catches it loses no wake, and may call `block_on` again;
    /// what the main future returned in that same batch is lost. Of several panics the first goes on. At the end of the
    /// runtime none does: it happens in a drop, perhaps while another panic unwinds.
    pub on_task_panic: PanicHook,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_tasks: 1 << 20,
            shutdown_deadline: Duration::from_secs(5),
            blocking: blocking::BlockingConfig::default(),
            spin: Duration::ZERO,
            stall_watch: None,
            on_task_panic: Rc::new(dispose),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("max_tasks", &self.max_tasks)
            .field("shutdown_deadline", &self.shutdown_deadline)
            .field("spin", &self.spin)
            .finish_non_exhaustive()
    }
}

/// The error of everything that is asked of a runtime whose owner is gone.
pub fn closed() -> io::Error {
    io::Error::other(Closed)
}

/// Inside the [`io::Error`] that [`closed`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the runtime is closed")
    }
}

impl std::error::Error for Closed {}

/// A runtime over the driver `D`: its owner, or a handle to it.
///
/// [`Executor::new`] returns the *owner*; dropping it ends the runtime. Its clones are *handles*: they
/// can do all the same, keep nothing alive but the wake-up descriptor, and get [`closed`] errors when the owner
/// is gone.
pub struct Executor<D: Driver> {
    pub(super) shared: Rc<Shared<D>>,
    is_owner: bool,
}

pub(super) struct Shared<D> {
    /// `None` once the runtime is closed.
    pub(super) driver: RefCell<Option<D>>,
    pub(super) tasks: RefCell<Table<Rc<dyn Task>>>,
    pub(super) queue: Rc<LocalQueue>,
    pub(super) inbox: Arc<Inbox>,
    /// Wakers of tasks that are done, for the next ones: an allocation less in each spawn (82 ns to 71).
    pub(super) spare_wakers: RefCell<Vec<Arc<TaskWaker>>>,
    pub(super) timers: Rc<Timers>,
    /// The clock of [`Executor::stopped`]. It stands still until somebody asks the program to end.
    pub(super) stop_clock: Rc<Timers>,
    pub(super) blocking: Arc<blocking::Pool>,
    pub(super) sites: stall::Sites,
    pub(super) config: Config,
    pub(super) phase: Cell<Phase>,
    /// Whether a `block_on` or `turn` is on the stack.
    pub(super) running: Cell<bool>,
    /// Whether a loop that isn't ours may sleep on the driver's descriptor.
    pub(super) is_guest: Cell<bool>,
    /// The first panic of `on_task_panic`, on its way out of the loop.
    pub(super) hook_panic: Cell<Option<Payload>>,
    pub(super) has_hook_panic: Cell<bool>,
    /// Empty between turns; kept for the room it has, so that a turn allocates nothing.
    pub(super) fired: Cell<Fired>,
    pub(super) turn_time: Cell<Instant>,
    /// Since when there is nothing to do, while the loop spins.
    pub(super) idle_since: Cell<Option<Instant>>,
    /// What is counted here, and the driver's counters as they were at the end.
    pub(super) counts: RefCell<Stats>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// The owner was dropped inside the loop, which ends the runtime as soon as it has unwound.
    Ending,
    Closed,
}

impl<D: Driver> Clone for Executor<D> {
    /// A handle, also from the owner.
    fn clone(&self) -> Self {
        Executor { shared: Rc::clone(&self.shared), is_owner: false }
    }
}

impl<D: Driver> fmt::Debug for Executor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("is_owner", &self.is_owner).field("stats", &self.stats()).finish()
    }
}

impl<D: Driver> Drop for Executor<D> {
    fn drop(&mut self) {
        if self.is_owner {
            self.shared.end();
        }
    }
}

impl<D: Driver> Executor<D> {
    /// A runtime over `driver`; this is its owner.
    pub fn new(driver: D, config: Config) -> Self {
        let inbox = Inbox::new(driver.unparker());
        let shared = Shared {
            queue: LocalQueue::register(&inbox),
            inbox,
            spare_wakers: RefCell::default(),
            timers: Timers::new(driver.now()),
            stop_clock: Timers::new(driver.now()),
            turn_time: Cell::new(driver.now()),
            driver: RefCell::new(Some(driver)),
            tasks: RefCell::default(),
            blocking: blocking::Pool::new("blocking", config.blocking),
            sites: stall::Sites::default(),
            config,
            phase: Cell::new(Phase::Open),
            running: Cell::new(false),
            is_guest: Cell::new(false),
            hook_panic: Cell::default(),
            has_hook_panic: Cell::new(false),
            fired: Cell::default(),
            idle_since: Cell::new(None),
            counts: RefCell::default(),
        };
        Executor { shared: Rc::new(shared), is_owner: true }
    }

    /// Runs `future` to its end, and the runtime's tasks beside it. Tasks that are left when it ends
    /// stay as they are: the next `block_on` or `turn` goes on with them.
    ///
    /// # Panics
    /// If it is called from inside `block_on` or `turn` of the same runtime, which can still be used
    /// afterwards; if the runtime is closed; if the driver fails for good. A panic of `future` goes
    /// through, and so does one of [`Config::on_task_panic`].
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let shared = &self.shared;
        let _guest = shared.queue.ends_sleep.get().then(|| EndsForeignSleep(&shared.queue));
        let _running = shared.start_running("block_on");
        let mut future = pin!(future);
        let waker = TaskWaker::new(MAIN, Arc::clone(&shared.inbox));
        waker.wake_local(&shared.queue);
        let mut output = None;
        loop {
            shared.run_batch(&mut || {
                waker.start_poll();
                let waker = futures_task::waker_ref(&waker);
                if let Poll::Ready(ready) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    output = Some(ready);
                }
                output.is_some()
            });
            shared.let_hook_panic_go_on();
            if let Some(output) = output {
                return output;
            }
            if let Err(error) = shared.turn(None) {
                panic!("the {} cannot go on: {error}", std::any::type_name::<D>());
            }
        }
    }

    /// Calls `act`, which runs no user code, with the driver.
    pub(super) fn driver<R>(&self, act: impl FnOnce(&mut D) -> R) -> io::Result<R> {
        self.shared.driver.borrow_mut().as_mut().map(act).ok_or_else(closed)
    }

    /// Runs `future` beside the others. It is polled for the first time when its turn in the queue
    /// comes. If it is refused (the runtime is closing, or has `max_tasks` tasks), it is dropped here,
    /// and the handle yields [`JoinError::Refused`](crate::JoinError::Refused).
    #[track_caller]
    pub fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        self.shared.spawn(future, Location::caller())
    }

    /// The time on the driver's clock.
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// The time of the last turn, which costs nothing to read: at most a batch of polls behind
    /// [`now`](Self::now).
    pub fn turn_time(&self) -> Instant {
        self.shared.turn_time.get()
    }

    /// Completes at `deadline`, never earlier; `None` stands for "never".
    pub fn sleep_until(&self, deadline: impl Into<Option<Instant>>) -> Sleep {
        Sleep::new(Rc::clone(&self.shared.timers), deadline.into())
    }

    /// Completes after `duration`, never earlier; a duration too long for the clock never ends.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now().checked_add(duration))
    }

    /// A pause of an accept loop, which is counted.
    pub(crate) fn pause_accepting(&self, duration: Duration) -> Sleep {
        self.shared.counts.borrow_mut().accept_pauses += 1;
        self.sleep(duration)
    }

    /// Waits for `future` at most `duration`. If another executor polls this and the runtime ends, the time never comes:
    /// see [`Sleep`].
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over first. `future` is dropped then.
    ///
    /// # Cancel safety
    /// Dropping this future drops `future`, which loses what that loses, and takes the timer away.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        timeout_at(self.sleep(duration), future).await
    }

    /// Ticks now and then every `period`.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn interval(&self, period: Duration) -> Interval {
        Interval::new(self.sleep_until(self.now()), period)
    }

    /// Completes when [`stop`](Self::stop) has been called, here or through a [`RemoteHandle`].
    ///
    /// # Cancel safety
    /// Dropping this future loses nothing: a stop is remembered, and completes the next one.
    pub fn stopped(&self) -> impl Future<Output = ()> + 'static {
        let clock = &self.shared.stop_clock;
        Sleep::new(Rc::clone(clock), Some(clock.next_day()))
    }

    /// Asks the program to end: completes every [`stopped`](Self::stopped), now and later.
    pub fn stop(&self) {
        self.shared.act(&mut self.shared.stop());
    }

    /// A handle for other threads.
    pub fn remote(&self) -> RemoteHandle {
        RemoteHandle::new(Arc::clone(&self.shared.inbox))
    }

    /// What the runtime has done so far; also after its end.
    pub fn stats(&self) -> Stats {
        let Shared { driver, tasks, queue, inbox, timers, counts, .. } = &*self.shared;
        let mut stats = counts.borrow().clone();
        stats.tasks_now = tasks.borrow().len() as u64;
        stats.wakes_local = queue.wakes.get();
        stats.wakes_remote = inbox.wakes.load(Ordering::Relaxed);
        stats.timers_now = timers.len() as u64;
        stats.timers_fired = timers.fired.get();
        stats.blocking = self.shared.blocking.stats();
        if let Some(driver) = driver.borrow().as_ref() {
            stats.driver = driver.stats();
        }
        stats
    }
}

/// A loop that isn't ours was told that it may sleep, and a `block_on` takes that back. So it has to begin anew.
struct EndsForeignSleep<'a>(&'a LocalQueue);

impl Drop for EndsForeignSleep<'_> {
    fn drop(&mut self) {
        self.0.end_sleep();
    }
}

/// Marks that the loop is on the stack.
pub(super) struct Running<'a, D: Driver>(&'a Shared<D>);

impl<D: Driver> Drop for Running<'_, D> {
    fn drop(&mut self) {
        self.0.running.set(false);
        if self.0.phase.get() == Phase::Ending {
            self.0.phase.set(Phase::Open);
            self.0.end();
        }
    }
}

impl<D: Driver> Shared<D> {
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

    /// The driver's clock, for all that depends on time: what runs in simulated time is then the same each time.
    pub(super) fn now(&self) -> Instant {
        self.driver.borrow().as_ref().map_or_else(Instant::now, D::now)
    }

    /// Polls what is ready, within the budgets. `poll_main` polls the main future and says if it is
    /// done, which ends the batch.
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

    // A part of the loop, for those who watch and for those who don't: see `stall.rs`.
    #[inline(always)]
    pub(super) fn poll_task(&self, key: Key) {
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

    /// Gives the driver a turn of at most `max`, and acts on it.
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

    /// How long the driver may sleep, and the announcement of that sleep if it is one.
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

    fn stop(&self) -> Fired {
        let mut fired = Fired::default();
        self.stop_clock.expire(self.stop_clock.next_day(), &mut fired);
        fired
    }

    /// Whether it is too early to sleep: see [`Config::spin`].
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
        for remote in mail.spawns {
            // What is refused is dropped on the spot, and that is foreign code.
            self.guard(|| remote.start(|future, site| self.spawn(future, site)));
        }
        if mail.stop {
            fired.wakers.extend(self.stop().wakers);
        }
    }

    /// Runs the foreign code of a turn, with nothing borrowed. A panic in it is reported, and keeps
    /// none of the rest from running.
    fn act(&self, fired: &mut Fired) {
        fired.wakers.drain(..).for_each(|waker| self.guard(|| waker.wake()));
        fired.garbage.drain(..).for_each(|item| self.guard(|| drop(item)));
    }

    /// Calls foreign code, and reports its panic.
    pub(super) fn guard(&self, act: impl FnOnce()) {
        if let Err(payload) = guarded(act) {
            self.report(Ran::Panicked(payload));
        }
    }

    /// Counts panics, and tells the hook of those that no handle delivers. Never panics: the hook may, and what the loop
    /// has still to do must be done first.
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

    /// Goes on with a panic of the hook, at a point where nothing is half done.
    pub(super) fn let_hook_panic_go_on(&self) {
        if self.has_hook_panic.get() {
            self.has_hook_panic.set(false);
            if let Some(payload) = self.hook_panic.take() {
                resume_unwind(payload);
            }
        }
    }

    fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F, site: stall::Site) -> JoinHandle<F::Output> {
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

    /// Ends the runtime, in the order of this module's text. It may run while a panic unwinds, so nothing may unwind out
    /// of it; and the driver must be drained, so nothing may skip a step. So each piece of foreign code is guarded by
    /// itself.
    fn end(&self) {
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
        let mut fired = self.stop();
        let deadline = self.now().checked_add(self.config.shutdown_deadline);
        // What could not be waited for is leaked and counted. A drop has no way to report an error.
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

    /// Calls `act` with the driver, if it is there and free, as it is whenever code of a program runs.
    fn with_driver(&self, act: impl FnMut(&mut D)) {
        if let Ok(mut driver) = self.driver.try_borrow_mut() {
            driver.iter_mut().for_each(act);
        }
    }
}

/// Lets all other ready tasks have a turn first: to the back of the queue.
///
/// # Cancel safety
/// Dropping this future loses nothing.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
