//! Goal: every way in which a connection can end is seen on the other side as what it is: an orderly
//! end after all bytes, or a reset; and nothing hangs or spins meanwhile.
//!
//! Method: each way once, against std's blocking sockets and between two streams of the engine. The
//! turns of the driver are counted where a parked connection has to stay silent.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::process::ExitCode;

use executor::{IoBuf, Reader, Runtime, Stream as _, Writer, yield_now};
use tests::net::{Pattern, V4, duplex, listen, pair, recv_exactly, recv_to_end, reset};
use tests::{Engine, Suite, both, elsewhere, ms, on_every_engine, on_every_variant, on_reactors, run, start_then_drop};

fn our_half_close_leaves_reading_open<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        stream.write_all("last words").await.0.unwrap();
        stream.shutdown().await.unwrap();
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            peer.write_all(b"and an answer").unwrap();
            all
        });
        assert_eq!(recv_to_end(&mut stream).await, b"and an answer");
        assert_eq!(thread.join().unwrap(), b"last words");
        let error = stream.write_all("too late").await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

fn the_peers_half_close_leaves_writing_open<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"question").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(recv_to_end(&mut stream).await, b"question");
        assert!(stream.recv().await.unwrap().bytes().is_empty());
        let answer = Pattern::new(1).bytes(0, 1 << 20);
        let expected = answer.clone();
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            assert!(all == expected);
        });
        stream.write_all(answer).await.0.unwrap();
        stream.close().await.unwrap();
        thread.join().unwrap();
    });
}

/// The end comes in the same segment as the last bytes, which are fewer than the buffer: a runtime that
/// takes a short read for "drained" must still see the end. Often, because it is a race.
fn data_and_end_together<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        for round in 0..300u32 {
            let mut peer = std::net::TcpStream::connect(addr).unwrap();
            let mut stream = executor::Listener::accept(&mut listener).await.unwrap();
            let reader = rt.spawn(async move { recv_to_end(&mut stream).await });
            if round % 3 == 0 {
                executor::yield_now().await;
            }
            peer.write_all(&round.to_le_bytes()).unwrap();
            drop(peer);
            assert_eq!(reader.await.unwrap(), round.to_le_bytes());
        }
    });
}

fn an_idle_readers_end_comes_at_once<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        let reader = rt.spawn(async move { stream.recv().await.unwrap().bytes().len() });
        rt.sleep(ms(5)).await;
        drop(peer);
        assert_eq!(reader.await.unwrap(), 0);
    });
}

fn a_reset_is_an_error<E: Engine>() {
    run::<E>(async |rt| {
        // While reading waits, and before anybody waits.
        for waits in [true, false] {
            let (stream, peer) = pair::<E>(rt).await;
            let (mut read, mut write) = stream.split();
            if waits {
                let (received, ()) = both(read.recv(), async {
                    rt.sleep(ms(5)).await;
                    reset(peer);
                })
                .await;
                assert_eq!(received.map(drop).unwrap_err().kind(), ErrorKind::ConnectionReset);
            } else {
                reset(peer);
                rt.sleep(ms(5)).await;
                assert_eq!(read.recv().await.map(drop).unwrap_err().kind(), ErrorKind::ConnectionReset);
            }
            // The error is told once; then the socket is simply at its end.
            assert!(read.recv().await.unwrap().bytes().is_empty());
            assert_eq!(write.write_all("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
        }
    });
}

/// A reset that comes behind bytes nobody has read yet: the reader is woken, gets a prefix of them, and is told.
fn a_reset_behind_unread_bytes_wakes_the_reader<E: Engine>() {
    run::<E>(async |rt| {
        let pattern = Pattern::new(4);
        for round in 0..40 {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            let reader = rt.spawn(async move {
                let mut all = Vec::new();
                loop {
                    match stream.recv().await {
                        Ok(chunk) if chunk.bytes().is_empty() => return (all, None),
                        Ok(chunk) => all.extend_from_slice(chunk.bytes()),
                        Err(error) => return (all, Some(error.kind())),
                    }
                }
            });
            if round % 2 == 0 {
                yield_now().await;
            }
            peer.write_all(&pattern.bytes(0, 1 + round * 1000)).unwrap();
            reset(peer);
            let (all, error) = reader.await.unwrap();
            pattern.check(0, &all);
            assert_eq!(error, Some(ErrorKind::ConnectionReset), "after {} bytes", all.len());
        }
    });
}

fn a_reset_in_the_middle_of_a_large_write<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        let writer = rt.spawn(async move {
            let result = stream.write_all(vec![1; 64 << 20]).await.0;
            (stream, result)
        });
        rt.sleep(ms(10)).await;
        assert!(!writer.is_finished(), "64 MiB do not fit into the kernel");
        reset(peer);
        let (mut stream, result) = writer.await.unwrap();
        let kind = result.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind}");
        assert!(stream.write_all("x").await.0.is_err());
    });
}

/// Closing with unread input makes the kernel reset the peer instead of ending the stream: the peer's
/// unread answer is lost. That is TCP; the test pins down that we don't add to it.
fn closing_with_unread_input_resets_the_peer<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"nobody reads this").unwrap();
        rt.sleep(ms(5)).await;
        drop(stream);
        let error = peer.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

fn dropping_the_stream_ends_it_at_once<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        // With a receive in flight until just before.
        let mut stream = stream;
        assert!(rt.timeout(ms(5), stream.recv()).await.is_err());
        drop(stream);
        // Without another turn of the loop: it stands still here.
        peer.set_read_timeout(Some(ms(2000))).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

fn a_task_dropped_with_its_stream_ends_it<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let task = rt.spawn(async move { stream.recv().await.map(drop) });
        rt.sleep(ms(5)).await;
        task.abort();
        drop(task.await);
        rt.sleep(ms(1)).await;
        peer.set_read_timeout(Some(ms(2000))).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

fn halves_close_one_by_one<E: Engine>() {
    run::<E>(async |rt| {
        // The writing half first: the peer sees the end, and can still be read from.
        let (here, mut there) = duplex::<E>(rt).await;
        let (mut read, mut write) = here.split();
        write.write_all("bye").await.0.unwrap();
        drop(write);
        assert_eq!(recv_to_end(&mut there).await, b"bye");
        there.write_all("still here").await.0.unwrap();
        assert_eq!(recv_exactly(&mut read, 10).await, b"still here");
        drop(read);
        // The reading half first: writing goes on.
        let (here, mut there) = duplex::<E>(rt).await;
        let (read, mut write) = here.split();
        drop(read);
        write.write_all("one sided").await.0.unwrap();
        assert_eq!(recv_exactly(&mut there, 9).await, b"one sided");
        drop(write);
        assert!(there.recv().await.unwrap().bytes().is_empty());
    });
}

/// Either side, or both.
fn each_side_ends_by_itself<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        // A receive has been under way.
        start_then_drop(stream.recv(), rt.sleep(ms(1))).await;
        stream.shutdown_how(Shutdown::Read).unwrap();
        assert!(stream.recv().await.unwrap().bytes().is_empty());
        stream.write_all("still").await.0.unwrap();
        let mut received = [0; 5];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"still");

        let (mut stream, mut peer) = pair::<E>(rt).await;
        stream.shutdown_how(Shutdown::Write).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        peer.write_all(b"answer").unwrap();
        assert_eq!(recv_exactly(&mut stream, 6).await, b"answer");
        assert_eq!(stream.write_all("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);

        let (mut stream, mut peer) = pair::<E>(rt).await;
        stream.shutdown_how(Shutdown::Both).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        assert!(stream.recv().await.unwrap().bytes().is_empty());
        assert_eq!(stream.write_all("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

/// The last half closes, which says it all. Telling the peer of an end before would be another call for each connection.
fn a_dropped_stream_costs_one_call<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, _peer) = pair::<E>(rt).await;
        let (other, _other_peer) = pair::<E>(rt).await;
        let calls = || {
            let calls = rt.stats().driver.system_calls;
            let count = |name| calls.iter().find(|(other, _)| *other == name).map_or(0, |(_, count)| *count);
            ["shutdown", "close"].map(count)
        };
        let before = calls();
        drop(stream);
        assert_eq!(calls(), [before[0], before[1] + 1], "a stream");
        let (read, write) = other.split();
        drop(read);
        assert_eq!(calls(), [before[0], before[1] + 1], "a reading half");
        drop(write);
        assert_eq!(calls(), [before[0], before[1] + 2], "the last half");
    });
}

/// Bytes may arrive before the reading half goes. Their memory goes with it, and not first with the writing half.
fn bytes_that_a_dropped_half_has_not_read_are_given_back<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let (mut read, mut write) = stream.split();
        // A proactor goes on receiving when this is dropped. A reactor takes nothing that is not asked for.
        start_then_drop(read.recv(), rt.sleep(ms(1))).await;
        peer.write_all(b"first").unwrap();
        while E::NAME.starts_with("proactor") && rt.stats().driver.chunks_lent_now == 0 {
            rt.sleep(ms(1)).await;
        }
        peer.write_all(b"second").unwrap();
        rt.sleep(ms(5)).await;
        drop(read);
        assert_eq!(rt.stats().driver.chunks_lent_now, 0);
        write.write_all("still").await.0.unwrap();
        let mut received = [0; 5];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"still");
    });
}

fn close_reports<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        stream.close().await.unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
        // Dropped without being awaited, it closes all the same.
        let (stream, mut peer) = pair::<E>(rt).await;
        drop(stream.close());
        rt.sleep(ms(1)).await;
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

fn connecting_to_nobody_is_refused<E: Engine>() {
    run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        drop(listener);
        rt.sleep(ms(1)).await;
        for _ in 0..20 {
            let error = rt.connect(addr).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
        // The kernel's own choice of port is no listener.
        assert!(rt.connect(V4).await.is_err());
    });
}

fn a_taken_address_is_told<E: Engine>() {
    run::<E>(async |rt| {
        let (_listener, addr) = listen(rt);
        let error = rt.listen(addr, &executor::ListenOptions::default()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let shared = executor::ListenOptions { reuse_port: true, ..Default::default() };
        let one = rt.listen(V4, &shared).unwrap();
        let addr = executor::Listener::local_addr(&one).unwrap();
        rt.listen(addr, &shared).unwrap();
    });
}

/// The kernel reports a reset or an end again and again in level-triggered mode, and cannot be told not
/// to. 100 connections that nobody waits for must not keep the loop busy.
fn parked_connections_stay_silent<E: Engine>() {
    run::<E>(async |rt| {
        let mut parked = Vec::new();
        for n in 0..100 {
            let (mut stream, peer) = pair::<E>(rt).await;
            // Half of them have waited before, so that the kernel has been asked.
            if n % 2 == 0 {
                assert!(rt.timeout(ms(0), stream.recv()).await.is_err());
            }
            parked.push((stream, peer));
        }
        let mut streams = Vec::new();
        for (n, (stream, peer)) in parked.into_iter().enumerate() {
            streams.push(stream);
            match n % 4 {
                0 | 1 => reset(peer),
                _ => drop(peer),
            }
        }
        rt.sleep(ms(20)).await;
        let turns = rt.stats().turns;
        rt.sleep(ms(200)).await;
        let turns = rt.stats().turns - turns;
        assert!(turns <= 20, "{turns} turns while nothing happens; {}", rt.stats());
        for (n, mut stream) in streams.into_iter().enumerate() {
            match stream.recv().await {
                Ok(chunk) => assert!(n % 4 >= 2 && chunk.bytes().is_empty()),
                Err(error) => assert!(n % 4 < 2 && error.kind() == ErrorKind::ConnectionReset),
            }
        }
    });
}

/// The peer is done and reads on; our writer waits for room. The end of the peer's stream concerns the
/// reader only: the writer must neither fail nor spin.
fn a_full_writer_waits_through_the_peers_end<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let (mut read, mut write) = stream.split();
        let total = 64 << 20;
        let writer = rt.spawn(async move {
            write.write_all(vec![5; total]).await.0.unwrap();
        });
        rt.sleep(ms(20)).await;
        peer.shutdown(Shutdown::Write).unwrap();
        assert!(read.recv().await.unwrap().bytes().is_empty());
        rt.sleep(ms(20)).await;
        let turns = rt.stats().turns;
        rt.sleep(ms(200)).await;
        assert!(rt.stats().turns - turns <= 20, "{}", rt.stats());
        assert!(!writer.is_finished());
        let thread = std::thread::spawn(move || {
            let mut all = vec![0; total];
            peer.read_exact(&mut all).unwrap();
        });
        writer.await.unwrap();
        thread.join().unwrap();
    });
}

/// A read that no future waits for any more has met the reset, and with it the kernel's only word about it. A stream that
/// was cut off must not look whole.
fn a_reset_that_a_given_up_read_met_is_told<E: Engine>() {
    run::<E>(async |rt| {
        for is_leaked in [false, true] {
            let (mut stream, peer) = pair::<E>(rt).await;
            let mut read = Box::pin(stream.read(vec![0; 100]));
            assert!(tests::poll_once(&mut read).await.is_none());
            rt.sleep(ms(5)).await;
            reset(peer);
            rt.sleep(ms(20)).await;
            if is_leaked {
                std::mem::forget(read)
            } else {
                drop(read)
            }
            let received = stream.recv().await.map(|chunk| chunk.bytes().len());
            assert!(received.is_err(), "the reset reads as {received:?}");
        }
    });
}

/// A proactor with a receive under way cannot end the connection by close(2) alone: what it does instead must be no
/// orderly end.
fn a_reset_on_purpose_is_one_although_a_receive_waits<E: Engine>() {
    fn reset_in_halves<S: executor::Stream>(stream: S) {
        let (read, write) = stream.split();
        S::reset(read, write);
    }
    run::<E>(async |rt| {
        for is_split in [true, false] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            start_then_drop(stream.recv(), rt.sleep(ms(1))).await;
            if is_split {
                reset_in_halves(stream);
            } else {
                stream.set_zero_linger().unwrap();
                drop(stream);
            }
            let error = elsewhere(move || peer.read(&mut [0; 8]).unwrap_err()).await;
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "split: {is_split}");
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(
        suite,
        our_half_close_leaves_reading_open,
        the_peers_half_close_leaves_writing_open,
        data_and_end_together,
        a_reset_is_an_error,
        each_side_ends_by_itself,
        a_reset_on_purpose_is_one_although_a_receive_waits,
        bytes_that_a_dropped_half_has_not_read_are_given_back,
    );
    on_every_engine!(
        suite,
        an_idle_readers_end_comes_at_once,
        a_reset_behind_unread_bytes_wakes_the_reader,
        a_reset_in_the_middle_of_a_large_write,
        closing_with_unread_input_resets_the_peer,
        dropping_the_stream_ends_it_at_once,
        a_task_dropped_with_its_stream_ends_it,
        halves_close_one_by_one,
        close_reports,
        connecting_to_nobody_is_refused,
        a_taken_address_is_told,
        parked_connections_stay_silent,
        a_full_writer_waits_through_the_peers_end,
        a_reset_that_a_given_up_read_met_is_told,
    );
    on_reactors!(suite, a_dropped_stream_costs_one_call);
    suite.run()
}
