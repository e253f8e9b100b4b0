//! How other threads reach a runtime.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex};

use crate::run::stall::Site;
use crate::tasks::queue::{Inbox, SpawnError, Spawner};
use crate::tasks::sync::lock;
use crate::tasks::task::AbortHandle;

/// A handle to a runtime for other threads. It is the only handle to a runtime that is `Send` and
/// `Sync`.
#[derive(Clone)]
pub struct RemoteHandle {
    inbox: Arc<Inbox>,
}

impl RemoteHandle {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        RemoteHandle { inbox }
    }

    /// Starts a task on the runtime's thread. The task calls `make` and then runs the future that
    /// `make` returns. Only the closure has to be `Send`: the future lives and dies on the
    /// runtime's thread.
    ///
    /// # Errors
    /// Returns a [`SpawnError`] and drops `make`. If the runtime is at its task limit, this returns
    /// `Ok`, and the runtime drops `make` later without a report.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let remote = rt.remote();
    /// std::thread::spawn(move || {
    ///     let task = remote.spawn(|| async { println!("on the runtime's thread") });
    ///     task.expect("the runtime is open");
    /// });
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<M, F>(&self, make: M) -> Result<RemoteTask, SpawnError>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let task = RemoteTask::default();
        let (posted, site) = (task.clone(), Location::caller());
        self.inbox.spawn(Box::new(move |spawner| posted.start(make, site, spawner))).map(|()| task)
    }

    /// Asks the program to end: completes every [`stopped`](crate::Executor::stopped) of the
    /// runtime. Does nothing if the runtime is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let remote = rt.remote();
    /// std::thread::spawn(move || remote.stop());
    /// rt.block_on(rt.stopped());
    /// # }
    /// ```
    pub fn stop(&self) {
        self.inbox.stop();
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteHandle")
    }
}

/// Aborts a task that another thread spawned. Dropping this detaches the task.
#[derive(Clone, Debug, Default)]
pub struct RemoteTask {
    progress: Arc<Mutex<Progress>>,
}

#[derive(Debug, Default)]
enum Progress {
    #[default]
    Posted,
    Aborted,
    Spawned(AbortHandle),
}

impl RemoteTask {
    /// Asks the runtime to drop the task when its turn comes, or never to start it.
    pub fn abort(&self) {
        let mut progress = lock(&self.progress);
        match &*progress {
            Progress::Spawned(task) => task.abort(),
            Progress::Posted | Progress::Aborted => *progress = Progress::Aborted,
        }
    }

    /// Runs on the runtime's thread. Spawns the task, and aborts it at once if `abort` was called
    /// in the meantime. The closure runs inside the task, so a panic in it is a panic of the task.
    fn start<M, F>(self, make: M, site: Site, spawner: &dyn Spawner)
    where
        M: FnOnce() -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let task = AbortHandle { waker: spawner.spawn_boxed(Box::pin(async move { make().await }), site) };
        let mut progress = lock(&self.progress);
        if matches!(*progress, Progress::Aborted) {
            task.abort();
        }
        *progress = Progress::Spawned(task);
    }
}
