//! A group of tasks that belong together. It returns their results in the order in which they end,
//! and aborts them together.

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

/// A group of tasks. Dropping the group aborts the tasks that still run. The group keeps the result
/// of each task that has ended until [`join_next`](Self::join_next) takes it, so a server calls
/// that now and then.
///
/// # Examples
///
/// ```
/// # use executor::{Driver, Executor, JoinError, JoinSet};
/// # async fn example<D: Driver>(rt: &Executor<D>) -> Result<(), JoinError> {
/// let mut group = JoinSet::new();
/// group.add(rt.spawn(async { 1 }));
/// group.add(rt.spawn(async { 2 }));
/// let mut sum = 0;
/// while let Some(result) = group.join_next().await {
///     sum += result?;
/// }
/// assert_eq!(sum, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct JoinSet<T> {
    members: Table<JoinHandle<T>>,
    ended: Arc<Mutex<Ended>>,
}

/// The members that ended since the last call of `join_next`, and the waker of the task that waits
/// for the next one.
#[derive(Debug, Default)]
struct Ended {
    keys: VecDeque<Key>,
    waiting: Option<Waker>,
}

/// The waker that a member calls when it ends.
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
    /// Makes an empty group.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = executor::JoinSet::<u32>::new();
    /// assert!(group.is_empty());
    /// ```
    pub fn new() -> Self {
        JoinSet { members: Table::default(), ended: Arc::default() }
    }

    /// Takes the task into the group.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor, JoinSet};
    /// # fn example<D: Driver>(rt: &Executor<D>) {
    /// let mut group = JoinSet::new();
    /// for number in 0..3 {
    ///     group.add(rt.spawn(async move { number * number }));
    /// }
    /// # }
    /// ```
    pub fn add(&mut self, handle: JoinHandle<T>) {
        let key = self.members.insert(handle);
        // `join_next` polls the new member once. That leaves the member's waker with the task.
        lock(&self.ended).keys.push_back(key);
    }

    /// Returns the number of tasks in the group. A task that ended counts until
    /// [`join_next`](Self::join_next) returns its result.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::{Driver, Executor, JoinSet};
    /// # async fn example<D: Driver>(rt: &Executor<D>, group: &mut JoinSet<()>) {
    /// // At most 100 tasks at once.
    /// if group.len() == 100 {
    ///     group.join_next().await;
    /// }
    /// group.add(rt.spawn(async {}));
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns true if the group has no task.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut group = executor::JoinSet::<u32>::new();
    /// assert!(group.is_empty() && group.len() == 0);
    /// ```
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Aborts all tasks of the group. [`join_next`](Self::join_next) still returns their results.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::JoinSet;
    /// # async fn example(group: &mut JoinSet<()>) {
    /// group.abort_all();
    /// // Waits until all have ended.
    /// while group.join_next().await.is_some() {}
    /// # }
    /// ```
    pub fn abort_all(&self) {
        for (_, member) in self.members.iter() {
            member.abort();
        }
    }

    /// Waits for the next task that ends and returns its result. Returns `None` if the group is
    /// empty.
    ///
    /// # Cancel safety
    /// Dropping this future loses no result. The next `join_next` returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use executor::JoinSet;
    /// # async fn example(group: &mut JoinSet<u32>) {
    /// while let Some(result) = group.join_next().await {
    ///     match result {
    ///         Ok(number) => println!("{number}"),
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
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
        // The tasks keep their member wakers until they end, so take the group's waker out of reach
        // now.
        let waiting = lock(&self.ended).waiting.take();
        contain(|| drop(waiting));
        // Dropping the handles also drops the outputs of the tasks that have ended.
        drop_each(std::mem::take(&mut self.members).into_values());
    }
}
