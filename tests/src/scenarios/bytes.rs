//! Bytes in large numbers.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;

use executor::{IoBuf, Reader, Stream as _, Writer};
use fastrand::Rng;

use super::{Scenario, scenario};
use crate::engine::{Engine, Stream, Subject};
use crate::net::{Pattern, V4, V6, duplex_at, recv_exactly};
use crate::rounds::Rounds;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "S3",
        "8 MiB each way at once, in pieces of random sizes, over IPv4, IPv6 and unix sockets by turns: every byte arrives",
        6,
        [ReactorLevel, ReactorEdge, ReactorMillis, ProactorFull, ProactorBare, ProactorOneshot, ProactorTiny],
        both_ways_at_once
    );
}

/// Sends `total` bytes of the pattern in pieces of random sizes, then ends the stream.
async fn send_all<W: Writer>(mut writer: W, pattern: Rc<Pattern>, total: usize, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut sent = 0;
    while sent < total {
        let len = piece(&mut random).min(total - sent);
        let bytes = pattern.bytes(sent, len);
        // Now all of a piece, now as much as fits.
        if random.bool() {
            writer.write_all(bytes).await.0.expect("write_all");
            sent += len;
        } else {
            let count = writer.write(bytes).await.0.expect("write");
            assert!((1..=len).contains(&count), "{count} of {len} bytes");
            sent += count;
        }
    }
    writer.shutdown().await.expect("shutdown");
}

/// Receives the pattern to the end of the stream, by all three ways to read.
async fn receive_all<R: Reader>(mut reader: R, pattern: Rc<Pattern>, total: usize, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut received = 0;
    loop {
        let count = match random.u8(0..3) {
            0 => {
                let chunk = reader.recv().await.expect("recv");
                pattern.check(received, chunk.bytes());
                chunk.bytes().len()
            }
            1 => {
                let (result, bytes) = reader.read(vec![0; piece(&mut random)]).await;
                let count = result.expect("read");
                pattern.check(received, &bytes[..count]);
                count
            }
            _ => {
                let len = piece(&mut random).min(total - received);
                let bytes = recv_exactly(&mut reader, len).await;
                pattern.check(received, &bytes);
                if len == 0 {
                    continue;
                }
                len
            }
        };
        if count == 0 {
            break;
        }
        received += count;
    }
    assert_eq!(received, total);
    assert!(reader.recv().await.expect("recv").bytes().is_empty(), "the end comes again and again");
}

/// From one byte to a quarter of a megabyte, small ones as likely as large ones.
fn piece(random: &mut Rng) -> usize {
    let most = 1 << random.u32(0..=18);
    random.usize(1..=most)
}

/// Two ends of a connection over unix sockets, which are streams of bytes as TCP's are.
fn unix_duplex<E: Engine>(rt: &E::Rt) -> (Stream<E>, Stream<E>) {
    let (here, there) = UnixStream::pair().expect("a pair");
    let adopt = |end: UnixStream| rt.stream_of(TcpStream::from(OwnedFd::from(end))).expect("a stream");
    (adopt(here), adopt(there))
}

fn both_ways_at_once<E: Engine>(rounds: &mut Rounds) {
    const TOTAL: usize = 8 << 20;
    let start = Instant::now();
    crate::run::<E>(async |rt| {
        for round in rounds.by_ref() {
            let (here, there) = match round % 3 {
                0 => duplex_at::<E>(rt, V4).await,
                1 => duplex_at::<E>(rt, V6).await,
                _ => unix_duplex::<E>(rt),
            };
            let seed = 6 * round;
            let (out, back) = (Rc::new(Pattern::new(seed)), Rc::new(Pattern::new(seed + 1)));
            let ((here_read, here_write), (there_read, there_write)) = (here.split(), there.split());
            let tasks = [
                rt.spawn(send_all(here_write, Rc::clone(&out), TOTAL, seed + 2)),
                rt.spawn(send_all(there_write, Rc::clone(&back), TOTAL, seed + 3)),
                rt.spawn(receive_all(here_read, back, TOTAL, seed + 4)),
                rt.spawn(receive_all(there_read, out, TOTAL, seed + 5)),
            ];
            for task in tasks {
                task.await.expect("every byte is right");
            }
        }
    });
    let moved = 2.0 * TOTAL as f64 * rounds.done() as f64;
    rounds.figure("MB per second", (moved / start.elapsed().as_secs_f64() / 1e6).round());
}
