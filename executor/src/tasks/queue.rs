//! Wakes: how a task that became ready gets back into the queue, from any thread, exactly once, and
//! without losing the last wake before the runtime falls asleep.
//!
//! # Two roads
//!
//! A wake on the runtime's own thread appends the task's key to the [`LocalQueue`], a plain FIFO. A
//! wake from any other thread puts it into the [`Inbox`], a mutex-guarded list, and ends the driver's
//! sleep if there is one. The loop moves the inbox into the queue once per turn.
//!
//! A [`TaskWaker`] must be `Send + Sync` and so can't hold the queue (an `Rc`). It finds it through
//! one private thread-local that lists the queues of the runtimes on this thread. This is the crate's
//! only global. It also answers "am I on the owner's thread?": yes if the list has my queue.
//!
//! # Two bits, one owner each
//!
//! | bit      | set by                                 | cleared by                          | means |
//! |----------|----------------------------------------|-------------------------------------|-------|
//! | `local`  | a wake on the owner's thread           | the loop, just before it polls      | the key is in the FIFO |
//! | `remote` | a wake on another thread (`swap`)      | the loop, as it empties the inbox   | the key is in the inbox |
//!
//! Only the owner's thread touches `local`, with plain loads and stores. One bit for both roads
//! would be written by two sides, and a plain store would then erase the other side's `swap`: a lost
//! wake. Emptying the inbox clears `remote` and then does a local wake, so a task woken on both roads
//! is still polled once. Both bits are cleared *before* the poll: a wake during it counts again.
//!
//! # The sleep handshake
//!
//! | the loop                              | another thread                           |
//! |---------------------------------------|------------------------------------------|
//! | 1. `sleeping.swap(true)`              | 1. puts the key into the inbox           |
//! | 2. looks at `pending`                 | 2. `pending = true`                      |
//! | 3. sleeps only if it was false        | 3. if `sleeping.swap(false)`: unpark     |
//! | 4. awake: `sleeping.swap(false)`      |                                          |
//! | 5. if `pending.swap(false)`: empties the inbox |                                 |
//!
//! `sleeping` is changed by swaps only, so its changes have one order, and each sees what was done
//! before the earlier ones. Of the swaps in 1 and 3 one is the later: the loop's, and then it sees
//! `pending`; or the other thread's, and then it sees `sleeping`. `queue_loom.rs` has the machine try
//! every interleaving.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::run::driver::Unpark;
use crate::run::stall::Site;
use crate::tasks::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::tasks::sync::{Arc, Mutex};
use crate::tasks::table::Key;
#[cfg(feature = "faults")]
use crate::watch::live::Live;

/// How many spawns from other threads may wait for the loop. Wakes need no bound of their own: each
/// task is in the inbox at most once.
const REMOTE_SPAWN_LIMIT: usize = 65_536;

thread_local! {
    static QUEUES_OF_THIS_THREAD: RefCell<Vec<Rc<LocalQueue>>> = const { RefCell::new(Vec::new()) };
}

/// The tasks to poll, in the order in which they were woken.
pub(crate) struct LocalQueue {
    /// The inbox it belongs with, by which wakers know it. As the queue holds it, no other inbox can get its address.
    inbox: Arc<Inbox>,
    keys: RefCell<VecDeque<Key>>,
    /// Keys ever pushed.
    pub(crate) wakes: Cell<u64>,
    /// A loop that isn't ours sleeps: the next wake has to end that.
    pub(crate) ends_sleep: Cell<bool>,
}

impl LocalQueue {
    /// A queue that wakers of `inbox` find while they are on this thread.
    pub(crate) fn register(inbox: &Arc<Inbox>) -> Rc<LocalQueue> {
        let queue = Rc::new(LocalQueue::new(inbox));
        QUEUES_OF_THIS_THREAD.with_borrow_mut(|queues| queues.push(Rc::clone(&queue)));
        queue
    }

    pub(crate) fn new(inbox: &Arc<Inbox>) -> LocalQueue {
        LocalQueue {
            inbox: Arc::clone(inbox),
            keys: RefCell::default(),
            wakes: Cell::new(0),
            ends_sleep: Cell::new(false),
        }
    }

    /// Ends the sleep of a loop that isn't ours.
    #[cold]
    pub(crate) fn end_sleep(&self) {
        self.ends_sleep.set(false);
        self.inbox.unpark.unpark();
    }

    /// Wakers no longer find it. Does nothing while the thread ends: the list is gone already.
    pub(crate) fn unregister(&self) {
        let _ = QUEUES_OF_THIS_THREAD.try_with(|queues| {
            queues.borrow_mut().retain(|queue| !Arc::ptr_eq(&queue.inbox, &self.inbox));
        });
        self.keys.borrow_mut().clear();
    }

    pub(crate) fn pop(&self) -> Option<Key> {
        self.keys.borrow_mut().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.borrow().is_empty()
    }
}

/// For tests: the runtimes whose queues wakers find on this thread.
#[cfg(feature = "faults")]
pub fn queues_of_this_thread() -> usize {
    QUEUES_OF_THIS_THREAD.with_borrow(Vec::len)
}

/// A future of a task that another thread posted.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What spawns the tasks that other threads post: the loop.
pub(crate) trait Spawner {
    /// Spawns, and returns by what the task is aborted; `None` if it is refused.
    fn spawn_boxed(&self, future: LocalFuture, site: Site) -> Option<Arc<TaskWaker>>;
}

/// A task on its way to the loop, which calls this once. What it is made of is the business of `remote.rs`.
pub(crate) type RemoteSpawn = Box<dyn FnOnce(&dyn Spawner) + Send>;

/// Why a [`RemoteHandle::spawn`](crate::RemoteHandle::spawn) is refused.
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

/// What other threads ask of the loop.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) wakes: Vec<Arc<TaskWaker>>,
    pub(crate) spawns: Vec<RemoteSpawn>,
    pub(crate) stop: bool,
    closed: bool,
}

/// Where other threads leave their wakes and spawns. See the module's text for the handshake.
pub(crate) struct Inbox {
    mail: Mutex<Mail>,
    pending: AtomicBool,
    sleeping: AtomicBool,
    unpark: Arc<dyn Unpark>,
    /// Wakes that came this way.
    pub(crate) wakes: AtomicU64,
}

impl Inbox {
    pub(crate) fn new(unpark: Arc<dyn Unpark>) -> Arc<Inbox> {
        Arc::new(Inbox {
            mail: Mutex::new(Mail::default()),
            pending: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            unpark,
            wakes: AtomicU64::new(0),
        })
    }

    /// Leaves a message, unless `write` declines or the runtime is closed, and ends the sleep.
    fn post(&self, write: impl FnOnce(&mut Mail) -> Result<(), SpawnError>) -> Result<(), SpawnError> {
        {
            let mut mail = self.mail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if mail.closed {
                return Err(SpawnError::Closed);
            }
            write(&mut mail)?;
        }
        self.pending.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.unpark.unpark();
        }
        Ok(())
    }

    pub(crate) fn spawn(&self, spawn: RemoteSpawn) -> Result<(), SpawnError> {
        // What is refused is dropped here, with the mutex free: its destructor is foreign code.
        let mut spawn = Some(spawn);
        self.post(|mail| {
            if mail.spawns.len() >= REMOTE_SPAWN_LIMIT {
                return Err(SpawnError::Full);
            }
            mail.spawns.extend(spawn.take());
            Ok(())
        })
    }

    pub(crate) fn stop(&self) {
        let _ = self.post(|mail| {
            mail.stop = true;
            Ok(())
        });
    }

    /// Steps 1 and 2: announces the sleep. False if there is mail, and so no sleep to be had.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.swap(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst)
    }

    /// Steps 4 and 5: the mail, if there is any.
    pub(crate) fn wake_up(&self) -> Option<Mail> {
        // Off the hot path of a busy loop, which never announced a sleep.
        if self.sleeping.load(Ordering::Relaxed) {
            self.sleeping.swap(false, Ordering::SeqCst);
        }
        if !self.pending.load(Ordering::Relaxed) || !self.pending.swap(false, Ordering::SeqCst) {
            return None;
        }
        let mut mail = self.mail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(std::mem::take(&mut *mail))
    }

    /// Refuses everything from now on; returns what was still in the box.
    pub(crate) fn close(&self) -> Mail {
        let mut mail = self.mail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut *mail, Mail { closed: true, ..Mail::default() })
    }
}

/// What every `Waker` of a task points to: a name and two bits, never the future. The last waker,
/// dropped on whatever thread, frees bytes.
pub(crate) struct TaskWaker {
    pub(crate) key: Key,
    inbox: Arc<Inbox>,
    local: AtomicBool,
    remote: AtomicBool,
    abort: AtomicBool,
    #[cfg(feature = "faults")]
    _live: Live,
}

impl TaskWaker {
    pub(crate) fn new(key: Key, inbox: Arc<Inbox>) -> Arc<TaskWaker> {
        let bit = || AtomicBool::new(false);
        Arc::new(TaskWaker {
            key,
            inbox,
            local: bit(),
            remote: bit(),
            abort: bit(),
            #[cfg(feature = "faults")]
            _live: Live::new(),
        })
    }

    /// The waker of a task that is done, for a new one; unless somebody still holds it.
    pub(crate) fn renamed(mut waker: Arc<TaskWaker>, key: Key) -> Option<Arc<TaskWaker>> {
        let own = Arc::get_mut(&mut waker)?;
        let bit = || AtomicBool::new(false);
        (own.key, own.local, own.remote, own.abort) = (key, bit(), bit(), bit());
        Some(waker)
    }

    /// Whether it was woken here, or by another thread, and whether it is to be aborted: for a dump.
    #[cfg(feature = "faults")]
    pub(crate) fn bits(&self) -> [bool; 3] {
        [&self.local, &self.remote, &self.abort].map(|bit| bit.load(Ordering::Relaxed))
    }

    /// Wakes from any thread.
    #[inline]
    pub(crate) fn wake(self: &Arc<Self>) {
        let is_here = QUEUES_OF_THIS_THREAD.try_with(|queues| {
            let queues = queues.borrow();
            let queue = queues.iter().find(|queue| Arc::ptr_eq(&queue.inbox, &self.inbox));
            queue.inspect(|queue| self.wake_local(queue)).is_some()
        });
        if !matches!(is_here, Ok(true)) {
            self.wake_remote();
        }
    }

    /// Wakes on the owner's thread.
    #[inline]
    pub(crate) fn wake_local(&self, queue: &LocalQueue) {
        if !self.local.load(Ordering::Relaxed) {
            self.local.store(true, Ordering::Relaxed);
            queue.keys.borrow_mut().push_back(self.key);
            queue.wakes.set(queue.wakes.get() + 1);
            if queue.ends_sleep.get() {
                queue.end_sleep();
            }
        }
    }

    #[cold]
    fn wake_remote(self: &Arc<Self>) {
        if !self.remote.swap(true, Ordering::AcqRel) {
            self.inbox.wakes.fetch_add(1, Ordering::Relaxed);
            let _ = self.inbox.post(|mail| {
                mail.wakes.push(Arc::clone(self));
                Ok(())
            });
        }
    }

    /// The loop took this out of the inbox: the second half of a remote wake.
    pub(crate) fn arrive(&self, queue: &LocalQueue) {
        self.remote.swap(false, Ordering::AcqRel);
        self.wake_local(queue);
    }

    /// The loop is about to poll: from here on a wake counts again.
    pub(crate) fn start_poll(&self) {
        self.local.store(false, Ordering::Relaxed);
    }

    /// Asks the loop to drop the future instead of polling it once more.
    pub(crate) fn abort(self: &Arc<Self>) {
        self.abort.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }
}

impl futures_task::ArcWake for TaskWaker {
    fn wake_by_ref(this: &Arc<Self>) {
        this.wake();
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    struct Nobody;

    impl Unpark for Nobody {
        fn unpark(&self) {}
    }

    #[test]
    fn a_waker_that_is_held_is_not_given_to_another_task() {
        let (old, new) = (Key::from_u64(1), Key::from_u64(2));
        let inbox = Inbox::new(Arc::new(Nobody));
        let queue = LocalQueue::new(&inbox);
        let waker = TaskWaker::new(old, inbox);
        waker.wake_local(&queue);
        waker.abort.store(true, Ordering::Relaxed);
        let held = Arc::clone(&waker);
        assert!(TaskWaker::renamed(waker, new).is_none());
        let waker = TaskWaker::renamed(held, new).expect("nobody else holds it");
        assert!(!waker.is_aborted(), "nothing stays from the old task");
        waker.wake_local(&queue);
        assert_eq!(queue.keys.take(), [old, new]);
    }
}
