//! Many connections: at once, idle, and ready in the very moment in which the runtime decides to wait.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Instant;

use executor::{IoBuf, Listener, Reader, Verdict};
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Socket, Type};

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::net::{listen, pair, reset, serve};
use crate::rounds::Rounds;
use crate::times::Times;
use crate::{elsewhere, ms};

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "ET2",
        "the peer writes between our \"would block\" and our wait: the reader is woken, every time",
        2000,
        [ReactorLevel, ReactorEdge, ReactorMillis, ProactorFull, ProactorBare],
        data_just_before_the_wait
    );
    scenario!(
        all,
        "ET7",
        "10,000 clients (or as many as there are descriptors for) connect at once: none is forgotten in the queue",
        1,
        [ReactorLevel, ReactorEdge, ProactorFull],
        a_burst_of_connects
    );
    scenario!(
        all,
        "N2",
        "10,000 idle connections (2,000 in a debug build): not one wake-up, and all are still served",
        2,
        [ReactorLevel, ReactorEdge, ProactorFull],
        idle_connections
    );
}

/// Pairs of descriptors that may be opened, at most 10,000.
fn most_pairs() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(200) / 2).unwrap_or(usize::MAX).min(10_000)
}

fn data_just_before_the_wait<E: Engine>(rounds: &mut Rounds) {
    /// The last calls before a runtime sleeps, and the one in which it does.
    const WAITS: [&str; 4] = ["epoll_ctl", "epoll_pwait2", "epoll_wait", "io_uring_enter"];
    crate::run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        let writer = peer.try_clone().expect("a duplicate");
        let is_armed = Rc::new(Cell::new(false));
        let armed = Rc::clone(&is_armed);
        let write = move |name: &'static str, _| {
            if WAITS.contains(&name) && armed.take() {
                (&writer).write_all(b"x").expect("write");
            }
            Verdict::Pass
        };
        E::set_judge(rt, Some(Rc::new(write)));
        for _ in rounds {
            is_armed.set(true);
            assert_eq!(stream.recv().await.expect("recv").bytes(), b"x");
            assert!(!is_armed.get());
        }
        E::set_judge(rt, None);
        peer.shutdown(std::net::Shutdown::Write).expect("shutdown");
        assert!(stream.recv().await.expect("recv").bytes().is_empty(), "a byte too many");
    });
}

/// Begins to connect, as fast as that goes.
fn connect_all(addr: std::net::SocketAddr, count: usize) -> Vec<Socket> {
    let sockets = (0..count).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
        // "In progress" is no failure; what really fails is seen later.
        let _ = socket.connect(&addr.into());
        socket
    });
    sockets.collect()
}

fn a_burst_of_connects<E: Engine>(rounds: &mut Rounds) {
    let (most, mut took, mut refused) = (most_pairs(), Times::new(), 0);
    crate::run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        for _ in rounds.by_ref() {
            let start = Instant::now();
            let sockets = connect_all(addr, most);
            let mut accepted = Vec::new();
            let mut failed = 0;
            while accepted.len() + failed < most {
                match rt.timeout(ms(1000), listener.accept()).await {
                    Ok(stream) => accepted.push(stream.expect("accept")),
                    // Those the kernel turned away, if it is told to do so rather than to let them try again.
                    Err(_elapsed) => {
                        let errors = sockets.iter().filter_map(|socket| socket.take_error().expect("SO_ERROR"));
                        failed += errors.count();
                    }
                }
            }
            took.add(start.elapsed());
            refused += failed;
            // No connection stays behind in the kernel for the next round.
            sockets.into_iter().for_each(|socket| reset(socket.into()));
        }
    });
    rounds.figure("connections at once", most);
    rounds.figure("refused by the kernel", refused);
    took.report(rounds, "until all were accepted");
}

/// All questions, then all answers.
fn ask_all(peers: &mut [TcpStream]) {
    for peer in &mut *peers {
        peer.write_all(b"are you there?").expect("write");
    }
    for peer in peers {
        let mut answer = [0; 14];
        peer.read_exact(&mut answer).expect("everybody is answered");
        assert_eq!(&answer, b"are you there?");
    }
}

fn idle_connections<E: Engine>(rounds: &mut Rounds) {
    // A debug build looks at every source before every sleep.
    let most = if cfg!(debug_assertions) { 2000 } else { most_pairs() };
    crate::run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        // Each has spoken once, so each has been through everything.
        let mut peers = elsewhere(move || {
            let mut peers: Vec<_> = (0..most).map(|_| TcpStream::connect(addr).expect("connect")).collect();
            ask_all(&mut peers);
            peers
        })
        .await;
        // Until what the kernel had to say about that is said.
        let mut before = rt.stats();
        loop {
            rt.sleep(ms(50)).await;
            let now = rt.stats();
            if now.driver.events == before.driver.events {
                break;
            }
            before = now;
        }
        let before = rt.stats();
        for _ in rounds.by_ref() {
            rt.sleep(ms(200)).await;
        }
        let after = rt.stats();
        assert_eq!(after.driver.events, before.driver.events, "events");
        assert_eq!(after.polls - before.polls, rounds.done(), "polls beside those of the one that slept");
        elsewhere(move || ask_all(&mut peers)).await;
        server.abort();
        while rt.stats().tasks_now > 0 {
            rt.sleep(ms(1)).await;
        }
    });
    rounds.figure("connections", most);
}
