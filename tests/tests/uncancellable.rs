//! Goal: an operation that no cancel can end costs nobody any memory: dropped, or left to the end of the runtime, it
//! is waited for; at the deadline its buffer is leaked and counted, and never freed; and a process that has one
//! can end.
//!
//! Method: the kernel is kept busy in the middle of a copy, by a file of 256 MiB or by pages that are missing, while
//! everybody lets go of it. The oracles say whether it wrote to what had been given back.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use executor::{Config, IoBuf, IoBufMut, Reader, Runtime as _, Stream as _};
use oracles::{PageBuffer, Stall, forked, touched};
use proactor::{File, Proactor, RandomAccess};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};
use tests::net::pair;
use tests::{Bench, CountsDrops, Engine, Suite, ms, on_engines, on_proactors, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// What takes the kernel some 100 ms to copy.
const HUGE: usize = 256 << 20;
/// How long an operation stays in the middle of a copy.
const STUCK: Duration = Duration::from_secs(20);

/// A file in memory, of zeros.
fn memory(rt: &Proactor, size: usize) -> File {
    let file = fs::File::from(memfd_create("test", MemfdFlags::CLOEXEC).expect("memfd_create"));
    file.set_len(size as u64).expect("ftruncate");
    File::from_std(rt, file).expect("a file")
}

/// A buffer whose drop is counted.
struct Counted<B> {
    buffer: B,
    _guard: CountsDrops,
}

impl<B> Counted<B> {
    fn new(buffer: B) -> (Counted<B>, Rc<Cell<u32>>) {
        let drops = Rc::new(Cell::new(0));
        (Counted { buffer, _guard: CountsDrops(Rc::clone(&drops)) }, drops)
    }
}

impl<B: IoBuf> IoBuf for Counted<B> {
    fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }
}

impl<B: IoBufMut> IoBufMut for Counted<B> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }
}

fn in_kernel(rt: &Proactor) -> u64 {
    rt.stats().driver.operations_now.expect("a proactor")
}

/// Starts to read the huge file, drops the read while a worker copies, and waits for the end of the operation: until
/// then the buffer is not dropped. Returns how often the runtime had a turn meanwhile.
async fn drop_a_huge_read<B: IoBufMut>(rt: &Proactor, buffer: B) -> u32 {
    let file = memory(rt, HUGE);
    let (buffer, drops) = Counted::new(buffer);
    {
        let mut read = pin!(file.read_at(buffer, 0));
        assert!(poll_once(&mut read).await.is_none());
        rt.sleep(ms(1)).await;
    }
    let mut turns = 0;
    while in_kernel(rt) > 0 {
        assert_eq!(drops.get(), 0, "dropped while the kernel had it");
        turns += 1;
        rt.sleep(ms(1)).await;
    }
    assert_eq!(drops.get(), 1);
    turns
}

fn a_dropped_read_keeps_its_buffer_to_the_end<E: Engine<Rt = Proactor>>() {
    run::<E>(async |rt| {
        let turns = [drop_a_huge_read(rt, vec![0; HUGE]).await, drop_a_huge_read(rt, PageBuffer::new(HUGE)).await];
        assert!(turns.iter().sum::<u32>() > 2, "over before the drop: this shows nothing");
    });
}

/// The end of the runtime waits for it: closing the ring wouldn't, and the cancel says Ok at once.
fn the_end_waits_for_a_huge_read<E: Engine<Rt = Proactor>>() {
    let mut longest = Duration::ZERO;
    for n in 0..2 {
        let config = Config { shutdown_deadline: Duration::from_secs(25), ..Config::default() };
        let mut bench = Bench::<E>::with(config);
        let rt = bench.handle();
        let file = memory(&rt, HUGE);
        let task = async move {
            match n {
                0 => drop(file.read_at(vec![0; HUGE], 0).await),
                _ => drop(file.read_at(PageBuffer::new(HUGE), 0).await),
            }
        };
        rt.spawn(task).detach();
        rt.block_on(rt.sleep(ms(2)));
        longest = longest.max(bench.end());
        drop(rt);
        bench.finish();
        // What is still written would be written now.
        std::thread::sleep(ms(50));
        oracles::check();
    }
    println!("the longest end: {longest:?}");
}

/// A runtime whose worker is stuck in a read until the stall is dropped, and the drops of the read's buffer.
fn stuck<E: Engine<Rt = Proactor>>(deadline: Duration) -> (Bench<E>, Stall, Rc<Cell<u32>>) {
    let bench = Bench::<E>::with(Config { shutdown_deadline: deadline, ..Config::default() });
    let rt = bench.handle();
    let (buffer, stall) = Stall::new(1 << 16).expect("probed");
    let (buffer, drops) = Counted::new(buffer);
    let file = memory(&rt, 1 << 16);
    rt.spawn(async move { drop(file.read_at(buffer, 0).await) }).detach();
    rt.block_on(async {
        while !stall.is_hit() {
            rt.sleep(ms(1)).await;
        }
    });
    assert_eq!((in_kernel(&rt), drops.get()), (1, 0));
    (bench, stall, drops)
}

fn the_end_waits_for_a_stalled_read<E: Engine<Rt = Proactor>>() {
    let (mut bench, stall, drops) = stuck::<E>(STUCK);
    let releaser = std::thread::spawn(move || {
        std::thread::sleep(ms(50));
        drop(stall);
    });
    let took = bench.end();
    assert!(took >= ms(45), "{took:?}: it did not wait");
    assert_eq!(drops.get(), 1, "dropped when the kernel had let go");
    releaser.join().unwrap();
    bench.finish();
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor's panic");
    }
}

/// Whatever the program's code does while the runtime ends, the end waits: a hook that goes on with the panic of a
/// destructor, a waker that panics, an owner that is dropped as a panic unwinds.
fn foreign_panics_do_not_shorten_the_end<E: Engine<Rt = Proactor>>() {
    std::panic::set_hook(Box::new(|_| {}));
    for is_unwinding in [false, true] {
        let (buffer, stall) = Stall::new(1 << 16).expect("probed");
        let (buffer, drops) = Counted::new(buffer);
        let config = Config {
            shutdown_deadline: Duration::MAX,
            on_task_panic: Rc::new(|payload| std::panic::resume_unwind(payload)),
            ..Config::default()
        };
        let rt = E::build(config).expect("a runtime");
        let file = memory(&rt, 1 << 16);
        rt.spawn(async move { drop(file.read_at(buffer, 0).await) }).detach();
        let handle = rt.clone();
        rt.block_on(async {
            while !stall.is_hit() {
                handle.sleep(ms(1)).await;
            }
        });
        rt.spawn(async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        })
        .detach();
        rt.block_on(executor::yield_now());
        let releaser = std::thread::spawn(move || {
            std::thread::sleep(ms(50));
            drop(stall);
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _owner = rt;
            if is_unwinding {
                std::panic::resume_unwind(Box::new("the program's own"));
            }
        }));
        assert_eq!((ended.is_err(), drops.get()), (is_unwinding, 1), "dropped when the kernel had let go");
        let stats = handle.stats().driver;
        assert_eq!((stats.ops_abandoned, stats.operations_now), (Some(0), Some(0)));
        releaser.join().unwrap();
    }
    drop(std::panic::take_hook());
}

/// A future without a buffer is told "closed" when its operation had to be abandoned: nothing is missing.
fn what_is_abandoned_without_a_buffer_is_closed<E: Engine<Rt = Proactor>>() {
    let mut bench = Bench::<E>::with(Config { shutdown_deadline: ms(50), ..Config::default() });
    let rt = bench.handle();
    let (mut stream, peer) = bench.rt().block_on(pair::<E>(&rt));
    let addr = peer.local_addr().unwrap();
    let mut exchange = Box::pin(async { stream.exchange("question").await.map(drop) });
    let mut connect = Box::pin(async { rt.connect(addr).await.map(drop) });
    bench.rt().block_on(async {
        assert!(poll_once(&mut exchange).await.is_none());
        rt.sleep(ms(5)).await;
        assert!(poll_once(&mut connect).await.is_none());
    });
    // The kernel takes nothing more, and answers nothing.
    let deaf = |name: &'static str, _| match name {
        "io_uring_enter" => executor::Verdict::Fail(Errno::BUSY.raw_os_error()),
        _ => executor::Verdict::Pass,
    };
    E::set_judge(bench.rt(), Some(Rc::new(deaf)));
    bench.end();
    assert!(rt.stats().driver.ops_abandoned > Some(0), "{}", rt.stats());
    for future in [&mut exchange as &mut (dyn Future<Output = _> + Unpin), &mut connect] {
        let Poll::Ready(result) = tests::poll_idle(&mut Box::new(future)) else { panic!("it pends") };
        assert!(tests::is_closed(&result.unwrap_err()));
    }
}

/// A receive, unlike a read of a file, is copied in the runtime's own thread: stalled, it holds that up, so that none
/// can be half done when a future or the runtime is dropped. Let through, it is done.
fn a_stalled_receive_holds_its_thread_up<E: Engine<Rt = Proactor>>() {
    run::<E>(async |rt| {
        let (buffer, stall) = Stall::new(100).expect("probed");
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let releaser = std::thread::spawn(move || {
            while !stall.is_hit() {
                std::thread::sleep(ms(1));
            }
            std::thread::sleep(ms(20));
            let let_through = Instant::now();
            drop(stall);
            let_through
        });
        peer.write_all(b"late").unwrap();
        let (count, buffer) = stream.read(buffer).await;
        let done = Instant::now();
        assert_eq!(&buffer.bytes()[..count.unwrap()], b"late");
        assert!(done >= releaser.join().unwrap(), "done before it was let through");
    });
}

/// At the deadline: leaked, counted, and never freed, not even when the kernel is done later.
fn at_the_deadline_a_stalled_read_is_abandoned<E: Engine<Rt = Proactor>>() {
    let (mut bench, stall, drops) = stuck::<E>(ms(30));
    let took = bench.end();
    assert!(took >= ms(30) && took < ms(3000), "{took:?}");
    let abandoned = bench.handle().stats().driver;
    assert_eq!((abandoned.ops_abandoned, abandoned.ops_leaked), (Some(1), Some(0)));
    drop(stall);
    std::thread::sleep(ms(30));
    assert_eq!(drops.get(), 0);
    drop(bench);
    assert_eq!(drops.get(), 0);
}

/// The same with a copy that goes on by itself, into memory of the heap.
fn at_the_deadline_a_huge_read_is_abandoned<E: Engine<Rt = Proactor>>() {
    let mut bench = Bench::<E>::with(Config { shutdown_deadline: ms(1), ..Config::default() });
    let rt = bench.handle();
    let file = memory(&rt, HUGE);
    let (buffer, drops) = Counted::new(vec![0; HUGE]);
    // Polled on after the end, which has to be told that the buffer can't be had.
    let mut read = Box::pin(async move { file.read_at(buffer, 0).await.0.map(drop) });
    rt.block_on(async {
        assert!(poll_once(&mut read).await.is_none());
        rt.sleep(ms(1)).await;
    });
    bench.end();
    let driver = rt.stats().driver;
    if driver.ops_abandoned == Some(0) {
        // On a machine that was away for longer than the copy takes. Then it is over, and was waited for.
        return;
    }
    assert_eq!((driver.ops_abandoned, drops.get()), (Some(1), 0));
    let text = tests::panics(|| drop(tests::poll_idle(&mut read)));
    assert!(text.contains("abandoned"), "{text}");
    drop(read);
    std::thread::sleep(ms(200));
    assert_eq!((drops.get(), touched()), (0, 0));
}

/// How a process may end.
const WAYS: [fn(); 4] = [
    || std::process::exit(7),
    || std::process::abort(),
    || kill_process(getpid(), Signal::KILL).expect("kill"),
    || kill_process(getpid(), Signal::TERM).expect("kill"),
];

fn expected(way: usize, status: ExitStatus) -> bool {
    [status.code() == Some(7), status.signal() == Some(6), status.signal() == Some(9), status.signal() == Some(15)][way]
}

/// The worker that is stuck in a copy lets the process go.
fn a_process_with_a_stalled_read_ends<E: Engine<Rt = Proactor>>() {
    // At an orderly exit LeakSanitizer stops all threads to look at them, and waits for the stuck one for ever.
    let first = usize::from(cfg!(asan));
    for (way, end) in WAYS.into_iter().enumerate().skip(first) {
        let start = Instant::now();
        let status = forked(|| {
            let _stuck = stuck::<E>(STUCK);
            end();
        });
        let status = status.expect("fork");
        assert!(expected(way, status), "{status}");
        // The operation stays stuck for longer than that.
        assert!(start.elapsed() < STUCK, "{:?}", start.elapsed());
        println!("{status}: {:?} from the fork to the end", start.elapsed());
    }
}

/// A group of processes that may not have one more, until this is dropped.
struct FullGroup {
    path: PathBuf,
    parent: PathBuf,
}

impl FullGroup {
    fn join() -> std::io::Result<FullGroup> {
        let parent = own_group()?;
        let path = parent.join(format!("no-more-{}", std::process::id()));
        fs::create_dir(&path)?;
        let group = FullGroup { path, parent };
        fs::write(group.path.join("cgroup.procs"), std::process::id().to_string())?;
        let now = fs::read_to_string(group.path.join("pids.current"))?;
        fs::write(group.path.join("pids.max"), now.trim())?;
        Ok(group)
    }
}

/// The group this process is in, of those that count processes (in either version of cgroups).
fn own_group() -> std::io::Result<PathBuf> {
    for line in fs::read_to_string("/proc/self/cgroup")?.lines() {
        let path = line.rsplit(':').next().unwrap_or_default().trim_start_matches('/');
        let group = match line.split(':').nth(1) {
            Some("pids") => Path::new("/sys/fs/cgroup/pids").join(path),
            Some("") => Path::new("/sys/fs/cgroup").join(path),
            _ => continue,
        };
        let counts = fs::read_to_string(group.join("cgroup.subtree_control"));
        if line.contains(":pids:") || counts.is_ok_and(|all| all.contains("pids")) {
            return Ok(group);
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
}

impl Drop for FullGroup {
    fn drop(&mut self) {
        let back = fs::write(self.parent.join("cgroup.procs"), std::process::id().to_string());
        let gone = back.and_then(|()| fs::remove_dir(&self.path));
        assert!(gone.is_ok() || std::thread::panicking(), "{gone:?}: {:?} stays", self.path);
    }
}

/// No worker can be had: what needs one is told so or done without, and nothing hangs.
fn without_workers_reads_end<E: Engine<Rt = Proactor>>() {
    run::<E>(async |rt| {
        let group = FullGroup::join().expect("probed");
        let file = Rc::new(memory(rt, 1 << 20));
        let reads = (0..100u64).map(|n| {
            let file = Rc::clone(&file);
            rt.spawn(async move { file.read_at(PageBuffer::new(1 << 16), n % 16 * (1 << 16)).await.0 })
        });
        let (mut done, mut refused) = (0, 0);
        for read in reads.collect::<Vec<_>>() {
            match rt.timeout(Duration::from_secs(20), read).await.expect("hangs").expect("no panic") {
                Ok(count) => done += usize::from(count == 1 << 16),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(Errno::CANCELED.raw_os_error()), "{error}");
                    refused += 1;
                }
            }
        }
        assert_eq!(done + refused, 100);
        println!("without workers: {done} reads done, {refused} refused");
        drop(group);
        assert_eq!(file.read_at(PageBuffer::new(10), 0).await.0.unwrap(), 10, "and now there are some");
    });
}

fn no_userfaultfd() -> Option<String> {
    Stall::new(1).err().map(|error| format!("userfaultfd: {error}"))
}

fn no_pids_group() -> Option<String> {
    FullGroup::join().err().map(|error| format!("a group of processes with a limit: {error}"))
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    // A huge read is much the same to each of them, and takes its time.
    on_engines!(suite, [ProactorFull], a_dropped_read_keeps_its_buffer_to_the_end);
    on_engines!(suite, [ProactorFull], the_end_waits_for_a_huge_read);
    on_engines!(suite, [ProactorFull], at_the_deadline_a_huge_read_is_abandoned);
    if suite.is_possible("stalled operations", no_userfaultfd) {
        on_proactors!(
            suite,
            a_stalled_receive_holds_its_thread_up,
            the_end_waits_for_a_stalled_read,
            foreign_panics_do_not_shorten_the_end,
            at_the_deadline_a_stalled_read_is_abandoned,
            a_process_with_a_stalled_read_ends,
        );
    }
    on_proactors!(suite, what_is_abandoned_without_a_buffer_is_closed);
    if suite.is_possible("no more processes", no_pids_group) {
        on_proactors!(suite, without_workers_reads_end);
    }
    suite.run()
}
