//! Goal: a connect ends as it ends: made, refused, unreachable, or, where nothing ever answers, by our timeout.
//!
//! Method: a listener, none, one whose queue is full (there the kernel drops what comes, and the client is told
//! nothing), and a network without a route.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Instant;

use executor::{Elapsed, Reader, Runtime};
use rustix::thread::UnshareFlags;
use socket2::{Domain, Socket, Type};
use tests::net::{V4, V6, duplex_at};
use tests::{Engine, Suite, ms, on_every_engine, on_every_fallback, run};

fn to_a_listener<E: Engine>() {
    run::<E>(async |rt| {
        for addr in [V4, V6] {
            for _ in 0..20 {
                let (here, there) = duplex_at::<E>(rt, addr).await;
                drop(here);
                let mut there = there;
                assert!(executor::IoBuf::bytes(&there.recv().await.unwrap()).is_empty());
            }
        }
    });
}

/// An address where nobody listens, and nobody will, because it stays taken.
fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&V4.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

fn to_nobody<E: Engine>() {
    run::<E>(async |rt| {
        let (_bound, addr) = nobody();
        for _ in 0..20 {
            assert_eq!(rt.connect(addr).await.map(drop).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

/// A listener whose queue is full, so that the kernel drops further attempts, as a black hole would.
fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&V4.into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().unwrap();
    let mut taken = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, ms(100)) {
        taken.push(stream);
        assert!(taken.len() < 100, "the queue has no end");
    }
    (listener, taken, addr)
}

fn to_a_black_hole<E: Engine>() {
    let (_listener, _taken, addr) = black_hole();
    run::<E>(async |rt| {
        let (start, turns) = (Instant::now(), rt.stats().turns);
        assert_eq!(rt.timeout(ms(200), rt.connect(addr)).await.map(drop), Err(Elapsed));
        let took = start.elapsed();
        assert!(took >= ms(200) && took < ms(2000), "{took:?}");
        assert!(rt.stats().turns - turns < 20, "it did not sleep meanwhile: {}", rt.stats());
    });
}

/// Makes a network of its own for this thread, with nothing in it.
fn leave_the_network() -> Result<(), rustix::io::Errno> {
    // SAFETY: unsafe for the flag that gives a thread descriptors of its own, which this is not.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Why there can't be one here, if there can't. Tried on a thread, because it can't be taken back.
fn no_namespaces() -> Option<String> {
    let tried = std::thread::spawn(leave_the_network).join().expect("no panic");
    tried.err().map(|error| error.to_string())
}

fn without_a_route<E: Engine>() {
    leave_the_network().expect("tried before");
    run::<E>(async |rt| {
        for addr in ["127.0.0.1:80", "192.0.2.1:80"] {
            let error = rt.connect(addr.parse().unwrap()).await.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{addr}: {error}");
        }
        // Without even an address to come from.
        let error = rt.connect("[2001:db8::1]:80".parse().unwrap()).await.map(drop).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::NetworkUnreachable), "{error}");
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(suite, to_a_black_hole);
    on_every_engine!(suite, to_a_listener, to_nobody);
    if suite.is_possible("network namespaces", no_namespaces) {
        on_every_engine!(suite, without_a_route);
    }
    suite.run()
}
