//! Goal: running out of descriptors, memory or places slows the runtime down where it must, keeps what
//! it has going, and passes when the shortage does. Errors that concern one connection never end an
//! accept loop.
//!
//! Method: the real limit of descriptors of this process; and the seam, which fails chosen calls.

use std::cell::Cell;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use executor::{ListenOptions, Listener, Reader, Runtime, Verdict, Writer};
use tests::descriptors::{leave_room_for, lift_the_limit};
use tests::judges::first;
use tests::net::{V4, echo, listen, pair, recv_exactly};
use tests::{Engine, Subject, Suite, ms, on_engines, on_every_engine, on_every_fallback, on_reactors, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// At the limit a connection waits in the backlog. The kernel goes on reporting it; a naive loop tries
/// to accept it a million times per second.
fn accept_survives_the_limit_of_descriptors<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let (mut before, mut peer_before) = pair::<E>(rt).await;
        // Made before the limit; a connect needs no descriptor that isn't there yet.
        let sockets: Vec<_> = (0..10)
            .map(|_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap())
            .collect();
        let fillers = leave_room_for(0);
        for socket in &sockets {
            socket.connect(&addr.into()).unwrap();
        }
        let handle = rt.clone();
        let server = rt.spawn(async move {
            for _ in 0..10 {
                let stream = listener.accept().await.expect("a shortage is no error of accept");
                handle.spawn(echo(stream)).detach();
            }
        });
        let (start, stats) = (Instant::now(), rt.stats());
        // Those who are connected go on.
        for _ in 0..50 {
            peer_before.write_all(b"still there?").unwrap();
            assert_eq!(recv_exactly(&mut before, 12).await, b"still there?");
            rt.sleep(ms(10)).await;
        }
        assert!(!server.is_finished());
        let now = rt.stats();
        let pauses = now.accept_pauses - stats.accept_pauses;
        let seconds = start.elapsed().as_secs() + 1;
        assert!((1..=30 * seconds).contains(&pauses), "{pauses} pauses in {:?}", start.elapsed());
        let turns = now.turns - stats.turns;
        assert!(turns <= 1000 * seconds, "{turns} turns");
        // Descriptors are freed, and nobody has to say so.
        lift_the_limit();
        drop(fillers);
        server.await.unwrap();
        for socket in sockets {
            let mut peer = TcpStream::from(socket);
            rt.sleep(ms(1)).await;
            peer.write_all(b"x").unwrap();
        }
    });
}

fn no_descriptor_is_an_error_to_whoever_asked<E: Engine>() {
    run::<E>(async |rt| {
        let (_listener, addr) = listen(rt);
        let fillers = leave_room_for(0);
        for _ in 0..10 {
            let error = rt.connect(addr).await.map(drop).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
            let error = rt.listen(V4, &ListenOptions::default()).map(drop).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
        }
        assert!(E::build(executor::Config::default()).is_err(), "no runtime without descriptors");
        lift_the_limit();
        drop((rt.connect(addr).await.unwrap(), fillers));
    });
}

/// The next three accepts fail with this errno. (What is under way already doesn't.)
fn fail_three_accepts<E: Engine>(rt: &E::Rt, errno: i32) {
    let left = Cell::new(3);
    let judge = move |name, _| match name {
        "accept4" | "op_accept" if left.get() > 0 => {
            left.set(left.get() - 1);
            Verdict::Fail(errno)
        }
        _ => Verdict::Pass,
    };
    E::set_judge(rt, Some(Rc::new(judge)));
}

/// These concern the one connection that was about to be accepted, and are told by accept(2) because
/// somebody has to be.
fn errors_of_one_connection_do_not_end_the_loop<E: Engine>() {
    // ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, ENETUNREACH, EPERM,
    // EINTR, EADDRNOTAVAIL, EOPNOTSUPP.
    const ERRNOS: [i32; 12] = [103, 71, 100, 92, 112, 64, 113, 101, 1, 4, 99, 95];
    run::<E>(async |rt| {
        for errno in ERRNOS {
            // A new one, because the kernel has an accept of the proactor's listener until it completes.
            let (mut listener, addr) = listen(rt);
            fail_three_accepts::<E>(rt, errno);
            let _peer = TcpStream::connect(addr).unwrap();
            listener.accept().await.unwrap_or_else(|error| panic!("errno {errno} ended the loop: {error}"));
            E::set_judge(rt, None);
        }
    });
}

/// It was gone before it was accepted, and says nothing about the next one.
fn a_connection_that_was_aborted_costs_no_pause<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        fail_three_accepts::<E>(rt, 103);
        let _peer = TcpStream::connect(addr).unwrap();
        listener.accept().await.unwrap();
        E::set_judge(rt, None);
        assert_eq!(rt.stats().accept_pauses, 0);
    });
}

/// ENFILE, ENOBUFS, ENOMEM, EMFILE: waited out, with a pause that grows.
fn shortages_are_waited_out<E: Engine>() {
    run::<E>(async |rt| {
        for errno in [23, 105, 12, 24] {
            let (mut listener, addr) = listen(rt);
            fail_three_accepts::<E>(rt, errno);
            let _peer = TcpStream::connect(addr).unwrap();
            let (start, pauses) = (Instant::now(), rt.stats().accept_pauses);
            listener.accept().await.unwrap();
            // 10, 20 and 40 ms.
            assert!(start.elapsed() >= ms(70), "errno {errno}: {:?}", start.elapsed());
            assert_eq!(rt.stats().accept_pauses - pauses, 3);
        }
        // A dropped accept does not shorten the pause.
        let (mut listener, addr) = listen(rt);
        let fails = |name| first(name, 1, Verdict::Fail(24));
        let (call, operation) = (fails("accept4"), fails("op_accept"));
        let either = move |name, before| if name == "accept4" { call(name, before) } else { operation(name, before) };
        E::set_judge(rt, Some(Rc::new(either)));
        let _peer = TcpStream::connect(addr).unwrap();
        let start = Instant::now();
        while rt.timeout(ms(1), listener.accept()).await.is_err() {}
        assert!(start.elapsed() >= ms(10));
        E::set_judge(rt, None);
    });
}

/// What fails on the way to a connection or a listener is told to who asked for it, as the kernel says it; the
/// next one has nothing to suffer from it.
fn errors_of_connecting_and_listening_are_told<E: Engine>() {
    // EINTR, ENOMEM, EACCES, ENFILE, EMFILE, EPROTO, EADDRNOTAVAIL, ENOBUFS, ETIMEDOUT, ECONNREFUSED.
    const ERRNOS: [i32; 10] = [4, 12, 13, 23, 24, 71, 99, 105, 110, 111];
    run::<E>(async |rt| {
        let (_listener, addr) = listen(rt);
        for errno in ERRNOS {
            for call in ["socket", "connect", "op_connect"] {
                E::set_judge(rt, Some(first(call, 1, Verdict::Fail(errno))));
                // A call that only another engine makes fails nothing.
                if let Err(error) = rt.connect(addr).await {
                    assert_eq!(error.raw_os_error(), Some(errno), "{call}");
                } else {
                    assert!(call == if rt.engine() == "proactor" { "connect" } else { "op_connect" }, "{call} {errno}");
                }
            }
            for call in ["socket", "bind", "listen"] {
                E::set_judge(rt, Some(first(call, 1, Verdict::Fail(errno))));
                let error = rt.listen(V4, &ListenOptions::default()).map(drop).unwrap_err();
                assert_eq!(error.raw_os_error(), Some(errno), "{call}");
            }
            E::set_judge(rt, None);
            drop(rt.connect(addr).await.unwrap());
            drop(listen(rt));
        }
    });
}

/// A socket from elsewhere may be blocking, on which a call would hold up the whole thread.
fn blocking_sockets_from_elsewhere_block_nobody<E: Engine>() {
    run::<E>(async |rt| {
        let theirs = std::net::TcpListener::bind(V4).unwrap();
        let addr = theirs.local_addr().unwrap();
        let peer = TcpStream::connect(addr).unwrap();
        let (stream, _) = theirs.accept().unwrap();
        let mut stream = rt.stream_of(stream).unwrap();
        let mut listener = rt.listener_of(theirs).unwrap();
        // Nobody comes, nothing arrives, and nobody takes what is sent: timers go on all the same.
        assert!(rt.timeout(ms(5), listener.accept()).await.is_err());
        assert!(rt.timeout(ms(5), stream.recv()).await.is_err());
        assert!(rt.timeout(ms(5), stream.read(vec![0; 10])).await.is_err());
        assert!(rt.timeout(ms(5), stream.write_all(vec![0; 64 << 20])).await.is_err());
        drop(peer);
    });
}

/// A connection that was accepted but cannot be watched, for want of memory (ENOMEM) or of watches
/// (ENOSPC): it is lost, but not the accept loop.
fn a_connection_that_cannot_be_watched_does_not_end_the_loop<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        for errno in [12, 28] {
            let _peer = TcpStream::connect(addr).unwrap();
            drop(rt.timeout(ms(5000), listener.accept()).await.unwrap().unwrap());
            let base = calls(rt, "epoll_ctl");
            E::set_judge(
                rt,
                Some(Rc::new(move |name, before| match name {
                    "epoll_ctl" if before == base => Verdict::Fail(errno),
                    _ => Verdict::Pass,
                })),
            );
            let _peers = [TcpStream::connect(addr).unwrap(), TcpStream::connect(addr).unwrap()];
            let accepted = rt.timeout(ms(5000), listener.accept()).await.expect("not lost");
            accepted.unwrap_or_else(|error| panic!("errno {errno} ended the loop: {error}"));
            // Level mode asks only now.
            let accepted = rt.timeout(ms(200), listener.accept()).await;
            assert!(accepted.is_err() || accepted.unwrap().is_ok(), "errno {errno} ended the loop");
            E::set_judge(rt, None);
        }
    });
}

/// A task waits for a silent stream, and nothing else is there that would end a sleep. If the loop slept over the
/// failure, it would sleep for good.
fn a_question_that_cannot_be_put_is_told_at_once<E: Engine>() {
    run::<E>(async |rt| {
        for errno in [12, 28] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            E::set_judge(rt, Some(first("epoll_ctl", 1, Verdict::Fail(errno))));
            let error = stream.recv().await.map(drop).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno));
            E::set_judge(rt, None);
            // It was the one question, and not the stream.
            peer.write_all(b"x").unwrap();
            assert_eq!(recv_exactly(&mut stream, 1).await, b"x");
        }
    });
}

fn other_errors_end_accept<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let _peer = TcpStream::connect(addr).unwrap();
        // EINVAL: it is no listener.
        let is_accept = |name| matches!(name, "accept4" | "op_accept");
        E::set_judge(rt, Some(Rc::new(move |name, _| if is_accept(name) { Verdict::Fail(22) } else { Verdict::Pass })));
        assert_eq!(listener.accept().await.map(drop).unwrap_err().kind(), ErrorKind::InvalidInput);
        E::set_judge(rt, None);
        listener.accept().await.unwrap();
    });
}

fn calls<R: Runtime>(rt: &R, name: &str) -> u64 {
    let calls = rt.stats().driver.system_calls;
    calls.iter().find(|(other, _)| *other == name).map_or(0, |(_, count)| *count)
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, accept_survives_the_limit_of_descriptors);
    on_every_engine!(suite, no_descriptor_is_an_error_to_whoever_asked);
    on_every_fallback!(
        suite,
        errors_of_one_connection_do_not_end_the_loop,
        a_connection_that_was_aborted_costs_no_pause,
        shortages_are_waited_out,
        other_errors_end_accept,
    );
    on_every_engine!(suite, errors_of_connecting_and_listening_are_told, blocking_sockets_from_elsewhere_block_nobody,);
    on_engines!(suite, [ReactorLevel], a_question_that_cannot_be_put_is_told_at_once);
    on_reactors!(suite, a_connection_that_cannot_be_watched_does_not_end_the_loop);
    suite.run()
}
