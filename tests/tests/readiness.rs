//! Goal: what epoll says is turned into the right wakes, in both modes. A partial read needs no second
//! report; a drained socket is waited for; an end or an error behind a short read is seen; a
//! descriptor nobody waits for costs nothing; a report about something that is gone reaches nobody.
//!
//! Method: each row of the table in `reactor/src/source.rs`, with the system calls and events counted.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;

use executor::{IoBuf, Reader, Stats, Stream, Verdict, Writer, yield_now};
use reactor::{AsyncFd, Direction, Reactor};
use tests::net::{ask, echo, listen, pair, recv_exactly, reset};
use tests::{Engine, Suite, ms, on_every_engine, on_every_variant, poll_once, run};

fn calls(stats: &Stats, name: &str) -> u64 {
    stats.driver.system_calls.iter().find(|(other, _)| *other == name).map_or(0, |(_, count)| *count)
}

/// Ten bytes at a time of a hundred that arrived together: the rest is remembered, not waited for.
fn a_partial_read_needs_no_second_report<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let text: Vec<u8> = (0..100).collect();
        peer.write_all(&text).unwrap();
        rt.sleep(ms(5)).await;
        for part in text.chunks(10) {
            let (result, bytes) = rt.timeout(ms(5000), stream.read(vec![0; 10])).await.expect("it is there");
            assert_eq!((result.unwrap(), bytes.as_slice()), (10, part));
        }
        // Then it is drained, and the next read waits for what comes next.
        assert!(rt.timeout(ms(5), stream.read(vec![0; 10])).await.is_err());
        peer.write_all(b"more").unwrap();
        assert_eq!(recv_exactly(&mut stream, 4).await, b"more");
    });
}

/// The same, counted: what is there is read at the first poll, and the kernel is not asked in between.
fn what_is_remembered_needs_no_wait<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let text: Vec<u8> = (0..100).collect();
        peer.write_all(&text).unwrap();
        rt.sleep(ms(5)).await;
        let waits = |stats: Stats| calls(&stats, "epoll_pwait2");
        let before = waits(rt.stats());
        for part in text.chunks(10) {
            let (result, bytes) = poll_once(&mut Box::pin(stream.read(vec![0; 10]))).await.expect("at once");
            assert_eq!((result.unwrap(), bytes.as_slice()), (10, part));
        }
        assert_eq!(waits(rt.stats()) - before, 0, "waits");
    });
}

/// A read that fills its buffer exactly does not prove that there is more, or that there is not.
fn reads_of_just_the_right_size<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        for n in 0..200u8 {
            peer.write_all(&[n; 10]).unwrap();
            assert_eq!(recv_exactly(&mut stream, 10).await, [n; 10]);
            if n % 3 == 0 {
                rt.sleep(ms(0)).await;
            }
        }
        drop(peer);
        assert!(stream.recv().await.unwrap().bytes().is_empty());
    });
}

/// The other thread writes at every possible moment around the reader's "would block".
fn writes_around_would_block_are_all_seen<E: Engine>() {
    const ROUNDS: u32 = 10_000;
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let server = rt.spawn(echo(stream));
        let thread = std::thread::spawn(move || {
            for round in 0..ROUNDS {
                for _ in 0..fastrand::u32(0..500) {
                    std::hint::spin_loop();
                }
                ask(&mut peer, &round.to_le_bytes()[..1 + round as usize % 4]);
            }
        });
        server.await.unwrap();
        thread.join().unwrap();
    });
}

/// One question, one answer: how many system calls that takes.
fn an_echo_takes_few_system_calls<E: Engine>() {
    const ROUNDS: u64 = 200;
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let server = rt.spawn(echo(stream));
        let warm_up = std::thread::spawn(move || {
            ask(&mut peer, b"warm up");
            peer
        });
        while !warm_up.is_finished() {
            rt.sleep(ms(10)).await;
        }
        let mut peer = warm_up.join().unwrap();
        let before = rt.stats();
        let thread = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                ask(&mut peer, b"a question");
            }
            // Stays open until the figures have been read.
            peer
        });
        while !thread.is_finished() {
            rt.sleep(ms(10)).await;
        }
        let after = rt.stats();
        let made = |name| calls(&after, name) - calls(&before, name);
        // A receive, a send and a wait each; no second receive only to be told "nothing".
        assert!(made("recvfrom") <= ROUNDS + 10, "{} receives", made("recvfrom"));
        assert_eq!(made("sendto"), ROUNDS);
        assert!(made("epoll_ctl") <= 10, "{} questions to epoll", made("epoll_ctl"));
        drop(thread.join().unwrap());
        server.await.unwrap();
    });
}

/// HUP and ERR cannot be masked. A socket nobody waits for is reported once, and then no more.
fn a_parked_hangup_is_reported_once<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        // It has been waited for, so epoll has been asked.
        assert!(rt.timeout(ms(2), stream.recv()).await.is_err());
        let events = rt.stats().driver.events;
        reset(peer);
        rt.sleep(ms(50)).await;
        let reported = rt.stats().driver.events - events;
        assert!((1..=3).contains(&reported), "{reported} events");
        let error = stream.recv().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// A thousand of them: the kernel is asked no more often than there are resets, and then no more at all.
fn a_thousand_parked_resets_are_silent<E: Engine<Rt = Reactor>>() {
    const PARKED: usize = 1000;
    run::<E>(async |rt| {
        let mut parked = Vec::new();
        for _ in 0..PARKED {
            let (mut stream, peer) = pair::<E>(rt).await;
            assert!(rt.timeout(ms(0), stream.recv()).await.is_err(), "nothing to receive");
            parked.push((stream, peer));
        }
        let (mut streams, peers): (Vec<_>, Vec<_>) = parked.into_iter().unzip();
        let waits = |stats: Stats| calls(&stats, "epoll_pwait2");
        let (before, events, mut slept) = (waits(rt.stats()), rt.stats().driver.events, 0);
        peers.into_iter().for_each(reset);
        // A busy machine takes its time to deliver them.
        while rt.stats().driver.events - events < PARKED as u64 {
            rt.sleep(ms(10)).await;
            slept += 1;
        }
        let after = waits(rt.stats());
        assert!(after - before <= PARKED as u64 + slept, "{} waits for {PARKED} resets", after - before);
        let events = rt.stats().driver.events;
        rt.sleep(ms(100)).await;
        assert_eq!(rt.stats().driver.events, events, "events for nobody, again and again");
        assert!(waits(rt.stats()) - after <= 2, "the timer's own");
        for stream in &mut streams {
            assert_eq!(stream.recv().await.map(drop).unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

/// Turns until one brings no report: whatever could be done has been done.
async fn settled(rt: &Reactor) {
    let mut seen = 0;
    while seen != rt.stats().driver.events {
        seen = rt.stats().driver.events;
        rt.sleep(ms(5)).await;
    }
}

/// Turns until there was a report more than `before`.
async fn reported(rt: &Reactor, before: u64) {
    while rt.stats().driver.events == before {
        yield_now().await;
    }
}

/// Somebody waits for room, and nobody reads any more when bytes come: only the question about reading is taken
/// back.
fn a_report_nobody_reads_keeps_the_writer_waiting<E: Engine<Rt = Reactor>>() {
    const TOTAL: usize = 64 << 20;
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let (mut read, mut write) = stream.split();
        let writer = rt.spawn(async move { write.write_all(vec![7; TOTAL]).await.0.unwrap() });
        assert!(rt.timeout(ms(5), read.recv()).await.is_err(), "epoll has been asked, and nobody waits");
        settled(rt).await;
        assert!(!writer.is_finished(), "it waits for room");
        let before = rt.stats().driver.events;
        peer.write_all(b"for nobody yet").unwrap();
        reported(rt, before).await;
        let thread = std::thread::spawn(move || peer.read_exact(&mut vec![0; TOTAL]).unwrap());
        rt.timeout(ms(20_000), writer).await.expect("woken when there is room").unwrap();
        assert_eq!(recv_exactly(&mut read, 14).await, b"for nobody yet");
        thread.join().unwrap();
    });
}

/// The other way round: somebody reads, and nobody writes any more when there is room.
fn a_report_nobody_writes_for_keeps_the_reader_waiting<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (stream, mut peer) = pair::<E>(rt).await;
        let (mut read, mut write) = stream.split();
        assert!(rt.timeout(ms(5), write.write_all(vec![7; 64 << 20])).await.is_err(), "asked, and nobody waits");
        let reader = rt.spawn(async move { recv_exactly(&mut read, 4).await });
        settled(rt).await;
        let before = rt.stats().driver.events;
        peer.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 1 << 20];
        while rt.stats().driver.events == before {
            let _ = peer.read(&mut buffer);
            yield_now().await;
        }
        peer.write_all(b"here").unwrap();
        assert_eq!(rt.timeout(ms(20_000), reader).await.expect("woken when bytes come").unwrap(), b"here");
    });
}

/// A pipe whose writer goes reports HUP without IN.
fn a_hangup_without_data_wakes_the_reader<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut reader = AsyncFd::new(rt, reader).unwrap();
        let waiting =
            rt.spawn(
                async move { reader.io(Direction::Read, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?)).await.unwrap() },
            );
        rt.sleep(ms(5)).await;
        drop(writer);
        assert_eq!(waiting.await.unwrap(), 0);
    });
}

/// In one batch of reports, one handler drops the source of another, whose report is still to come; a
/// new source may get the same descriptor number. Nobody is woken by the stale report.
fn stale_reports_reach_nobody<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        for _ in 0..20 {
            let (near, mut far): (Vec<_>, Vec<_>) = (0..20).map(|_| UnixStream::pair().unwrap()).unzip();
            let mut sources: Vec<_> = near.into_iter().map(|near| AsyncFd::new(rt, near).unwrap()).collect();
            for source in &mut sources {
                let waits = source.io(Direction::Read, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?));
                assert!(rt.timeout(ms(0), waits).await.is_err());
            }
            // All are ready by the next turn, and none of them exists any more.
            far.iter_mut().for_each(|far| far.write_all(b"x").unwrap());
            drop(sources);
            let (near, _far) = UnixStream::pair().unwrap();
            let mut fresh = AsyncFd::new(rt, near).unwrap();
            let waits = fresh.io(Direction::Read, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?));
            assert!(rt.timeout(ms(1), waits).await.is_err(), "nothing was written to it");
        }
    });
}

/// Two sources are ready in one batch. The task of the first drops the second, and opens a socket that gets its
/// number. The report was for the one that is gone.
fn a_number_used_again_is_another_source<E: Engine<Rt = Reactor>>() {
    fn watch(rt: &Reactor) -> (AsyncFd, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (AsyncFd::new(rt, near).unwrap(), far)
    }
    run::<E>(async |rt| {
        for _ in 0..50 {
            let ((mut first, mut first_far), (mut second, mut second_far)) = (watch(rt), watch(rt));
            // Both have been waited for, so epoll has been asked about both.
            for source in [&mut first, &mut second] {
                let waits = source.io(Direction::Read, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?));
                assert!(rt.timeout(ms(0), waits).await.is_err());
            }
            let handle = rt.clone();
            let task = rt.spawn(async move {
                first.io(Direction::Read, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?)).await.unwrap();
                let number = second.as_fd().as_raw_fd();
                drop(second);
                let (mut fresh, _far) = watch(&handle);
                assert_eq!(fresh.as_fd().as_raw_fd(), number, "the kernel gives the lowest number that is free");
                let mut tries = 0;
                let waits = fresh.io(Direction::Read, |fd| {
                    tries += 1;
                    Ok(rustix::io::read(fd, &mut [0; 8])?)
                });
                assert!(handle.timeout(ms(1), waits).await.is_err(), "nothing was written to it");
                tries
            });
            yield_now().await;
            // Ready in the same batch.
            first_far.write_all(b"x").unwrap();
            second_far.write_all(b"x").unwrap();
            assert_eq!(task.await.unwrap(), 1, "tried once, and never woken");
        }
        assert_eq!(rt.stats().driver.stale_events, Some(0), "a registration ends before its descriptor does");
    });
}

/// A duplicate keeps an epoll registration alive after its descriptor is closed, and nothing can end it
/// any more. So it must be ended before.
fn a_duplicate_makes_no_ghost<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let duplicate = near.try_clone().unwrap();
        let mut source = AsyncFd::new(rt, near).unwrap();
        let waits = source.io(Direction::Read, |fd| Ok(rustix::io::read(fd, &mut [0; 8])?));
        assert!(rt.timeout(ms(0), waits).await.is_err());
        drop(source);
        let before = rt.stats();
        far.write_all(b"for the duplicate").unwrap();
        rt.sleep(ms(50)).await;
        let after = rt.stats();
        assert_eq!(after.driver.events - before.driver.events, 0);
        assert_eq!(after.driver.stale_events, Some(0));
        drop(duplicate);
    });
}

/// A registration that could not be ended, because the kernel refused, reports on under its old name. Its
/// place in the table belongs to somebody else by then, who must not be woken.
fn a_report_under_an_old_name_is_counted<E: Engine<Rt = Reactor>>() {
    run::<E>(async |rt| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let duplicate = near.try_clone().unwrap();
        let source = AsyncFd::new(rt, near).unwrap();
        let refuse = |name: &'static str, _| match name {
            "epoll_ctl" => Verdict::Fail(2),
            _ => Verdict::Pass,
        };
        E::set_judge(rt, Some(Rc::new(refuse)));
        drop(source);
        E::set_judge(rt, None);
        let (near, _other) = UnixStream::pair().unwrap();
        let mut fresh = AsyncFd::new(rt, near).unwrap();
        let mut tries = 0;
        let waits = fresh.io(Direction::Read, |fd| {
            tries += 1;
            Ok(rustix::io::read(fd, &mut [0; 8])?)
        });
        far.write_all(b"a ghost").unwrap();
        assert!(rt.timeout(ms(20), waits).await.is_err());
        assert_eq!((tries, rt.stats().driver.stale_events), (1, Some(1)));
        drop(duplicate);
    });
}

/// More sources ready at once than one wait reports: all are served, none is forgotten.
fn more_ready_sources_than_one_wait_reports<E: Engine>() {
    const MANY: usize = 1500;
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let mut peers = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..MANY {
            peers.push(TcpStream::connect(addr).unwrap());
            let mut stream = executor::Listener::accept(&mut listener).await.unwrap();
            tasks.push(rt.spawn(async move {
                let chunk = stream.recv().await.unwrap();
                stream.write_all(chunk).await.0.unwrap();
            }));
        }
        yield_now().await;
        rt.sleep(ms(5)).await;
        peers.iter_mut().for_each(|peer| peer.write_all(b"x").unwrap());
        for task in tasks {
            task.await.unwrap();
        }
        for mut peer in peers {
            assert_eq!(peer.read(&mut [0; 8]).unwrap(), 1);
        }
    });
}

/// Urgent data makes a read stop short at its mark; what lies behind it must still be seen.
fn a_short_read_at_the_urgent_mark<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        let waiting = rt.spawn(async move {
            let mut all = Vec::new();
            while all.len() < 8 {
                let chunk = stream.recv().await.unwrap();
                all.extend_from_slice(chunk.bytes());
            }
            all
        });
        rt.sleep(ms(5)).await;
        let mut sender = socket2::Socket::from(peer);
        sender.write_all(b"fore").unwrap();
        sender.send_out_of_band(b"!").unwrap();
        sender.write_all(b"back").unwrap();
        assert_eq!(waiting.await.unwrap(), b"foreback");
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.limit(60);
    on_every_variant!(
        suite,
        a_partial_read_needs_no_second_report,
        reads_of_just_the_right_size,
        writes_around_would_block_are_all_seen,
    );
    on_every_engine!(suite, more_ready_sources_than_one_wait_reports, a_short_read_at_the_urgent_mark);
    tests::on_reactors!(
        suite,
        an_echo_takes_few_system_calls,
        what_is_remembered_needs_no_wait,
        a_parked_hangup_is_reported_once,
        a_thousand_parked_resets_are_silent,
        a_report_nobody_reads_keeps_the_writer_waiting,
        a_report_nobody_writes_for_keeps_the_reader_waiting,
        a_hangup_without_data_wakes_the_reader,
        stale_reports_reach_nobody,
        a_number_used_again_is_another_source,
        a_duplicate_makes_no_ghost,
    );
    // In level mode such a registration reports for ever.
    tests::on_engines!(suite, [ReactorEdge], a_report_under_an_old_name_is_counted);
    suite.run()
}
