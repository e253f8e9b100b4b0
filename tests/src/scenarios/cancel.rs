//! Operations given up while the kernel works on them: their memory, their bytes, their descriptors.

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use executor::{BufResult, IoBuf, Listener, Reader, Writer};
use oracles::PageBuffer;
use proactor::{File, Proactor, RandomAccess};
use rustix::fs::{MemfdFlags, memfd_create};

use super::{Scenario, scenario};
use crate::engine::{Engine, Stream};
use crate::net::{Pattern, listen, pair, recv_exactly};
use crate::poll_once;
use crate::rounds::Rounds;

/// Adds this file's scenarios.
pub(super) fn add(all: &mut Vec<Scenario>) {
    scenario!(
        all,
        "P1",
        "receives are dropped while peers write: nothing is written to freed memory, no byte is lost",
        600,
        [ProactorFull, ProactorBare, ProactorOneshot, ProactorTiny],
        dropped_receives
    );
    scenario!(
        all,
        "P4",
        "reads are dropped while a worker copies, which no cancel stops: nothing is written to freed memory",
        30,
        [ProactorFull, ProactorBare, ProactorTiny],
        dropped_copies
    );
    scenario!(
        all,
        "P12",
        "a stream is dropped with an operation not yet submitted: its number is nobody else's until that is over",
        1000,
        [ProactorFull, ProactorBare, ProactorTiny],
        reused_numbers
    );
    scenario!(
        all,
        "P13",
        "a stream is dropped with a receive in flight: the peer sees the end before another turn",
        300,
        [ReactorLevel, ReactorEdge, ProactorFull, ProactorOneshot],
        dropped_streams
    );
}

/// The reading end of a connection, and how far it got.
struct Line<E: Engine> {
    stream: Stream<E>,
    received: usize,
}

impl<E: Engine> Line<E> {
    /// A receive into a buffer of some kind (`recv` has none that a drop could free). What it completes with is checked; what it is dropped with is the next one's.
    async fn receive(&mut self, pattern: &Pattern, kind: u8, len: usize) {
        let Line { stream, received } = self;
        *received += match kind {
            0 => checked(stream.read(vec![0; len]).await, pattern, *received),
            1 | 2 => checked(stream.read(PageBuffer::new(len)).await, pattern, *received),
            3 => checked(stream.read([0; 512]).await, pattern, *received),
            _ => checked(stream.read(vec![0; len + 10].slice(5..len + 5)).await, pattern, *received),
        };
    }

    async fn receive_up_to(&mut self, pattern: &Pattern, end: usize) {
        let rest = recv_exactly(&mut self.stream, end - self.received).await;
        pattern.check(self.received, &rest);
        self.received = end;
    }
}

fn checked<B: IoBuf>((result, buffer): BufResult<usize, B>, pattern: &Pattern, received: usize) -> usize {
    let count = result.expect("read");
    pattern.check(received, &buffer.bytes()[..count]);
    count
}

/// The writing end.
struct Peer {
    stream: TcpStream,
    sent: usize,
}

impl Peer {
    fn write(&mut self, pattern: &Pattern, len: usize) {
        self.stream.write_all(&pattern.bytes(self.sent, len)).expect("write");
        self.sent += len;
    }
}

fn dropped_receives<E: Engine>(rounds: &mut Rounds) {
    const LINES: usize = 64;
    let mut random = fastrand::Rng::with_seed(rounds.seed());
    let pattern = Pattern::new(rounds.seed());
    let mut dropped = 0;
    crate::run::<E>(async |rt| {
        let (mut lines, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..LINES {
            let (stream, peer) = pair::<E>(rt).await;
            lines.push(Line::<E> { stream, received: 0 });
            peers.push(Peer { stream: peer, sent: 0 });
        }
        for _ in rounds.by_ref() {
            let mut pending = Vec::new();
            for line in &mut lines {
                let mut receive = Box::pin(line.receive(&pattern, random.u8(0..5), random.usize(1..5000)));
                if poll_once(&mut receive).await.is_none() {
                    pending.push(receive);
                }
            }
            // The kernel has seen them by then, or not. Bytes come before the drop, between drops, and after.
            if random.bool() {
                rt.sleep(Duration::ZERO).await;
            }
            random.shuffle(&mut pending);
            dropped += pending.len();
            for stay in [pending.len(), pending.len() / 2, 0] {
                pending.truncate(stay);
                for peer in &mut peers {
                    if random.u8(0..6) == 0 {
                        peer.write(&pattern, random.usize(0..1000));
                    }
                }
                if random.u8(0..4) == 0 {
                    rt.sleep(Duration::ZERO).await;
                }
            }
            drop(pending);
            for (line, peer) in lines.iter_mut().zip(&peers) {
                // So that most of the next receives have to wait.
                if random.u8(0..6) > 0 {
                    line.receive_up_to(&pattern, peer.sent).await;
                }
            }
        }
        for (line, peer) in lines.iter_mut().zip(&peers) {
            line.receive_up_to(&pattern, peer.sent).await;
        }
    });
    rounds.figure("receives dropped in flight", dropped);
}

/// Reads of a file in memory, which is copied by workers, one read each.
fn dropped_copies<E: Engine<Rt = Proactor>>(rounds: &mut Rounds) {
    const SIZE: usize = 8 << 20;
    let mut random = fastrand::Rng::with_seed(rounds.seed());
    let mut under_way = 0;
    crate::run::<E>(async |rt| {
        let memory = std::fs::File::from(memfd_create("scenario", MemfdFlags::CLOEXEC).expect("memfd_create"));
        memory.set_len(SIZE as u64).expect("ftruncate");
        let file = File::from_std(rt, memory).expect("a file");
        for _ in rounds.by_ref() {
            let mut on_heap: Vec<_> = (0..2).map(|_| Box::pin(file.read_at(vec![0; SIZE], 0))).collect();
            let mut on_pages: Vec<_> = (0..2).map(|_| Box::pin(file.read_at(PageBuffer::new(SIZE), 0))).collect();
            for n in 0..2 {
                let pending = (poll_once(&mut on_heap[n]).await.is_none(), poll_once(&mut on_pages[n]).await.is_none());
                assert_eq!(pending, (true, true));
            }
            rt.sleep(Duration::from_micros(random.u64(0..4000))).await;
            drop((on_heap, on_pages));
            // Until the cancels are with the kernel, and have told those that still wait for a worker.
            rt.sleep(Duration::ZERO).await;
            under_way += rt.stats().driver.operations_now.expect("a proactor");
            while rt.stats().driver.operations_now > Some(0) {
                rt.sleep(Duration::from_micros(200)).await;
            }
        }
    });
    rounds.figure("copies under way after the drop", under_way);
}

/// Starts an operation on the stream or the listener that is not over at once, and drops both, before a turn could
/// submit it. Returns the number of the descriptor.
async fn drop_before_submission<E: Engine<Rt = Proactor>>(rt: &Proactor, kind: u8) -> (RawFd, Option<TcpStream>) {
    if kind == 0 {
        let (mut listener, _) = listen(rt);
        assert!(poll_once(&mut pin!(listener.accept())).await.is_none());
        return (listener.as_fd().as_raw_fd(), None);
    }
    let (mut stream, peer) = pair::<E>(rt).await;
    // Accepting has left no turn undone.
    rt.sleep(Duration::ZERO).await;
    let number = stream.as_fd().as_raw_fd();
    let mut started: Pin<Box<dyn Future<Output = ()> + '_>> = match kind {
        1 => Box::pin(async { drop(stream.recv().await) }),
        2 => Box::pin(async { drop(stream.read(vec![0; 100]).await) }),
        _ => Box::pin(async { drop(stream.write_all(vec![1; 100]).await) }),
    };
    assert!(poll_once(&mut started).await.is_none());
    drop(started);
    (number, Some(peer))
}

fn reused_numbers<E: Engine<Rt = Proactor>>(rounds: &mut Rounds) {
    let mut random = fastrand::Rng::with_seed(rounds.seed());
    let mut held = 0;
    crate::run::<E>(async |rt| {
        for _ in rounds.by_ref() {
            let before = rt.stats().turns;
            let (number, _peer) = drop_before_submission::<E>(rt, random.u8(0..4)).await;
            // Whoever opens something now is given the lowest free number.
            let mut pairs: Vec<_> = (0..4).map(|_| UnixStream::pair().expect("socketpair")).collect();
            let is_taken = pairs.iter().any(|(a, b)| [a.as_raw_fd(), b.as_raw_fd()].contains(&number));
            let is_over = rt.stats().driver.operations_now == Some(0);
            assert!(!is_taken || is_over, "{number} was given away; turns {before} to {}", rt.stats().turns);
            held += u64::from(!is_taken);
            for (one, other) in &mut pairs {
                one.write_all(b"SECRET").expect("write");
                other.set_nonblocking(true).expect("non-blocking");
            }
            while rt.stats().driver.operations_now > Some(0) {
                rt.sleep(Duration::ZERO).await;
            }
            for (_, other) in &mut pairs {
                let mut bytes = [0; 16];
                let count = other.read(&mut bytes).expect("its bytes went elsewhere");
                assert_eq!(&bytes[..count], b"SECRET");
            }
        }
    });
    assert!(held > rounds.done() / 2, "only in {held} rounds was there an operation not yet submitted");
    rounds.figure("rounds in which the number was held", held);
}

fn dropped_streams<E: Engine>(rounds: &mut Rounds) {
    let mut random = fastrand::Rng::with_seed(rounds.seed());
    let mut longest = Duration::ZERO;
    crate::run::<E>(async |rt| {
        for _ in rounds.by_ref() {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            {
                let (is_read, pause) = (random.bool(), random.bool());
                let mut receive: Pin<Box<dyn Future<Output = ()>>> = match is_read {
                    true => Box::pin(async { drop(stream.read(PageBuffer::new(100)).await) }),
                    false => Box::pin(async { drop(stream.recv().await) }),
                };
                assert!(poll_once(&mut receive).await.is_none());
                if pause {
                    rt.sleep(Duration::ZERO).await;
                }
            }
            let start = Instant::now();
            drop(stream);
            // The loop stands still here: it is the drop that says it.
            assert_eq!(peer.read(&mut [0; 8]).expect("the end"), 0);
            longest = longest.max(start.elapsed());
        }
    });
    rounds.figure("longest time until the peer saw the end, us", longest.as_micros());
}
