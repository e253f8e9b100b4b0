//! Goal: several buffers that are written at once arrive one after the other, whole, with one call or operation where
//! that is possible, and come back as they were; a connection that goes to somebody else takes all its bytes along.
//!
//! Method: parts of every size, empty ones among them, through small kernel buffers and against peers of std, with
//! memory that is watched after it was freed.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::process::ExitCode;

use executor::{IoBuf, Net as _, Reader, Stream as _, Writer};
use rustix::fs::{OFlags, fcntl_getfl};
use tests::net::{Pattern, any_size, duplex, pair, recv_exactly};
use tests::{Engine, Suite, both, elsewhere, ms, on_engines, on_every_engine, on_every_variant, run, start_then_drop};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// As many parts as said, of at most so many bytes each; and all of their bytes.
fn parts(count: usize, most: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut random, pattern) = (fastrand::Rng::with_seed(count as u64), Pattern::new(3));
    let (mut parts, mut len) = (Vec::new(), 0);
    for _ in 0..count {
        let size = if random.u8(..4) == 0 { 0 } else { any_size(&mut random, most) };
        parts.push(pattern.bytes(len, size));
        len += size;
    }
    (parts, pattern.bytes(0, len))
}

/// Many more bytes than the kernel's buffers hold, and more parts than it takes at once.
fn parts_arrive_in_their_order<E: Engine>() {
    run::<E>(async |rt| {
        for (count, most) in [(2, 10), (60, 400_000), (3000, 2000)] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            socket2::SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
            let (parts, all) = parts(count, most);
            let reader = elsewhere(move || {
                let mut received = Vec::new();
                peer.read_to_end(&mut received).unwrap();
                received
            });
            let (received, ()) = both(reader, async {
                let (result, back) = stream.write_all_vectored(parts.clone()).await;
                result.unwrap();
                assert!(back == parts, "not what was given");
                stream.shutdown().await.unwrap();
            })
            .await;
            assert!(received == all, "{count} parts: {} bytes of {}", received.len(), all.len());
        }
    });
}

/// Around the 1,024 parts that one submission can name, each so small that the socket takes all of them at once.
const COUNTS: [usize; 6] = [1, 1023, 1024, 1025, 3000, 100_000];

/// A submission that fits the socket completes in silence on a proactor. That says nothing about parts it did not name.
fn as_many_small_parts_as_there_are_arrive<E: Engine>() {
    run::<E>(async |rt| {
        let (mut here, mut there) = rt.unix_pair().unwrap();
        let (mut stream, peer) = pair::<E>(rt).await;
        for count in COUNTS {
            let all: Vec<u8> = (0..count).map(|n| (n % 251) as u8).collect();
            let parts: Vec<[u8; 1]> = all.iter().map(|byte| [*byte]).collect();
            let mut peer = peer.try_clone().unwrap();
            let reading = elsewhere(move || {
                let mut received = vec![0; count];
                peer.read_exact(&mut received).map(|()| received)
            });
            let (received, ()) = both(reading, async {
                let (result, back) = stream.write_all_vectored(parts.clone()).await;
                result.unwrap();
                assert!(back == parts, "not what was given");
            })
            .await;
            assert!(received.unwrap() == all, "{count} parts through TCP");
            let (received, ()) = both(recv_exactly(&mut there, count), async {
                here.write_all_vectored(parts).await.0.unwrap();
            })
            .await;
            assert!(received == all, "{count} parts through a Unix stream");
        }
        // Nothing more comes: the next byte is the next write's.
        stream.write_all("!").await.0.unwrap();
        let mut next = [0];
        (&peer).read_exact(&mut next).unwrap();
        assert_eq!(&next, b"!");
    });
}

/// The same through a Unix stream, which the kernel sends by other code.
fn through_a_unix_stream<E: Engine>() {
    run::<E>(async |rt| {
        let (mut here, mut there) = rt.unix_pair().unwrap();
        let (parts, all) = parts(60, 400_000);
        let (received, ()) = both(recv_exactly(&mut there, all.len()), async {
            here.write_all_vectored(parts).await.0.unwrap();
        })
        .await;
        assert!(received == all && all.len() > 1 << 20, "{} bytes", all.len());
    });
}

/// Parts that lie in the memory of the list itself; and nothing at all, which is sent at once.
fn small_and_empty_lists<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        assert!(stream.write_all_vectored(Vec::<String>::new()).await.0.is_ok());
        let (result, back) = stream.write_all_vectored(vec!["", ""]).await;
        assert!(result.is_ok() && back == ["", ""]);
        stream.write_all_vectored(vec![*b"ab", *b"cd", *b"ef"]).await.0.unwrap();
        stream.write_all_vectored(vec!["head ".to_owned().slice(1..5), "body".to_owned().slice(0..4)]).await.0.unwrap();
        let mut received = [0; 14];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"abcdefead body");
    });
}

fn one_call_sends_them_all<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let sends = || {
            let stats = rt.stats().driver;
            let calls = stats.system_calls.iter().find(|(name, _)| *name == "sendmsg").map_or(0, |(_, count)| *count);
            stats.operations.unwrap_or(calls)
        };
        let before = sends();
        stream.write_all_vectored(vec!["HTTP/1.1 200 OK\r\n\r\n", "a body"]).await.0.unwrap();
        assert_eq!(sends() - before, 1);
        let mut received = [0; 25];
        peer.read_exact(&mut received).unwrap();
    });
}

/// The buffers belong to the operation until the kernel has let go of them, and nothing may follow what was cut.
fn dropped_midway<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        let all = Pattern::new(3).bytes(0, 64 << 20);
        let parts = all.chunks(1 << 20).map(<[u8]>::to_vec).collect();
        start_then_drop(stream.write_all_vectored(parts), rt.sleep(ms(1))).await;
        rt.sleep(ms(1)).await;
        let error = stream.write_all_vectored(vec!["more"]).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        stream.shutdown().await.unwrap();
        let received = elsewhere(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let received = received.await;
        assert!(received.len() < all.len() && all.starts_with(&received), "a prefix: {} bytes", received.len());
    });
}

fn errors_give_the_buffers_back<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, peer) = pair::<E>(rt).await;
        tests::net::reset(peer);
        assert!(stream.recv().await.is_err());
        let (result, back) = stream.write_all_vectored(vec![vec![1; 10], vec![2; 20]]).await;
        assert!(matches!(result.unwrap_err().kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
        assert_eq!(back, [vec![1; 10], vec![2; 20]]);
    });
}

/// What the runtime has taken from the kernel by then is not lost. Only receives that repeat themselves take more than
/// was asked for.
fn all_bytes_go_to_std<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"first ").unwrap();
        let mut all = stream.recv().await.unwrap().bytes().to_vec();
        peer.write_all(b"second ").unwrap();
        rt.sleep(ms(5)).await;
        let (mut std, rest) = stream.into_std().await.unwrap();
        assert_eq!(rest.is_empty(), !matches!(E::NAME, "proactor" | "proactor-whole" | "proactor-tiny"), "{rest:?}");
        all.extend(rest);
        peer.write_all(b"third").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        // It blocks: this would be an error else.
        std.read_to_end(&mut all).unwrap();
        assert_eq!(String::from_utf8_lossy(&all), "first second third");
        std.write_all(b"answer").unwrap();
        drop(std);
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    });
}

/// Reads and writes of std expect a socket that makes them wait.
fn what_std_gets_blocks<E: Engine>() {
    fn blocks(socket: impl AsFd) -> bool {
        !fcntl_getfl(socket).unwrap().contains(OFlags::NONBLOCK)
    }
    run::<E>(async |rt| {
        let (stream, _peer) = pair::<E>(rt).await;
        assert!(blocks(stream.into_std().await.unwrap().0), "an accepted one");
        let (_accepted, connected) = duplex::<E>(rt).await;
        assert!(blocks(connected.into_std().await.unwrap().0), "a connected one");
        let (one, _other) = rt.unix_pair().unwrap();
        assert!(blocks(one.into_std().await.unwrap().0), "a Unix stream");
    });
}

/// A reset that a receive of the runtime's has met must not look like an orderly end.
fn a_reset_is_not_lost_on_the_way<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"x").unwrap();
        assert_eq!(recv_some(&mut stream).await, b"x");
        tests::net::reset(peer);
        rt.sleep(ms(5)).await;
        let read = stream.into_std().await.and_then(|(mut std, rest)| {
            assert!(rest.is_empty());
            std.read(&mut [0; 8])
        });
        assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

fn a_dropped_hand_over_closes<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"x").unwrap();
        stream.recv().await.unwrap();
        start_then_drop(stream.into_std(), async {}).await;
        assert_eq!(elsewhere(move || peer.read(&mut [0; 8]).unwrap()).await, 0);
    });
}

fn a_close_without_lingering_resets<E: Engine>() {
    run::<E>(async |rt| {
        let (mut stream, mut peer) = pair::<E>(rt).await;
        peer.write_all(b"x").unwrap();
        assert_eq!(recv_some(&mut stream).await, b"x");
        stream.set_zero_linger().unwrap();
        stream.close().await.unwrap();
        let error = elsewhere(move || peer.read(&mut [0; 8]).unwrap_err()).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

async fn recv_some(stream: &mut impl Reader) -> Vec<u8> {
    stream.recv().await.unwrap().bytes().to_vec()
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_variant!(suite, parts_arrive_in_their_order, through_a_unix_stream, small_and_empty_lists, dropped_midway);
    on_every_variant!(suite, as_many_small_parts_as_there_are_arrive);
    on_every_variant!(
        suite,
        all_bytes_go_to_std,
        what_std_gets_blocks,
        a_reset_is_not_lost_on_the_way,
        errors_give_the_buffers_back
    );
    on_engines!(suite, [ProactorFull, ProactorTiny], a_dropped_hand_over_closes);
    on_every_engine!(suite, one_call_sends_them_all, a_close_without_lingering_resets);
    suite.run()
}
