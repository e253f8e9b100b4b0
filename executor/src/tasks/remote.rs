//! The way in for other threads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use crate::run::stall::Site;
use crate::tasks::queue::Inbox;
use crate::tasks::sync::lock;
use crate::tasks::task::{AbortHandle, JoinHandle};

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// A handle to a runtime for other threads: the only part of it that is `Send` and `Sync`.
#[derive(Clone)]
pub struct RemoteHandle {
    inbox: Arc<Inbox>,
}

/// Why [`RemoteHandle::spawn`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The runtime is gone.
    Closed,
    /// 65,536 spawns wait for the runtime already. Try again when it has caught up.
    Full,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpawnError::Closed => "the runtime is closed",
            SpawnError::Full => "too many spawns wait for the runtime: try again when it has caught up",
        })
    }
}

impl std::error::Error for SpawnError {}

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
        let make = Box::new(move || -> LocalFuture { Box::pin(make()) });
        self.inbox.spawn(RemoteSpawn { make, task: task.clone(), site: std::panic::Location::caller() }).map(|()| task)
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
}

/// A spawn on its way to the runtime.
pub(crate) struct RemoteSpawn {
    make: Box<dyn FnOnce() -> LocalFuture + Send>,
    task: RemoteTask,
    site: Site,
}

impl RemoteSpawn {
    /// On the runtime's thread: spawns, and aborts at once if that was asked for meanwhile. The closure
    /// runs inside the task, so a panic in it is the task's.
    pub(crate) fn start(self, spawn: impl FnOnce(LocalFuture, Site) -> JoinHandle<()>) {
        let make = self.make;
        let handle = spawn(Box::pin(async move { make().await }), self.site);
        let mut progress = lock(&self.task.progress);
        if matches!(*progress, Progress::Aborted) {
            handle.abort();
        }
        *progress = Progress::Spawned(handle.abort_handle());
    }
}
