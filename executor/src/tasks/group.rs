//! A group of tasks that belong together: awaited in the order in which they end, aborted together.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_task::ArcWake;

use crate::run::foreign::{contain, drop_each};
use crate::tasks::sync::lock;
use crate::tasks::table::{Key, Table};
use crate::tasks::task::{JoinError, JoinHandle};

/// Tasks that end with their group: dropping it aborts those that still run.
///
/// ```text
/// let mut group = JoinSet::new();
/// group.add(rt.spawn(async { 1 }));
/// group.add(rt.spawn(async { 2 }));
/// while let Some(result) = group.join_next().await { ... }
/// ```
#[derive(Debug, Default)]
pub struct JoinSet<T> {
    members: Table<JoinHandle<T>>,
    ended: Arc<Mutex<Ended>>,
}

/// Which members ended since somebody last asked, and who waits for the next.
#[derive(Debug, Default)]
struct Ended {
    keys: VecDeque<Key>,
    waiting: Option<Waker>,
}

/// What a member wakes when it ends.
struct MemberWaker {
    key: Key,
    ended: Arc<Mutex<Ended>>,
}

impl ArcWake for MemberWaker {
    fn wake_by_ref(this: &Arc<Self>) {
        let waiting = {
            let mut ended = lock(&this.ended);
            ended.keys.push_back(this.key);
            ended.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

impl<T> JoinSet<T> {
    /// An empty group.
    pub fn new() -> Self {
        JoinSet { members: Table::default(), ended: Arc::default() }
    }

    /// Takes the task into the group.
    pub fn add(&mut self, handle: JoinHandle<T>) {
        let key = self.members.insert(handle);
        // Polled once by `join_next`, which leaves the member's waker with the task.
        lock(&self.ended).keys.push_back(key);
    }

    /// How many tasks are in the group, those included that ended and were not yet asked for.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the group has no task.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Aborts all tasks of the group. They still come out of [`join_next`](Self::join_next).
    pub fn abort_all(&self) {
        for (_, member) in self.members.iter() {
            member.abort();
        }
    }

    /// The result of the next task that ends; `None` if the group is empty.
    ///
    /// # Cancel safety
    /// Dropping this future loses no result: the next `join_next` returns it.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        loop {
            let key = lock(&self.ended).keys.pop_front();
            let Some(key) = key else { break };
            let Some(member) = self.members.get_mut(key) else { continue };
            let waker = futures_task::waker(Arc::new(MemberWaker { key, ended: Arc::clone(&self.ended) }));
            if let Poll::Ready(result) = Pin::new(member).poll(&mut Context::from_waker(&waker)) {
                self.members.remove(key);
                return Poll::Ready(Some(result));
            }
        }
        if self.members.is_empty() {
            return Poll::Ready(None);
        }
        let mine = cx.waker().clone();
        let replaced = lock(&self.ended).waiting.replace(mine);
        contain(|| drop(replaced));
        Poll::Pending
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
        // The tasks keep what they wake until they have ended.
        let waiting = lock(&self.ended).waiting.take();
        contain(|| drop(waiting));
        // Of those that have ended, the outputs go with them.
        drop_each(std::mem::take(&mut self.members).into_values());
    }
}
