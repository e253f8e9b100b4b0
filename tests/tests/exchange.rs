//! Goal: `exchange` is `write_all` and then `recv`, said at once: nothing of either is lost, and no failure of
//! either is kept quiet.
//!
//! Method: std's blocking streams at the other end, which answer, say more than asked, read late, reset, or end.

use std::cell::Cell;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::rc::Rc;

use executor::{IoBuf, Reader, Stream as _, Writer};
use tests::net::{Pattern, pair, recv_exactly, reset};
use tests::{Engine, Suite, ms, on_every_engine, on_every_variant, poll_once, run, start_then_drop};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// More than the kernel takes from us while the peer does not read.
const LARGE: usize = 12 << 20;

fn each_question_has_its_answer<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let thread = std::thread::spawn(move || {
            let mut question = [0; 4];
            while peer.read_exact(&mut question).is_ok() {
                peer.write_all(&[question[0] + 1]).unwrap();
            }
        });
        for number in 0..200 {
            assert_eq!(stream.exchange(vec![number; 4]).await.unwrap().bytes(), [number + 1]);
        }
        stream.shutdown().await.unwrap();
        assert!(stream.recv().await.unwrap().bytes().is_empty());
        thread.join().unwrap();
    });
}

/// The peer takes the buffer in small pieces, and talks all the while: what it says has arrived long before the
/// send is over, and waits.
fn a_peer_that_reads_late_and_talks_early<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let thread = std::thread::spawn(move || {
            peer.write_all(b"early").unwrap();
            std::thread::sleep(ms(50));
            let (pattern, mut piece, mut total) = (Pattern::new(7), vec![0; 100_000], 0);
            while total < LARGE {
                let room = piece.len().min(LARGE - total);
                let count = peer.read(&mut piece[..room]).unwrap();
                assert!(count > 0, "the end after {total} bytes");
                pattern.check(total, &piece[..count]);
                total += count;
            }
            // Whoever waits for this waits for more than the send.
            peer.read_exact(&mut [0]).unwrap();
            peer.write_all(b" and late").unwrap();
        });
        let sent = Pattern::new(7).bytes(0, LARGE);
        let mut all = stream.exchange(sent).await.unwrap().bytes().to_vec();
        stream.write_all("!").await.0.unwrap();
        all.extend(recv_exactly(&mut stream, "early and late".len() - all.len()).await);
        assert_eq!(all, b"early and late");
        thread.join().unwrap();
    });
}

/// Nobody else would wake a task that waits for an answer to what was never sent.
fn a_send_that_fails_is_told<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        stream.shutdown().await.unwrap();
        let result = stream.exchange("too late").await;
        assert_eq!(result.err().unwrap().kind(), std::io::ErrorKind::BrokenPipe);
        peer.write_all(b"still there").unwrap();
        assert_eq!(stream.recv().await.unwrap().bytes(), b"still there");
    });
}

fn a_reset_is_told<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let thread = std::thread::spawn(move || {
            peer.read_exact(&mut [0; 5]).unwrap();
            reset(peer);
        });
        let result = stream.exchange("hello").await;
        assert_eq!(result.err().unwrap().kind(), std::io::ErrorKind::ConnectionReset);
        thread.join().unwrap();
    });
}

fn the_end_is_an_empty_chunk<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let thread = std::thread::spawn(move || peer.read_exact(&mut [0; 3]).unwrap());
        let result = stream.exchange("bye").await;
        assert!(result.unwrap().bytes().is_empty());
        thread.join().unwrap();
    });
}

fn an_empty_buffer_only_receives<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"a").unwrap();
        let result = stream.exchange(Vec::new()).await;
        assert_eq!(result.unwrap().bytes(), b"a");
    });
}

fn dropped_it_loses_no_received_byte<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        {
            let mut exchange = Box::pin(stream.exchange("question"));
            assert!(poll_once(&mut exchange).await.is_none());
            rt.sleep(ms(20)).await;
        }
        let mut question = [0; 8];
        peer.read_exact(&mut question).unwrap();
        assert_eq!(&question, b"question", "it had been sent by then");
        peer.write_all(b"answer").unwrap();
        assert_eq!(recv_exactly(&mut stream, 6).await, b"answer");
    });
}

/// The socket takes nothing at all when the send begins.
fn a_full_socket_is_waited_for<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let mut total = 0;
        loop {
            let count = stream.write(vec![b'x'; LARGE]).await.0.unwrap();
            total += count;
            if count < LARGE {
                break;
            }
        }
        let thread = std::thread::spawn(move || {
            std::thread::sleep(ms(50));
            let mut all = vec![0; total + 4];
            peer.read_exact(&mut all).unwrap();
            assert!(all.ends_with(b"xlast"));
            peer.write_all(b"answer").unwrap();
        });
        assert_eq!(stream.exchange("last").await.unwrap().bytes(), b"answer");
        thread.join().unwrap();
    });
}

/// The question is out, so more can be said, though the task learned nothing of that.
fn dropped_while_the_answer_is_awaited_it_breaks_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        for _ in 0..20 {
            start_then_drop(stream.exchange("question"), rt.sleep(ms(2))).await;
            stream.write_all("still there?").await.0.unwrap();
            let mut heard = [0; 20];
            peer.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"questionstill there?");
        }
        peer.write_all(b"yes").unwrap();
        assert_eq!(recv_exactly(&mut stream, 3).await, b"yes");
    });
}

/// The peer reads nothing, so neither is the buffer sent nor may anything follow what was.
fn dropped_before_it_is_sent_it_breaks_the_writing_side<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        assert!(rt.timeout(ms(50), stream.exchange(vec![b'x'; 2 * LARGE])).await.is_err());
        let (result, buffer) = stream.write_all("more").await;
        assert_eq!((result.unwrap_err().kind(), buffer), (std::io::ErrorKind::BrokenPipe, "more"));
        peer.write_all(b"heard").unwrap();
        assert_eq!(recv_exactly(&mut stream, 5).await, b"heard");
        drop(stream);
        let mut all = Vec::new();
        let _ = peer.read_to_end(&mut all);
        assert!(all.len() < 2 * LARGE && all.iter().all(|byte| *byte == b'x'));
    });
}

/// Dropped in the same poll: the kernel has not even seen it, and is through with it when it has.
fn dropped_at_once_it_leaves_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        assert!(poll_once(&mut Box::pin(stream.exchange("first"))).await.is_none());
        let (result, _) = stream.write_all("second").await;
        if let Err(error) = result {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        } else {
            let mut both = [0; 11];
            peer.read_exact(&mut both).unwrap();
            assert_eq!(&both, b"firstsecond");
        }
        peer.write_all(b"x").unwrap();
        assert_eq!(stream.recv().await.unwrap().bytes(), b"x");
    });
}

/// Chunks of the runtime and buffers of the program, of any kind: none is held while the answer is awaited.
fn a_stream_that_waits_holds_no_buffer<E: Engine>() {
    struct Counted(Rc<Cell<u32>>);

    impl IoBuf for Counted {
        fn bytes(&self) -> &[u8] {
            b"counted"
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"x").unwrap();
        let chunk = stream.recv().await.unwrap();
        assert_eq!(rt.stats().driver.chunks_lent_now, 1);
        let dropped = Rc::new(Cell::new(0));
        let counted = Counted(Rc::clone(&dropped));
        let waiting = rt.spawn(async move {
            let answer = stream.exchange(chunk).await.unwrap().bytes().to_vec();
            (answer, stream.exchange(counted).await.unwrap().bytes().to_vec())
        });
        rt.sleep(ms(20)).await;
        assert_eq!(rt.stats().driver.chunks_lent_now, 0, "the chunk went home when it was sent");
        peer.read_exact(&mut [0]).unwrap();
        peer.write_all(b"1").unwrap();
        rt.sleep(ms(20)).await;
        assert_eq!(dropped.get(), 1, "the buffer was dropped when it was sent");
        peer.read_exact(&mut [0; 7]).unwrap();
        peer.write_all(b"2").unwrap();
        assert_eq!(waiting.await.unwrap(), (b"1".to_vec(), b"2".to_vec()));
    });
}

/// Both ends of many connections exchange at the same time, messages of all sizes.
fn many_at_once<E: Engine>() {
    run::<E>(async |rt| {
        let mut tasks = Vec::new();
        for seed in 0..30u8 {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            let size = 1 + usize::from(seed) * 1700;
            tasks.push(rt.spawn(async move {
                for _ in 0..20 {
                    let mut total = stream.exchange(vec![seed; size]).await.unwrap().bytes().len();
                    while total < size {
                        total += stream.recv().await.unwrap().bytes().len();
                    }
                    assert_eq!(total, size);
                }
            }));
            std::thread::spawn(move || {
                let mut message = vec![0; size];
                while peer.read_exact(&mut message).is_ok() {
                    assert!(message.iter().all(|byte| *byte == seed));
                    peer.write_all(&message).unwrap();
                }
            });
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        each_question_has_its_answer,
        a_peer_that_reads_late_and_talks_early,
        a_send_that_fails_is_told,
        a_stream_that_waits_holds_no_buffer,
        dropped_while_the_answer_is_awaited_it_breaks_nothing,
        dropped_before_it_is_sent_it_breaks_the_writing_side,
    );
    on_every_engine!(
        suite,
        many_at_once,
        a_reset_is_told,
        the_end_is_an_empty_chunk,
        an_empty_buffer_only_receives,
        dropped_it_loses_no_received_byte,
        dropped_at_once_it_leaves_nothing,
        a_full_socket_is_waited_for,
    );
    suite.run()
}
