//! Goal: a thousand connections are served as one is; and while none of them has anything to say, the
//! runtime sleeps.
//!
//! Method: one echo server, a thousand clients on the same runtime or on threads; turns counted while
//! everybody is silent.

use std::cell::Cell;
use std::io::Write;
use std::net::TcpStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use executor::{IoBuf, ListenOptions, Listener, Reader, Runtime, Writer};
use socket2::SockRef;
use tests::net::{V4, ask, listen, recv_exactly, serve};
use tests::{Engine, Suite, ms, on_every_engine, on_every_fallback, open_fds, run};

const MANY: usize = 1000;

fn a_thousand_at_once<E: Engine>() {
    run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        let clients: Vec<_> = (0..MANY)
            .map(|n| {
                let handle = rt.clone();
                rt.spawn(async move {
                    let mut stream = handle.connect(addr).await.expect("connect");
                    for round in 0..5 {
                        let question = format!("{n} {round}").into_bytes();
                        stream.write_all(question.clone()).await.0.expect("write");
                        assert_eq!(recv_exactly(&mut stream, question.len()).await, question);
                    }
                    stream
                })
            })
            .collect();
        let mut streams = Vec::new();
        for client in clients {
            streams.push(client.await.unwrap());
        }
        assert_eq!(rt.stats().tasks_now as usize, MANY + 1, "all are still connected");
        drop(streams);
        server.abort();
    });
}

/// More connections than the backlog takes at a time, from threads that don't wait for each other.
fn connects_from_threads_are_all_served<E: Engine>() {
    run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        let (remote, stopped) = (rt.remote(), rt.stopped());
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..50 {
                            let mut peers: Vec<_> = (0..5).map(|_| TcpStream::connect(addr).unwrap()).collect();
                            for peer in &mut peers {
                                peer.set_read_timeout(Some(ms(20_000))).unwrap();
                                ask(peer, b"hello");
                            }
                        }
                    });
                }
            });
            remote.stop();
        });
        stopped.await;
        thread.join().unwrap();
        server.abort();
    });
}

fn idle_connections_cost_no_turns<E: Engine>() {
    run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        let mut peers: Vec<_> = (0..MANY).map(|_| TcpStream::connect(addr).unwrap()).collect();
        // Each has spoken once, so each has been through everything.
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        while (rt.stats().tasks_now as usize) < MANY + 1 {
            rt.sleep(ms(1)).await;
        }
        // Until they have all been answered, and nothing stirs but this.
        let mut before = rt.stats();
        loop {
            rt.sleep(ms(100)).await;
            let polls = rt.stats().polls - before.polls;
            before = rt.stats();
            if polls == 1 {
                break;
            }
        }
        let (start, before) = (Instant::now(), rt.stats());
        rt.sleep(ms(500)).await;
        assert!(start.elapsed() >= ms(500));
        assert_eq!(rt.stats().driver.events, before.driver.events, "events");
        let turns = rt.stats().turns - before.turns;
        assert!(turns <= 5, "{turns} turns while {MANY} connections were silent");
        assert_eq!(rt.stats().polls - before.polls, 1, "the one that slept");
        for peer in &mut peers {
            peer.set_nonblocking(true).unwrap();
            let mut answer = [0; 8];
            assert_eq!(std::io::Read::read(peer, &mut answer).unwrap(), 1, "and they had been served");
        }
        server.abort();
    });
}

/// The memory of a stream goes when it goes: ten generations of connections leave the table as they
/// found it. (The balance check sees the rest.)
fn generations_of_connections_leave_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        let fds = tests::open_fds().len();
        for _ in 0..10 {
            let mut peers: Vec<_> = (0..100).map(|_| TcpStream::connect(addr).unwrap()).collect();
            for peer in &mut peers {
                peer.write_all(b"x").unwrap();
            }
            for peer in peers {
                // Some end, some are reset, some leave an answer unread.
                if fastrand::bool() {
                    tests::net::reset(peer);
                }
                if fastrand::u8(0..10) == 0 {
                    rt.sleep(ms(1)).await;
                }
            }
            while rt.stats().tasks_now > 1 || tests::open_fds().len() > fds {
                rt.sleep(ms(1)).await;
            }
        }
        server.abort();
    });
}

fn a_server_stops_in_order<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let served = Rc::new(Cell::new(0));
        let handle = rt.clone();
        let counted = Rc::clone(&served);
        let server = rt.spawn(async move {
            let mut connections = executor::JoinSet::new();
            let mut stop = Box::pin(handle.stopped());
            loop {
                let mut accept = Box::pin(listener.accept());
                let next = std::future::poll_fn(|cx| {
                    if stop.as_mut().poll(cx).is_ready() {
                        return std::task::Poll::Ready(None);
                    }
                    accept.as_mut().poll(cx).map(Some)
                });
                let Some(stream) = next.await else { break };
                let counted = Rc::clone(&counted);
                connections.add(handle.spawn(async move {
                    let mut stream = stream.expect("accept");
                    let chunk = stream.recv().await.expect("recv");
                    assert_eq!(chunk.bytes(), b"finish this");
                    stream.write_all(chunk).await.0.expect("write");
                    counted.set(counted.get() + 1);
                }));
            }
            drop(listener);
            while connections.join_next().await.is_some() {}
        });
        let mut peers = Vec::new();
        for _ in 0..10 {
            peers.push(rt.connect(addr).await.unwrap());
        }
        rt.sleep(ms(5)).await;
        rt.stop();
        rt.sleep(ms(5)).await;
        assert!(rt.connect(addr).await.is_err(), "no longer accepting");
        assert!(!server.is_finished());
        for peer in &mut peers {
            peer.write_all("finish this").await.0.unwrap();
            assert_eq!(recv_exactly(peer, 11).await, b"finish this");
        }
        server.await.unwrap();
        assert_eq!(served.get(), 10);
    });
}

/// A program that keeps descriptors in reserve says so to its listener: then those who wait to be accepted stay with the
/// kernel, but for one.
fn a_listener_without_accept_ahead_takes_one_at_most<E: Engine>() {
    const WAITING: usize = 100;
    run::<E>(async |rt| {
        let options = ListenOptions { accept_ahead: false, ..ListenOptions::default() };
        let mut listener = rt.listen(V4, &options).unwrap();
        let addr = listener.local_addr().unwrap();
        let inside = TcpStream::connect(addr).unwrap();
        let mut accepted = vec![listener.accept().await.unwrap()];
        // An accept that is given up, so that one may be under way.
        assert!(rt.timeout(ms(1), listener.accept()).await.is_err());
        let waiting: Vec<_> = (0..WAITING).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let before = open_fds().len();
        for _ in 0..20 {
            rt.sleep(ms(1)).await;
        }
        let taken = open_fds().len() - before;
        assert!(taken <= 1, "{taken} were taken before they were asked for");
        for _ in 0..WAITING {
            accepted.push(rt.timeout(ms(10_000), listener.accept()).await.expect("lost").unwrap());
        }
        drop((inside, waiting));
    });
}

/// Small writes are sent at once unless a program says otherwise, to the listener or to the stream.
fn small_writes_are_sent_at_once<E: Engine>() {
    run::<E>(async |rt| {
        for nodelay in [true, false] {
            let mut listener = rt.listen(V4, &ListenOptions { nodelay, ..ListenOptions::default() }).unwrap();
            let connected = rt.connect(listener.local_addr().unwrap()).await.unwrap();
            let accepted = listener.accept().await.unwrap();
            assert_eq!(accepted.nodelay().unwrap(), nodelay, "as the listener was told");
            assert!(connected.nodelay().unwrap());
            for nodelay in [false, true] {
                connected.set_nodelay(nodelay).unwrap();
                assert_eq!(SockRef::from(&connected).tcp_nodelay().unwrap(), nodelay);
                assert_eq!(connected.nodelay().unwrap(), nodelay);
            }
        }
        assert!(ListenOptions::default().nodelay);
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    suite.limit(60);
    on_every_fallback!(suite, a_thousand_at_once, idle_connections_cost_no_turns);
    on_every_engine!(
        suite,
        connects_from_threads_are_all_served,
        generations_of_connections_leave_nothing,
        a_server_stops_in_order,
        small_writes_are_sent_at_once,
    );
    on_every_fallback!(suite, a_listener_without_accept_ahead_takes_one_at_most);
    suite.run()
}
