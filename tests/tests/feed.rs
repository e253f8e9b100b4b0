//! Goal: what is fed arrives whole and in order, or the peer and the program learn that it did not.
//!
//! Method: std's blocking streams at the other end, which read late, in pieces, or not at all, and reset.

use std::io::{ErrorKind, Read};
use std::process::ExitCode;

use executor::{Reader, Stream as _, Writer};
use tests::net::{Pattern, pair, read_late, reset};
use tests::{Bench, Engine, Suite, ms, on_every_engine, on_every_variant, poll_once, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// More than the kernel takes from us while the peer does not read.
const LARGE: usize = 12 << 20;

/// Writes of every kind keep their order behind what was fed.
fn everything_comes_in_order<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        let reader = read_late(peer);
        let (pattern, mut total) = (Pattern::new(3), 0);
        let mut next = |len: usize| {
            total += len;
            pattern.bytes(total - len, len)
        };
        for round in 0..20 {
            stream.feed(next(1 + round * 40_000)).await.unwrap();
            match round % 4 {
                0 => stream.write_all(next(1000)).await.0.unwrap(),
                1 => stream.write_all_vectored(vec![next(10), next(20_000)]).await.0.unwrap(),
                2 => stream.flush().await.unwrap(),
                _ => stream.feed(next(7)).await.unwrap(),
            }
        }
        stream.feed(Vec::new()).await.unwrap();
        stream.shutdown().await.unwrap();
        let (all, end) = reader.join().unwrap();
        assert_eq!((all.len(), end), (total, Ok(total)));
        pattern.check(0, &all);
    });
}

/// A slow peer slows the program down: it is not fed without end.
fn one_buffer_at_a_time<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let mut fed = 0;
        while fed <= 1 && rt.timeout(ms(30), stream.feed(vec![b'x'; LARGE])).await.is_ok() {
            fed += 1;
        }
        assert!(fed <= 1, "{fed} buffers of {LARGE} bytes are under way");
        let mut piece = vec![0; LARGE];
        peer.read_exact(&mut piece[..1 << 20]).unwrap();
        drop(stream);
    });
}

/// The second buffer is dropped with its future. What was fed before it goes on, and nothing is broken.
fn dropped_while_it_waits_it_breaks_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        // On a reactor nothing is fed behind the program's back.
        let is_fed = poll_once(&mut Box::pin(stream.feed(vec![b'a'; LARGE]))).await.is_some();
        if !is_fed {
            return;
        }
        for _ in 0..3 {
            assert!(poll_once(&mut Box::pin(stream.feed("dropped"))).await.is_none());
            assert!(poll_once(&mut Box::pin(stream.flush())).await.is_none());
            std::mem::forget(Box::pin(stream.feed("leaked")));
        }
        let reader = read_late(peer);
        stream.write_all("z").await.0.unwrap();
        stream.close().await.unwrap();
        let (all, end) = reader.join().unwrap();
        assert!(all.len() == LARGE + 1 && all.ends_with(b"az"), "{} bytes, {end:?}", all.len());
    });
}

/// A cut message never looks whole: either all comes, or the peer gets an error.
fn a_drop_sends_all_or_resets<E: Engine>() {
    for (len, is_split) in [(10, false), (10, true), (LARGE, false), (LARGE, true)] {
        run::<E>(async |rt| {
            let (mut stream, peer) = pair::<E>(rt).await;
            let reader = read_late(peer);
            if is_split {
                let (read, mut write) = stream.split();
                write.feed(vec![b'x'; len]).await.unwrap();
                drop(write);
                rt.sleep(ms(5)).await;
                drop(read);
            } else {
                stream.feed(vec![b'x'; len]).await.unwrap();
                drop(stream);
            }
            rt.sleep(ms(5)).await;
            let (all, end) = reader.join().unwrap();
            assert!(all.len() == len || end == Err(ErrorKind::ConnectionReset), "{} of {len}: {end:?}", all.len());
        });
    }
}

/// The same when the runtime ends, and the stream lives on.
fn the_end_of_the_runtime_resets<E: Engine>() {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let fed = rt.block_on(async {
        let (mut stream, peer) = pair::<E>(&rt).await;
        let is_fed = poll_once(&mut Box::pin(stream.feed(vec![b'x'; LARGE]))).await.is_some();
        rt.sleep(ms(5)).await;
        // On a reactor this is a write that was dropped midway.
        is_fed.then_some((stream, peer))
    });
    bench.end();
    assert_eq!(rt.stats().driver.ops_leaked.unwrap_or(0), 0, "no future waits for it");
    let Some((stream, peer)) = fed else { return };
    let reader = read_late(peer);
    drop(stream);
    let (all, end) = reader.join().unwrap();
    assert_eq!(end, Err(ErrorKind::ConnectionReset), "{} bytes came", all.len());
}

/// Dropped at once, what was flushed is not lost.
fn what_was_flushed_arrives<E: Engine>() {
    run::<E>(async |rt| {
        for _ in 0..20 {
            let (mut stream, peer) = pair::<E>(rt).await;
            let reader = read_late(peer);
            stream.feed("all of it").await.unwrap();
            stream.flush().await.unwrap();
            drop(stream);
            assert_eq!(reader.join().unwrap(), (b"all of it".to_vec(), Ok(9)));
        }
    });
}

/// The program learns of a failure from what it does next, whatever that is.
fn a_failure_is_told<E: Engine>() {
    for step in 0..5 {
        run::<E>(async |rt| {
            let (mut stream, peer) = pair::<E>(rt).await;
            let fed = {
                let mut feeding = Box::pin(stream.feed(vec![b'x'; LARGE]));
                let fed = poll_once(&mut feeding).await;
                rt.sleep(ms(20)).await;
                reset(peer);
                match fed {
                    Some(fed) => fed,
                    None => feeding.await,
                }
            };
            let error = match (fed, step) {
                (Err(error), _) => Some(error),
                (_, 0) => stream.flush().await.err(),
                (_, 1) => stream.write_all("more").await.0.err(),
                (_, 2) => stream.feed("more").await.err(),
                // The send may have taken the connection's error. Then this sees an orderly end, and the send tells.
                (_, 3) => match stream.recv().await {
                    Ok(_) => stream.flush().await.err(),
                    Err(error) => Some(error),
                },
                _ => stream.close().await.err(),
            };
            let kind = error.map(|error| error.kind());
            assert!(matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)), "{step}: {kind:?}");
        });
    }
}

/// A stream that has fed and waits holds no buffer.
fn it_lets_go_of_what_is_sent<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        std::io::Write::write_all(&mut peer, b"x").unwrap();
        let chunk = stream.recv().await.unwrap();
        assert_eq!(rt.stats().driver.chunks_lent_now, 1);
        stream.feed(chunk).await.unwrap();
        rt.sleep(ms(20)).await;
        assert_eq!(rt.stats().driver.chunks_lent_now, 0);
        peer.read_exact(&mut [0]).unwrap();
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        everything_comes_in_order,
        dropped_while_it_waits_it_breaks_nothing,
        a_drop_sends_all_or_resets,
        a_failure_is_told,
        what_was_flushed_arrives,
    );
    on_every_engine!(suite, one_buffer_at_a_time, the_end_of_the_runtime_resets, it_lets_go_of_what_is_sent);
    suite.run()
}
