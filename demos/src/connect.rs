//! Connecting to a name: a host may have several addresses, and a server may listen on any of them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use executor::Runtime;

/// Tries one address after the other, each for so long.
///
/// # Errors
/// That of the last address. `AddrNotAvailable` if there is none.
///
/// # Cancel safety
/// Dropping this future gives the attempt up.
pub async fn connect<R: Runtime>(rt: &R, addresses: &[SocketAddr], time: Duration) -> io::Result<R::Stream> {
    let mut failed = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in addresses {
        let connected = rt.timeout(time, rt.connect(*address)).await;
        match connected.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use executor::Stream;

    use super::*;

    #[test]
    fn an_address_without_a_server_is_not_the_last_word() {
        let rt = reactor::Reactor::new().unwrap();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (live, dead) = (listen(), listen().local_addr().unwrap());
        let live = live.local_addr().map(|address| (live, address)).unwrap();
        rt.block_on(async {
            let time = Duration::from_secs(10);
            let stream = connect(&rt, &[dead, live.1], time).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), live.1);
            let refused = connect(&rt, &[dead, dead], time).await.map(drop).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let nowhere = connect(&rt, &[], time).await.map(drop).unwrap_err();
            assert_eq!(nowhere.kind(), ErrorKind::AddrNotAvailable);
        });
    }
}
