//! Names of hosts. The system looks them up with a call that blocks, so the call runs on the pool.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::run::driver::Driver;
use crate::run::executor::Executor;

impl<D: Driver> Executor<D> {
    /// Looks up the addresses of `"host:port"`, as getaddrinfo(3) gives them. Returns at least one.
    /// An address (such as `"127.0.0.1:80"`) needs no thread.
    ///
    /// The system's resolver decides how long this takes: tens of seconds with name servers that
    /// don't answer. So put it under a [`timeout`](Self::timeout). Look-ups share the pool, and its
    /// bounds, with all that [`spawn_blocking`](Self::spawn_blocking) runs.
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
    /// `InvalidInput` if the text does not have this form; those of the resolver, with the name;
    /// `ResourceBusy` if the pool has as many jobs as it may; [`closed`](crate::closed).
    ///
    /// # Cancel safety
    /// Dropping this future takes the look-up back if it has not begun. Otherwise it ends on its
    /// thread, and its result is lost.
    pub async fn lookup(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(addr) = host.parse() {
            return Ok(vec![addr]);
        }
        let host = host.to_owned();
        self.unblock_io(move || match host.to_socket_addrs() {
            Ok(addrs) => Ok(addrs.collect()),
            Err(error) => {
                let is_form = error.kind() == io::ErrorKind::InvalidInput;
                let remedy = if is_form { "; give HOST:PORT, such as localhost:80" } else { "" };
                Err(io::Error::new(error.kind(), format!("cannot look {host:?} up: {error}{remedy}")))
            }
        })
        .await
    }
}
