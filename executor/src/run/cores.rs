//! Several cores: one runtime on each, and nothing shared between them.
//!
//! ```text
//!   run_on_each_core(2, main)
//!     |-- thread worker-0, kept on one core:  main(worker 0)  builds a runtime, worker.block_on(...) --+
//!     |-- thread worker-1, kept on the next:  main(worker 1)  builds a runtime, worker.block_on(...) --+
//!     |                                                                                                |
//!     +-- waits for all. The StopHandle reaches every runtime that is inside worker.block_on <---------+
//! ```
//!
//! A runtime stays on its thread, so the closure builds it there, with any builder and settings.
//! This module adds the threads, a way to stop them together, and their end.

use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::run::driver::Driver;
use crate::run::executor::Executor;
use crate::run::foreign::{Payload, contain, guarded};
use crate::tasks::remote::RemoteHandle;
use crate::tasks::sync::lock;
use crate::tasks::table::{Key, Table};

/// Runs `main` on `workers` threads at once and returns the results in the order of the workers'
/// numbers. Each thread is kept on one of the cores that this process may use. The threads take the
/// cores in turn; if there are more workers than cores, they start over. Each `main` builds a
/// runtime of its own and runs it with [`Worker::block_on`].
///
/// ```no_run
/// use executor::{ListenOptions, Listener, Reader, Runtime, Stream, Worker, Writer};
///
/// async fn echo<S: Stream>(mut stream: S) -> std::io::Result<()> {
///     loop {
///         let chunk = stream.recv().await?;
///         if executor::IoBuf::bytes(&chunk).is_empty() {
///             return Ok(());
///         }
///         stream.write_all(chunk).await.0?;
///     }
/// }
///
/// /// `new` is `reactor::Reactor::new`, say.
/// fn serve<R: Runtime>(new: impl Fn() -> std::io::Result<R> + Sync) -> std::io::Result<()> {
///     executor::run_on_each_core(std::thread::available_parallelism()?, |worker: &Worker| -> std::io::Result<()> {
///         let rt = new()?;
///         worker.block_on(&rt, async {
///             let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
///             let mut listener = rt.listen(([127, 0, 0, 1], 7000).into(), &options)?;
///             loop {
///                 let stream = listener.accept().await?;
///                 rt.spawn(echo(stream)).detach();
///             }
///         })
///     })?;
///     Ok(())
/// }
/// ```
///
/// A worker that returns `Ok` leaves the others running. To end all workers, call
/// [`StopHandle::stop`]. A thread that a worker starts is kept on the worker's core.
///
/// # A server on every core
///
/// Each worker has a listener of its own on the same port, with
/// [`reuse_port`](crate::ListenOptions::reuse_port), and the kernel spreads the connections.
/// Workers steal no work from each other. This has limits:
///
/// - The kernel chooses by a hash of both addresses, not by load. With few connections, some
///   workers get most of them and others none. One client on one connection uses one core.
/// - A connection stays with its worker for life. Idle workers do not help with long requests of
///   another worker.
/// - A worker that blocks or computes for long stalls its share of the connections. This includes
///   those that wait in its listener's queue. The others run on, and the kernel still gives the
///   busy worker new connections.
/// - When a listener closes, the connections in its queue are reset, although other workers still
///   listen. So stop all workers together, and accept all waiting connections before you close.
/// - With `reuse_port`, a second process of the same user can bind the port, too, and gets a share
///   of the connections without any error. To find out, bind the port once without it.
///
/// # Errors
/// The error that came first: of a `main`, of sched_setaffinity(2), or of starting a thread. The
/// error stops the other workers, and this returns when they have ended. If a thread may not be
/// kept on a core, or there are more than 1,024 cores, call [`run_workers`].
///
/// # Panics
/// If a `main` panics. The panic stops the other workers, and resumes here when they have ended.
/// This waits as long as a stopped worker does not end.
pub fn run_on_each_core<T, E, M>(workers: NonZeroUsize, main: M) -> Result<Vec<T>, E>
where
    T: Send,
    E: From<io::Error> + Send,
    M: Fn(&Worker) -> Result<T, E> + Sync,
{
    run_workers(workers, pin, main)
}

/// Keeps this thread on one of the cores that it may use now: the one at index `number`, counting
/// round. Returns the core's number.
fn pin(number: usize) -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let allowed: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let (core, mut one) = (allowed[number % allowed.len()], CpuSet::new());
    one.set(core);
    sched_setaffinity(None, &one)?;
    Ok(core)
}

/// Does what [`run_on_each_core`] does, but the caller supplies `pin`. `pin` may keep the calling
/// thread on one core or do nothing. It takes the worker's number and returns the core's.
///
/// # Errors
/// As [`run_on_each_core`], and those of `pin`.
///
/// # Panics
/// As [`run_on_each_core`].
pub fn run_workers<T, E, P, M>(workers: NonZeroUsize, pin: P, main: M) -> Result<Vec<T>, E>
where
    T: Send,
    E: From<io::Error> + Send,
    P: Fn(usize) -> io::Result<usize> + Sync,
    M: Fn(&Worker) -> Result<T, E> + Sync,
{
    let (stop, first) = (StopHandle::default(), Mutex::new(None));
    // The first failure is the cause. Later ones most likely follow from it.
    let fail = |failure| {
        let unwanted = {
            let mut first = lock(&first);
            if first.is_none() { first.replace(failure) } else { Some(failure) }
        };
        stop.stop();
        contain(|| drop(unwanted));
    };
    let work = |number| {
        let run = || main(&Worker { number, core: pin(number)?, stop: stop.clone() });
        match guarded(run) {
            Ok(Ok(output)) => return Some(output),
            Ok(Err(error)) => fail(Failure::Error(error)),
            Err(payload) => fail(Failure::Panic(payload)),
        }
        None
    };
    let outputs: Vec<_> = thread::scope(|scope| {
        let start = |number| {
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            thread.spawn_scoped(scope, move || work(number)).map_err(|error| fail(Failure::Error(error.into()))).ok()
        };
        // After the first thread that cannot be started, no other is tried.
        let threads: Vec<_> = (0..workers.get()).map_while(start).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()?).collect()
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(outputs),
        Some(Failure::Error(error)) => Err(error),
        Some(Failure::Panic(payload)) => resume_unwind(payload),
    }
}

enum Failure<E> {
    Error(E),
    Panic(Payload),
}

/// One of the threads of [`run_on_each_core`].
#[derive(Debug)]
pub struct Worker {
    number: usize,
    core: usize,
    stop: StopHandle,
}

impl Worker {
    /// Returns the worker's number. The numbers start at 0 and have no gaps.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the kernel's number of the core that this thread is kept on.
    pub fn core(&self) -> usize {
        self.core
    }

    /// Returns a handle that stops all workers, from any thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Does what [`Executor::block_on`] does, and stops the runtime when all workers are stopped.
    /// `future` should then end: [`Executor::stopped`] completes.
    ///
    /// # Panics
    /// As [`Executor::block_on`].
    pub fn block_on<D: Driver, F: Future>(&self, runtime: &Executor<D>, future: F) -> F::Output {
        let _running = self.stop.reach(runtime.remote());
        runtime.block_on(future)
    }
}

/// Stops all workers of one [`run_on_each_core`], from any thread. Clones do the same. None of them
/// keeps anything of the workers alive.
#[derive(Clone, Default)]
pub struct StopHandle {
    runtimes: Arc<Mutex<Runtimes>>,
}

#[derive(Default)]
struct Runtimes {
    /// True after a stop; it then stops runtimes that come later, too.
    are_stopped: bool,
    running: Table<RemoteHandle>,
}

impl StopHandle {
    /// Asks every worker to end. Completes every [`stopped`](Executor::stopped) of the runtimes
    /// that [`Worker::block_on`] runs, now and later.
    pub fn stop(&self) {
        let mut runtimes = lock(&self.runtimes);
        runtimes.are_stopped = true;
        runtimes.running.iter().for_each(|(_, runtime)| runtime.stop());
    }

    fn reach(&self, runtime: RemoteHandle) -> Running<'_> {
        let mut runtimes = lock(&self.runtimes);
        if runtimes.are_stopped {
            runtime.stop();
        }
        Running { stop: self, key: runtimes.running.insert(runtime) }
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopHandle")
    }
}

/// Marks a runtime that a [`StopHandle`] reaches. Dropping this, also by unwinding, ends that.
struct Running<'a> {
    stop: &'a StopHandle,
    key: Key,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(lock(&self.stop.runtimes).running.remove(self.key));
    }
}
