//! Goal: the bytes that arrive are the bytes that were sent: none lost, doubled, changed or moved.
//!
//! Method: patterns whose every position is recognisable, sent and received in chunks of random sizes,
//! both ways at once, over IPv4 and IPv6, between two streams of the engine and against std's.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use executor::{IoBuf, Reader, Runtime, Stream as _, Writer};
use fastrand::Rng;
use tests::net::{Pattern, V4, V6, duplex, duplex_at, listen, pair, recv_exactly};
use tests::{Engine, Suite, both, on_every_engine, on_every_variant, run};

const MIB: usize = 1 << 20;

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

fn exchange<E: Engine>(addr: SocketAddr, total: usize) {
    run::<E>(async |rt| {
        let (here, there) = duplex_at::<E>(rt, addr).await;
        assert_eq!(here.local_addr().unwrap(), there.peer_addr().unwrap());
        let (out, back) = (Rc::new(Pattern::new(1)), Rc::new(Pattern::new(2)));
        let ((here_read, here_write), (there_read, there_write)) = (here.split(), there.split());
        let tasks = [
            rt.spawn(send_all(here_write, Rc::clone(&out), total, 3)),
            rt.spawn(send_all(there_write, Rc::clone(&back), total, 4)),
            rt.spawn(receive_all(here_read, back, total, 5)),
            rt.spawn(receive_all(there_read, out, total, 6)),
        ];
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn both_ways_over_v4<E: Engine>() {
    exchange::<E>(V4, 64 * MIB);
}

fn both_ways_over_v6<E: Engine>() {
    exchange::<E>(V6, 64 * MIB);
}

fn a_little_both_ways<E: Engine>() {
    exchange::<E>(V4, 4 * MIB);
}

/// One write far larger than the kernel's buffers, to a slow reader; then an answer that trickles in.
fn through_small_kernel_buffers<E: Engine>() {
    const TOTAL: usize = 8 * MIB;
    const ANSWER: usize = MIB / 4;
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        // Not its receive buffer: one below loopback's segment size (64 KiB) has the kernel wait for its
        // persist timer, 200 ms each.
        socket2::SockRef::from(&peer).set_send_buffer_size(4096).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut peer, pattern, mut received) = (peer, Pattern::new(7), 0);
            let mut buffer = vec![0; 3000];
            while received < TOTAL {
                let count = peer.read(&mut buffer).unwrap();
                assert!(count > 0);
                pattern.check(received, &buffer[..count]);
                received += count;
            }
            peer.write_all(&pattern.bytes(0, ANSWER)).unwrap();
        });
        let pattern = Pattern::new(7);
        stream.write_all(pattern.bytes(0, TOTAL)).await.0.unwrap();
        pattern.check(0, &recv_exactly(&mut stream, ANSWER).await);
        thread.join().unwrap();
        assert!(stream.recv().await.unwrap().bytes().is_empty());
    });
}

fn buffers_come_back<E: Engine>() {
    run::<E>(async |rt| {
        let (mut here, mut there) = duplex::<E>(rt).await;
        let (result, buffer) = here.write_all(b"hello world".to_vec().slice(6..11)).await;
        result.unwrap();
        assert_eq!(buffer.into_inner(), b"hello world");
        let (result, buffer) = there.read(vec![1; 9].slice(2..9)).await;
        assert_eq!(result.unwrap(), 5);
        assert_eq!(buffer.into_inner(), b"\x01\x01world\x01\x01");
        // All kinds of buffers.
        here.write_all("static").await.0.unwrap();
        here.write_all(String::from("string")).await.0.unwrap();
        here.write_all([7u8; 3]).await.0.unwrap();
        here.write_all(Rc::<[u8]>::from([1, 2])).await.0.unwrap();
        let chunk = {
            there.write_all(vec![9; 5].into_boxed_slice()).await.0.unwrap();
            here.recv().await.unwrap()
        };
        here.write_all(chunk).await.0.unwrap();
        let expected = b"staticstring\x07\x07\x07\x01\x02\x09\x09\x09\x09\x09";
        assert_eq!(recv_exactly(&mut there, expected.len()).await, expected);
        let (result, array) = {
            here.write_all("abcd").await.0.unwrap();
            there.read_exact([0u8; 4]).await
        };
        result.unwrap();
        assert_eq!(&array, b"abcd");
    });
}

fn empty_buffers<E: Engine>() {
    run::<E>(async |rt| {
        let (mut here, mut there) = duplex::<E>(rt).await;
        // Reading into nothing would look like the end of the stream.
        let (result, _) = there.read(Vec::new()).await;
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        there.read_exact(Vec::new()).await.0.unwrap();
        here.write_all("").await.0.unwrap();
        assert_eq!(here.write(Vec::new()).await.0.unwrap(), 0);
        here.write_all("x").await.0.unwrap();
        assert_eq!(there.recv().await.unwrap().bytes(), b"x");
    });
}

fn read_exact_tells_an_early_end<E: Engine>() {
    run::<E>(async |rt| {
        let (mut here, mut there) = duplex::<E>(rt).await;
        here.write_all("abc").await.0.unwrap();
        here.shutdown().await.unwrap();
        let (result, buffer) = there.read_exact(vec![0; 4]).await;
        assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(buffer, b"abc\0");
    });
}

/// A stream reads and writes by turns in one task, with chunks kept for a while: they are lent, and each
/// keeps its own bytes.
fn chunks_keep_their_bytes<E: Engine>() {
    run::<E>(async |rt| {
        let (mut here, mut there) = duplex::<E>(rt).await;
        let mut kept = Vec::new();
        for n in 0..100u8 {
            let (sent, received) = both(here.write_all([n; 10]), there.recv()).await;
            sent.0.unwrap();
            let chunk = received.unwrap();
            assert_eq!(chunk.bytes(), [n; 10]);
            kept.push(chunk);
        }
        assert_eq!(rt.stats().driver.chunks_lent_now, 100);
        fastrand::shuffle(&mut kept);
        kept.truncate(50);
        assert_eq!(rt.stats().driver.chunks_lent_now, 50);
        for n in 100..150u8 {
            here.write_all([n; 10]).await.0.unwrap();
            assert_eq!(there.recv().await.unwrap().bytes(), [n; 10]);
        }
        assert!(kept.iter().all(|chunk| chunk.bytes().windows(2).all(|pair| pair[0] == pair[1])));
    });
}

fn an_idle_stream_holds_no_chunk<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let waiting = rt.spawn(async move { stream.recv().await.unwrap().bytes().to_vec() });
        rt.sleep(tests::ms(5)).await;
        assert_eq!(rt.stats().driver.chunks_lent_now, 0);
        peer.write_all(b"now").unwrap();
        assert_eq!(waiting.await.unwrap(), b"now");
    });
}

fn a_listener_has_many_streams<E: Engine>() {
    run::<E>(async |rt| {
        let (mut listener, addr) = listen(rt);
        let mut pairs = Vec::new();
        for n in 0..20u8 {
            let (accepted, connected) = both(executor::Listener::accept(&mut listener), rt.connect(addr)).await;
            pairs.push((n, accepted.unwrap(), connected.unwrap()));
        }
        for (n, _, connected) in &mut pairs {
            connected.write_all([*n]).await.0.unwrap();
        }
        for (n, accepted, connected) in &mut pairs {
            assert_eq!(accepted.peer_addr().unwrap(), connected.local_addr().unwrap());
            assert_eq!(accepted.recv().await.unwrap().bytes(), [*n]);
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(suite, a_little_both_ways, through_small_kernel_buffers);
    on_every_engine!(
        suite,
        buffers_come_back,
        empty_buffers,
        read_exact_tells_an_early_end,
        chunks_keep_their_bytes,
        an_idle_stream_holds_no_chunk,
        a_listener_has_many_streams,
    );
    suite.limit(120);
    on_every_engine!(suite, both_ways_over_v4, both_ways_over_v6);
    suite.run()
}
