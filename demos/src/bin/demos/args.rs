//! What the commands share of the command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::engine::Engine;
use crate::server::Addresses;

/// The choice of a runtime.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// The engine to run on. Default: the one that DEMOS_ON in the environment names, or the proactor.
    #[arg(long, value_name = "ENGINE", value_enum)]
    pub on: Option<Engine>,
}

/// The options of every server.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Where to listen. Port 0 lets the kernel choose one. A name such as localhost stands for all its addresses.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_parser = addresses)]
    pub listen: Addresses,

    /// Allow addresses that other machines can reach. This is a demonstration, not a product.
    #[arg(long)]
    pub allow_remote: bool,

    /// Seconds that connections may take to finish after SIGINT, SIGTERM or SIGHUP.
    ///
    /// Then the server prints a line of counters. `connections` were served, `cut` ended with this time, `refused` by
    /// --max-per-address. The others are the runtime's: polls of tasks, wakes, turns of the loop, timers, events and
    /// operations of the kernel, and `call.NAME`, how often a system call was made.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub grace: Duration,

    /// Connections at the same time; further ones wait until one ends. Default: 10,000, or as many as
    /// the limit of open files allows. Several workers share the number in equal parts, rounded up.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: Option<u32>,

    /// Connections at the same time from one address; further ones are closed at once. Default: no limit.
    /// Each worker counts its own connections. Do not use it behind a proxy: a proxy is one address.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_per_address: Option<u32>,

    /// As soon as the server listens, give up for good what it does not need: starting programs, looking
    /// into other processes, new io_uring rings, and sockets other than those of TCP/IP and UNIX. On the
    /// proactor, the ring then accepts requests for sockets only. `demos doctor` says whether this works
    /// here.
    #[arg(long)]
    pub sandbox: bool,

    /// Answer each line on stdin with one line of counters, and stop when stdin ends.
    #[arg(long, hide = true)]
    pub control: bool,
}

/// The options of servers whose connections are independent of each other.
#[derive(Clone, Debug, Args)]
pub struct WorkersArgs {
    /// Threads that serve one port, each with a runtime and a listener of its own, 1,024 at most.
    ///
    /// Several workers are kept on the cores this process may use, in turn; if there are more workers
    /// than cores, they share them. The kernel spreads the connections by a hash of their addresses, so
    /// a few connections spread unevenly. Each connection stays with its worker. At the end each worker
    /// prints one line of counters, and then comes the sum.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = workers)]
    pub workers: NonZeroU16,
}

/// Parses `ADDR:PORT`, or looks up all addresses of `NAME:PORT`.
pub fn addresses(text: &str) -> Result<Addresses, String> {
    host(text).map_err(|error| error.replace("HOST:PORT", "ADDR:PORT"))?;
    let found = text.to_socket_addrs().map_err(|error| format!("{error}: give ADDR:PORT, such as 127.0.0.1:8080"))?;
    Addresses::new(found.collect())
        .ok_or_else(|| "the name has no address: give ADDR:PORT, such as 127.0.0.1:8080".to_owned())
}

/// The same for what listens on one address only: the first one of a name.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    addresses(text).map(|found| found.first())
}

/// Sees that this is `HOST:PORT`. Whether there is such a host is another matter.
pub fn host(text: &str) -> Result<String, String> {
    let remedy = "give HOST:PORT, such as 127.0.0.1:8080";
    // The colons of [::1] are its own.
    let end = text.rfind(']').map_or(0, |end| end + 1);
    match text[end..].rsplit_once(':') {
        None => Err(format!("the port is missing: {remedy}")),
        Some((rest, _)) if end == 0 && rest.is_empty() => Err(format!("the host is missing: {remedy}")),
        Some((_, port)) if port.parse::<u16>().is_err() => Err(format!("a port is a number up to 65535: {remedy}")),
        Some(_) => Ok(text.to_owned()),
    }
}

/// Looks up the addresses of `HOST:PORT`, for a client. The resolver of the C library blocks, so this comes before the
/// runtime.
pub fn find(host: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let found =
        host.to_socket_addrs().with_context(|| format!("cannot find {host}: give HOST:PORT, such as 127.0.0.1:8080"));
    Ok(found?.collect())
}

/// The most workers that can be given: more cores than any machine of today has.
const MOST_WORKERS: u16 = 1024;

/// Parses a number of workers.
fn workers(text: &str) -> Result<NonZeroU16, String> {
    let workers = text.parse().ok().filter(|workers: &NonZeroU16| workers.get() <= MOST_WORKERS);
    workers.ok_or_else(|| format!("give a number from 1 to {MOST_WORKERS}, such as the number of cores"))
}

/// The longest time that can be given: a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses a number of seconds, with a fraction or without.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| *seconds <= LONGEST)
        .ok_or_else(|| "give a number of seconds, such as 5 or 0.5, and a day at most".to_owned())
}

/// The same, but not 0: nothing can be done in no time.
pub fn some_seconds(text: &str) -> Result<Duration, String> {
    let wanted = || "give more than 0 seconds, such as 10 or 0.5, and a day at most".to_owned();
    Some(seconds(text)?).filter(|seconds| !seconds.is_zero()).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert!(seconds("-1").is_err() && seconds("1m").is_err() && seconds("inf").is_err());
        assert!(some_seconds("0").is_err() && some_seconds("0.0").is_err() && some_seconds("0.5").is_ok());
    }

    #[test]
    fn an_address_without_a_port_is_told_so() {
        for missing in ["127.0.0.1", "[::1]", "localhost", ""] {
            assert!(host(missing).is_err_and(|error| error.starts_with("the port is missing")), "{missing}");
        }
        assert!(host(":80").is_err_and(|error| error.starts_with("the host is missing")));
        assert!(host("a:b").is_err() && host("a:65536").is_err());
        assert!(host("[::1]:0").is_ok() && host("localhost:80").is_ok() && host("127.0.0.1:80").is_ok());
    }
}
