//! Ends a case that hangs, and says what it can about the state it hangs in.

use std::cell::RefCell;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use executor::RemoteHandle;

/// The runtimes of the case, as other threads can reach them.
static REMOTES: Mutex<Vec<RemoteHandle>> = Mutex::new(Vec::new());

/// The time is over.
static HAS_BARKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// How to have them describe themselves, on their own thread.
    static DUMPS: RefCell<Vec<Box<dyn Fn() -> String>>> = const { RefCell::new(Vec::new()) };
}

/// Has the watchdog ask this runtime, too, should it come to that.
pub(crate) fn watch(remote: RemoteHandle, dump: impl Fn() -> String + 'static) {
    lock().push(remote);
    DUMPS.with_borrow_mut(|all| all.push(Box::new(dump)));
}

/// Lets go of all runtimes: a watched one keeps a descriptor open.
pub(crate) fn unwatch() {
    lock().clear();
    DUMPS.take();
}

fn lock() -> std::sync::MutexGuard<'static, Vec<RemoteHandle>> {
    REMOTES.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Ends the process in `limit`, with a dump of what it waits for, unless it ends by itself before.
///
/// # Panics
/// If there can be no thread for it.
pub fn start(limit: Duration) {
    let name = std::thread::Builder::new().name("watchdog".to_owned());
    let bark = move || {
        std::thread::sleep(limit);
        HAS_BARKED.store(true, Ordering::Release);
        eprintln!("WATCHDOG: not done after {limit:?}");
        // What is asked for may hang, too.
        std::thread::spawn(dump);
        std::thread::sleep(Duration::from_secs(1));
        std::process::exit(124);
    };
    name.spawn(bark).expect("a thread for the watchdog");
}

/// The body came to its end. If that was because the dump asked the runtimes for their figures, and so woke one
/// that had lost a wake, it has hung all the same.
pub(crate) fn done() {
    if HAS_BARKED.load(Ordering::Acquire) {
        std::process::exit(124);
    }
}

fn dump() {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |what| fs::read_to_string(task.path().join(what)).unwrap_or_default();
        let (name, place, call) = (read("comm"), read("wchan"), read("syscall"));
        eprintln!("thread {:?}: {} waits in {place:?}, system call {}", task.file_name(), name.trim(), call.trim());
    }
    for fd in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten().take(50) {
        eprintln!("fd {:?} -> {:?}", fd.file_name(), fs::read_link(fd.path()).unwrap_or_default());
    }
    // A runtime that sleeps (a lost wake) answers this; one that spins inside a poll does not.
    for remote in lock().iter() {
        let asked = remote.spawn(|| async {
            DUMPS.with_borrow(|all| all.iter().for_each(|dump| eprintln!("{}", dump())));
        });
        eprintln!("asking a runtime what it waits for: {:?}", asked.map(drop));
    }
}
