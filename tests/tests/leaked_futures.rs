//! Goal: a future that is leaked while it waits (`mem::forget`, a cycle of `Rc`s) is as good as one that waits for ever. It
//! lets nothing run beside it that must not: the bytes of two writes never mix. And it makes nothing deaf: what arrives
//! goes to the next that asks, and the stream can be closed, handed on and dropped.
//!
//! Method: each future polled until it waits, leaked, and then the same thing asked for again; peers of std, which see
//! what really went over. At the end no descriptor is left.

use std::future::Future;
use std::io::{ErrorKind, Read, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use executor::{BufResult, Files as _, IoBuf, Listener, Net as _, RandomAccess as _, Reader, Stream as _, Writer};
use rustix::fs::{MemfdFlags, memfd_create};
use tests::net::{V4, listen, pair, recv_exactly};
use tests::{Bench, Engine, Suite, elsewhere, ms, on_every_fallback, open_fds, poll_once};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

const SOON: Duration = Duration::from_secs(5);
/// More than the kernel's buffers hold.
const MUCH: usize = 8 << 20;

/// Begins it, insists that it waits, and leaks it.
async fn leak<F: Future>(future: F) {
    let mut future = Box::pin(future);
    assert!(poll_once(&mut future).await.is_none(), "it was meant to have to wait");
    // A moment with the kernel.
    executor::yield_now().await;
    std::mem::forget(future);
}

/// Runs `body`; afterwards no descriptor of it is left, with the runtime still there; and the runtime ends, in time. (What
/// was leaked may be counted as leaked, so this is not the usual balance.)
fn run<E: Engine>(body: impl AsyncFnOnce(&E::Rt)) {
    let mut bench = Bench::<E>::new();
    let rt = bench.handle();
    let before = open_fds();
    rt.block_on(body(&rt));
    let start = std::time::Instant::now();
    while open_fds().len() > before.len() {
        rt.turn(Some(ms(1))).unwrap();
        assert!(start.elapsed() < SOON, "descriptors before: {before:#?}, after: {:#?}", open_fds());
    }
    if E::NAME.starts_with("reactor") {
        drop(rt);
        bench.finish();
        return;
    }
    let took = bench.end();
    assert!(took < ms(2500), "the end waits for what is leaked: {took:?}");
    assert_eq!(rt.stats().driver.ops_abandoned, Some(0));
}

async fn soon<E: Engine, F: Future>(rt: &E::Rt, what: &str, future: F) -> F::Output {
    rt.timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// What the peer of two writes has read, the first of `MUCH` ones, the second of twos.
fn check_order(bytes: &[u8]) {
    let ones = bytes.iter().take_while(|byte| **byte == 1).count();
    assert!(bytes[ones..].iter().all(|byte| *byte == 2), "two writes are mixed");
    assert!(ones == bytes.len() || ones == MUCH, "the second write follows {ones} bytes of the first");
}

/// The first write is leaked; `again` writes twos. It is refused at least until the first is over, on reactors for ever.
/// Then the peer takes all there is.
async fn no_second_write_runs_beside<E: Engine, W: Writer>(
    rt: &E::Rt,
    mut writer: W,
    mut peer: impl Read + Send + 'static,
    leaks: impl AsyncFnOnce(&mut W),
) {
    leaks(&mut writer).await;
    rt.sleep(ms(5)).await;
    for _ in 0..3 {
        let (result, buf): BufResult<(), _> = soon::<E, _>(rt, "a write", writer.write_all(vec![2; 1000])).await;
        assert_eq!(result.expect_err("the first is under way").kind(), ErrorKind::BrokenPipe);
        assert_eq!(buf, vec![2; 1000], "the buffer comes back");
        let (result, _) = soon::<E, _>(rt, "a write", writer.write(vec![2; 1000])).await;
        assert_eq!(result.expect_err("the first is under way").kind(), ErrorKind::BrokenPipe);
        let vectored = writer.write_all_vectored(vec![vec![2; 1000]; 2]);
        let (result, _) = soon::<E, _>(rt, "a write", vectored).await;
        assert_eq!(result.expect_err("the first is under way").kind(), ErrorKind::BrokenPipe);
    }
    let reading = std::thread::spawn(move || {
        let (mut all, mut piece) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(count @ 1..) = peer.read(&mut piece) {
            all.extend_from_slice(&piece[..count]);
        }
        all
    });
    rt.sleep(ms(50)).await;
    // If all of the first went out, the second may; else it may not, ever.
    let again = soon::<E, _>(rt, "a write", writer.write_all(vec![2; 1000])).await.0;
    drop(soon::<E, _>(rt, "shutdown", writer.shutdown()).await);
    drop(writer);
    let received = soon::<E, _>(rt, "the peer", elsewhere(move || reading.join().unwrap())).await;
    check_order(&received);
    assert_eq!(received.ends_with(&[2]), again.is_ok());
}

fn a_write<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, peer) = pair::<E>(rt).await;
        no_second_write_runs_beside::<E, _>(rt, stream, peer, async |stream| {
            leak(stream.write_all(vec![1; MUCH])).await
        })
        .await;
    });
}

fn a_vectored_write<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, peer) = pair::<E>(rt).await;
        let parts = vec![vec![1; MUCH / 2]; 2];
        no_second_write_runs_beside::<E, _>(rt, stream, peer, async |stream| {
            leak(stream.write_all_vectored(parts)).await
        })
        .await;
    });
}

fn an_exchange_that_sends<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, peer) = pair::<E>(rt).await;
        no_second_write_runs_beside::<E, _>(rt, stream, peer, async |stream| {
            leak(stream.exchange(vec![1; MUCH])).await
        })
        .await;
    });
}

fn a_write_of_a_half<E: Engine>() {
    run::<E>(async |rt| {
        let (stream, peer) = pair::<E>(rt).await;
        let (mut reader, writer) = stream.split();
        leak(reader.recv()).await;
        no_second_write_runs_beside::<E, _>(rt, writer, peer, async |writer| {
            leak(writer.write_all(vec![1; MUCH])).await
        })
        .await;
        drop(reader);
    });
}

fn a_write_to_a_pipe<E: Engine>() {
    run::<E>(async |rt| {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = rt.pipe_writer(writer).unwrap();
        no_second_write_runs_beside::<E, _>(rt, writer, reader, async |writer| {
            leak(writer.write_all(vec![1; MUCH])).await
        })
        .await;
    });
}

/// The send is over; what waits is the receive.
fn an_exchange_that_waits<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        leak(stream.exchange("question")).await;
        rt.sleep(ms(5)).await;
        let mut question = [0; 8];
        peer.read_exact(&mut question).unwrap();
        peer.write_all(b"answer").unwrap();
        assert_eq!(soon::<E, _>(rt, "the receive", recv_exactly(&mut stream, 6)).await, b"answer");
        soon::<E, _>(rt, "close", stream.close()).await.unwrap();
    });
}

fn receives<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let mut number = 0u8;
        let mut hears = async |stream: &mut tests::Stream<E>| {
            number += 1;
            peer.write_all(&[number; 10]).unwrap();
            assert_eq!(soon::<E, _>(rt, "the receive", recv_exactly(stream, 10)).await, [number; 10]);
        };
        // Before anything is received ahead, it is the read that is under way.
        leak(stream.read(vec![0; 100])).await;
        rt.sleep(ms(2)).await;
        hears(&mut stream).await;
        for _ in 0..3 {
            leak(stream.recv()).await;
            hears(&mut stream).await;
            leak(stream.read(vec![0; 100])).await;
            rt.sleep(ms(2)).await;
            hears(&mut stream).await;
            leak(stream.read(vec![0; 4])).await;
            leak(stream.recv()).await;
            leak(stream.read_exact(vec![0; 4])).await;
            hears(&mut stream).await;
        }
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut reader = rt.pipe_reader(reader).unwrap();
        leak(reader.recv()).await;
        leak(reader.read(vec![0; 10])).await;
        rt.sleep(ms(2)).await;
        writer.write_all(b"hello").unwrap();
        assert_eq!(soon::<E, _>(rt, "the pipe", recv_exactly(&mut reader, 5)).await, b"hello");
    });
}

fn an_accept<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        for number in 0..3 {
            leak(listener.accept()).await;
            rt.sleep(ms(2)).await;
            let mut peer = std::net::TcpStream::connect(addr).unwrap();
            peer.write_all(&[number]).unwrap();
            let mut stream = soon::<E, _>(rt, "accept", listener.accept()).await.unwrap();
            assert_eq!(recv_exactly(&mut stream, 1).await, [number]);
        }
        leak(listener.accept()).await;
    });
}

fn datagrams<E: Engine>() {
    run::<E>(async |rt| {
        let socket = rt.bind_udp(V4).unwrap();
        let (addr, peer) = (socket.local_addr().unwrap(), std::net::UdpSocket::bind(V4).unwrap());
        for number in 0..3u8 {
            leak(socket.recv_from()).await;
            leak(socket.read_from(vec![0; 10])).await;
            rt.sleep(ms(2)).await;
            peer.send_to(&[number], addr).unwrap();
            let datagram = soon::<E, _>(rt, "a datagram", socket.recv_from()).await.unwrap();
            assert_eq!(datagram.bytes.bytes(), [number]);
        }
        leak(socket.recv_from()).await;
        soon::<E, _>(rt, "close", socket.close()).await.unwrap();
        // No room: a send waits, and is leaked. When there is room, the next goes out, whole.
        let (here, there) = rt.unix_datagram_pair().unwrap();
        let full = async { while here.send(vec![1u8; 10]).await.0.is_ok() {} };
        assert!(rt.timeout(ms(20), full).await.is_err(), "it waits for room");
        leak(here.send(vec![2u8; 10])).await;
        rt.sleep(ms(2)).await;
        let sending = rt.spawn(async move { here.send(vec![3u8; 10]).await.0 });
        loop {
            let bytes = soon::<E, _>(rt, "a datagram", there.recv()).await.unwrap();
            let first = bytes.bytes()[0];
            assert_eq!(bytes.bytes(), [first; 10]);
            if first == 3 {
                break;
            }
        }
        sending.await.unwrap().unwrap();
    });
}

fn files<E: Engine>() {
    run::<E>(async |rt| {
        let std: std::fs::File = memfd_create("test", MemfdFlags::CLOEXEC).unwrap().into();
        let file = rt.file_from_std(std.try_clone().unwrap()).unwrap();
        for number in 0..3u8 {
            let own = rt.file_from_std(std.try_clone().unwrap()).unwrap();
            let mut leaked = Box::pin(own.write_at(vec![7; 100], 200));
            drop(poll_once(&mut leaked).await);
            std::mem::forget(leaked);
            let mut leaked = Box::pin(own.read_at(vec![0; 100], 0));
            drop(poll_once(&mut leaked).await);
            std::mem::forget(leaked);
            drop(own);
            assert_eq!(soon::<E, _>(rt, "a write", file.write_at(vec![number; 100], 0)).await.0.unwrap(), 100);
            let (count, bytes) = soon::<E, _>(rt, "a read", file.read_at(vec![9; 100], 0)).await;
            assert_eq!((count.unwrap(), bytes), (100, vec![number; 100]));
            soon::<E, _>(rt, "sync", file.sync()).await.unwrap();
        }
        rt.sleep(ms(20)).await;
        let (count, bytes) = file.read_at(vec![9; 100], 200).await;
        assert_eq!((count.unwrap(), bytes), (100, vec![7; 100]), "what was leaked is done all the same");
        drop(file);
    });
}

/// A leaked future borrows its stream, and the borrow is over: the stream can be closed, handed on and dropped.
fn what_is_left_can_be_closed_and_handed_on<E: Engine>() {
    run::<E>(async |rt| {
        // Without a receive before it, a read is under way itself.
        for (is_closed, receives) in [(true, true), (false, true), (true, false), (false, false)] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            if receives {
                leak(stream.recv()).await;
            }
            leak(stream.read(vec![0; 10])).await;
            leak(stream.write_all(vec![1; MUCH])).await;
            rt.sleep(ms(5)).await;
            if is_closed {
                drop(soon::<E, _>(rt, "close", stream.close()).await);
            } else {
                drop(stream);
            }
            let received = elsewhere(move || {
                let mut all = Vec::new();
                // A reset is an end, too: there are bytes that were not sent.
                drop(peer.read_to_end(&mut all));
                all
            });
            let received = soon::<E, _>(rt, "the peer's end", received).await;
            assert!(received.iter().all(|byte| *byte == 1));
        }
        for receives in [true, false] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            if receives {
                leak(stream.recv()).await;
            }
            leak(stream.read(vec![0; 10])).await;
            rt.sleep(ms(5)).await;
            let (mut std, rest) = soon::<E, _>(rt, "into_std", stream.into_std()).await.unwrap();
            assert!(rest.is_empty());
            peer.write_all(b"hello").unwrap();
            std.write_all(b"there").unwrap();
            let mut bytes = [0; 5];
            std.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"hello");
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"there");
        }
    });
}

fn a_write_to_the_output<E: Engine>() {
    run::<E>(async |rt| {
        let (reader, writer) = std::io::pipe().unwrap();
        let stdout = rustix::io::dup(rustix::stdio::stdout()).unwrap();
        rustix::stdio::dup2_stdout(writer).unwrap();
        let mut out = rt.stdout();
        leak(out.write_all(vec![1; MUCH])).await;
        let (result, _) = soon::<E, _>(rt, "a write", out.write_all("second")).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        // The thread that writes is let go, and takes no notice.
        drop(reader);
        rt.sleep(ms(20)).await;
        rustix::stdio::dup2_stdout(stdout).unwrap();
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        a_write,
        a_vectored_write,
        an_exchange_that_sends,
        a_write_of_a_half,
        a_write_to_a_pipe,
        an_exchange_that_waits,
        receives,
        an_accept,
        datagrams,
        files,
        what_is_left_can_be_closed_and_handed_on,
        a_write_to_the_output,
    );
    suite.run()
}
