//! Goal: dropping the owner ends the runtime: new work is refused, every task is dropped once and on
//! its own thread, the kernel holds nothing any more, and what outlives the runtime says "closed".
//!
//! Method: owners dropped in every situation that is awkward, with counted drops, refused spawns, and
//! handles, streams, chunks and futures that live on.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::net::TcpStream;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;

use executor::{
    BlockingConfig, Config, IoBuf, JoinError, JoinHandle, ListenOptions, Listener, Net as _, Reader, Runtime,
    Stream as _, Writer, live_headers, panic_text, yield_now,
};
use tests::net::{V4, duplex, listen, pair};
use tests::{
    Bench, CountsDrops, Engine, Stream, Suite, is_closed, kernel_registrations, ms, on_engines, on_every_engine,
    on_every_fallback, on_reactors, panics, poll_idle, poll_once,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// Asserts in its drop that it happens at home, and that the runtime refuses work.
struct Tenant<E: Engine> {
    home: ThreadId,
    handle: E::Rt,
    drops: Rc<Cell<u32>>,
    refused: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

impl<E: Engine> Drop for Tenant<E> {
    fn drop(&mut self) {
        assert_eq!(std::thread::current().id(), self.home);
        self.drops.set(self.drops.get() + 1);
        let guard = CountsDrops(Rc::clone(&self.drops));
        self.refused.borrow_mut().push(self.handle.spawn(async move { drop(guard) }));
        assert!(is_closed(&self.handle.listen(V4, &ListenOptions::default()).map(drop).unwrap_err()));
        self.handle.stop();
        let _ = self.handle.stats();
    }
}

fn tasks_are_dropped_once_and_new_work_is_refused<E: Engine>() {
    const TASKS: u32 = 500;
    let mut bench = Bench::<E>::new();
    let rt = bench.rt();
    let (drops, refused) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
    for _ in 0..TASKS {
        let tenant = Tenant::<E> {
            home: std::thread::current().id(),
            handle: bench.handle(),
            drops: Rc::clone(&drops),
            refused: Rc::clone(&refused),
        };
        rt.spawn(async move {
            let _tenant = tenant;
            pending::<()>().await;
        })
        .detach();
    }
    rt.block_on(yield_now());
    let awaited = rt.spawn(pending::<()>());
    bench.end();
    assert_eq!(drops.get(), 2 * TASKS, "each task, and each refused future");
    for mut refused in refused.take() {
        assert!(matches!(poll_idle(&mut refused), Poll::Ready(Err(JoinError::Refused))));
    }
    let mut awaited = awaited;
    assert!(matches!(poll_idle(&mut awaited), Poll::Ready(Err(JoinError::Cancelled))));
    drop(awaited);
    assert_eq!(bench.finish().tasks_refused, u64::from(TASKS));
}

/// A chain in which each task owns the handle and the wake of the next: dropped without recursion over
/// its length. On a thread, whose stack is 2 MiB: 20 bytes for each link.
fn a_long_chain_of_tasks_is_dropped_flat<E: Engine>() {
    std::thread::Builder::new().stack_size(2 << 20).spawn(chain::<E>).unwrap().join().unwrap();
}

fn chain<E: Engine>() {
    const LENGTH: u32 = 100_000;
    let mut bench = Bench::<E>::new();
    let rt = bench.rt();
    let drops = Rc::new(Cell::new(0));
    let mut next: Option<JoinHandle<()>> = None;
    for _ in 0..LENGTH {
        let (guard, inner) = (CountsDrops(Rc::clone(&drops)), next.take());
        next = Some(rt.spawn(async move {
            let _guard = guard;
            match inner {
                Some(inner) => drop(inner.await),
                None => pending().await,
            }
        }));
    }
    drop(next);
    rt.block_on(async {
        while rt.stats().polls < u64::from(LENGTH) {
            yield_now().await;
        }
    });
    bench.end();
    assert_eq!(drops.get(), LENGTH);
    bench.finish();
}

/// Wakes this when it is dropped.
struct WakesOnDrop(Rc<RefCell<Vec<Waker>>>);

impl Drop for WakesOnDrop {
    fn drop(&mut self) {
        self.0.borrow().iter().for_each(Waker::wake_by_ref);
    }
}

/// Tasks that own their own waker and their own handle, which is a circle, and wake all the others as they are
/// dropped. A wake only puts a name into a queue, so none of this polls or drops anything else.
fn tasks_that_own_themselves_are_dropped<E: Engine>() {
    const TASKS: u32 = 1000;
    let mut bench = Bench::<E>::new();
    let rt = bench.rt();
    let (drops, wakers, polls) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    for _ in 0..TASKS {
        let own_handle = Rc::new(RefCell::new(None));
        let owned = (CountsDrops(Rc::clone(&drops)), WakesOnDrop(Rc::clone(&wakers)), Rc::clone(&own_handle));
        let (kept, counted) = (Rc::clone(&wakers), Rc::clone(&polls));
        let mut own_waker = None;
        let task = rt.spawn(poll_fn(move |cx| {
            let _ = &owned;
            counted.set(counted.get() + 1);
            own_waker.get_or_insert_with(|| cx.waker().clone());
            kept.borrow_mut().push(cx.waker().clone());
            Poll::<()>::Pending
        }));
        *own_handle.borrow_mut() = Some(task);
    }
    rt.block_on(yield_now());
    bench.end();
    assert_eq!((drops.get(), polls.get()), (TASKS, TASKS), "each dropped once, and polled once");
    wakers.take();
    bench.finish();
}

/// Polls everything a runtime offers while the runtime ends.
struct AsksForMore<E: Engine> {
    rt: E::Rt,
    stream: Stream<E>,
    listener: <E::Rt as Runtime>::Listener,
    asked: Rc<Cell<u32>>,
}

impl<E: Engine> Drop for AsksForMore<E> {
    fn drop(&mut self) {
        assert_closed("recv", async { self.stream.recv().await.map(drop) });
        assert_closed("read", async { self.stream.read(vec![0; 5]).await.0.map(drop) });
        assert_closed("write_all", async { self.stream.write_all("x").await.0 });
        assert_closed("accept", async { self.listener.accept().await.map(drop) });
        assert_closed("connect", async { self.rt.connect(V4).await.map(drop) });
        // No error, for a sleep has none: it never ends. The balance check knows that it leaves nothing.
        assert!(poll_idle(&mut self.rt.sleep(ms(1))).is_pending());
        self.asked.set(self.asked.get() + 1);
    }
}

fn io_begun_in_a_destructor_is_refused<E: Engine>() {
    const TASKS: u32 = 20;
    let mut bench = Bench::<E>::new();
    let (rt, asked) = (bench.handle(), Rc::new(Cell::new(0)));
    let mut peers = Vec::new();
    for _ in 0..TASKS {
        let (stream, peer) = rt.block_on(pair::<E>(&rt));
        peers.push(peer);
        let listener = listen(&rt).0;
        let mut asks = AsksForMore::<E> { rt: rt.clone(), stream, listener, asked: Rc::clone(&asked) };
        rt.spawn(async move { drop(asks.stream.recv().await) }).detach();
    }
    rt.block_on(rt.sleep(ms(1)));
    let (turns, polls) = (rt.stats().turns, rt.stats().polls);
    drop((rt, peers));
    bench.end();
    assert_eq!(asked.get(), TASKS);
    let stats = bench.finish();
    assert_eq!((stats.turns, stats.polls), (turns, polls), "the end polls nothing");
}

fn thousands_of_operations_in_flight<E: Engine>() {
    operations_in_flight::<E>(2000);
}

fn five_thousand_receives_in_flight<E: Engine>() {
    operations_in_flight::<E>(5000);
}

/// Receives of both kinds, and some writes, an accept and timers with them.
fn operations_in_flight<E: Engine>(streams: usize) {
    let mut bench = Bench::<E>::new();
    let rt = bench.rt();
    let mut peers = Vec::new();
    rt.block_on(async {
        let (mut listener, addr) = listen(rt);
        for n in 0..streams {
            peers.push(TcpStream::connect(addr).unwrap());
            let (mut read, mut write) = listener.accept().await.unwrap().split();
            rt.spawn(async move {
                if n % 2 == 0 {
                    let _ = read.recv().await;
                } else {
                    let _ = read.read(vec![0; 100]).await;
                }
            })
            .detach();
            if n % (streams / 200) == 0 {
                // Until the peer's buffers are full, and then for good.
                rt.spawn(async move { while write.write_all(vec![0; 1 << 16]).await.0.is_ok() {} }).detach();
            }
        }
        rt.spawn(async move { drop(listener.accept().await) }).detach();
        for n in 0..1000 {
            let sleep = rt.sleep(ms(60_000 + n));
            rt.spawn(sleep).detach();
        }
        rt.sleep(ms(50)).await;
    });
    assert!(rt.stats().tasks_now as usize > streams);
    let took = bench.end();
    // 3 ms were measured for 5,000 operations on one engine.
    println!("the end of {streams} receives: {took:?}");
    assert!(took < ms(2000), "{took:?}");
    // Data that comes after the end finds nobody.
    for peer in &mut peers {
        let _ = peer.write(b"too late");
    }
    drop(peers);
    bench.finish();
}

/// Operations that were never handed to the kernel: started in the same batch in which the owner goes.
fn operations_not_yet_submitted<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let mut peers = Vec::new();
    let mut streams: Vec<Stream<E>> = Vec::new();
    let rt = bench.rt().clone();
    rt.block_on(async {
        for _ in 0..200 {
            let (stream, peer) = pair::<E>(&rt).await;
            streams.push(stream);
            peers.push(peer);
        }
    });
    for mut stream in streams {
        rt.spawn(async move { drop(stream.recv().await) }).detach();
    }
    // Polls them and returns from within the batch, before a turn.
    rt.block_on(async {
        yield_now().await;
        yield_now().await;
    });
    drop(rt);
    bench.end();
    drop(peers);
    bench.finish();
}

fn the_owner_is_dropped_inside_a_task<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let owner = bench.take_owner();
    let rt = bench.handle();
    let drops = Rc::new(Cell::new(0));
    let slot = Rc::new(RefCell::new(Some(owner)));
    let (guard, taken, handle) = (CountsDrops(Rc::clone(&drops)), Rc::clone(&slot), bench.handle());
    rt.spawn(async move {
        let _guard = guard;
        drop(taken.borrow_mut().take());
        assert!(matches!(handle.spawn(async {}).await, Err(JoinError::Refused)), "closing already");
        pending::<()>().await;
    })
    .detach();
    rt.block_on(async {
        yield_now().await;
        yield_now().await;
        assert_eq!(drops.get(), 0, "the task goes on until the loop has unwound");
    });
    assert_eq!(drops.get(), 1);
    assert!(is_closed(&rt.turn(None).unwrap_err()));
    assert_eq!(panics(|| rt.block_on(async {})), "block_on was called on a closed runtime");
    drop(rt);
    bench.finish();
}

fn the_owner_is_dropped_by_unwinding<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let owner = bench.take_owner();
    let drops = Rc::new(Cell::new(0));
    let guard = CountsDrops(Rc::clone(&drops));
    let text = panics(move || {
        owner
            .spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            })
            .detach();
        owner.block_on(async { panic!("on the way out") })
    });
    assert_eq!((text.as_str(), drops.get()), ("on the way out", 1));
    bench.finish();
}

/// At the first poll, because nobody is there to wake anybody.
fn assert_closed(what: &str, future: impl Future<Output = std::io::Result<()>>) {
    match poll_idle(&mut pin!(future)) {
        Poll::Ready(Err(error)) => assert!(is_closed(&error), "{what}: {error}"),
        other => panic!("{what}: {other:?}"),
    }
}

fn streams_and_futures_that_outlive_it_answer_closed<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let (mut here, mut there, mut listener, chunk) = rt.block_on(async {
        let (mut here, mut there) = duplex::<E>(&rt).await;
        let (mut listener, _) = listen(&rt);
        here.write_all("kept").await.0.unwrap();
        let chunk = there.recv().await.unwrap();
        // Each has waited once.
        assert!(rt.timeout(ms(0), here.recv()).await.is_err());
        assert!(rt.timeout(ms(0), listener.accept()).await.is_err());
        (here, there, listener, chunk)
    });
    bench.end();
    assert_eq!(chunk.bytes(), b"kept", "memory that was lent stays good");
    drop(chunk);
    assert_closed("recv", async { here.recv().await.map(drop) });
    assert_closed("read", async { there.read(vec![0; 5]).await.0.map(drop) });
    assert_closed("write", async { here.write("x").await.0.map(drop) });
    assert_closed("write_all", async { here.write_all("x").await.0 });
    assert_closed("accept", async { listener.accept().await.map(drop) });
    assert_closed("connect", async { rt.connect(V4).await.map(drop) });
    assert!(is_closed(&rt.listen(V4, &ListenOptions::default()).map(drop).unwrap_err()));
    assert!(is_closed(&rt.as_fd().map(drop).unwrap_err()));
    assert!(here.local_addr().is_ok() && listener.local_addr().is_ok(), "the sockets are still there");
    let (read, write) = here.split();
    drop((read, write, there, listener, rt));
    let stats = bench.handle().stats();
    assert_eq!(stats.driver.chunks_lent_now, 1, "as it was at the end");
    drop(bench);
}

/// Futures that wait when the runtime ends are woken, in a task of another runtime, and told.
fn those_who_wait_elsewhere_are_told<E: Engine>() {
    let other = Bench::<E>::new();
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let ((mut one, two), peers, mut listener) = bench.rt().block_on(async {
        let ((one, one_peer), (two, two_peer)) = (pair::<E>(&rt).await, pair::<E>(&rt).await);
        ((one, two), (one_peer, two_peer), listen(&rt).0)
    });
    let (mut three, three_peer) = bench.rt().block_on(pair::<E>(&rt));
    let (silent, writer) = std::io::pipe().unwrap();
    let silent = std::os::fd::OwnedFd::from(silent);
    let would_block = || std::io::Result::<()>::Err(std::io::ErrorKind::WouldBlock.into());
    let (mut read, mut write) = two.split();
    other.rt().block_on(async {
        let mut recv = pin!(one.recv());
        let mut read = pin!(read.read(vec![0; 10]));
        let mut write = pin!(write.write_all(vec![0; 64 << 20]));
        let mut accept = pin!(listener.accept());
        let mut stopped = pin!(rt.stopped());
        // Its send is over by the end, and what it waits for is the answer.
        let mut exchange = pin!(three.exchange("question"));
        let mut readable = pin!(rt.when_readable(silent, would_block));
        assert!(poll_once(&mut exchange).await.is_none() && poll_once(&mut readable).await.is_none());
        assert!(poll_once(&mut recv).await.is_none() && poll_once(&mut read).await.is_none());
        assert!(poll_once(&mut write).await.is_none() && poll_once(&mut accept).await.is_none());
        assert!(poll_once(&mut stopped).await.is_none());
        for _ in 0..10 {
            bench.rt().turn(Some(ms(1))).unwrap();
        }
        bench.end();
        stopped.await;
        assert!(is_closed(&recv.await.map(drop).unwrap_err()));
        assert!(is_closed(&read.await.0.unwrap_err()));
        assert!(is_closed(&write.await.0.unwrap_err()));
        assert!(is_closed(&accept.await.map(drop).unwrap_err()));
        assert!(is_closed(&exchange.await.map(drop).unwrap_err()));
        assert!(is_closed(&readable.await.unwrap_err()));
    });
    drop((three, three_peer, writer));
    // These futures were not dropped with the runtime's tasks: on a completion-based engine their
    // operations still had an owner when it ended, and are counted.
    let leaked = rt.stats().driver.ops_leaked.unwrap_or(0);
    assert!(leaked <= 3, "{leaked}");
    drop((one, read, write, listener, peers, rt));
    drop(bench);
    other.finish();
}

/// Counts how often it is woken.
#[derive(Default)]
struct CountsWakes(AtomicU32);

impl Wake for CountsWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl CountsWakes {
    /// Polls with a waker that counts here.
    fn poll<F: Future + ?Sized>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }
}

/// Each future has a waker of its own here, as in tasks of their own. In one task they would all be polled when one
/// of them is woken.
fn the_end_wakes_each_future_that_waits<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let ((mut one, two), peers, mut listener, udp) = bench.rt().block_on(async {
        let ((one, one_peer), (two, two_peer)) = (pair::<E>(&rt).await, pair::<E>(&rt).await);
        ((one, two), (one_peer, two_peer), listen(&rt).0, rt.bind_udp(V4).unwrap())
    });
    let (mut read, mut write) = two.split();
    type Waits<'a> = Pin<Box<dyn Future<Output = std::io::Result<()>> + 'a>>;
    let mut waits: [(&str, Waits<'_>, Arc<CountsWakes>); 5] = [
        ("recv", Box::pin(async { one.recv().await.map(drop) }), Arc::default()),
        ("read", Box::pin(async { read.read(vec![0; 10]).await.0.map(drop) }), Arc::default()),
        ("write_all", Box::pin(async { write.write_all(vec![0; 64 << 20]).await.0 }), Arc::default()),
        ("accept", Box::pin(async { listener.accept().await.map(drop) }), Arc::default()),
        ("recv_from", Box::pin(async { udp.recv_from().await.map(drop) }), Arc::default()),
    ];
    for (name, future, wakes) in &mut waits {
        assert!(wakes.poll(future.as_mut()).is_pending(), "{name}");
    }
    for _ in 0..20 {
        bench.rt().turn(Some(ms(1))).unwrap();
        for (name, future, wakes) in &mut waits {
            // There was room for a part.
            if wakes.0.swap(0, Ordering::Relaxed) > 0 {
                assert!(wakes.poll(future.as_mut()).is_pending(), "{name}");
            }
        }
    }
    bench.end();
    for (name, _, wakes) in &waits {
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "wakes of {name}");
    }
    for (name, mut future, _) in waits {
        assert_closed(name, future.as_mut());
    }
    // As above: their operations had an owner.
    drop((one, read, write, listener, udp, peers, rt));
    drop(bench);
}

/// The waker of a task that lives on after the runtime, on the same thread. The thread no longer lists the queue that
/// it looks for. (A queue that stays on the list is taken for that of a later runtime as soon as the two have had their
/// inboxes at the same address, and then swallows the wakes of that one.)
fn a_waker_that_outlives_it_finds_no_queue<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let kept = Rc::new(RefCell::new(None));
    let keeps = Rc::clone(&kept);
    let task = poll_fn(move |cx| {
        *keeps.borrow_mut() = Some(cx.waker().clone());
        Poll::<()>::Pending
    });
    bench.rt().spawn(task).detach();
    bench.rt().block_on(yield_now());
    let handle = bench.handle();
    let wakes = || handle.stats().wakes_local;
    let before = wakes();
    kept.borrow().as_ref().map(Waker::wake_by_ref).unwrap();
    assert_eq!(wakes(), before + 1, "it finds the queue while that is there");
    bench.rt().block_on(yield_now());
    let waker = kept.take().unwrap();
    bench.end();
    let before = wakes();
    waker.wake_by_ref();
    assert_eq!(wakes(), before, "it finds the queue of a runtime that has ended");
    drop((waker, handle));
    bench.finish();
}

/// A foreign loop may keep a duplicate of the descriptor by which it watches the runtime, and with it the epoll
/// instance. The streams that live on have left that.
fn streams_that_outlive_it_are_no_longer_watched<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let mut pairs = Vec::new();
    bench.rt().block_on(async {
        for _ in 0..10 {
            let (mut stream, peer) = pair::<E>(&rt).await;
            // Level-triggered, epoll is asked when a task waits.
            assert!(rt.timeout(ms(1), stream.recv()).await.is_err());
            pairs.push((stream, peer));
        }
    });
    assert_eq!(kernel_registrations(), 11, "the streams, and the wake-up descriptor");
    let kept = rt.as_fd().unwrap();
    bench.end();
    assert_eq!(kernel_registrations(), 1);
    drop((pairs, kept, rt));
    bench.finish();
}

/// Handles may live on for long, and keep nothing that tasks had.
fn a_handle_that_is_left_keeps_no_wakers<E: Engine>() {
    let before = live_headers();
    let mut bench = Bench::<E>::new();
    let handle = bench.handle();
    let tasks: Vec<_> = (0..100).map(|_| bench.rt().spawn(yield_now())).collect();
    bench.rt().block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert!(live_headers() > before, "wakers are kept for further tasks");
    bench.end();
    assert_eq!(live_headers(), before);
    drop(handle);
    bench.finish();
}

/// Panics when it is dropped, or when what is in it is.
struct Bomb(&'static str, #[expect(dead_code, reason = "it is dropped")] Option<mpsc::Sender<()>>);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {}
}

/// What the end drops is foreign code: tasks, jobs that have not begun, what other threads have posted, the wakers of
/// timers. Each may panic. All panics are reported, and the end goes on to its end.
fn destructors_that_panic_do_not_stop_it<E: Engine>() {
    let reported = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&reported);
    let config = Config {
        on_task_panic: Rc::new(move |payload| seen.borrow_mut().push(panic_text(payload.as_ref()).to_owned())),
        blocking: BlockingConfig { max_threads: 1, ..BlockingConfig::default() },
        ..Config::default()
    };
    let mut bench = Bench::<E>::with(config);
    let rt = bench.handle();
    let task = Bomb("a task", None);
    rt.spawn(async move {
        let _task = task;
        pending::<()>().await;
    })
    .detach();
    // The one thread is held until the end drops the job behind it.
    let (release, held) = mpsc::channel();
    rt.spawn_blocking(move || held.recv().unwrap_err()).detach();
    let job = Bomb("a job", Some(release));
    rt.spawn_blocking(move || drop(job)).detach();
    rt.block_on(yield_now());
    let mut sleep = rt.sleep(ms(3_600_000));
    let waker = Waker::from(Arc::new(Bomb("a waker", None)));
    assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    let (remote, message) = (rt.remote(), Bomb("a message", None));
    std::thread::spawn(move || remote.spawn(move || async move { drop(message) }).map(drop).unwrap()).join().unwrap();
    bench.end();
    reported.borrow_mut().sort();
    assert_eq!(*reported.borrow(), ["a job", "a message", "a task", "a waker"]);
    drop((rt, sleep));
    assert_eq!(bench.finish().tasks_panicked, 4);
}

fn runtimes_one_after_another<E: Engine>() {
    let before = tests::open_fds().len();
    for n in 0..200 {
        let rt = E::build(executor::Config::default()).unwrap();
        if n % 2 == 0 {
            rt.spawn(pending::<()>()).detach();
            rt.block_on(async {
                let (mut stream, _peer) = pair::<E>(&rt).await;
                assert!(rt.timeout(ms(0), stream.recv()).await.is_err());
            });
        }
    }
    assert_eq!(tests::open_fds().len(), before);
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        thousands_of_operations_in_flight,
        operations_not_yet_submitted,
        streams_and_futures_that_outlive_it_answer_closed,
    );
    on_every_engine!(
        suite,
        tasks_are_dropped_once_and_new_work_is_refused,
        a_long_chain_of_tasks_is_dropped_flat,
        tasks_that_own_themselves_are_dropped,
        io_begun_in_a_destructor_is_refused,
        the_owner_is_dropped_inside_a_task,
        the_owner_is_dropped_by_unwinding,
        those_who_wait_elsewhere_are_told,
        the_end_wakes_each_future_that_waits,
        a_waker_that_outlives_it_finds_no_queue,
        a_handle_that_is_left_keeps_no_wakers,
        destructors_that_panic_do_not_stop_it,
        runtimes_one_after_another,
    );
    on_reactors!(suite, streams_that_outlive_it_are_no_longer_watched);
    on_engines!(suite, [ProactorFull], five_thousand_receives_in_flight);
    suite.run()
}
