//! Wakes: how a task that became ready gets back into the queue. A wake may come from any thread.
//! The task is queued exactly once, and the last wake before the runtime falls asleep is never
//! lost.
//!
//! # Two ways
//!
//! A wake on the runtime's own thread appends the task's key to the [`LocalQueue`], a plain FIFO. A
//! wake from any other thread puts the waker into the [`Inbox`], a list guarded by a mutex, and
//! ends the driver's sleep if the driver sleeps. The loop moves the inbox into the queue once per
//! turn.
//!
//! A [`TaskWaker`] must be `Send + Sync`, so it cannot hold the queue (an `Rc`). It finds the queue
//! in one private thread-local, which lists the queues of the runtimes on this thread. This is the
//! crate's only global. It also answers the question "is this the owner's thread?": yes if the list
//! holds the waker's queue.
//!
//! # Two bits, one owner each
//!
//! | bit      | set by                       | cleared by                        | means |
//! |----------|------------------------------|-----------------------------------|-------|
//! | `local`  | a wake on the owner's thread | the loop, just before it polls    | the key is in the queue |
//! | `remote` | a `swap` by another thread   | the loop, as it empties the inbox | the waker is in the inbox |
//!
//! Only the owner's thread touches `local`, with plain loads and stores. If both ways shared one
//! bit, both threads would write it. The owner's plain store could then erase the `swap` of the
//! other thread, and a wake would be lost. The loop clears `remote` as it empties the inbox, and
//! then does a local wake. So a task that is woken in both ways is still polled once. Both bits are
//! cleared *before* the poll, so a wake during the poll counts again.
//!
//! # The sleep handshake
//!
//! | the loop                              | another thread                           |
//! |---------------------------------------|------------------------------------------|
//! | 1. `sleeping.swap(true)`              | 1. puts the waker into the inbox         |
//! | 2. reads `pending`                    | 2. `pending = true`                      |
//! | 3. sleeps only if it was false        | 3. if `sleeping.swap(false)`: unpark     |
//! | 4. awake: `sleeping.swap(false)`      |                                          |
//! | 5. if `pending.swap(false)`: empties the inbox |                                 |
//!
//! Only swaps change `sleeping`. So its changes have one order, and each swap sees everything that
//! was done before the earlier ones. The loop swaps in its step 1, the other thread in its step 3,
//! and one of these swaps is the later one. If it is the loop's, the loop sees `pending`. If it is
//! the thread's, the thread sees `sleeping`. `queue_loom.rs` tries every interleaving.

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

/// The maximum number of spawns from other threads that wait for the loop. Wakes need no bound of
/// their own: each task is in the inbox at most once.
const REMOTE_SPAWN_LIMIT: usize = 65_536;

thread_local! {
    static QUEUES_OF_THIS_THREAD: RefCell<Vec<Rc<LocalQueue>>> = const { RefCell::new(Vec::new()) };
}

/// The tasks to poll, in the order in which they were woken.
pub(crate) struct LocalQueue {
    /// The inbox of the same runtime. Wakers recognize the queue by the inbox's address. No other
    /// inbox can get this address, because the queue keeps the inbox alive.
    inbox: Arc<Inbox>,
    keys: RefCell<VecDeque<Key>>,
    /// The number of keys ever pushed.
    pub(crate) wakes: Cell<u64>,
    /// True if a foreign loop sleeps: a loop of the program, which calls `turn`. The next wake must
    /// end that sleep.
    pub(crate) ends_sleep: Cell<bool>,
}

impl LocalQueue {
    /// Makes a queue that the wakers of `inbox` find when they run on this thread.
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

    /// Ends the sleep of a foreign loop.
    #[cold]
    pub(crate) fn end_sleep(&self) {
        self.ends_sleep.set(false);
        self.inbox.unpark.unpark();
    }

    /// Removes the queue from the thread's list, so wakers no longer find it, and empties it. Skips
    /// the list while the thread ends, because the list is already gone.
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

/// For tests: returns the number of runtimes whose queues wakers find on this thread.
#[cfg(feature = "faults")]
pub fn queues_of_this_thread() -> usize {
    QUEUES_OF_THIS_THREAD.with_borrow(Vec::len)
}

/// The future of a task that another thread posted.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Spawns the tasks that other threads post. The loop implements it.
pub(crate) trait Spawner {
    /// Spawns a task and returns the waker that can abort it. Returns `None` if the spawn is
    /// refused.
    fn spawn_boxed(&self, future: LocalFuture, site: Site) -> Option<Arc<TaskWaker>>;
}

/// A task on its way to the loop, which calls this once. `remote.rs` decides what is inside.
pub(crate) type RemoteSpawn = Box<dyn FnOnce(&dyn Spawner) + Send>;

/// The reason why a [`RemoteHandle::spawn`](crate::RemoteHandle::spawn) is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The runtime is gone.
    Closed,
    /// 65,536 spawns already wait for the runtime. Try again when it has caught up.
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

/// The requests of other threads to the loop.
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) wakes: Vec<Arc<TaskWaker>>,
    pub(crate) spawns: Vec<RemoteSpawn>,
    pub(crate) stop: bool,
    closed: bool,
}

/// The place where other threads leave their wakes and spawns. See the module's text for the
/// handshake.
pub(crate) struct Inbox {
    mail: Mutex<Mail>,
    pending: AtomicBool,
    sleeping: AtomicBool,
    unpark: Arc<dyn Unpark>,
    /// The number of wakes that came this way.
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

    /// Leaves a message and ends the sleep. Does neither if `write` declines or the runtime is
    /// closed.
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
        // A refused spawn is dropped only after the lock is released, because its destructor is
        // user code.
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

    /// Steps 1 and 2: announces the sleep. Returns false if there is mail: then the loop must not
    /// sleep.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.swap(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst)
    }

    /// Steps 4 and 5: returns the mail, if there is any.
    pub(crate) fn wake_up(&self) -> Option<Mail> {
        // A busy loop never announced a sleep. The plain load keeps the swap off its hot path.
        if self.sleeping.load(Ordering::Relaxed) {
            self.sleeping.swap(false, Ordering::SeqCst);
        }
        if !self.pending.load(Ordering::Relaxed) || !self.pending.swap(false, Ordering::SeqCst) {
            return None;
        }
        let mut mail = self.mail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(std::mem::take(&mut *mail))
    }

    /// Refuses everything from now on. Returns the mail that was still in the box.
    pub(crate) fn close(&self) -> Mail {
        let mut mail = self.mail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut *mail, Mail { closed: true, ..Mail::default() })
    }
}

/// The target of every `Waker` of a task: a key and two bits, never the future. So whichever
/// thread drops the last waker only frees memory.
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

    /// Reuses a finished task's waker under a new key. Returns `None` if a clone of it still
    /// exists.
    pub(crate) fn renamed(mut waker: Arc<TaskWaker>, key: Key) -> Option<Arc<TaskWaker>> {
        let own = Arc::get_mut(&mut waker)?;
        let bit = || AtomicBool::new(false);
        (own.key, own.local, own.remote, own.abort) = (key, bit(), bit(), bit());
        Some(waker)
    }

    /// For a dump: returns whether the task was woken on this thread, whether it was woken by
    /// another thread, and whether it is to be aborted.
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

    /// Does the second half of a remote wake, when the loop takes this out of the inbox.
    pub(crate) fn arrive(&self, queue: &LocalQueue) {
        self.remote.swap(false, Ordering::AcqRel);
        self.wake_local(queue);
    }

    /// Marks that the loop is about to poll. From here on a wake counts again.
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
