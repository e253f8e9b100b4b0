//! glommio: a `LocalExecutor` on this thread, unbuffered streams (buffered ones came out slower: an echo
//! out of them takes a copy).

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, IntoRawFd};

use anyhow::anyhow;
use glommio::LocalExecutorBuilder;

use super::futures_io::connection;
use super::{Service, announce, rest_or_fail};

/// Serves on glommio.
pub fn run(service: Service, listener: TcpListener) -> anyhow::Result<()> {
    let executor = LocalExecutorBuilder::default().make().map_err(|error| anyhow!("{error}"))?;
    executor.run(async {
        let address = listener.local_addr();
        // SAFETY: the descriptor is a listening socket, and this is the only place that owns it.
        let listener = unsafe { glommio::net::TcpListener::from_raw_fd(listener.into_raw_fd()) };
        announce(address)?;
        loop {
            match listener.accept().await {
                Ok(stream) => drop(glommio::spawn_local(connection(service, stream)).detach()),
                Err(error) => rest_or_fail(io::Error::from(error))?,
            }
        }
    })
}
