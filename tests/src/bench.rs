//! A runtime under test, and the balance check at its end.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use executor::{Config, DriverStats, Stats, live_headers, queues_of_this_thread};

use crate::engine::{Engine, Subject};
use crate::{ms, watchdog};

/// How long what happens in the background (a cancel on its way, a peer's thread that is about to close)
/// may take to settle. It takes microseconds.
const SETTLE: Duration = Duration::from_secs(20);

/// Descriptors this process has open.
///
/// # Panics
/// If /proc is not there.
#[must_use]
pub fn open_fds() -> Vec<String> {
    let own = format!("/proc/{}/fd", std::process::id());
    let all = std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").flatten();
    let all = all.filter_map(|fd| Some((fd.file_name(), std::fs::read_link(fd.path()).ok()?)));
    // Without the one that reads the directory.
    let all = all.filter(|(_, target)| !target.ends_with(&own) && !target.ends_with("fd"));
    let mut all: Vec<_> = all.map(|(fd, target)| format!("{fd:?} -> {target:?}")).collect();
    all.sort();
    all
}

/// Descriptors that epoll instances of this process watch, as the kernel counts them.
///
/// # Panics
/// If /proc is not there.
#[must_use]
pub fn kernel_registrations() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").flatten();
    let epolls = all.filter(|fd| {
        std::fs::read_link(fd.path()).is_ok_and(|target| target.to_string_lossy().contains("[eventpoll]"))
    });
    let infos =
        epolls.filter_map(|fd| std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(fd.file_name())).ok());
    infos.map(|info| info.lines().filter(|line| line.starts_with("tfd:")).count()).sum()
}

/// Threads for blocking calls that this process has, as the kernel counts them.
///
/// # Panics
/// If /proc is not there.
#[must_use]
pub fn blocking_threads() -> usize {
    let all = std::fs::read_dir("/proc/self/task").expect("/proc/self/task").flatten();
    let names = all.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "blocking").count()
}

/// Runs `body` as the main future of a fresh runtime, then checks the balance: first with the runtime
/// still there, because its end would tidy away what was left over; then after its end.
pub fn run<E: Engine>(body: impl AsyncFnOnce(&E::Rt)) {
    let bench = Bench::<E>::new();
    let rt = bench.rt().clone();
    bench.rt().block_on(body(&rt));
    drop(rt);
    settle::<E>(bench.rt());
    assert_eq!(kernel_registrations(), bench.registrations_before, "what epoll watches, before and after");
    bench.finish();
}

/// Gives the runtime turns until nothing is left of the test: no task, timer, source, operation of a
/// program, or lent chunk.
///
/// # Panics
/// If something stays.
pub fn settle<E: Engine>(rt: &E::Rt) {
    let start = Instant::now();
    loop {
        rt.turn(Some(ms(1))).expect("a turn");
        let stats = rt.stats();
        let left = left_over(&stats);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < SETTLE, "the runtime is left with {left:?}; {stats}");
    }
}

/// Benches of this process that are not finished.
static BENCHES: AtomicUsize = AtomicUsize::new(0);

/// A runtime and what the process had open before it.
#[derive(Debug)]
pub struct Bench<E: Engine> {
    owner: Option<E::Rt>,
    /// Figures can be asked for after the end.
    handle: E::Rt,
    fds_before: Vec<String>,
    headers_before: u64,
    queues_before: usize,
    threads_before: usize,
    /// With the runtime's own there already.
    registrations_before: usize,
}

impl<E: Engine> Bench<E> {
    /// With the default configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    /// With this configuration.
    ///
    /// # Panics
    /// If the engine can't be set up.
    #[must_use]
    pub fn with(config: Config) -> Self {
        Self::try_with(config).unwrap_or_else(|error| panic!("cannot set {} up: {error}", E::NAME))
    }

    /// With this configuration, where it is a part of the test that there may be none.
    ///
    /// # Errors
    /// Those of setting the engine up.
    pub fn try_with(config: Config) -> io::Result<Self> {
        let (fds_before, headers_before, threads_before) = (open_fds(), live_headers(), blocking_threads());
        let queues_before = queues_of_this_thread();
        let owner = E::build(config)?;
        let handle = owner.clone();
        let watched = owner.clone();
        watchdog::watch(owner.remote(), move || watched.dump());
        let registrations_before = kernel_registrations();
        BENCHES.fetch_add(1, Ordering::Relaxed);
        Ok(Bench {
            owner: Some(owner),
            handle,
            fds_before,
            headers_before,
            queues_before,
            threads_before,
            registrations_before,
        })
    }

    /// The owner.
    ///
    /// # Panics
    /// After [`end`](Self::end).
    #[must_use]
    pub fn rt(&self) -> &E::Rt {
        self.owner.as_ref().expect("the runtime was ended")
    }

    /// A handle, which works after the end, too.
    #[must_use]
    pub fn handle(&self) -> E::Rt {
        self.handle.clone()
    }

    /// The owner itself, for tests that do something else with it than drop it here.
    ///
    /// # Panics
    /// After [`end`](Self::end).
    #[must_use]
    pub fn take_owner(&mut self) -> E::Rt {
        self.owner.take().expect("the runtime was ended")
    }

    /// Drops the owner: the runtime ends.
    pub fn end(&mut self) -> Duration {
        let start = Instant::now();
        drop(self.owner.take());
        start.elapsed()
    }

    /// Ends the runtime, if that hasn't happened, and checks that nothing of it is left.
    pub fn finish(mut self) -> Stats {
        self.end();
        let stats = self.handle.stats();
        let left = left_over(&stats);
        assert!(left.is_empty(), "the runtime ended with {left:?}; {stats}");
        let Bench { handle, fds_before, headers_before, queues_before, threads_before, .. } = self;
        drop(handle);
        watchdog::unwatch();
        assert_settles(
            || open_fds().len() == fds_before.len(),
            || format!("open descriptors before: {fds_before:#?}, after: {:#?}", open_fds()),
        );
        // Runtimes keep the headers of finished tasks for others: of several, the last one answers for all.
        let is_last = BENCHES.fetch_sub(1, Ordering::Relaxed) == 1;
        assert_settles(
            || !is_last || live_headers() == headers_before,
            || format!("task headers before: {headers_before}, after: {}: somebody keeps a waker", live_headers()),
        );
        let queues = queues_of_this_thread();
        assert!(!is_last || queues <= queues_before, "queues of this thread before: {queues_before}, after: {queues}");
        assert_settles(
            || blocking_threads() == threads_before,
            || format!("threads for blocking calls before: {threads_before}, after: {}", blocking_threads()),
        );
        stats
    }
}

impl<E: Engine> Default for Bench<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for what other threads are about to put right.
fn assert_settles(is_settled: impl Fn() -> bool, complaint: impl Fn() -> String) {
    let start = Instant::now();
    while !is_settled() {
        assert!(start.elapsed() < SETTLE, "{}", complaint());
        std::thread::sleep(ms(1));
    }
}

/// Everything that should be 0 when a test is over and is not.
fn left_over(stats: &Stats) -> Vec<(&'static str, u64)> {
    let DriverStats { chunks_lent_now, sources_now, operations_now, .. } = stats.driver;
    let DriverStats { ops_leaked, ops_abandoned, stray_cqes, .. } = stats.driver;
    let figures = [
        ("tasks_now", Some(stats.tasks_now)),
        ("timers_now", Some(stats.timers_now)),
        ("chunks_lent_now", Some(chunks_lent_now)),
        ("sources_now", sources_now),
        ("operations_now", operations_now),
        ("ops_leaked", ops_leaked),
        ("ops_abandoned", ops_abandoned),
        ("blocking_jobs_now", Some(stats.blocking.jobs_now)),
        ("blocking_jobs_abandoned", Some(stats.blocking.abandoned)),
        ("stray_cqes", stray_cqes),
    ];
    figures.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| *value > 0)?))).collect()
}

/// The error that everything answers when the runtime is gone.
pub fn is_closed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<executor::Closed>())
}
