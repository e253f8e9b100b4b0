//! Goal: what is written, shut down or sent where no peer is left comes to its end: the program is told, at once or by the
//! next write, and nothing waits for a peer that is gone.
//!
//! Method: each way to write, against peers of std that close in order, that never read and then go, or that were never
//! there; over TCP, Unix streams, pipes and UDP.

use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use executor::{Net as _, Stream as _, Writer, yield_now};
use tests::net::{V4, pair, recv_to_end};
use tests::{Engine, Suite, both, elsewhere, ms, on_every_fallback, on_every_variant, run};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// More than the kernel's buffers hold.
const MUCH: usize = 16 << 20;
const SOON: Duration = Duration::from_secs(20);

/// The peer sees one end, and can still answer. When both sides have ended there may be nothing left to shut down.
fn a_shutdown_may_be_repeated<E: Engine>() {
    run::<E>(async |rt| {
        for is_split in [false, true] {
            let (mut stream, mut peer) = pair::<E>(rt).await;
            stream.write_all("last words").await.0.unwrap();
            for _ in 0..3 {
                stream.shutdown().await.unwrap();
            }
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"last words");
            peer.write_all(b"answer").unwrap();
            drop(peer);
            let (mut read, mut write) = stream.split();
            assert_eq!(recv_to_end(&mut read).await, b"answer");
            if is_split {
                drop(read);
            }
            for _ in 0..3 {
                if let Err(error) = write.shutdown().await {
                    assert_eq!(error.kind(), ErrorKind::NotConnected);
                }
                assert_eq!(write.write_all("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
            }
        }
        let (mut one, mut other) = rt.unix_pair().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let (mut reader, mut writer) = (rt.pipe_reader(reader).unwrap(), rt.pipe_writer(writer).unwrap());
        for _ in 0..3 {
            one.shutdown().await.unwrap();
            writer.shutdown().await.unwrap();
        }
        assert!(recv_to_end(&mut other).await.is_empty() && recv_to_end(&mut reader).await.is_empty());
    });
}

/// One more write, in one of the ways there are. The error of a fed buffer comes with the flush.
async fn write(stream: &mut impl executor::Stream, way: usize) -> std::io::Result<()> {
    match way {
        0 => stream.write("x").await.0.map(drop),
        1 => stream.write_all("x").await.0,
        2 => stream.write_all_vectored(vec!["x", "y"]).await.0,
        3 => {
            stream.feed("x").await?;
            stream.flush().await
        }
        _ => stream.exchange("x").await.map(drop),
    }
}

/// The peer has closed in order. The first write may go well: it is what tells the peer's kernel.
fn a_peer_that_has_closed_is_told_soon<E: Engine>() {
    run::<E>(async |rt| {
        for way in 0..5 {
            for is_unix in [false, true] {
                let mut stream = if is_unix {
                    rt.unix_pair().unwrap().0
                } else {
                    let (stream, peer) = pair::<E>(rt).await;
                    drop(peer);
                    stream
                };
                let mut good = 0;
                let error = loop {
                    match write(&mut stream, way).await {
                        Ok(()) => good += 1,
                        Err(error) => break error,
                    }
                    assert!(good < 1000, "way {way}: a thousand writes to nobody");
                    rt.sleep(ms(1)).await;
                };
                let is_told = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
                assert!(is_told && (good == 0 || !is_unix), "way {way}: {error} after {good} writes");
                let again = stream.write_all("more").await.0.unwrap_err();
                assert_eq!(again.kind(), ErrorKind::BrokenPipe, "way {way}");
            }
        }
    });
}

/// It waits for room, and the peer goes without having read.
fn a_writer_that_waits_is_told<E: Engine>() {
    run::<E>(async |rt| {
        for is_unix in [false, true] {
            for way in 0..3 {
                let (mut stream, peer): (_, Box<dyn std::any::Any>) = if is_unix {
                    let (one, other) = rt.unix_pair().unwrap();
                    (one, Box::new(other))
                } else {
                    let (stream, peer) = pair::<E>(rt).await;
                    (stream, Box::new(peer))
                };
                let writing = rt.spawn(async move {
                    match way {
                        0 => stream.write_all(vec![1; MUCH]).await.0,
                        1 => stream.write_all_vectored(vec![vec![1; MUCH / 2]; 2]).await.0,
                        _ => stream.exchange(vec![1; MUCH]).await.map(drop),
                    }
                });
                rt.sleep(ms(5)).await;
                assert!(!writing.is_finished(), "it was meant to wait");
                drop(peer);
                let told = rt.timeout(SOON, writing).await.expect("it waits for a peer that is gone").unwrap();
                let kind = told.unwrap_err().kind();
                assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind}, way {way}");
            }
        }
    });
}

/// An address that nothing is bound to.
fn nowhere() -> SocketAddr {
    StdSocket::bind(V4).unwrap().local_addr().unwrap()
}

/// Each datagram is refused, and each refusal is told at most once, to a send or to a receive. Then there is a peer.
fn a_storm_of_refusals_ends_no_socket<E: Engine>() {
    const STORM: u32 = 500;
    run::<E>(async |rt| {
        let (socket, gone) = (Rc::new(rt.bind_udp(V4).unwrap()), nowhere());
        socket.connect(gone).unwrap();
        let receiving = Rc::clone(&socket);
        let receiver = rt.spawn(async move {
            let mut refused = 0;
            loop {
                match receiving.recv().await {
                    Ok(bytes) => return (refused, bytes.to_vec()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
                }
                refused += 1;
            }
        });
        let mut refused = 0;
        for number in 0..STORM {
            if let Err(error) = socket.send("is anybody there?").await.0 {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                refused += 1;
            }
            if number % 7 == 0 {
                yield_now().await;
            }
        }
        let peer = StdSocket::bind(gone).unwrap();
        let answer = elsewhere(move || {
            peer.set_read_timeout(Some(SOON)).unwrap();
            let (_, from) = peer.recv_from(&mut [0; 100]).unwrap();
            peer.send_to(b"yes", from).unwrap();
        });
        // A refusal that is left may be told by the first of these.
        let ask = async { while socket.send("now?").await.0.is_err() {} };
        both(answer, ask).await;
        let (refused_to_receive, answer) = rt.timeout(SOON, receiver).await.expect("deaf").unwrap();
        assert_eq!(answer, b"yes");
        let all = refused + refused_to_receive;
        assert!((1..=STORM).contains(&all), "{all} refusals of {STORM} datagrams");
    });
}

/// One that is not connected is not told, and goes on to receive.
fn datagrams_to_nobody_disturb_nothing<E: Engine>() {
    run::<E>(async |rt| {
        let (socket, gone, peer) = (rt.bind_udp(V4).unwrap(), nowhere(), StdSocket::bind(V4).unwrap());
        let addr = socket.local_addr().unwrap();
        for number in 0..200_u8 {
            socket.send_to("is anybody there?", gone).await.0.unwrap();
            peer.send_to(&[number], addr).unwrap();
            assert_eq!(*socket.recv().await.unwrap(), [number]);
        }
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, a_shutdown_may_be_repeated, a_peer_that_has_closed_is_told_soon);
    on_every_variant!(
        suite,
        a_writer_that_waits_is_told,
        a_storm_of_refusals_ends_no_socket,
        datagrams_to_nobody_disturb_nothing,
    );
    suite.run()
}
