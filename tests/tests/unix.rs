//! Goal: Unix streams carry bytes and ends as TCP streams do, by path, by abstract name and in pairs; what is wrong with a
//! path is said; and a queue that is full is waited for without holding the loop.
//!
//! Method: against blocking sockets of std, on every engine and with every fallback.

use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;

use executor::{IoBuf, Listener, Net, Reader, Stream, Writer, yield_now};
use socket2::{Domain, SockAddr, Socket, Type};
use tests::net::{Pattern, recv_exactly, recv_to_end};
use tests::{Engine, Subject as _, Suite, both, elsewhere, ms, on_every_fallback, run, start_then_drop};

#[global_allocator]
static ALLOCATOR: oracles::Quarantine = oracles::Quarantine;

/// A folder that goes with the test, and a path in it.
fn path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    (folder, path)
}

/// A name that no other test has.
fn abstract_name() -> String {
    format!("\0tests-{}", std::process::id())
}

fn bytes_go_both_ways<E: Engine>() {
    const LEN: usize = 1_000_000;
    run::<E>(async |rt| {
        let pattern = Pattern::new(1);
        let (_folder, path) = path();
        let name = abstract_name();
        let mut by_path = rt.listen_unix(&path).unwrap();
        let mut by_name = rt.listen_unix(&name).unwrap();
        let std_by_path = UnixStream::connect(&path).unwrap();
        let addr = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let std_by_name = UnixStream::connect_addr(&addr).unwrap();
        drop(rt.connect_unix(&name).await.unwrap());
        for (listener, mut peer) in [(&mut by_path, std_by_path), (&mut by_name, std_by_name)] {
            let mut stream = listener.accept().await.unwrap();
            assert_eq!(stream.peer_addr().unwrap_err().kind(), ErrorKind::InvalidInput, "no internet address");
            let bytes = pattern.bytes(0, LEN);
            let peer = elsewhere(move || {
                let mut received = vec![0; LEN];
                peer.write_all(&bytes).unwrap();
                peer.read_exact(&mut received).unwrap();
                (peer, received)
            });
            let ((_peer, echoed), ()) = both(peer, async {
                let bytes = recv_exactly(&mut stream, LEN).await;
                pattern.check(0, &bytes);
                stream.write_all(bytes).await.0.unwrap();
            })
            .await;
            pattern.check(0, &echoed);
        }
        let (mut one, mut other) = rt.unix_pair().unwrap();
        let bytes = pattern.bytes(7, LEN);
        let (sent, received) = both(one.write_all(bytes), recv_exactly(&mut other, LEN)).await;
        sent.0.unwrap();
        pattern.check(7, &received);
    });
}

fn ends_come_as_they_are<E: Engine>() {
    run::<E>(async |rt| {
        let (_folder, path) = path();
        let mut listener = rt.listen_unix(&path).unwrap();
        let mut peer = UnixStream::connect(&path).unwrap();
        let mut stream = listener.accept().await.unwrap();
        // Half closed by the peer: we may go on.
        peer.write_all(b"last words").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(recv_to_end(&mut stream).await, b"last words");
        stream.write_all("still here").await.0.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here");
        // Gone: reading says the end, or that what we sent was not read; writing says so.
        let (mut one, other) = rt.unix_pair().unwrap();
        start_then_drop(one.recv(), yield_now()).await;
        drop(other);
        assert!(one.recv().await.unwrap().bytes().is_empty());
        assert_eq!(one.write_all("anybody?").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (mut one, other) = rt.unix_pair().unwrap();
        one.write_all("not read").await.0.unwrap();
        drop(other);
        assert_eq!(one.recv().await.err().unwrap().kind(), ErrorKind::ConnectionReset);
    });
}

fn paths_that_are_empty_or_too_long_are_refused<E: Engine>() {
    run::<E>(async |rt| {
        let (folder, _) = path();
        let room = 107 - folder.path().as_os_str().len() - 1;
        let longest = folder.path().join("x".repeat(room));
        drop(rt.listen_unix(&longest).unwrap());
        assert!(longest.exists());
        let longer = folder.path().join("x".repeat(room + 1));
        for error in [rt.listen_unix(&longer).err().unwrap(), rt.connect_unix(&longer).await.err().unwrap()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(
                error.to_string(),
                "a path of 108 bytes: that of a Unix socket has at most 107; a shorter one, such as a relative one, will do"
            );
        }
        for error in [rt.listen_unix("").err().unwrap(), rt.connect_unix("").await.err().unwrap()] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with("the path of a Unix socket is empty"), "{error}");
        }
        let missing = folder.path().join("missing");
        assert_eq!(rt.connect_unix(&missing).await.err().unwrap().kind(), ErrorKind::NotFound);
    });
}

/// The file outlives the listener, an abstract name does not.
fn stale_files_are_told<E: Engine>() {
    run::<E>(async |rt| {
        let (_folder, path) = path();
        let mut listener = rt.listen_unix(&path).unwrap();
        start_then_drop(listener.accept(), yield_now()).await;
        drop(listener);
        assert!(path.exists());
        while rt.connect_unix(&path).await.is_ok() {
            yield_now().await;
        }
        assert_eq!(rt.connect_unix(&path).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        let error = rt.listen_unix(&path).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.starts_with(path.to_str().unwrap()) && text.ends_with("remove it"), "{text}");
        std::fs::remove_file(&path).unwrap();
        drop(rt.listen_unix(&path).unwrap());
        let name = abstract_name();
        let mut listener = rt.listen_unix(&name).unwrap();
        assert_eq!(rt.listen_unix(&name).err().unwrap().raw_os_error(), Some(98), "EADDRINUSE, as it is");
        for _ in 0..10 {
            start_then_drop(listener.accept(), yield_now()).await;
            drop(listener);
            // On the proactor, the accept under way holds the name for a turn.
            listener = loop {
                match rt.listen_unix(&name) {
                    Ok(listener) => break listener,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
                }
                yield_now().await;
            };
        }
    });
}

fn a_full_queue_is_waited_for<E: Engine>() {
    const CLIENTS: usize = 6;
    run::<E>(async |rt| {
        let (_folder, path) = path();
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let clients = (0..CLIENTS).map(|_| {
            let (handle, path) = (rt.clone(), path.clone());
            rt.spawn(async move {
                let mut stream = handle.connect_unix(&path).await.unwrap();
                recv_exactly(&mut stream, 2).await
            })
        });
        let clients: Vec<_> = clients.collect();
        // The loop goes on while they wait.
        for _ in 0..20 {
            rt.sleep(ms(1)).await;
        }
        let impatient = rt.timeout(ms(3), rt.connect_unix(&path)).await;
        assert!(impatient.is_err(), "there was no room");
        let accepted = elsewhere(move || {
            for _ in 0..CLIENTS {
                (&listener.accept().unwrap().0).write_all(b"hi").unwrap();
            }
        });
        accepted.await;
        for client in clients {
            assert_eq!(client.await.unwrap(), b"hi");
        }
    });
}

/// A connection of packets, made elsewhere or accepted, is read and written as a stream: a packet for each read, whole, with
/// the reader waiting or not. So a read that is short does not mean that nothing follows.
fn packets_come_one_by_one<E: Engine>() {
    run::<E>(async |rt| {
        let (one, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        packets::<E>(rt.stream_of(one.into()).unwrap(), other).await;
        let (_folder, path) = path();
        let listening = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        listening.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listening.listen(10).unwrap();
        let mut listener = rt.listener_of(listening.into()).unwrap();
        let peer = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        peer.connect(&SockAddr::unix(&path).unwrap()).unwrap();
        packets::<E>(listener.accept().await.unwrap(), peer).await;
    });
}

async fn packets<E: Engine>(mut stream: tests::Stream<E>, mut peer: Socket) {
    for count in [1, 3, 20] {
        let waiting = async {
            for number in 0..count {
                assert_eq!(stream.recv().await.unwrap().bytes(), vec![number; 10 + usize::from(number)]);
            }
        };
        let write = async { (0..count).for_each(|n| peer.write_all(&vec![n; 10 + usize::from(n)]).unwrap()) };
        both(waiting, write).await;
        for number in 0..count {
            stream.write_all(vec![number; 5]).await.0.unwrap();
        }
        stream.write_all_vectored(vec!["one", "packet"]).await.0.unwrap();
        let mut packet = [0; 100];
        for number in 0..count {
            let len = peer.read(&mut packet).unwrap();
            assert_eq!(packet[..len], [number; 5]);
        }
        let len = peer.read(&mut packet).unwrap();
        assert_eq!(&packet[..len], b"onepacket");
    }
    drop(peer);
    assert!(stream.recv().await.unwrap().bytes().is_empty());
    assert_eq!(stream.write_all("x").await.0.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        bytes_go_both_ways,
        ends_come_as_they_are,
        paths_that_are_empty_or_too_long_are_refused,
        stale_files_are_told,
        a_full_queue_is_waited_for,
        packets_come_one_by_one,
    );
    suite.run()
}
