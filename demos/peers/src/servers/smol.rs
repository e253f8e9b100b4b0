//! smol, on one thread: a `LocalExecutor`, and `Async` around the sockets of std.

use std::net::TcpListener;

use smol::{Async, LocalExecutor};

use super::futures_io::connection;
use super::{Service, announce, rest_or_fail};

/// Serves on smol.
pub fn run(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = Async::new(listener)?;
        announce(listener.get_ref().local_addr())?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => executor.spawn(connection(service, stream)).detach(),
                Err(error) => rest_or_fail(error)?,
            }
        }
    }))
}
