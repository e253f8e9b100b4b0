//! The way in for other threads.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex};

use crate::run::stall::Site;
use crate::tasks::queue::{Inbox, SpawnError, Spawner};
use crate::tasks::sync::lock;
use crate::tasks::task::AbortHandle;

/// A handle to a runtime for other threads: the only part of it that is `Send` and `Sync`.
#[derive(Clone)]
pub struct RemoteHandle {
    inbox: Arc<Inbox>,
}

impl RemoteHandle {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        RemoteHandle { inbox }
    }

    /// Runs `make` on the runtime's thread, as a task of its own, and then the future it makes. Only
    /// the closure has to be `Send`; the future lives and dies on the runtime's thread.
    ///
    /// # Errors
    /// [`SpawnError`]; `make` is dropped then. A runtime at its task limit drops it later, unseen.
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

    /// Asks the program to end: completes every `stopped()` of the runtime. Does nothing when the
    /// runtime is gone.
    pub fn stop(&self) {
        self.inbox.stop();
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteHandle")
    }
}

/// A task spawned from another thread, to abort it by. Dropping this detaches the task.
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
    /// Has the runtime drop the task when its turn comes, or never start it.
    pub fn abort(&self) {
        let mut progress = lock(&self.progress);
        match &*progress {
            Progress::Spawned(task) => task.abort(),
            Progress::Posted | Progress::Aborted => *progress = Progress::Aborted,
        }
    }

    /// On the runtime's thread: spawns, and aborts at once if that was asked for meanwhile. The closure
    /// runs inside the task, so a panic in it is the task's.
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
