//! Goal: `copy` and `copy_bidirectional` hand on every byte once and in order, count them, pass the ends on, hold no more
//! than a chunk of each way, and close both streams when one breaks.
//!
//! Method: TCP and Unix streams in a row, with peers of std at both ends, on every engine and with every fallback.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::process::ExitCode;

use executor::{IoBuf, Net, Reader, Stream, Writer, copy, copy_bidirectional, yield_now};
use tests::net::{Pattern, pair, recv_exactly, reset};
use tests::{Engine, Suite, both, elsewhere, ms, on_every_fallback, run, start_then_drop};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

const LEN: usize = 1_000_000;

/// And the writer is still good for more.
fn copies_up_to_the_end<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(1);
        let (mut from, mut source) = pair::<E>(rt).await;
        let (mut to, mut sink) = rt.unix_pair().unwrap();
        let bytes = pattern.bytes(0, LEN);
        let sender = elsewhere(move || {
            bytes.chunks(54_321).for_each(|piece| source.write_all(piece).unwrap());
            source.shutdown(Shutdown::Write).unwrap();
            source
        });
        let receiver = rt.spawn(async move {
            pattern.check(0, &recv_exactly(&mut sink, LEN).await);
            assert_eq!(recv_exactly(&mut sink, 5).await, b"more.");
        });
        let (count, _source) = both(copy(&mut from, &mut to), sender).await;
        assert_eq!(count.unwrap(), LEN as u64);
        to.write_all("more.").await.0.unwrap();
        receiver.await.unwrap();
        assert_eq!(copy(&mut from, &mut to).await.unwrap(), 0, "the end again");
    });
}

/// Each side ends when the other has, and not before: the answer begins when the question has ended.
fn both_ways_with_their_ends<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(2);
        let (client_side, mut client) = pair::<E>(rt).await;
        let (server_side, mut server) = pair::<E>(rt).await;
        let (question, answer) = (pattern.bytes(0, LEN), pattern.bytes(5, LEN / 2));
        let client = elsewhere(move || {
            client.write_all(&question).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer
        });
        let server = elsewhere(move || {
            let mut question = Vec::new();
            server.read_to_end(&mut question).unwrap();
            server.write_all(&answer).unwrap();
            question
        });
        let (counts, (answer, question)) =
            both(copy_bidirectional(client_side, server_side), both(client, server)).await;
        assert_eq!(counts.unwrap(), (LEN as u64, LEN as u64 / 2));
        assert_eq!((question.len(), answer.len()), (LEN, LEN / 2));
        pattern.check(0, &question);
        pattern.check(5, &answer);
    });
}

/// Somebody who does not read stops who sends, instead of filling our memory.
fn a_slow_reader_slows_the_sender<E: Engine>() {
    run::<E>(async |rt| {
        let (from, mut source) = pair::<E>(rt).await;
        let (to, mut sink) = pair::<E>(rt).await;
        let copying = rt.spawn(copy_bidirectional(from, to));
        source.set_nonblocking(true).unwrap();
        let block = vec![7; 64 * 1024];
        let (mut sent, mut refused, mut most) = (0, 0, 0);
        // Until nothing has moved for a while.
        while refused < 20 {
            match source.write(&block) {
                Ok(count) => (sent, refused) = (sent + count, 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    refused += 1;
                    rt.sleep(ms(1)).await;
                }
            }
            yield_now().await;
            most = most.max(rt.stats().driver.chunks_lent_now);
        }
        assert!(most <= 100, "{most} chunks");
        drop(source);
        let received = elsewhere(move || {
            let mut received = Vec::new();
            sink.read_to_end(&mut received).unwrap();
            received.len()
        });
        assert_eq!(received.await, sent);
        assert_eq!(copying.await.unwrap().unwrap(), (sent as u64, 0));
    });
}

fn what_breaks_one_ends_both<E: Engine>() {
    run::<E>(async |rt| {
        let (one, mut one_peer) = pair::<E>(rt).await;
        let (other, other_peer) = pair::<E>(rt).await;
        let copying = rt.spawn(copy_bidirectional(one, other));
        yield_now().await;
        reset(other_peer);
        assert_eq!(copying.await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
        let end = elsewhere(move || one_peer.read(&mut [0; 10]).unwrap());
        assert_eq!(end.await, 0);
        // Dropped: the same.
        let (one, mut one_peer) = pair::<E>(rt).await;
        let (other, mut other_peer) = pair::<E>(rt).await;
        start_then_drop(copy_bidirectional(one, other), yield_now()).await;
        let ends = elsewhere(move || (one_peer.read(&mut [0; 10]).unwrap(), other_peer.read(&mut [0; 10]).unwrap()));
        assert_eq!(ends.await, (0, 0));
    });
}

/// Dropped while it reads, a copy has lost nothing.
fn a_dropped_copy_loses_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (mut from, mut source) = pair::<E>(rt).await;
        let (mut to, mut sink) = rt.unix_pair().unwrap();
        for number in 0..200_u8 {
            start_then_drop(copy(&mut from, &mut to), async { source.write_all(&[number]).unwrap() }).await;
            if number % 2 == 0 {
                assert_eq!(from.recv().await.unwrap().bytes(), [number]);
            } else {
                source.write_all(b"!").unwrap();
                let (result, pair) = from.read_exact([0; 2]).await;
                result.unwrap();
                assert_eq!(pair, [number, b'!']);
            }
        }
        to.write_all("unbroken").await.0.unwrap();
        assert_eq!(recv_exactly(&mut sink, 8).await, b"unbroken");
        assert!(to.peer_addr().is_err());
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        copies_up_to_the_end,
        both_ways_with_their_ends,
        a_slow_reader_slows_the_sender,
        what_breaks_one_ends_both,
        a_dropped_copy_loses_nothing,
    );
    suite.run()
}
