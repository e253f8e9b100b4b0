//! Counters. Some are promises: they stay 0. All others are for information only.
//!
//! Every engine reports the same shape. A counter that does not exist on an engine is absent, not
//! zero. An epoll reactor has no operations in flight; a "0" there would claim that it had checked.

/// The counters of a runtime since it was made. Numbers whose name ends in `_now` rise and fall;
/// all others only grow.
///
/// # Examples
///
/// ```
/// # use executor::{Driver, Executor};
/// # fn example<D: Driver>(rt: &Executor<D>) {
/// let stats = rt.stats();
/// println!("{:.1} polls a turn", stats.polls as f64 / stats.turns as f64);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that exist.
    pub tasks_now: u64,
    /// Tasks ever spawned.
    pub tasks_spawned: u64,
    /// Spawns that were refused, because the runtime was closing or at its task limit.
    pub tasks_refused: u64,
    /// Tasks that panicked.
    pub tasks_panicked: u64,
    /// Polls of tasks and of main futures.
    pub polls: u64,
    /// Wakes on the runtime's own thread that put a task into the queue.
    pub wakes_local: u64,
    /// Wakes from other threads that put a task into the inbox.
    pub wakes_remote: u64,
    /// Wakes whose task was gone when its turn came.
    pub wakes_stale: u64,
    /// Turns of the driver.
    pub turns: u64,
    /// Timers that exist.
    pub timers_now: u64,
    /// Timers that fired.
    pub timers_fired: u64,
    /// Times an accept loop paused because descriptors or memory ran out.
    pub accept_pauses: u64,
    /// The threads for blocking calls.
    pub blocking: BlockingStats,
    /// The driver's own counters.
    pub driver: DriverStats,
}

/// The counters of the threads for blocking calls.
///
/// # Examples
///
/// ```
/// # use executor::{Driver, Executor};
/// # fn example<D: Driver>(rt: &Executor<D>) {
/// let blocking = rt.stats().blocking;
/// println!("{} jobs on {} threads", blocking.jobs_now, blocking.threads_now);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockingStats {
    /// Threads that exist.
    pub threads_now: u64,
    /// Jobs that wait or run.
    pub jobs_now: u64,
    /// Jobs that were still running at the end of the runtime when its deadline for them had
    /// passed.
    pub abandoned: u64,
}

impl BlockingStats {
    /// Returns the counters with their names.
    pub(crate) fn fields(&self) -> [(&'static str, u64); 3] {
        let BlockingStats { threads_now, jobs_now, abandoned } = *self;
        [("blocking_threads_now", threads_now), ("blocking_jobs_now", jobs_now), ("blocking_jobs_abandoned", abandoned)]
    }
}

/// The counters of a driver.
///
/// # Examples
///
/// ```
/// # use executor::{Driver, Executor};
/// # fn example<D: Driver>(rt: &Executor<D>) {
/// let driver = rt.stats().driver;
/// assert_eq!(driver.stray_cqes.unwrap_or(0), 0);
/// for (call, count) in driver.system_calls {
///     println!("{call}: {count}");
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// System calls by name. Calls that were never made are left out.
    pub system_calls: Vec<(&'static str, u64)>,
    /// Events or completions that the kernel reported.
    pub events: u64,
    /// Chunks that were lent to programs and are not yet dropped.
    pub chunks_lent_now: u64,
    /// Bytes of receive buffers that the runtime keeps for further receives when all chunks are
    /// dropped.
    pub pool_bytes_now: u64,
    /// Readiness only: sources that are registered with the kernel or wait to be.
    pub sources_now: Option<u64>,
    /// Readiness only: events for sources that were gone.
    pub stale_events: Option<u64>,
    /// Completion only: operations that the kernel holds.
    pub operations_now: Option<u64>,
    /// Completion only: operations ever started.
    pub operations: Option<u64>,
    /// Completion only: operations whose future was dropped before they ended.
    pub orphans: Option<u64>,
    /// Completion only: operations whose future was leaked, or was still held (perhaps by another
    /// runtime), when the runtime ended.
    pub ops_leaked: Option<u64>,
    /// Completion only: operations that were given up at the shutdown deadline, with their memory
    /// leaked.
    pub ops_abandoned: Option<u64>,
    /// Completion only: completions for operations that were gone. Any number but 0 is a bug.
    pub stray_cqes: Option<u64>,
    /// Completion only: times the completion queue overflowed and was flushed.
    pub overflow_flushes: Option<u64>,
    /// Completion only: times an operation had to wait because the completion queue had no room.
    pub operations_deferred: Option<u64>,
    /// Completion only: receives into memory of their own, because the pool was empty or the source
    /// was a pipe.
    pub pool_misses: Option<u64>,
    /// Completion only: multishot receives (which repeat themselves) that ended because the kernel
    /// had no buffer left.
    pub receives_dry: Option<u64>,
    /// Completion only: multishot receives that were stopped, because enough data was unread or the
    /// stream was dropped.
    pub receives_stopped: Option<u64>,
    /// Completion only: multishot receives that ended with their stream, with an error, or without
    /// a given reason.
    pub receives_ended: Option<u64>,
}

impl Stats {
    /// Returns every counter that exists on this engine, with its name. System calls are named
    /// `call.NAME`.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut stats = executor::Stats::default();
    /// stats.polls = 3;
    /// assert!(stats.fields().contains(&("polls".to_owned(), 3)));
    /// assert_eq!(stats.to_string(), "polls=3");
    /// ```
    pub fn fields(&self) -> Vec<(String, u64)> {
        let driver = &self.driver;
        let always = [
            ("tasks_now", self.tasks_now),
            ("tasks_spawned", self.tasks_spawned),
            ("tasks_refused", self.tasks_refused),
            ("tasks_panicked", self.tasks_panicked),
            ("polls", self.polls),
            ("wakes_local", self.wakes_local),
            ("wakes_remote", self.wakes_remote),
            ("wakes_stale", self.wakes_stale),
            ("turns", self.turns),
            ("timers_now", self.timers_now),
            ("timers_fired", self.timers_fired),
            ("events", driver.events),
            ("accept_pauses", self.accept_pauses),
            ("chunks_lent_now", driver.chunks_lent_now),
            ("pool_bytes_now", driver.pool_bytes_now),
        ];
        let optional = [
            ("sources_now", driver.sources_now),
            ("stale_events", driver.stale_events),
            ("operations_now", driver.operations_now),
            ("operations", driver.operations),
            ("orphans", driver.orphans),
            ("ops_leaked", driver.ops_leaked),
            ("ops_abandoned", driver.ops_abandoned),
            ("stray_cqes", driver.stray_cqes),
            ("overflow_flushes", driver.overflow_flushes),
            ("operations_deferred", driver.operations_deferred),
            ("pool_misses", driver.pool_misses),
            ("receives_dry", driver.receives_dry),
            ("receives_stopped", driver.receives_stopped),
            ("receives_ended", driver.receives_ended),
        ];
        let named = |(name, value): (&str, u64)| (name.to_owned(), value);
        let mut fields: Vec<_> = always.into_iter().chain(self.blocking.fields()).map(named).collect();
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        fields.extend(driver.system_calls.iter().map(|(name, count)| (format!("call.{name}"), *count)));
        fields
    }
}

impl std::fmt::Display for Stats {
    /// Writes one line of `name=value`. Counters that are 0 are left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.fields().into_iter().filter(|(_, value)| *value != 0);
        let words: Vec<_> = shown.map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&words.join(" "))
    }
}
