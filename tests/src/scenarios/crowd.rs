//! As many connections as a process can have, all at once, and then none.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use executor::{Runtime, Stream as _};
use fastrand::Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::flat::{Flat, Usage};
use crate::guests::Guests;
use crate::net::{listen, serve};
use crate::rounds::Rounds;

/// Connections at the same time, both of whose ends are ours: twice as many descriptors, of which a process has
/// 20,000 where limits are strict.
const CROWD: usize = 9_500;
/// Those of the first time, which is all that the tests have time for.
const FIRST: usize = 2_000;
/// Connections that are made before any of them is served; the kernel keeps that many.
const BATCH: usize = 1000;
/// Bytes that may stay of each connection, however often the crowd has come: its places in the tables, which the next
/// one takes. Tables double when they are full, so that up to twice as much is there as was needed.
const PLACE: usize = 512;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "Y3",
        "9,500 connections up, then down, over and over: all are served, and leave their places in the tables and no more",
        1,
        [ReactorLevel, ReactorEdge, ProactorFull],
        up_and_down
    );
}

fn up_and_down<E: Engine>(rounds: &mut Rounds) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("the soft limit can be raised");
    crate::run::<E>(async |rt| {
        let mut random = Rng::with_seed(rounds.seed());
        let (listener, addr) = listen(rt);
        let server = serve(rt, listener);
        // Comes at every odd time, and goes at every even one.
        let mut guests = Guests::new(1, || {
            let (mut crowd, mut sizes) = (Vec::with_capacity(CROWD), sizes());
            move |_| if crowd.is_empty() { come(addr, &mut crowd, sizes.next()) } else { crowd.clear() }
        });
        let flat = Flat::new(rt).await;
        // What is made at the first use is not the crowd's.
        let mut one = rt.connect(addr).await.expect("connect");
        one.exchange(vec![1]).await.expect("an echo");
        drop(one);
        flat.settled(rt).await;
        let before = Usage::now(&rt.stats());
        let (mut each, mut left) = (0, 0);
        for (_, size) in (&mut *rounds).zip(sizes()) {
            guests.play(&mut random).await;
            assert_eq!(rt.stats().tasks_now as usize, size + 1, "all are connected");
            each = (Usage::now(&rt.stats()).heap - before.heap) / size;
            guests.play(&mut random).await;
            flat.settled(rt).await;
            left = Usage::now(&rt.stats()).heap.saturating_sub(before.heap) / size;
            assert!(left <= PLACE, "{left} bytes are left of each of {size} connections");
        }
        server.abort();
        let memory = Usage::now(&rt.stats()).memory;
        rounds.figure("connections at a time", if rounds.done() > 1 { CROWD } else { FIRST });
        rounds.figure("heap for each, bytes", each);
        rounds.figure("heap left of each, bytes", left);
        rounds.figure("memory, KiB", format!("{} ({:+})", memory >> 10, (memory as i64 - before.memory as i64) >> 10));
    });
}

/// How many there are each time.
fn sizes() -> impl Iterator<Item = usize> {
    std::iter::once(FIRST).chain(std::iter::repeat(CROWD))
}

/// Connects so many, and has each served.
fn come(addr: SocketAddr, crowd: &mut Vec<TcpStream>, size: Option<usize>) {
    let size = size.expect("there is no last crowd");
    while crowd.len() < size {
        let first = crowd.len();
        crowd.extend((first..size.min(first + BATCH)).map(|_| TcpStream::connect(addr).expect("connect")));
        for (number, mut peer) in crowd.iter().enumerate().skip(first) {
            peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            peer.write_all(&number.to_le_bytes()).expect("write");
        }
        for (number, mut peer) in crowd.iter().enumerate().skip(first) {
            let mut answer = [0; size_of::<usize>()];
            peer.read_exact(&mut answer).expect("read");
            assert_eq!(answer, number.to_le_bytes());
        }
    }
}
