//! Where a server listens: what is refused, what is tried again, and what to do about the rest.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{anyhow, bail};
use executor::{ListenOptions, Listener, Runtime};
use socket2::{SockRef, TcpKeepalive};

use super::addresses::{Addresses, Listeners, Refused};

/// How long a killed process may hold an address at most; it was seen to take some milliseconds.
pub const TAKEDOWN: Duration = Duration::from_millis(200);
pub const TAKEDOWN_STEP: Duration = Duration::from_millis(2);

/// Refuses addresses that other machines can reach, unless they are wished for.
pub fn check_reach(addresses: impl IntoIterator<Item = SocketAddr>, allow_remote: bool) -> anyhow::Result<()> {
    let mut remote = addresses.into_iter().filter(|address| !address.ip().is_loopback());
    if let Some(listen) = remote.next()
        && !allow_remote
    {
        bail!(
            "{listen} can be reached from other machines, and this is a demonstration: \
             listen on 127.0.0.1 or [::1], or say --allow-remote"
        );
    }
    Ok(())
}

/// Listens. An address in use is tried again for a moment: when a process that uses io_uring is killed,
/// the kernel takes its ring down in the background, and the ring holds its listener until then, which
/// SO_REUSEADDR doesn't help against. Without this a server that is killed and started again would fail.
pub async fn listen<R: Runtime>(
    rt: &R,
    addresses: &Addresses,
    options: &ListenOptions,
) -> Result<Listeners<R::Listener>, Refused> {
    let give_up = rt.now() + TAKEDOWN;
    let open = |address| {
        let listener = rt.listen(address, options)?;
        Ok((listener.local_addr()?, listener))
    };
    loop {
        match addresses.open(open) {
            Err(refused) if refused.error.kind() == ErrorKind::AddrInUse && rt.now() < give_up => {
                rt.sleep(TAKEDOWN_STEP).await;
            }
            result => return result.map(Listeners::new),
        }
    }
}

/// Half a minute without a byte, then a question each 10 seconds.
const KEEP_ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);
/// Bytes that wait in the kernel to be sent, at most. Without a limit there are megabytes, and a write that waits tells
/// nothing of what the peer takes: the kernel reports room when a third of them is gone.
const UNSENT: u32 = 64 * 1024;

/// Lets the kernel watch over a connection, or over those of a listener, which inherit this. A peer whose machine is gone is
/// noticed after a minute, if no bytes are on the way to it.
///
/// `TCP_USER_TIMEOUT` is not set. It counts the time in which a whole segment found no room, and so cuts off peers that take
/// a few bytes at a time.
pub fn watch_over(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&KEEP_ALIVE)?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

/// Says where it is impossible to listen, why, and what to do about it.
pub fn refusal(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    anyhow!("cannot listen on {address}: {error}{}", remedy(error))
}

/// What to do about an address that cannot be listened on.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => {
            ". Another program listens there: choose another port with --listen ADDR:PORT (0: any free one)"
        }
        ErrorKind::AddrNotAvailable => ". This machine has no such address: choose another with --listen ADDR:PORT",
        ErrorKind::PermissionDenied => ". Low ports are reserved: choose one above 1023 with --listen ADDR:PORT",
        _ => "",
    }
}
