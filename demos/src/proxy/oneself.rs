//! A proxy that meets itself.
//!
//! A proxy whose server is itself passes one client on to itself until all places are taken. And a connect to a port
//! where nothing listens can meet itself: if the kernel gives the connecting socket that very port, TCP joins the socket
//! with itself (a simultaneous open), and what is sent there comes back.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use executor::{Runtime, Stream};

/// Connects. A connection to oneself counts as refused: nothing listens there.
pub(crate) async fn connect<R: Runtime>(rt: &R, addr: SocketAddr) -> io::Result<R::Stream> {
    let stream = rt.connect(addr).await?;
    if !is_own(&stream) {
        return Ok(stream);
    }
    // An orderly close would keep the port for a while, and a server could not be started there.
    let (reader, writer) = stream.split();
    R::Stream::reset(reader, writer);
    Err(io::Error::new(ErrorKind::ConnectionRefused, "nothing listens there: the connection met itself"))
}

/// Whether both ends are one.
fn is_own(stream: &impl Stream) -> bool {
    stream.local_addr().is_ok_and(|local| stream.peer_addr().is_ok_and(|peer| local == peer))
}

/// Whether a connect to `target` reaches who listens at `listening`.
pub(super) fn leads_to(target: SocketAddr, listening: SocketAddr) -> bool {
    let (to, at) = (target.ip().to_canonical(), listening.ip().to_canonical());
    // A connect to the wildcard goes to this machine.
    let to = match to {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        to => to,
    };
    // A listener at the wildcard of IPv6 may get IPv4, too.
    let is_covered = at.is_unspecified() && (at.is_ipv6() || to.is_ipv4());
    target.port() == listening.port() && (to == at || (is_covered && is_here(to)))
}

/// Whether this machine has the address: only then it can be bound.
fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use socket2::{Domain, Socket, Type};

    #[test]
    fn a_connection_that_met_itself_is_known() {
        let rt = reactor::Builder::new().build().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let own = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        own.bind(&any.into()).unwrap();
        own.connect(&own.local_addr().unwrap()).unwrap();
        assert!(is_own(&reactor::TcpStream::from_std(&rt, own.into()).unwrap()));
        let listener = std::net::TcpListener::bind(any).unwrap();
        let other = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!is_own(&reactor::TcpStream::from_std(&rt, other).unwrap()));
    }

    #[test]
    fn a_target_is_compared_with_the_listener_as_the_kernel_does_it() {
        for (target, listening, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("127.0.0.2:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "[::]:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
            ("[::1]:80", "127.0.0.1:80", false),
            // Kept for documents: no machine has it.
            ("192.0.2.1:80", "0.0.0.0:80", false),
        ] {
            let found = leads_to(target.parse().unwrap(), listening.parse().unwrap());
            assert_eq!(found, expected, "{target} in front of {listening}");
        }
    }
}
