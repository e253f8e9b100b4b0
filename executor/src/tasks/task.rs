//! A task: a future that the executor owns, and the handle that awaits its output.
//!
//! ```text
//!            +------- pending ---------+
//!            v                         |
//!  spawn -> Waiting --poll--> Polling -+--ready or panic--> Done(output) --JoinHandle--> Taken
//!
//!           Waiting --abort, shutdown--> Done(Cancelled) --JoinHandle--> Taken
//! ```
//!
//! An abort during a poll counts at the next one. Without a handle, a task goes straight to
//! `Taken`.
//!
//! Only the executor drops futures, and only in [`Task::run`] and [`Task::cancel`]. So destructors
//! of user code run at these two known steps, while nothing of the runtime is borrowed. An abort
//! from a handle just sets a bit and wakes the task.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::run::driver::WaitSlot;
use crate::run::foreign::{Payload, contain, first_panic, guarded};
use crate::tasks::queue::TaskWaker;

/// The reason why a task has no output.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The task panicked.
    Panicked(PanicPayload),
    /// The task was aborted, or its runtime ended.
    Cancelled,
    /// The task never ran. The runtime was closing, or it was at its limit of tasks, of blocking
    /// jobs or of threads.
    Refused,
}

impl JoinError {
    pub(crate) fn panicked(payload: Payload) -> Self {
        JoinError::Panicked(PanicPayload(Box::new(Mutex::new(payload))))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(payload) => write!(f, "the task panicked: {}", payload.text()),
            JoinError::Cancelled => f.write_str("the task was cancelled"),
            JoinError::Refused => {
                f.write_str("the task was refused: the runtime is closing, or at a limit of tasks or jobs")
            }
        }
    }
}

impl std::error::Error for JoinError {}

/// The payload of a panic, as `std::panic::catch_unwind` returns it. It is in a mutex because
/// payloads need not be `Sync`, but errors should be, so that types like `anyhow::Error` can hold
/// them. It is boxed to take little room in the many tasks that do not panic.
#[derive(Debug)]
pub struct PanicPayload(Box<Mutex<Box<dyn Any + Send>>>);

impl PanicPayload {
    /// Returns the payload itself, for `std::panic::resume_unwind` or a downcast.
    pub fn into_inner(self) -> Box<dyn Any + Send> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the payload's text, or "(no text)" if the payload is not a string.
    pub fn text(&self) -> String {
        let payload = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        panic_text(payload.as_ref()).to_owned()
    }
}

/// Returns the text of a panic's payload, or "(no text)" if the payload is not a string.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}

/// The result of a poll, for the loop.
pub(crate) enum Ran {
    Pending,
    Finished,
    /// The task finished with a panic, and its handle delivers the panic.
    PanicDelivered,
    /// The task finished with a panic, and there is no handle to receive the panic.
    Panicked(Payload),
}

/// A task, as the executor's table sees it.
pub(crate) trait Task {
    /// Polls the future once, or drops it if the task was aborted.
    fn run(self: Rc<Self>) -> Ran;
    /// Drops the future.
    fn cancel(self: Rc<Self>) -> Ran;
    fn waker(&self) -> &Arc<TaskWaker>;
    /// Returns the task's name in a dump.
    #[cfg(feature = "faults")]
    fn name(&self) -> &'static str;
}

/// A task, as its [`JoinHandle`] sees it: the same object, through the trait that knows the output.
trait Join<T>: Task {
    fn poll_join(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>;
    fn is_finished(&self) -> bool;
    /// Called when the handle is dropped. Drops the handle's waker.
    fn leave(&self);
}

enum Stage<F: Future> {
    Waiting(Pin<Box<F>>),
    Polling,
    Done(Result<F::Output, JoinError>),
    Taken,
}

/// The task itself: one allocation besides the future's own, seen through two traits.
struct TaskCell<F: Future> {
    waker: Arc<TaskWaker>,
    stage: Cell<Stage<F>>,
    joiner: WaitSlot,
}

impl<F: Future> TaskCell<F> {
    /// Returns true if the `JoinHandle` still exists, so the output can still be asked for. The
    /// executor's table holds one reference and the running step (`run`, `cancel`) another. A third
    /// one is the `JoinHandle`.
    fn is_joined(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 2
    }

    /// Drops the future, stores the result and wakes the joiner. If there is no `JoinHandle`, drops
    /// the result, too.
    fn finish(self: &Rc<Self>, future: Pin<Box<F>>, result: Result<F::Output, JoinError>) -> Ran {
        let result = match guarded(|| drop(future)) {
            Ok(()) => result,
            Err(payload) => {
                contain(|| drop(result));
                Err(JoinError::panicked(payload))
            }
        };
        if !self.is_joined() {
            self.stage.set(Stage::Taken);
            let panic = match result {
                Err(JoinError::Panicked(payload)) => Some(payload.into_inner()),
                unwanted => guarded(|| drop(unwanted)).err(),
            };
            return panic.map_or(Ran::Finished, Ran::Panicked);
        }
        let is_panic = matches!(result, Err(JoinError::Panicked(_)));
        self.stage.set(Stage::Done(result));
        let joiner = self.joiner.take();
        let woken = guarded(|| joiner.into_iter().for_each(Waker::wake));
        // The waker may have dropped the handle. Then the result is still here and must be dropped.
        let left = if self.is_joined() { Ok(()) } else { guarded(|| drop(self.stage.replace(Stage::Taken))) };
        match first_panic(woken, left) {
            Some(payload) => Ran::Panicked(payload),
            None if is_panic => Ran::PanicDelivered,
            None => Ran::Finished,
        }
    }

    fn take_future(&self) -> Pin<Box<F>> {
        let Stage::Waiting(future) = self.stage.replace(Stage::Polling) else {
            unreachable!("a task leaves the table when it is done, and a poll never starts inside a poll");
        };
        future
    }
}

impl<F: Future> Task for TaskCell<F> {
    fn run(self: Rc<Self>) -> Ran {
        self.waker.start_poll();
        if self.waker.is_aborted() {
            return self.cancel();
        }
        let mut future = self.take_future();
        let waker = futures_task::waker_ref(&self.waker);
        let mut cx = Context::from_waker(&waker);
        match guarded(|| future.as_mut().poll(&mut cx)) {
            Ok(Poll::Pending) => {
                self.stage.set(Stage::Waiting(future));
                Ran::Pending
            }
            Ok(Poll::Ready(output)) => self.finish(future, Ok(output)),
            Err(payload) => self.finish(future, Err(JoinError::panicked(payload))),
        }
    }

    fn cancel(self: Rc<Self>) -> Ran {
        self.finish(self.take_future(), Err(JoinError::Cancelled))
    }

    fn waker(&self) -> &Arc<TaskWaker> {
        &self.waker
    }

    #[cfg(feature = "faults")]
    fn name(&self) -> &'static str {
        std::any::type_name::<F>()
    }
}

impl<F: Future> Join<F::Output> for TaskCell<F> {
    fn poll_join(&self, cx: &mut Context<'_>) -> Poll<Result<F::Output, JoinError>> {
        match self.stage.replace(Stage::Taken) {
            Stage::Done(result) => Poll::Ready(result),
            Stage::Taken => panic!("a JoinHandle was polled after it had given its output"),
            unfinished => {
                self.stage.set(unfinished);
                self.joiner.set(cx.waker());
                Poll::Pending
            }
        }
    }

    fn is_finished(&self) -> bool {
        let stage = self.stage.replace(Stage::Taken);
        let finished = matches!(stage, Stage::Done(_) | Stage::Taken);
        self.stage.set(stage);
        finished
    }

    fn leave(&self) {
        self.joiner.clear();
    }
}

/// Makes a task for the executor's table, and the handle to it.
pub(crate) fn task<F: Future<Output: 'static> + 'static>(
    waker: Arc<TaskWaker>,
    future: F,
) -> (Rc<dyn Task>, JoinHandle<F::Output>) {
    let stage = Cell::new(Stage::Waiting(Box::pin(future)));
    let cell = Rc::new(TaskCell { waker, stage, joiner: WaitSlot::default() });
    (Rc::clone(&cell) as Rc<dyn Task>, JoinHandle { task: Some(cell) })
}

/// Awaits a task's output.
///
/// Dropping the handle *detaches* the task: the task runs on, and its output is dropped. (tokio
/// does the same; smol cancels.) To end the task, call [`abort`](Self::abort).
#[must_use = "dropping a JoinHandle detaches the task; say so with drop(handle) or .detach()"]
pub struct JoinHandle<T> {
    /// `None` if the task was refused.
    task: Option<Rc<dyn Join<T>>>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn refused() -> Self {
        JoinHandle { task: None }
    }

    /// Asks the executor to drop the task's future when its turn comes, instead of polling it
    /// again. The handle then returns [`JoinError::Cancelled`], unless the task was already done.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor, JoinError};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let endless = rt.spawn(std::future::pending::<()>());
    /// endless.abort();
    /// assert!(matches!(endless.await, Err(JoinError::Cancelled)));
    /// # }
    /// ```
    pub fn abort(&self) {
        self.abort_handle().abort();
    }

    /// Returns a handle that can abort the task. It can be kept elsewhere, also on other threads.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let task = rt.spawn(std::future::pending::<()>());
    /// let abort = task.abort_handle();
    /// std::thread::spawn(move || abort.abort());
    /// assert!(task.await.is_err());
    /// # }
    /// ```
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle { waker: self.task.as_ref().map(|task| Arc::clone(task.waker())) }
    }

    /// Lets the task run on without a handle. It does the same as dropping the handle, but is
    /// visible in the code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// rt.spawn(async { println!("in the background") }).detach();
    /// # }
    /// ```
    pub fn detach(self) {}

    /// Returns true if awaiting the handle would not wait: the output is there, or the task was
    /// refused.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # async fn example<D: Driver>(rt: &Executor<D>) {
    /// let task = rt.spawn(async { 1 });
    /// while !task.is_finished() {
    ///     executor::yield_now().await;
    /// }
    /// # }
    /// ```
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(|task| task.is_finished())
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.leave();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// If it is polled again after it was ready.
    ///
    /// # Cancel safety
    /// Awaiting `&mut handle` and dropping that future loses nothing: the output stays. Dropping
    /// the handle itself detaches the task.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.task {
            Some(task) => task.poll_join(cx),
            None => Poll::Ready(Err(JoinError::Refused)),
        }
    }
}

/// Aborts a task from any thread. It keeps the task's name alive, but not its future.
#[derive(Clone)]
pub struct AbortHandle {
    pub(crate) waker: Option<Arc<TaskWaker>>,
}

impl AbortHandle {
    /// Aborts the task, as [`JoinHandle::abort`] does. Does nothing if the task is done or its
    /// runtime is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{AbortHandle, Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let tasks = [1, 2].map(|number| rt.spawn(async move { number }));
    /// let aborts: Vec<AbortHandle> = tasks.iter().map(|task| task.abort_handle()).collect();
    /// aborts.iter().for_each(AbortHandle::abort);
    /// # }
    /// ```
    pub fn abort(&self) {
        if let Some(waker) = &self.waker {
            waker.abort();
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AbortHandle")
    }
}
