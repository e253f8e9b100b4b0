//! Goal: the bytes that arrive are the bytes that were sent: none lost, doubled, changed or moved.
//!
//! Method: patterns whose every position is recognisable, through buffers of every kind and size. (The scenario S3
//! does that in large numbers, both ways at once, over IPv4, IPv6 and unix sockets.)

use std::io::{Read, Write};
use std::process::ExitCode;
use std::rc::Rc;

use executor::{IoBuf, Reader, Runtime, Stream as _, Writer};
use tests::net::{Pattern, duplex, listen, pair, recv_exactly};
use tests::{Engine, Suite, both, on_every_engine, on_every_variant, run};

const MIB: usize = 1 << 20;

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

/// The kernel's lengths have 32 bits, or 31: what is asked for beyond that is cut, and said to be. (The memory is
/// never touched, but for what arrives, and so costs nothing.)
fn buffers_beyond_four_gigabytes<E: Engine>() {
    const HUGE: usize = (4 << 30) + 1;
    run::<E>(async |rt| {
        let (mut here, mut there) = duplex::<E>(rt).await;
        here.write_all("hello").await.0.unwrap();
        let (result, buffer) = there.read(vec![0; HUGE]).await;
        assert_eq!((result.unwrap(), &buffer[..6], buffer.len()), (5, &b"hello\0"[..], HUGE));
        // As much as fits, which is not one byte: all of it, modulo 2^32.
        let receiving = rt.spawn(async move {
            let mut total = 0;
            loop {
                match there.recv().await.unwrap().bytes().len() {
                    0 => return total,
                    count => total += count,
                }
            }
        });
        let (result, buffer) = here.write(vec![0; HUGE]).await;
        let count = result.unwrap();
        assert!((2..HUGE).contains(&count) && buffer.len() == HUGE, "{count} bytes");
        here.shutdown().await.unwrap();
        assert_eq!(receiving.await.unwrap(), count);
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
    on_every_variant!(suite, through_small_kernel_buffers);
    on_every_engine!(
        suite,
        buffers_come_back,
        empty_buffers,
        buffers_beyond_four_gigabytes,
        read_exact_tells_an_early_end,
        chunks_keep_their_bytes,
        an_idle_stream_holds_no_chunk,
        a_listener_has_many_streams,
    );
    suite.run()
}
