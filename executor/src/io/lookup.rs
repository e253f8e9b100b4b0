//! Names of hosts. The system looks them up with a call that blocks, so that happens on the pool.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::run::driver::Driver;
use crate::run::executor::Executor;

impl<D: Driver> Executor<D> {
    /// The addresses of `"host:port"`, as getaddrinfo(3) gives them; never none. What is an address already (such as
    /// `"127.0.0.1:80"`) needs no thread.
    ///
    /// How long it may take is up to the system's resolver: with name servers that don't answer, tens of seconds. So
    /// put it under a [`timeout`](Self::timeout). Look-ups share the pool, and its bounds, with all that
    /// [`spawn_blocking`](Self::spawn_blocking) runs.
    ///
    /// ```
    /// # use executor::{Driver, Executor};
    /// # use std::time::Duration;
    /// # async fn example<D: Driver>(rt: &Executor<D>) -> Result<(), Box<dyn std::error::Error>> {
    /// let addrs = rt.timeout(Duration::from_secs(5), rt.lookup("localhost:80")).await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if it isn't of this form; those of the resolver, with the name; `ResourceBusy` if the pool has as
    /// many jobs as it may; [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future takes the look-up back if it has not begun; else it ends unseen, on its thread.
    pub async fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(addr) = host.parse() {
            return Ok(vec![addr]);
        }
        let host = host.to_owned();
        self.unblock_io(move || match host.to_socket_addrs() {
            Ok(addrs) => Ok(addrs.collect()),
            Err(error) => Err(io::Error::new(error.kind(), format!("cannot look {host:?} up: {error}"))),
        })
        .await
    }
}
