//! Goal: a socket says where it is and where its peer is. A port can be listened on again as soon as its listener is gone,
//! and only with the option that allows it. A broadcast needs its option, and arrives.
//!
//! Method: both ends of connections asked, over IPv4 and IPv6; connections that linger or live on a listener's port; the
//! broadcast address of the loopback network.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket as StdSocket};
use std::process::ExitCode;
use std::time::Duration;

use executor::{ListenOptions, Listener, Net, Runtime, Stream as _, UdpSocket, yield_now};
use socket2::SockRef;
use tests::net::{V4, V6, listen_at, recv_to_end};
use tests::{Engine, Suite, both, on_every_fallback, run};

const SOON: Duration = Duration::from_secs(20);

fn both_ends_know_both_addresses<E: Engine>() {
    run::<E>(async |rt| {
        for at in [V4, V6] {
            let (mut listener, addr) = listen_at(rt, at);
            assert_eq!(addr.ip(), at.ip());
            assert_ne!(addr.port(), 0);
            for _ in 0..3 {
                let (accepted, connected) = both(listener.accept(), rt.connect(addr)).await;
                let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
                let far = connected.local_addr().unwrap();
                assert_eq!((connected.peer_addr().unwrap(), far.ip()), (addr, at.ip()));
                assert_ne!(far.port(), addr.port());
                assert_eq!((accepted.local_addr().unwrap(), accepted.peer_addr().unwrap()), (addr, far));
                // They stay the same where the stream goes.
                let (std, _) = accepted.into_std().await.unwrap();
                assert_eq!((std.local_addr().unwrap(), std.peer_addr().unwrap()), (addr, far));
            }
            let peer = TcpStream::connect(addr).unwrap();
            let accepted = listener.accept().await.unwrap();
            assert_eq!(accepted.peer_addr().unwrap(), peer.local_addr().unwrap());
        }
    });
}

/// Our side closes first, so the connection lingers on our port.
async fn linger<E: Engine>(rt: &E::Rt, addr: SocketAddr) -> SocketAddr {
    let mut listener = loop {
        // On the proactor, the accept under way holds the port for a turn.
        match rt.listen(addr, &ListenOptions::default()) {
            Ok(listener) => break listener,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
        }
        yield_now().await;
    };
    let addr = listener.local_addr().unwrap();
    let mut peer = rt.connect(addr).await.unwrap();
    listener.accept().await.unwrap().close().await.unwrap();
    assert!(recv_to_end(&mut peer).await.is_empty());
    peer.close().await.unwrap();
    addr
}

/// A connection that lives on keeps the port from a listener that does not allow it.
fn a_port_is_free_again_at_once<E: Engine>() {
    run::<E>(async |rt| {
        let mut addr = V4;
        for _ in 0..10 {
            addr = linger::<E>(rt, addr).await;
        }
        let (mut listener, addr) = listen_at(rt, V4);
        let peer = rt.connect(addr).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        drop(listener);
        linger::<E>(rt, addr).await;
        let strict = ListenOptions { reuse_addr: false, ..ListenOptions::default() };
        for _ in 0..20 {
            assert_eq!(rt.listen(addr, &strict).map(drop).unwrap_err().kind(), ErrorKind::AddrInUse);
            yield_now().await;
        }
        linger::<E>(rt, addr).await;
        drop((peer, accepted));
    });
}

/// The option is set on the descriptor, and the runtime leaves it alone.
fn a_broadcast_needs_its_option<E: Engine>() {
    run::<E>(async |rt| {
        let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let receivers = [rt.bind_udp(any).unwrap(), rt.bind_udp(any).unwrap()];
        let sender = rt.bind_udp(V4).unwrap();
        for is_allowed in [false, true] {
            SockRef::from(&sender).set_broadcast(is_allowed).unwrap();
            for receiver in &receivers {
                let to = SocketAddr::new("127.255.255.255".parse().unwrap(), receiver.local_addr().unwrap().port());
                let (sent, text) = sender.send_to("to all", to).await;
                assert_eq!(text, "to all");
                if !is_allowed {
                    assert_eq!(sent.unwrap_err().kind(), ErrorKind::PermissionDenied);
                    continue;
                }
                sent.unwrap();
                let datagram = rt.timeout(SOON, receiver.recv_from()).await.expect("it is lost").unwrap();
                assert_eq!((&*datagram.bytes, datagram.from), (&b"to all"[..], sender.local_addr().unwrap()));
            }
        }
        // Through std and back.
        let std: StdSocket = sender.into_std().await.unwrap();
        assert!(std.broadcast().unwrap());
        let sender = UdpSocket::<<E::Rt as Net>::Port>::from_std(rt, std).unwrap();
        assert!(SockRef::from(&sender).broadcast().unwrap());
    });
}

fn main() -> ExitCode {
    let mut suite = Suite::new();
    on_every_fallback!(
        suite,
        both_ends_know_both_addresses,
        a_port_is_free_again_at_once,
        a_broadcast_needs_its_option,
    );
    suite.run()
}
