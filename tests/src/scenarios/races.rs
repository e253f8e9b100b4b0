//! Futures dropped in the very moment in which they would have been done.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use executor::{IoBuf, Listener, Reader, Report, Stream as _, Verdict, Writer, yield_now};
use socket2::SockRef;

use super::{Scenario, scenario};
use crate::engine::{Engine, Subject};
use crate::judges::{chance, errno, is_final, names_something};
use crate::net::{Pattern, V4, listen, pair, recv_exactly, reset};
use crate::rounds::Rounds;
use crate::{ms, poll_once, start_then_drop};

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "P8",
        "a read is cancelled as its bytes arrive: it ends once, and they are the next one's if they are not its own",
        3000,
        [ProactorFull, ProactorBare],
        read_against_cancel
    );
    scenario!(
        all,
        "P9",
        "an accept is dropped as its connection arrives: the next one gets it, or it is closed with the listener",
        700,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorOneshot],
        accept_against_drop
    );
    scenario!(
        all,
        "P10",
        "a receive times out as its bytes arrive: not one is lost",
        3000,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare],
        receive_against_timeout
    );
    scenario!(
        all,
        "P11",
        "a send is dropped midway: nothing more can be sent, and the peer has a part of it, once, from the start",
        60,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorBare],
        send_dropped_midway
    );
}

/// Does nothing for a time too short for a sleep.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A thread that writes each message it is given to the peer.
fn speaker(mut peer: TcpStream) -> mpsc::Sender<(Duration, Vec<u8>)> {
    let (sender, messages) = mpsc::channel::<(Duration, Vec<u8>)>();
    std::thread::spawn(move || {
        for (delay, message) in messages {
            spin(delay);
            peer.write_all(&message).expect("write");
        }
    });
    sender
}

/// How an operation and its cancel ended.
fn outcome(reports: &[Report]) -> (&'static str, &'static str) {
    let (operation, cancel): (Vec<_>, Vec<_>) = reports.iter().partition(|report| names_something(report));
    let ends: Vec<_> = operation.into_iter().filter(is_final).collect();
    let [end] = ends[..] else { panic!("an operation ends once: {reports:?}") };
    let end = match end.result {
        0.. => "done",
        result if result == -errno::ECANCELED => "ECANCELED",
        result if result == -errno::EINTR => "EINTR",
        result => panic!("a read ended with {result}"),
    };
    let cancel = match cancel[..] {
        // It says nothing if it found its operation.
        [] => "0",
        [Report { result: -2, .. }] => "ENOENT",
        [Report { result: -114, .. }] => "EALREADY",
        _ => panic!("a cancel that ended so: {cancel:?}"),
    };
    (end, cancel)
}

fn read_against_cancel<E: Engine>(rounds: &mut Rounds) {
    let mut table: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    crate::run::<E>(async |rt| {
        let mut random = fastrand::Rng::with_seed(rounds.seed());
        let reports = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&reports);
        E::set_editor(rt, Some(Rc::new(move |batch| seen.borrow_mut().extend_from_slice(batch))));
        let (mut stream, peer) = pair::<E>(rt).await;
        let mut peer_here = peer.try_clone().expect("dup");
        let speaker = speaker(peer);
        // The accept ends with its listener.
        while rt.stats().driver.operations_now > Some(0) {
            yield_now().await;
        }
        for round in rounds.by_ref() {
            let byte = [round as u8];
            let moment = random.u8(0..4);
            reports.borrow_mut().clear();
            {
                let mut read = std::pin::pin!(stream.read(vec![0; 64]));
                assert!(poll_once(&mut read).await.is_none(), "nothing was sent");
                yield_now().await;
                match moment {
                    // From another thread, at about the same time.
                    0 => speaker.send((Duration::from_nanos(random.u64(0..40_000)), byte.to_vec())).expect("it lives"),
                    // Just before.
                    1 => peer_here.write_all(&byte).expect("write"),
                    _ => {}
                }
                spin(Duration::from_nanos(random.u64(0..60_000)));
            }
            if moment == 2 {
                // Just after.
                peer_here.write_all(&byte).expect("write");
            }
            while rt.stats().driver.operations_now > Some(0) {
                rt.sleep(Duration::ZERO).await;
                yield_now().await;
            }
            // The cancel's answer may come after the operation's end.
            yield_now().await;
            *table.entry(outcome(&reports.borrow())).or_default() += 1;
            if moment < 3 {
                assert_eq!(recv_exactly(&mut stream, 1).await, byte, "round {round}");
            }
        }
        E::set_editor(rt, None);
    });
    for ((operation, cancel), count) in table {
        rounds.figure(&format!("read {operation}, cancel {cancel}"), count);
    }
}

fn accept_against_drop<E: Engine>(rounds: &mut Rounds) {
    let (handed_on, closed) = (Cell::new(0u64), Cell::new(0u64));
    crate::run::<E>(async |rt| {
        let mut random = fastrand::Rng::with_seed(rounds.seed());
        // What is to reach the kernel reaches it late, now and then.
        let (late, _) = chance(rounds.seed(), 8, |random, _| Verdict::Delay(Duration::from_micros(random.u64(0..50))));
        E::set_judge(rt, Some(late));
        let (mut listener, mut addr) = listen(rt);
        let (sender, addresses) = mpsc::channel();
        let (peers, connected) = mpsc::channel();
        let connector = std::thread::spawn(move || {
            for (addr, delay) in addresses {
                spin(delay);
                peers.send(TcpStream::connect(addr).expect("connect")).expect("it is waited for");
            }
        });
        for _ in rounds.by_ref() {
            let is_submitted = random.bool();
            start_then_drop(listener.accept(), async {
                if is_submitted {
                    yield_now().await;
                }
                sender.send((addr, Duration::from_nanos(random.u64(0..40_000)))).expect("it lives");
                spin(Duration::from_nanos(random.u64(0..80_000)));
            })
            .await;
            if random.u8(0..8) > 0 {
                let stream = rt.timeout(ms(20_000), listener.accept()).await.expect("lost").expect("accept");
                let peer = connected.recv().expect("it is connected");
                assert_eq!(stream.peer_addr().expect("peer"), peer.local_addr().expect("local"), "another one");
                handed_on.update(|count| count + 1);
                reset(peer);
            } else {
                let mut peer = connected.recv().expect("it is connected");
                drop(listener);
                peer.set_nonblocking(true).expect("non-blocking");
                // Closed by the kernel, or by us, as soon as the accept has come back.
                while matches!(peer.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                    rt.sleep(Duration::from_micros(50)).await;
                }
                closed.update(|count| count + 1);
                reset(peer);
                (listener, addr) = listen(rt);
            }
        }
        drop(sender);
        connector.join().expect("no panic");
        E::set_judge(rt, None);
    });
    rounds.figure("connections handed on", handed_on.get());
    rounds.figure("connections closed with their listener", closed.get());
}

fn receive_against_timeout<E: Engine>(rounds: &mut Rounds) {
    let (timeouts, sent) = (Cell::new(0u64), Cell::new(0));
    crate::run::<E>(async |rt| {
        let mut random = fastrand::Rng::with_seed(rounds.seed());
        let pattern = Pattern::new(rounds.seed());
        let (mut stream, peer) = pair::<E>(rt).await;
        let speaker = speaker(peer);
        let mut received = 0;
        for _ in rounds.by_ref() {
            let len = random.usize(1..300);
            let delay = Duration::from_nanos(random.u64(0..50_000));
            speaker.send((delay, pattern.bytes(sent.get(), len))).expect("it lives");
            sent.set(sent.get() + len);
            let limit = Duration::from_nanos(random.u64(0..120_000));
            let arrived = if random.bool() {
                rt.timeout(limit, stream.recv()).await.map(|chunk| chunk.expect("recv").bytes().to_vec())
            } else {
                let read = rt.timeout(limit, stream.read(vec![0; random.usize(1..400)])).await;
                read.map(|(count, bytes)| bytes[..count.expect("read")].to_vec())
            };
            match arrived {
                Ok(bytes) => {
                    pattern.check(received, &bytes);
                    received += bytes.len();
                }
                Err(_elapsed) => timeouts.update(|count| count + 1),
            }
            // Now and then all is taken, so that the next one has to wait again.
            let ahead = if random.bool() { 0 } else { 20_000 };
            while sent.get() - received > ahead {
                let chunk = stream.recv().await.expect("recv");
                pattern.check(received, chunk.bytes());
                received += chunk.bytes().len();
            }
        }
        drop(speaker);
        let rest = recv_exactly(&mut stream, sent.get() - received).await;
        pattern.check(received, &rest);
        assert!(stream.recv().await.expect("recv").bytes().is_empty(), "more than was sent");
    });
    rounds.figure("timeouts", timeouts.get());
    rounds.figure("bytes in and out", sent.get());
}

fn send_dropped_midway<E: Engine>(rounds: &mut Rounds) {
    const SIZE: usize = 1 << 20;
    let (shortest, longest) = (Cell::new(SIZE), Cell::new(0));
    crate::run::<E>(async |rt| {
        let mut random = fastrand::Rng::with_seed(rounds.seed());
        let pattern = Pattern::new(rounds.seed());
        let listener = std::net::TcpListener::bind(V4).expect("bind");
        for round in rounds.by_ref() {
            let mut peer = TcpStream::connect(listener.local_addr().expect("addr")).expect("connect");
            let (stream, _) = listener.accept().expect("accept");
            SockRef::from(&stream).set_send_buffer_size(4096).expect("SO_SNDBUF");
            let mut stream = rt.stream_of(stream).expect("a stream");
            let pause = Duration::from_micros(random.u64(0..2000));
            let reads = random.usize(0..4);
            start_then_drop(stream.write_all(pattern.bytes(0, SIZE)), rt.sleep(pause)).await;
            let mut all = vec![0; reads * 1000];
            if reads > 0 {
                let count = peer.read(&mut all).expect("read");
                all.truncate(count);
                rt.sleep(Duration::ZERO).await;
            }
            for _ in 0..2 {
                assert_eq!(stream.write_all("after").await.0.expect_err("broken").kind(), ErrorKind::BrokenPipe);
                assert_eq!(stream.write("after").await.0.expect_err("broken").kind(), ErrorKind::BrokenPipe);
            }
            drop(stream);
            let reader = std::thread::spawn(move || peer.read_to_end(&mut all).map(|_| all));
            while !reader.is_finished() {
                rt.sleep(ms(1)).await;
            }
            let all = reader.join().expect("no panic").expect("an end, not an error");
            assert!(all.len() < SIZE, "round {round}: all of it");
            pattern.check(0, &all);
            shortest.set(shortest.get().min(all.len()));
            longest.set(longest.get().max(all.len()));
        }
    });
    rounds.figure("shortest part, bytes", shortest.get());
    rounds.figure("longest part, bytes", longest.get());
}
