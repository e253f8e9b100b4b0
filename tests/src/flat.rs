//! What a process holds stays as it was, however long it goes on: a check for the long run.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use executor::{Runtime, Stats};

use crate::bench::open_fds;
use crate::ms;
use crate::rounds::Rounds;

/// Bytes by which the heap may rise after the warm-up, however long it goes on: a queue that grows once more, spare
/// buffers that are bigger this time. A leak of 100 bytes for each connection passes this after 1,300 connections.
pub const HEAP_LEVEL: usize = 128 * 1024;
/// Bytes by which all memory may: the holes in the allocator's stock are filled and torn anew for a long time. What
/// is leaked outside of the heap (buffers shared with the kernel, stacks) passes this in the long run.
pub const MEMORY_LEVEL: usize = 8 * 1024 * 1024;
/// Checks until the process counts as warm: tables, queues and pools have grown to what they need.
const WARM_UP: u64 = 5;
/// How long what happens in the background may take to settle. It takes microseconds.
const SETTLE: Duration = Duration::from_secs(20);

/// The largest stock of receive buffers so far.
static MOST_STOCK: AtomicUsize = AtomicUsize::new(0);

/// Insists that whenever nothing is going on, a process holds what it held at first: descriptors, tasks, timers,
/// sources, operations and lent buffers exactly, the heap within [`HEAP_LEVEL`], memory within 8 MiB.
///
/// The program has to have [`oracles::Quarantine`] for its allocator, which counts. As long as that keeps what is freed,
/// memory is not looked at.
#[derive(Debug)]
pub struct Flat {
    held: Held,
    descriptors: usize,
    checks: u64,
    /// What was in use when the warm-up was over.
    warm: Option<Usage>,
    /// Taken whenever the checks are twice as many: the last two. From the first of them on, which is not earlier than
    /// a quarter of the way, the slopes are measured: before, memory rises to what is needed.
    marks: [(Instant, Usage); 2],
    /// At the last check.
    now: Usage,
}

/// Bytes in use.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Those the program has asked for and not given back, but for the runtime's stock of receive buffers. That has a
    /// bound of its own, and grows to what was once needed at the same time, whenever that is.
    pub heap: usize,
    /// All that the kernel has given and has no file for, but for that stock at its largest: the heap with its holes, stacks, buffers
    /// shared with the kernel.
    pub memory: usize,
}

impl Usage {
    /// What this process has in use, with a runtime that says this of itself.
    ///
    /// # Panics
    /// If the program does not count what it allocates, or if /proc is not there.
    #[must_use]
    pub fn now(stats: &Stats) -> Usage {
        let stock = usize::try_from(stats.driver.pool_bytes_now).expect("a size");
        let heap = oracles::in_use();
        assert!(heap > 0, "the program has an allocator that does not count");
        if oracles::keeps() {
            return Usage { heap: heap.saturating_sub(stock), memory: 0 };
        }
        // Counted anew for each reader; the figures that cost nothing are estimates.
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("/proc/self/smaps_rollup");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("Anonymous");
        let memory: usize = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
        // What the stock gave up again is free for the program, and stays with the allocator.
        let most = MOST_STOCK.fetch_max(stock, Ordering::Relaxed).max(stock);
        Usage { heap: heap.saturating_sub(stock), memory: (memory * 1024).saturating_sub(most) }
    }

    /// By how much heap and memory are more than they were.
    fn rise_from(self, earlier: Usage) -> (i64, i64) {
        (self.heap as i64 - earlier.heap as i64, self.memory as i64 - earlier.memory as i64)
    }
}

/// All that is to stay exactly as it is, but for descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    tasks: u64,
    timers: u64,
    chunks: u64,
    sources: Option<u64>,
    operations: Option<u64>,
    /// Counters of broken promises.
    broken: [Option<u64>; 3],
}

impl Held {
    fn of(stats: &Stats) -> Held {
        let driver = &stats.driver;
        Held {
            tasks: stats.tasks_now,
            timers: stats.timers_now,
            chunks: driver.chunks_lent_now,
            sources: driver.sources_now,
            operations: driver.operations_now,
            broken: [driver.ops_leaked, driver.ops_abandoned, driver.stray_cqes],
        }
    }
}

impl Flat {
    /// Takes what is held now, when all that is to stay has been set up and nothing is going on.
    pub async fn new<R: Runtime>(rt: &R) -> Flat {
        // What has been spawned gets its first poll, and so to where it waits.
        rt.sleep(ms(1)).await;
        let (held, descriptors) = (Held::of(&rt.stats()), open_fds().len());
        let now = Usage::now(&rt.stats());
        Flat { held, descriptors, checks: 0, warm: None, marks: [(Instant::now(), now); 2], now }
    }

    /// Waits until as much is held as at first, and looks at what is in use.
    ///
    /// # Panics
    /// If that does not come to be, or if heap or memory have risen above their levels.
    pub async fn check<R: Runtime>(&mut self, rt: &R) {
        self.settled(rt).await;
        self.check_usage(Usage::now(&rt.stats()));
    }

    /// Waits until as much is held as at first, whatever is in use.
    ///
    /// # Panics
    /// If that does not come to be.
    pub async fn settled<R: Runtime>(&self, rt: &R) {
        let begun = Instant::now();
        // Descriptors last: to list the thousands that are still to be closed takes longer than closing them.
        while Held::of(&rt.stats()) != self.held || open_fds().len() != self.descriptors {
            let stats = rt.stats();
            let text =
                || format!("{:?} and {} descriptors, now {stats}, {:#?}", self.held, self.descriptors, open_fds());
            assert!(begun.elapsed() < SETTLE, "held at first: {}", text());
            rt.sleep(ms(1)).await;
        }
    }

    fn check_usage(&mut self, now: Usage) {
        self.checks += 1;
        self.now = now;
        if self.checks == WARM_UP {
            self.warm = Some(self.now);
        }
        if self.checks.is_power_of_two() {
            self.marks = [self.marks[1], (Instant::now(), now)];
        }
        let (heap, memory) = self.rise();
        let checks = self.checks;
        assert!(heap <= HEAP_LEVEL as i64, "the heap has risen by {heap} bytes since the warm-up, in {checks} rounds");
        assert!(
            memory <= MEMORY_LEVEL as i64,
            "memory has risen by {memory} bytes since the warm-up, in {checks} rounds"
        );
    }

    /// Bytes by which heap and memory have risen since the warm-up.
    fn rise(&self) -> (i64, i64) {
        self.warm.map_or((0, 0), |warm| self.now.rise_from(warm))
    }

    /// Takes down what was measured.
    pub fn report(&self, rounds: &mut Rounds) {
        let (heap, memory) = self.rise();
        rounds.figure("heap, bytes", format!("{} ({heap:+})", self.now.heap));
        rounds.figure("memory, KiB", format!("{} ({:+})", self.now.memory / 1024, memory / 1024));
        let (since, mark) = self.marks[0];
        let hours = since.elapsed().as_secs_f64() / 3600.0;
        // Of a minute or more: else it would be a page or two that is multiplied.
        if hours > 1.0 / 60.0 {
            let (heap, memory) = self.now.rise_from(mark);
            let per_hour = |bytes: i64| bytes as f64 / 1024.0 / hours;
            rounds.figure("slopes, KiB/h", format!("{:.0}, {:.0}", per_hour(heap), per_hour(memory)));
        }
        rounds.figure("descriptors", self.descriptors);
    }
}
