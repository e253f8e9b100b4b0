//! Where a server listens: what is refused, what is tried again, and what to do about the rest.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{anyhow, bail};
use executor::{ListenOptions, Runtime};

/// How long a killed process may hold an address at most; it was seen to take some milliseconds.
pub const TAKEDOWN: Duration = Duration::from_millis(200);
pub const TAKEDOWN_STEP: Duration = Duration::from_millis(2);

/// Refuses addresses that other machines can reach, unless they are wished for.
pub fn check_reach(listen: SocketAddr, allow_remote: bool) -> anyhow::Result<()> {
    if !listen.ip().is_loopback() && !allow_remote {
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
pub async fn listen<R: Runtime>(rt: &R, address: SocketAddr, options: &ListenOptions) -> io::Result<R::Listener> {
    let give_up = rt.now() + TAKEDOWN;
    loop {
        match rt.listen(address, options) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && rt.now() < give_up => {
                rt.sleep(TAKEDOWN_STEP).await;
            }
            result => return result,
        }
    }
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
