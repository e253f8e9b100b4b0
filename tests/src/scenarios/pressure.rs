//! More than there is room for: large sends through small sockets, many streams on few buffers.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::rc::Rc;

use executor::{IoBuf, Reader, Writer};
use proactor::Proactor;
use socket2::SockRef;

use super::{Scenario, scenario};
use crate::engine::Engine;
use crate::ms;
use crate::net::{Pattern, duplex, pair};
use crate::rounds::Rounds;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "P15",
        "64 MiB are sent at once through a socket that takes some KiB: every byte arrives, in order",
        1,
        [ProactorFull, ProactorBare, ProactorTiny],
        short_sends
    );
    scenario!(
        all,
        "P17",
        "64 streams receive with four chunks left in the pool: none starves, none spins, and the chunks come home",
        1,
        [ProactorWhole],
        an_almost_empty_pool
    );
}

fn short_sends<E: Engine<Rt = Proactor>>(rounds: &mut Rounds) {
    const TOTAL: usize = 64 << 20;
    crate::run::<E>(async |rt| {
        for round in rounds.by_ref() {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            SockRef::from(&stream.as_fd()).set_send_buffer_size(4096).expect("SO_SNDBUF");
            let reader = std::thread::spawn(move || {
                let (pattern, mut received, mut buffer) = (Pattern::new(round), 0, vec![0; 100_000]);
                loop {
                    // Or each buffer full would wait for an acknowledgement that is put off by 40 ms.
                    SockRef::from(&peer).set_tcp_quickack(true).expect("TCP_QUICKACK");
                    let count = peer.read(&mut buffer).expect("read");
                    if count == 0 {
                        return received;
                    }
                    pattern.check(received, &buffer[..count]);
                    received += count;
                }
            });
            stream.write_all(Pattern::new(round).bytes(0, TOTAL)).await.0.expect("write_all");
            drop(stream);
            // The loop goes on meanwhile: after some hundred waits for room the kernel hands a send to a worker, and
            // what it holds of the socket is let go in the next turn only. Until then there is no end of the stream.
            while !reader.is_finished() {
                rt.sleep(ms(1)).await;
            }
            assert_eq!(reader.join().expect("the reader does not panic"), TOTAL);
        }
    });
}

fn an_almost_empty_pool<E: Engine<Rt = Proactor>>(rounds: &mut Rounds) {
    /// As many as the pool has, but four.
    const HOARD: usize = 1020;
    const STREAMS: usize = 64;
    const TOTAL: usize = 1 << 20;
    let (mut operations, mut misses) = (0, 0);
    crate::run::<E>(async |rt| {
        for _ in rounds.by_ref() {
            let (mut hoarder, mut peer) = pair::<E>(rt).await;
            let mut hoard = Vec::new();
            for _ in 0..HOARD {
                peer.write_all(b"x").expect("write");
                hoard.push(hoarder.recv().await.expect("recv"));
            }
            let before = rt.stats().driver;
            let (pattern, mut tasks) = (Rc::new(Pattern::new(1)), Vec::new());
            for n in 0..STREAMS {
                let (mut here, mut there) = duplex::<E>(rt).await;
                // Each its own part of the pattern, so that a byte on the wrong stream shows.
                let start = n * 4099;
                let (sent, pattern) = (pattern.bytes(start, TOTAL), Rc::clone(&pattern));
                tasks.push(rt.spawn(async move { here.write_all(sent).await.0.expect("write_all") }));
                tasks.push(rt.spawn(async move {
                    let mut received = 0;
                    while received < TOTAL {
                        let chunk = there.recv().await.expect("recv");
                        assert!(!chunk.bytes().is_empty());
                        pattern.check(start + received, chunk.bytes());
                        received += chunk.bytes().len();
                    }
                }));
            }
            for task in tasks {
                task.await.expect("no panic");
            }
            let after = rt.stats().driver;
            assert_eq!(after.chunks_lent_now, HOARD as u64, "the others have come home");
            operations += after.operations.unwrap_or(0) - before.operations.unwrap_or(0);
            misses += after.pool_misses.unwrap_or(0) - before.pool_misses.unwrap_or(0);
            // Home means with the kernel: one stream alone now always finds one.
            let (mut stream, mut peer) = pair::<E>(rt).await;
            for _ in 0..20 {
                peer.write_all(b"x").expect("write");
                drop(stream.recv().await.expect("recv"));
            }
            assert_eq!(rt.stats().driver.pool_misses, after.pool_misses, "the four are not at home");
        }
    });
    // A receive of the least size has 4 KiB; an armed one that finds the pool empty is made anew once, and one is
    // made anew whenever a stream has had enough. Spinning would start them by the million.
    let most = rounds.done() * (STREAMS * TOTAL / 4096 * 3) as u64;
    assert!(operations < most, "{operations} operations, of which {misses} found the pool empty");
    rounds.figure("operations", operations);
    rounds.figure("receives without the pool", misses);
}
