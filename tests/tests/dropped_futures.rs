//! Goal: a future of the runtime can be dropped at any moment. No byte of a stream and no connection is
//! lost by a dropped `accept`, `recv`, `read` or `connect`; a write that was dropped midway breaks the
//! writing side, so that nothing can follow a gap. What is dropped with its stream or listener reads from
//! nobody else's descriptor, and leaks none.
//!
//! Method: each future dropped before its first poll, after it, while the kernel works on it, and when
//! it is done but nobody has looked; then the same with random timing in numbers. What went in is
//! compared with what came out.

use std::cell::Cell;
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;

use executor::{IoBuf, JoinSet, Listener, Reader, Runtime, Stream as _, Writer, yield_now};
use tests::net::{Pattern, listen, pair, recv_exactly};
use tests::{
    CountsDrops, Engine, Suite, ms, on_every_engine, on_every_variant, on_proactors, poll_once, run, start_then_drop,
};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

fn a_dropped_recv_loses_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        drop(stream.recv());
        start_then_drop(stream.recv(), async {}).await;
        start_then_drop(stream.recv(), yield_now()).await;
        start_then_drop(stream.recv(), rt.sleep(ms(2))).await;
        peer.write_all(b"one").unwrap();
        assert_eq!(recv_exactly(&mut stream, 3).await, b"one");
        // Done, but never looked at.
        start_then_drop(stream.recv(), async {
            peer.write_all(b"two").unwrap();
            rt.sleep(ms(5)).await;
        })
        .await;
        assert_eq!(recv_exactly(&mut stream, 3).await, b"two");
        // Dropped in the very moment: the answer is on its way while the cancel is.
        start_then_drop(stream.recv(), rt.sleep(ms(1))).await;
        peer.write_all(b"three").unwrap();
        start_then_drop(stream.recv(), async {}).await;
        assert_eq!(recv_exactly(&mut stream, 5).await, b"three");
        drop(peer);
        start_then_drop_or_done(stream.recv()).await;
        assert!(stream.recv().await.unwrap().bytes().is_empty());
    });
}

/// Some engines are ready at the first poll where others have to wait.
async fn start_then_drop_or_done<F: Future>(future: F) {
    let mut future = pin!(future);
    drop(poll_once(&mut future).await);
}

fn a_dropped_read_loses_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        drop(stream.read(vec![0; 10]));
        start_then_drop(stream.read(vec![0; 10]), async {}).await;
        start_then_drop(stream.read(vec![0; 10]), rt.sleep(ms(2))).await;
        peer.write_all(b"abcdef").unwrap();
        assert_eq!(recv_exactly(&mut stream, 3).await, b"abc", "part of it");
        start_then_drop_or_done(async { stream.recv().await.map(drop) }).await;
        // That may have been done at once, and then these three went with it: a completed future's
        // output is the caller's.
        start_then_drop(stream.read(vec![0; 10]), async {
            peer.write_all(b"ghi").unwrap();
            rt.sleep(ms(5)).await;
        })
        .await;
        let (result, bytes) = stream.read(vec![0; 100]).await;
        let count = result.unwrap();
        assert!(bytes[..count].ends_with(b"ghi") || bytes[..count].starts_with(b"def"), "{:?}", &bytes[..count]);
    });
}

/// Reads with timeouts of random length, and a peer that writes at random times: the sum is the stream.
fn timeouts_on_reads_lose_no_byte<E: Engine>() {
    const TOTAL: usize = 300_000;
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let thread = std::thread::spawn(move || {
            let (pattern, mut sent) = (Pattern::new(1), 0);
            while sent < TOTAL {
                let len = fastrand::usize(1..2000).min(TOTAL - sent);
                peer.write_all(&pattern.bytes(sent, len)).unwrap();
                sent += len;
                let most = if fastrand::u8(0..8) == 0 { 4000 } else { 300 };
                std::thread::sleep(std::time::Duration::from_micros(fastrand::u64(0..most)));
            }
        });
        let (pattern, mut received, mut timeouts) = (Pattern::new(1), 0, 0u32);
        loop {
            let limit = std::time::Duration::from_micros(fastrand::u64(0..300));
            let count = if fastrand::bool() {
                match rt.timeout(limit, stream.recv()).await {
                    Ok(chunk) => {
                        let chunk = chunk.unwrap();
                        pattern.check(received, chunk.bytes());
                        chunk.bytes().len()
                    }
                    Err(_elapsed) => {
                        timeouts += 1;
                        continue;
                    }
                }
            } else {
                match rt.timeout(limit, stream.read(vec![0; fastrand::usize(1..3000)])).await {
                    Ok((result, bytes)) => {
                        pattern.check(received, &bytes[..*result.as_ref().unwrap()]);
                        result.unwrap()
                    }
                    Err(_elapsed) => {
                        timeouts += 1;
                        continue;
                    }
                }
            };
            if count == 0 {
                break;
            }
            received += count;
        }
        thread.join().unwrap();
        assert_eq!(received, TOTAL);
        assert!(timeouts > 10, "too few timeouts ({timeouts}) to prove anything");
    });
}

fn a_dropped_accept_loses_no_connection<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let connect = |name: u8| {
            let mut peer = TcpStream::connect(addr).unwrap();
            peer.write_all(&[name]).unwrap();
            peer
        };
        drop(listener.accept());
        start_then_drop(listener.accept(), async {}).await;
        start_then_drop(listener.accept(), rt.sleep(ms(2))).await;
        let mut peers = vec![connect(0)];
        let mut first = listener.accept().await.unwrap();
        assert_eq!(recv_exactly(&mut first, 1).await, [0]);
        // Accepted by the kernel, but never looked at.
        start_then_drop(listener.accept(), async {
            peers.push(connect(1));
            rt.sleep(ms(5)).await;
        })
        .await;
        start_then_drop_or_done(async { yield_now().await }).await;
        peers.push(connect(2));
        for name in [1, 2] {
            let mut stream = listener.accept().await.unwrap();
            assert_eq!(recv_exactly(&mut stream, 1).await, [name], "in the order of their coming");
        }
        // On its way when the listener goes: it is closed, not leaked (the balance check knows).
        start_then_drop(listener.accept(), async {
            peers.push(connect(3));
            rt.sleep(ms(5)).await;
        })
        .await;
        drop(listener);
    });
}

/// A stream goes with a read that the kernel has not seen yet, and the number of its descriptor is free, if it is
/// closed. Whoever has it next is not read from.
fn a_queued_operation_keeps_its_descriptor<E: Engine>() {
    run::<E>(async |rt| {
        for _ in 0..50 {
            let (mut stream, _peer) = pair::<E>(rt).await;
            assert!(poll_once(&mut Box::pin(stream.read(vec![0; 100]))).await.is_none());
            drop(stream);
            let (mut one, mut two) = UnixStream::pair().unwrap();
            for end in [&mut one, &mut two] {
                end.write_all(b"for the other end").unwrap();
                end.set_nonblocking(true).unwrap();
            }
            rt.sleep(ms(0)).await;
            rt.sleep(ms(0)).await;
            for end in [&mut one, &mut two] {
                let mut bytes = [0; 100];
                let count = end.read(&mut bytes).expect("somebody else has read it");
                assert_eq!(&bytes[..count], b"for the other end");
            }
        }
    });
}

/// The listener goes while an accept is on its way. What that brings belongs to nobody: it is closed.
fn a_connection_that_comes_as_its_listener_goes_is_closed<E: Engine>() {
    run::<E>(async |rt| {
        for _ in 0..20 {
            let (mut listener, addr) = listen(rt);
            start_then_drop(listener.accept(), rt.sleep(ms(1))).await;
            let mut peer = TcpStream::connect(addr).unwrap();
            drop(listener);
            rt.sleep(ms(1)).await;
            peer.set_read_timeout(Some(ms(5000))).unwrap();
            match peer.read(&mut [0]) {
                Ok(count) => assert_eq!(count, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it waits for nobody"),
            }
        }
    });
}

fn timeouts_on_accept_lose_no_connection<E: Engine>() {
    const CLIENTS: u32 = 300;
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let thread = std::thread::spawn(move || {
            for name in 0..CLIENTS {
                let mut peer = TcpStream::connect(addr).unwrap();
                peer.write_all(&name.to_le_bytes()).unwrap();
                let mut answer = [0; 4];
                peer.read_exact(&mut answer).expect("every client is served");
                assert_eq!(answer, name.to_le_bytes());
                std::thread::sleep(std::time::Duration::from_micros(fastrand::u64(0..300)));
            }
        });
        let mut served = 0;
        while served < CLIENTS {
            let limit = std::time::Duration::from_micros(fastrand::u64(0..300));
            if let Ok(stream) = rt.timeout(limit, listener.accept()).await {
                served += 1;
                rt.spawn(tests::net::echo(stream.unwrap())).detach();
            }
        }
        while !thread.is_finished() {
            rt.sleep(ms(1)).await;
        }
        thread.join().unwrap();
    });
}

fn a_dropped_connect_closes_its_socket<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        for n in 0..50 {
            match n % 4 {
                0 => drop(rt.connect(addr)),
                1 => start_then_drop_or_done(rt.connect(addr)).await,
                2 => {
                    let mut connect = pin!(rt.connect(addr));
                    drop(poll_once(&mut connect).await);
                    yield_now().await;
                }
                _ => {
                    let mut connect = pin!(rt.connect(addr));
                    let done = poll_once(&mut connect).await;
                    rt.sleep(ms(2)).await;
                    drop(done);
                }
            }
        }
        // Whatever reached the listener is at its end; what didn't never comes.
        while let Ok(stream) = rt.timeout(ms(50), listener.accept()).await {
            let end = stream.unwrap().recv().await;
            assert!(end.is_err() || end.unwrap().bytes().is_empty());
        }
    });
}

/// A sink that doesn't read, so that a large write stays in flight.
fn a_write_dropped_midway_breaks_the_writing_side<E: Engine>() {
    const SIZE: usize = 64 << 20;
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        stream.write_all("before").await.0.unwrap();
        // Not even started: no harm.
        drop(stream.write_all("never"));
        let pattern = Pattern::new(3);
        start_then_drop(stream.write_all(pattern.bytes(0, SIZE)), rt.sleep(ms(20))).await;
        for _ in 0..2 {
            let error = stream.write_all("after").await.0.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert_eq!(stream.write("after").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
        // Reading is not affected.
        peer.write_all(b"hello").unwrap();
        assert_eq!(recv_exactly(&mut stream, 5).await, b"hello");
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        drop(stream);
        while !thread.is_finished() {
            rt.sleep(ms(5)).await;
        }
        // The peer sees a strict prefix, and then the end.
        let all = thread.join().unwrap().unwrap();
        assert!(all.starts_with(b"before") && all.len() < SIZE, "{}", all.len());
        pattern.check(0, &all[6..]);
    });
}

/// Half of what was asked for has come when the future is dropped: it is gone, and no more than it.
fn a_dropped_read_exact_loses_what_it_read<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        start_then_drop(stream.read_exact(vec![0; 10]), async {
            peer.write_all(b"lost ").unwrap();
            rt.sleep(ms(5)).await;
        })
        .await;
        // It may not have been polled since the bytes came, and then it has read none.
        peer.write_all(b"kept").unwrap();
        let first = recv_exactly(&mut stream, 4).await;
        if first == b"lost" {
            assert_eq!(recv_exactly(&mut stream, 5).await, b" kept");
        } else {
            assert_eq!(first, b"kept");
        }
        // Polled in between, it has.
        let mut reading = Box::pin(stream.read_exact(vec![0; 10]));
        assert!(poll_once(&mut reading).await.is_none());
        peer.write_all(b"lost").unwrap();
        for _ in 0..3 {
            rt.sleep(ms(5)).await;
            assert!(poll_once(&mut reading).await.is_none(), "ten were asked for");
        }
        drop(reading);
        peer.write_all(b"kept").unwrap();
        assert_eq!(recv_exactly(&mut stream, 4).await, b"kept");
    });
}

/// As of the whole: also the write of a part, once it waits.
fn a_dropped_write_of_a_part_breaks_the_writing_side<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, _peer) = pair::<E>(rt).await;
        // Until the kernel takes no more.
        while rt.timeout(ms(20), stream.write(vec![0; 1 << 20])).await.is_ok() {}
        assert_eq!(stream.write("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(stream.write_all("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// A proactor's write is under way when it is dropped. If it went out whole all the same, the next one may follow.
fn a_dropped_write_that_went_out_whole_breaks_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        for _ in 0..3 {
            // The kernel sees the send before its cancel, and has room for it.
            start_then_drop(stream.write_all("hello "), async {}).await;
            rt.sleep(ms(1)).await;
            stream.write_all("world").await.0.unwrap();
            let mut received = [0; 11];
            peer.read_exact(&mut received).unwrap();
            assert_eq!(&received, b"hello world");
        }
    });
}

fn a_shutdown_never_waits<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        drop(stream.shutdown());
        stream.write_all("still open").await.0.unwrap();
        assert!(poll_once(&mut Box::pin(stream.shutdown())).await.is_some_and(|result| result.is_ok()));
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"still open");
    });
}

/// While the kernel still works on the socket, too: the close goes on by itself.
fn a_dropped_close_closes<E: Engine>() {
    run::<E>(async |rt| {
        for is_polled in [false, true] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            assert!(rt.timeout(ms(1), stream.recv()).await.is_err());
            let mut close = Box::pin(stream.close());
            if is_polled {
                drop(poll_once(&mut close).await);
            }
            drop(close);
            rt.sleep(ms(1)).await;
            assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        }
    });
}

/// What needs no kernel: what was waited for is there for the next one who asks.
fn futures_of_the_executor_lose_nothing<E: Engine>() {
    run::<E>(async |rt| {
        // A timeout drops what it waits for, and its timer.
        let drops = Rc::new(Cell::new(0));
        let guard = CountsDrops(Rc::clone(&drops));
        let slow = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        start_then_drop(rt.timeout(ms(60_000), slow), async { assert_eq!(rt.stats().timers_now, 1) }).await;
        assert_eq!((drops.get(), rt.stats().timers_now), (1, 0));
        // The output of a task stays.
        let mut task = rt.spawn(rt.sleep(ms(5)));
        start_then_drop(&mut task, rt.sleep(ms(10))).await;
        task.await.unwrap();
        let mut group = JoinSet::new();
        group.add(rt.spawn(rt.sleep(ms(5))));
        start_then_drop(group.join_next(), rt.sleep(ms(10))).await;
        assert!(group.join_next().await.is_some_and(|result| result.is_ok()));
        // A tick stays, with the time it was due.
        let mut interval = rt.interval(ms(5));
        let first = interval.tick().await;
        start_then_drop(interval.tick(), rt.sleep(ms(10))).await;
        assert_eq!(interval.tick().await, first + ms(5));
        start_then_drop(yield_now(), async {}).await;
        // A stop is for everybody, also for those who ask after it.
        start_then_drop(rt.stopped(), async { rt.stop() }).await;
        rt.stopped().await;
    });
}

/// A buffer goes whenever its operation does, in the middle of a turn, too. Its destructor finds the runtime at its
/// service.
fn a_buffer_may_use_the_runtime_as_it_goes<E: Engine>() {
    struct Busy(Vec<u8>, Box<dyn Fn()>);

    impl IoBuf for Busy {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            (self.1)();
        }
    }

    run::<E>(async |rt| {
        let dropped = Rc::new(Cell::new(0));
        for pause in [0, 5] {
            let (mut stream, _peer) = pair::<E>(rt).await;
            let (handle, counted) = (rt.clone(), Rc::clone(&dropped));
            let use_runtime = move || {
                handle.spawn(handle.sleep(ms(1))).detach();
                drop(handle.stats());
                counted.set(counted.get() + 1);
            };
            let busy = Busy(vec![0; 32 << 20], Box::new(use_runtime));
            start_then_drop(stream.write_all(busy), rt.sleep(ms(pause))).await;
            drop(stream);
            rt.sleep(ms(5)).await;
        }
        assert_eq!(dropped.get(), 2);
    });
}

fn futures_that_are_done_can_be_kept<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        {
            let mut recv = pin!(stream.recv());
            assert!(poll_once(&mut recv).await.is_none());
            peer.write_all(b"x").unwrap();
            rt.sleep(ms(5)).await;
            assert_eq!(recv.await.unwrap().bytes(), b"x");
        }
        // Forgotten rather than dropped: leaking a future is safe, and here it leaks nothing but itself.
        std::mem::forget(stream.recv());
        peer.write_all(b"y").unwrap();
        assert_eq!(stream.recv().await.unwrap().bytes(), b"y");
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        a_dropped_recv_loses_nothing,
        a_dropped_read_loses_nothing,
        timeouts_on_reads_lose_no_byte,
        a_dropped_accept_loses_no_connection,
        a_connection_that_comes_as_its_listener_goes_is_closed,
        a_queued_operation_keeps_its_descriptor,
        timeouts_on_accept_lose_no_connection,
        a_dropped_connect_closes_its_socket,
        a_write_dropped_midway_breaks_the_writing_side,
        a_dropped_read_exact_loses_what_it_read,
        a_dropped_write_of_a_part_breaks_the_writing_side,
        a_dropped_close_closes,
    );
    on_every_engine!(
        suite,
        a_shutdown_never_waits,
        futures_of_the_executor_lose_nothing,
        futures_that_are_done_can_be_kept,
        a_buffer_may_use_the_runtime_as_it_goes,
    );
    on_proactors!(suite, a_dropped_write_that_went_out_whole_breaks_nothing);
    suite.run()
}
