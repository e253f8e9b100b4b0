//! Goal: what a hostile reader tried on fed writes: an end that looks whole, a loop that sleeps beside work, bytes that
//! are not the program's.
//!
//! Method: std's blocking streams at the other end; buffers, wakers and writers that behave as badly as safe code can.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::{ErrorKind, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;

use executor::{Config, IoBuf, Net, Reader, Stream as _, Verdict, Writer, copy};
use rustix::io::Errno;
use tests::net::{pair, read_late, reset};
use tests::{Bench, Engine, Suite, both, ms, on_every_engine, on_every_variant, on_proactors, panics, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

const LARGE: usize = 12 << 20;

/// Shows other bytes at each call, and more of them.
struct Fickle {
    short: Box<[u8]>,
    long: Box<[u8]>,
    calls: Cell<u32>,
}

impl IoBuf for Fickle {
    fn bytes(&self) -> &[u8] {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get().is_multiple_of(2) { &self.short } else { &self.long }
    }
}

/// A buffer that breaks its promise may send wrong bytes, but only its own.
fn no_bytes_but_the_buffers<E: Engine>() {
    for first in 0..4 {
        for way in 0..3 {
            run::<E>(async |rt| {
                let (mut stream, peer) = pair::<E>(rt).await;
                let (short, long) = (vec![b's'; 16].into(), vec![b'l'; 4096].into());
                let buf = Fickle { short, long, calls: Cell::new(first) };
                match way {
                    0 => drop(stream.feed(buf).await),
                    1 => drop(stream.write_all(buf).await.0),
                    _ => drop(stream.write_all_vectored(vec![buf]).await.0),
                }
                stream.close().await.unwrap();
                let (all, _) = read_late(peer).join().unwrap();
                let is_own = all.iter().all(|byte| *byte == b's') || all.iter().all(|byte| *byte == b'l');
                assert!(is_own, "{first}, {way}: sent {} bytes, some not of the buffer", all.len());
            });
        }
    }
}

/// The loop does not sleep while operations wait for the places of sends that are over.
fn the_loop_does_not_sleep_beside_a_backlog<E: Engine>() {
    run::<E>(async |rt| {
        let (mut control, mut far) = pair::<E>(rt).await;
        let mut pairs = Vec::new();
        for _ in 0..30 {
            pairs.push(pair::<E>(rt).await);
        }
        // What is left of the accepts would wake the loop.
        rt.sleep(ms(20)).await;
        let (mut streams, peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let reader = thread::spawn(move || {
            let mut missing = Vec::new();
            for (n, mut peer) in peers.iter().enumerate() {
                peer.set_read_timeout(Some(ms(500))).unwrap();
                if peer.read_exact(&mut [0]).is_err() {
                    missing.push(n);
                }
            }
            far.write_all(b"x").unwrap();
            (missing, peers)
        });
        {
            let mut recv = Box::pin(control.recv());
            assert!(poll_once(&mut recv).await.is_none());
            for stream in &mut streams {
                stream.feed("x").await.unwrap();
            }
            recv.await.unwrap();
        }
        let (missing, peers) = reader.join().unwrap();
        assert!(missing.is_empty(), "the loop slept, and did not send {missing:?}");
        for stream in &mut streams {
            stream.flush().await.unwrap();
        }
        drop(peers);
    });
}

/// Tells when it is dropped.
struct Signal(Rc<(Cell<bool>, RefCell<Option<Waker>>)>);

impl IoBuf for Signal {
    fn bytes(&self) -> &[u8] {
        b"signal"
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.0.0.set(true);
        if let Some(waker) = self.0.1.take() {
            waker.wake();
        }
    }
}

/// The program may wait for the drop of what it sent. (A pool of buffers does.)
fn the_loop_does_not_sleep_on_what_is_sent<E: Engine>() {
    for is_exchange in [false, true] {
        run::<E>(async |rt| {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            let state = Rc::new((Cell::new(false), RefCell::new(None)));
            let signal = Signal(Rc::clone(&state));
            // What is left of the accept would wake the loop.
            rt.sleep(ms(20)).await;
            let start = rt.now();
            let helper = thread::spawn(move || {
                peer.read_exact(&mut [0; 6]).unwrap();
                // Ends the sleep of a loop that got it wrong.
                thread::sleep(ms(1000));
                peer.write_all(b"x").unwrap();
                peer
            });
            let dropped = poll_fn(|cx| {
                *state.1.borrow_mut() = Some(cx.waker().clone());
                if state.0.get() { Poll::Ready(rt.now()) } else { Poll::Pending }
            });
            let send = async {
                if is_exchange {
                    drop(stream.exchange(signal).await.unwrap());
                } else {
                    stream.feed(signal).await.unwrap();
                    stream.recv().await.unwrap();
                }
            };
            let ((), at) = both(send, dropped).await;
            assert!(at - start < ms(500), "exchange: {is_exchange}: dropped after {:?}", at - start);
            drop(helper.join().unwrap());
        });
    }
}

/// A cut message does not look whole, though the program was told of the error.
fn a_told_error_still_resets<E: Engine>() {
    for step in 0..3 {
        let mut bench = Bench::<E>::new();
        let rt = bench.handle();
        let fed = rt.block_on(async {
            let (mut stream, peer) = pair::<E>(&rt).await;
            let is_fed = poll_once(&mut Box::pin(stream.feed(vec![b'x'; LARGE]))).await.is_some();
            rt.sleep(ms(5)).await;
            is_fed.then_some((stream, peer))
        });
        bench.end();
        let Some((mut stream, peer)) = fed else { return };
        let reader = read_late(peer);
        match step {
            0 => {
                let Poll::Ready(flushed) = tests::poll_idle(&mut Box::pin(stream.flush())) else { panic!("pends") };
                assert!(tests::is_closed(&flushed.unwrap_err()));
                drop(stream);
            }
            1 => {
                let Poll::Ready(closed) = tests::poll_idle(&mut Box::pin(stream.close())) else { panic!("pends") };
                assert!(closed.is_err());
            }
            _ => {
                let (read, mut write) = stream.split();
                let _ = tests::poll_idle(&mut Box::pin(write.flush()));
                drop(write);
                drop(read);
            }
        }
        let (all, end) = reader.join().unwrap();
        assert!(end == Err(ErrorKind::ConnectionReset), "{step}: {} of {LARGE} bytes, {end:?}", all.len());
    }
}

/// A send the kernel fails for its own reasons: the message is cut, and the connection lives.
fn a_failure_of_the_kernels_resets<E: Engine>() {
    for is_told in [false, true] {
        run::<E>(async |rt| {
            let (mut stream, peer) = pair::<E>(rt).await;
            let failing = |name: &'static str, _| match name {
                "op_send" | "sendto" => Verdict::Fail(Errno::NOBUFS.raw_os_error()),
                _ => Verdict::Pass,
            };
            E::set_judge(rt, Some(Rc::new(failing)));
            let fed = stream.feed("never sent").await;
            rt.sleep(ms(5)).await;
            if fed.is_err() {
                // A reactor: the program knows at once.
                E::set_judge(rt, None);
                return;
            }
            if is_told {
                assert!(stream.flush().await.is_err());
            }
            E::set_judge(rt, None);
            drop(stream);
            rt.sleep(ms(5)).await;
            let (all, end) = read_late(peer).join().unwrap();
            assert!(end == Err(ErrorKind::ConnectionReset), "told: {is_told}: {} bytes, {end:?}", all.len());
        });
    }
}

/// What was fed before a shutdown goes out, or the program or the peer is told.
fn a_shutdown_in_between_is_no_silent_cut<E: Engine>() {
    for len in [10, LARGE] {
        for how in [Shutdown::Write, Shutdown::Both] {
            run::<E>(async |rt| {
                let (mut stream, peer) = pair::<E>(rt).await;
                let reader = read_late(peer);
                {
                    let mut feeding = Box::pin(stream.feed(vec![b'x'; len]));
                    if poll_once(&mut feeding).await.is_none() {
                        feeding.await.unwrap();
                    }
                }
                if E::shut(&stream, how).is_err() {
                    stream.flush().await.unwrap();
                    E::shut(&stream, how).unwrap();
                }
                let (all, end) = reader.join().unwrap();
                let is_told = stream.flush().await.is_err();
                let is_whole = all.len() == len || end.is_err();
                assert!(is_whole, "{how:?}: the peer got {} of {len}: {end:?}; we were told: {is_told}", all.len());
            });
        }
    }
}

/// As `shutdown_how`, which is not in a trait.
trait Shut: Engine {
    fn shut(stream: &tests::Stream<Self>, how: Shutdown) -> std::io::Result<()>;
}

impl<E: Engine> Shut for E {
    fn shut(stream: &tests::Stream<E>, how: Shutdown) -> std::io::Result<()> {
        let any: &dyn std::any::Any = stream;
        if let Some(stream) = any.downcast_ref::<proactor::TcpStream>() {
            return stream.shutdown_how(how);
        }
        any.downcast_ref::<reactor::TcpStream>().expect("one of the two").shutdown_how(how)
    }
}

/// A waker whose clone panics.
fn panics_on_clone() -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(|_| panic!("a waker's clone"), |_| {}, |_| {}, |_| {});
    // SAFETY: the table does nothing with the data.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) }
}

fn poll_badly<F: Future>(mut future: Pin<Box<F>>) {
    let waker = panics_on_clone();
    let text = panics(|| assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()));
    assert!(text.contains("clone"), "{text}");
}

/// A write that a panic ended is a write that was dropped midway.
fn a_panic_in_the_middle_breaks_the_writer<E: Engine>() {
    for way in 0..3 {
        run::<E>(async |rt| {
            let (mut stream, peer) = pair::<E>(rt).await;
            let reader = read_late(peer);
            match way {
                0 => poll_badly(Box::pin(stream.exchange(vec![b'a'; LARGE]))),
                1 => poll_badly(Box::pin(stream.write_all(vec![b'a'; LARGE]))),
                _ => poll_badly(Box::pin(stream.write_all_vectored(vec![vec![b'a'; LARGE]]))),
            }
            let (second, _) = stream.write_all(vec![b'b'; LARGE]).await;
            drop(stream);
            let (all, end) = reader.join().unwrap();
            let first = all.iter().take_while(|byte| **byte == b'a').count();
            assert!(
                second.is_err() || first == LARGE || first == 0,
                "{way}: {second:?} behind {first} of {LARGE}, {} in all: {end:?}",
                all.len()
            );
            let is_mixed = all[first..].contains(&b'a');
            assert!(!is_mixed, "{way}: mixed");
        });
    }
}

/// Where the runtime ended without the kernel's last word, the peer is told all the same.
fn an_abandoned_stream_tells_its_peer<E: Engine>() {
    let mut bench = Bench::<E>::with(Config { shutdown_deadline: ms(50), ..Config::default() });
    let rt = bench.handle();
    let (mut stream, mut peer) = rt.block_on(pair::<E>(&rt));
    rt.block_on(async {
        stream.feed(vec![b'x'; LARGE]).await.unwrap();
        rt.sleep(ms(5)).await;
        rt.sleep(ms(5)).await;
    });
    let deaf = |name: &'static str, _| match name {
        "io_uring_enter" => Verdict::Fail(Errno::BUSY.raw_os_error()),
        _ => Verdict::Pass,
    };
    E::set_judge(bench.rt(), Some(Rc::new(deaf)));
    bench.end();
    assert!(rt.stats().driver.ops_abandoned > Some(0), "{}", rt.stats());
    drop(stream);
    peer.set_read_timeout(Some(ms(2000))).unwrap();
    let mut all = Vec::new();
    let end = peer.read_to_end(&mut all).map_err(|error| error.kind());
    assert!(end == Err(ErrorKind::ConnectionReset), "{} bytes, {end:?}", all.len());
}

/// Brings one large chunk, and then nothing.
struct Once(Option<Vec<u8>>);

impl Reader for Once {
    type Chunk = Vec<u8>;

    async fn recv(&mut self) -> std::io::Result<Vec<u8>> {
        match self.0.take() {
            Some(chunk) => Ok(chunk),
            None => pending().await,
        }
    }

    async fn read<B: executor::IoBufMut>(&mut self, buf: B) -> executor::BufResult<usize, B> {
        pending::<()>().await;
        (Ok(0), buf)
    }
}

/// A copy to a connection that failed ends, though the reader is silent.
fn a_copy_learns_of_a_failure<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        let breaker = thread::spawn(move || {
            thread::sleep(ms(50));
            reset(peer);
        });
        let copied = rt.timeout(ms(2000), copy(&mut Once(Some(vec![b'x'; LARGE])), &mut stream)).await;
        breaker.join().unwrap();
        assert!(matches!(copied, Ok(Err(_))), "{copied:?}");
    });
}

/// Futures that are gone keep one waker at most, and none when the stream is gone.
fn dropped_futures_pile_up_no_wakers<E: Engine>() {
    struct Idle;
    impl std::task::Wake for Idle {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    for way in 0..4 {
        run::<E>(async |rt| {
            let (mut stream, peer) = pair::<E>(rt).await;
            let idle = std::sync::Arc::new(Idle);
            let waker = Waker::from(std::sync::Arc::clone(&idle));
            let mut cx = Context::from_waker(&waker);
            if way < 3 && poll_once(&mut Box::pin(stream.feed(vec![b'x'; LARGE]))).await.is_none() {
                return;
            }
            rt.sleep(ms(5)).await;
            match way {
                0 => (0..3).for_each(|_| assert!(Box::pin(stream.flush()).as_mut().poll(&mut cx).is_pending())),
                1 => (0..3).for_each(|_| assert!(Box::pin(stream.feed("x")).as_mut().poll(&mut cx).is_pending())),
                2 => (0..3).for_each(|_| assert!(Box::pin(stream.exchange("x")).as_mut().poll(&mut cx).is_pending())),
                _ => assert!(Box::pin(stream.exchange(vec![b'x'; LARGE])).as_mut().poll(&mut cx).is_pending()),
            }
            rt.sleep(ms(20)).await;
            let kept = || std::sync::Arc::strong_count(&idle) - 2;
            assert!(kept() <= 1, "way {way}: {} wakers", kept());
            drop(stream);
            drop(peer);
            while kept() > 0 {
                rt.sleep(ms(1)).await;
            }
        });
    }
}

/// A Unix stream that is dropped with fed bytes on their way ends, and not by a reset: it has none.
fn a_unix_stream_is_cut<E: Engine>() {
    run::<E>(async |rt| {
        let (mut one, mut two) = rt.unix_pair().unwrap();
        if poll_once(&mut Box::pin(one.feed(vec![b'x'; LARGE]))).await.is_none() {
            return;
        }
        rt.sleep(ms(5)).await;
        drop(one);
        let mut count = 0;
        let end = loop {
            match two.recv().await {
                Ok(chunk) if chunk.bytes().is_empty() => break Ok(()),
                Ok(chunk) => count += chunk.bytes().len(),
                Err(error) => break Err(error.kind()),
            }
        };
        assert!(end == Ok(()) && count < LARGE, "{count} of {LARGE}: {end:?}");
    });
}

/// Dropping the writing half ends the writing side, whatever else lives.
fn a_dropped_half_ends_its_side<E: Engine>() {
    for len in [10, LARGE] {
        run::<E>(async |rt| {
            let (stream, mut peer) = pair::<E>(rt).await;
            let (mut read, mut write) = stream.split();
            // It answers only when it has read all there is.
            let far = thread::spawn(move || {
                peer.set_read_timeout(Some(ms(2000))).unwrap();
                let mut all = Vec::new();
                let end = peer.read_to_end(&mut all).map_err(|error| error.kind());
                (all.len(), end)
            });
            write.feed(vec![b'x'; len]).await.unwrap();
            drop(write);
            let _ = rt.timeout(ms(3000), read.recv()).await;
            let (count, end) = far.join().unwrap();
            assert!(end != Err(ErrorKind::WouldBlock), "{count} of {len}, and no end");
        });
    }
}

thread_local! {
    static AT_THE_CLONE: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
    static WOKEN: Cell<u32> = const { Cell::new(0) };
}

const ACTS: RawWakerVTable = RawWakerVTable::new(
    |_| {
        let act = AT_THE_CLONE.with(|act| act.borrow_mut().take());
        if let Some(act) = act {
            act();
        }
        RawWaker::new(std::ptr::null(), &ACTS)
    },
    |_| WOKEN.set(WOKEN.get() + 1),
    |_| WOKEN.set(WOKEN.get() + 1),
    |_| {},
);

/// A waker may give the runtime a turn as it is cloned.
fn a_turn_at_the_clone_loses_no_wake<E: Engine>() {
    for way in 0..2 {
        let bench = Bench::<E>::new();
        let rt = bench.handle();
        let (mut stream, peer) = rt.block_on(pair::<E>(&rt));
        assert!(tests::poll_idle(&mut Box::pin(stream.feed("hello"))).is_ready());
        let turner = rt.clone();
        AT_THE_CLONE.with(|act| *act.borrow_mut() = Some(Box::new(move || drop(turner.turn(Some(ms(0)))))));
        // SAFETY: the table does nothing with the data.
        let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &ACTS)) };
        let mut cx = Context::from_waker(&waker);
        {
            let mut future: Pin<Box<dyn Future<Output = bool>>> = match way {
                0 => Box::pin(async { stream.flush().await.is_ok() }),
                _ => Box::pin(async { stream.write_all("world").await.0.is_ok() }),
            };
            WOKEN.set(0);
            let mut is_over = future.as_mut().poll(&mut cx).is_ready();
            for _ in 0..10 {
                rt.turn(Some(ms(1))).unwrap();
                if !is_over && WOKEN.take() > 0 {
                    is_over = future.as_mut().poll(&mut cx).is_ready();
                }
            }
            assert!(is_over, "{way}: not woken");
        }
        AT_THE_CLONE.with(|act| *act.borrow_mut() = None);
        drop((stream, peer, rt));
        bench.finish();
    }
}

/// Panics when it is dropped.
struct Bomb(Vec<u8>);

impl IoBuf for Bomb {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a buffer's drop");
        }
    }
}

/// A buffer whose drop panics takes nobody else down, and leaves nothing behind.
fn a_bomb_is_contained<E: Engine>() {
    for step in 0..6 {
        let bench = Bench::<E>::with(Config { on_task_panic: Rc::new(|_| {}), ..Config::default() });
        let rt = bench.handle();
        let (mut stream, peer) = rt.block_on(pair::<E>(&rt));
        let (mut other, mut other_peer) = rt.block_on(pair::<E>(&rt));
        let len = if step == 0 { 10 } else { LARGE };
        let fed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tests::poll_idle(&mut Box::pin(stream.feed(Bomb(vec![b'x'; len])))).is_ready()
        }));
        if !matches!(fed, Ok(true)) {
            continue;
        }
        let go = |count: u64| {
            for _ in 0..count {
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rt.turn(Some(ms(1)))));
            }
        };
        let drops = |what: Box<dyn FnOnce() + '_>| {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
        };
        match step {
            0 => go(5),
            1 => {
                // Partly sent, and waiting for its second launch.
                go(1);
                drops(Box::new(|| drop(stream)));
                go(5);
            }
            2 => {
                go(5);
                drops(Box::new(|| drop(stream)));
                go(5);
            }
            3 => {
                go(5);
                reset(peer);
                go(20);
                drops(Box::new(|| drop(stream)));
                go(5);
            }
            4 => {
                let (read, write) = stream.split();
                go(1);
                drops(Box::new(|| drop(write)));
                go(5);
                drops(Box::new(|| drop(read)));
                go(5);
            }
            _ => {
                let mut close = Box::pin(stream.close());
                let _ = tests::poll_idle(&mut close);
                go(1);
                drops(Box::new(|| drop(close)));
                go(5);
            }
        }
        other_peer.write_all(b"y").unwrap();
        assert_eq!(rt.block_on(other.recv()).unwrap().bytes(), b"y");
        drop((other, other_peer));
        go(5);
        if step != 0 {
            tests::settle::<E>(&rt);
        }
        drop(rt);
    }
}

/// The end of the runtime, with more fed than its queues hold.
fn the_end_with_a_backlog_resets_all<E: Engine>() {
    for is_first_turned in [false, true] {
        let mut bench = Bench::<E>::new();
        let rt = bench.handle();
        let mut fed = Vec::new();
        for _ in 0..20 {
            fed.push(rt.block_on(pair::<E>(&rt)));
        }
        for (stream, _) in &mut fed {
            if tests::poll_idle(&mut Box::pin(stream.feed(vec![b'x'; LARGE]))).is_pending() {
                return;
            }
        }
        if is_first_turned {
            rt.turn(Some(ms(0))).unwrap();
        }
        bench.end();
        let stats = rt.stats().driver;
        assert_eq!((stats.ops_leaked.unwrap_or(0), stats.ops_abandoned.unwrap_or(0)), (0, 0));
        for (n, (stream, peer)) in fed.into_iter().enumerate() {
            if n % 2 == 0 {
                drop(stream);
            } else {
                let (read, write) = stream.split();
                drop(read);
                drop(write);
            }
            let (all, end) = read_late(peer).join().unwrap();
            assert_eq!(end, Err(ErrorKind::ConnectionReset), "{n}: {} bytes", all.len());
        }
    }
}

/// Reads to the end in pieces, and says something now and then.
fn read_in_pieces(mut peer: TcpStream, seed: u64) -> Vec<u8> {
    let (mut all, mut piece, mut random) = (Vec::new(), vec![0; 30_000], fastrand::Rng::with_seed(seed));
    loop {
        let len = random.usize(1..30_000);
        match peer.read(&mut piece[..len]).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&piece[..count]),
        }
        if random.u32(..20) == 0 {
            peer.write_all(b"!").unwrap();
            thread::sleep(ms(1));
        }
    }
}

/// Bytes keep their order, however the kernel cuts and interrupts the sends.
fn cut_and_interrupted_sends_keep_their_order<E: Engine>() {
    for seed in 0..6 {
        run::<E>(async |rt| {
            let (stream, peer) = pair::<E>(rt).await;
            let random = RefCell::new(fastrand::Rng::with_seed(seed));
            let judge = move |name: &'static str, _| {
                let mut random = random.borrow_mut();
                match name {
                    "op_send" | "op_sendmsg" | "sendto" | "sendmsg" => match random.u32(..10) {
                        0 => Verdict::Fail(Errno::INTR.raw_os_error()),
                        1..6 => Verdict::Shorten(random.usize(1..9000)),
                        _ => Verdict::Pass,
                    },
                    _ => Verdict::Pass,
                }
            };
            E::set_judge(rt, Some(Rc::new(judge)));
            let pattern = tests::net::Pattern::new(seed);
            let far = thread::spawn(move || read_in_pieces(peer, seed));
            let mut random = fastrand::Rng::with_seed(seed + 100);
            let (mut read, mut write) = stream.split();
            let reading = rt.spawn(async move { while !read.recv().await.unwrap().bytes().is_empty() {} });
            let mut total = 0;
            for _ in 0..150 {
                let len = random.usize(1..60_000);
                let bytes = pattern.bytes(total, len);
                total += len;
                match random.u32(..7) {
                    0 => write.write_all(bytes).await.0.unwrap(),
                    1 => {
                        let (one, two) = bytes.split_at(len / 2);
                        write.write_all_vectored(vec![one.to_vec(), two.to_vec()]).await.0.unwrap();
                    }
                    2 => write.flush().await.and(write.feed(bytes).await).unwrap(),
                    3 => {
                        // Whatever waits here is dropped, and nothing of it is sent.
                        write.feed(bytes).await.unwrap();
                        let is_proactor = E::NAME.starts_with("proactor");
                        if is_proactor && poll_once(&mut Box::pin(write.feed("dropped"))).await.is_some() {
                            panic!("it was meant to wait");
                        }
                    }
                    4 => write
                        .feed(String::from_utf8_lossy(&[]).into_owned())
                        .await
                        .and(write.feed(bytes).await)
                        .unwrap(),
                    _ => write.feed(bytes).await.unwrap(),
                }
            }
            write.shutdown().await.unwrap();
            let all = far.join().unwrap();
            assert_eq!(all.len(), total);
            pattern.check(0, &all);
            reading.await.unwrap();
            E::set_judge(rt, None);
        });
    }
}

/// An exchange whose send fails does not wait for an answer.
fn a_failed_send_ends_the_exchange<E: Engine>() {
    for fed in [0, 10, 100_000] {
        run::<E>(async |rt| {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            let far = thread::spawn(move || {
                let mut all = Vec::new();
                let _ = peer.read_to_end(&mut all);
                all.len()
            });
            if fed > 0 {
                stream.feed(vec![b'x'; fed]).await.unwrap();
            }
            stream.flush().await.unwrap();
            let failing = |name: &'static str, _| match name {
                "op_send" | "sendto" => Verdict::Fail(Errno::NOBUFS.raw_os_error()),
                _ => Verdict::Pass,
            };
            E::set_judge(rt, Some(Rc::new(failing)));
            let answer = rt.timeout(ms(2000), stream.exchange("question")).await;
            assert!(matches!(answer, Ok(Err(_))), "{fed}: {:?}", answer.is_ok());
            E::set_judge(rt, None);
            drop(stream);
            rt.sleep(ms(1)).await;
            assert_eq!(far.join().unwrap(), fed);
        });
    }
}

/// Many streams at once, more than tiny queues hold: each is fed, and closed, or goes to std.
fn many_are_fed_and_closed<E: Engine>() {
    run::<E>(async |rt| {
        let mut tasks = Vec::new();
        for n in 0..60 {
            let (mut stream, peer) = pair::<E>(rt).await;
            let handle = rt.clone();
            tasks.push((
                n,
                read_late(peer),
                rt.spawn(async move {
                    for _ in 0..3 {
                        stream.feed(vec![b'x'; 1 + n * 3000]).await.unwrap();
                        if n % 3 == 0 {
                            handle.sleep(ms(1)).await;
                        }
                    }
                    if n % 2 == 0 { stream.close().await.unwrap() } else { stream.shutdown().await.unwrap() }
                }),
            ));
        }
        for (n, reader, task) in tasks {
            task.await.unwrap();
            assert_eq!(reader.join().unwrap().1, Ok(3 * (1 + n * 3000)));
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        no_bytes_but_the_buffers,
        the_loop_does_not_sleep_beside_a_backlog,
        the_loop_does_not_sleep_on_what_is_sent,
        a_shutdown_in_between_is_no_silent_cut,
        a_panic_in_the_middle_breaks_the_writer,
        a_failure_of_the_kernels_resets,
        a_copy_learns_of_a_failure,
        a_dropped_half_ends_its_side,
        a_bomb_is_contained,
        the_end_with_a_backlog_resets_all,
        cut_and_interrupted_sends_keep_their_order,
        a_failed_send_ends_the_exchange,
        many_are_fed_and_closed,
        a_turn_at_the_clone_loses_no_wake,
    );
    on_every_engine!(suite, a_told_error_still_resets, dropped_futures_pile_up_no_wakers, a_unix_stream_is_cut);
    on_proactors!(suite, an_abandoned_stream_tells_its_peer);
    suite.run()
}
