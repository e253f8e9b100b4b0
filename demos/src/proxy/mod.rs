//! A load balancer: one address in front of several servers.
//!
//! It shows what every site behind more than one machine has: somebody who chooses a server for each client
//! ([`Policy`]), notices when one fails, gives its work to the others, and takes it back when it is well again.
//!
//! ```text
//! demos http --listen 127.0.0.1:9001 & demos http --listen 127.0.0.1:9002 &
//! demos proxy --http --to 127.0.0.1:9001 --to 127.0.0.1:9002     then: curl -i http://127.0.0.1:8080/
//! ```
//!
//! Kill one of the two and ask on: no request fails, and the proxy says who is out. Start it again: it is back.
//!
//! # Two kinds
//!
//! Without `--http` it moves bytes and knows nothing of them: a server is chosen for each *connection*, and the end
//! of either side is passed on to the other. With `--http` it reads requests, and a server is chosen for each
//! *request*: connections to servers are kept for the next request, whoever's it is, and what concerns the one
//! connection (hop-by-hop headers) is not passed to the other.
//!
//! # What is never done
//!
//! * A connection or request whose first byte has reached a server goes to no other server, unless it may be
//!   repeated (GET, HEAD, OPTIONS without a body) and no byte of an answer has come.
//! * Nobody is read from whose last bytes have not been passed on: between two peers lies one chunk at a time.
//! * No request is passed on as it stands: each is read as strictly as `demos http` reads it, and written anew. What
//!   could be read in two ways is refused, so a server cannot take part of one client's body for another's request.
//!
//! # Reading order
//!
//! `balance.rs` (who is next), `servers.rs` (who is in), `health.rs` (who says so), `relay.rs` (bytes), then HTTP:
//! `exchange.rs` (the life of a connection), `request.rs`, `reply.rs` (heads), `idle.rs` (connections that are kept).

mod balance;
mod exchange;
mod health;
mod idle;
mod relay;
mod reply;
mod request;
mod servers;
#[cfg(test)]
mod simulation;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use executor::{Runtime, Stream};
use rustix::io::Errno;

use crate::http::{Limits, Status};

use idle::{Idle, Link};
use servers::Servers;

pub use balance::Policy;
pub use servers::{Event, Target};

/// How a proxy behaves. The default is what the command line says without options.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How servers are chosen.
    pub policy: Policy,
    /// How long a server may take to accept.
    pub connect_timeout: Duration,
    /// How long a connection may be silent in both directions, without HTTP.
    pub idle_timeout: Duration,
    /// HTTP: how long a server may take from the last byte of a request to the head of its answer.
    pub response_timeout: Duration,
    /// The time between two checks of a server.
    pub check_every: Duration,
    /// HTTP: what a check asks for. `None`: it connects, and that is enough.
    pub check_path: Option<String>,
    /// Successes in a row after which a server is back.
    pub rise: u32,
    /// Failures in a row after which a server is out.
    pub fall: u32,
    /// Connections, or requests, that a server has at the same time.
    pub most_per_server: usize,
    /// HTTP: connections that are kept for each server.
    pub idle_per_server: usize,
    /// HTTP: how long they are kept. It must be shorter than the servers' own patience.
    pub keep_idle: Duration,
    /// What clients may do, and that HTTP is spoken; `None`: bytes are moved.
    pub http: Option<Limits>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            policy: Policy::RoundRobin,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(30),
            check_every: Duration::from_secs(1),
            check_path: None,
            rise: 2,
            fall: 2,
            most_per_server: 1000,
            idle_per_server: 32,
            keep_idle: Duration::from_secs(5),
            http: None,
        }
    }
}

/// A proxy on one runtime: what its connections share.
pub struct Proxy<R: Runtime> {
    settings: Settings,
    servers: Rc<Servers>,
    idle: Idle<R>,
    /// For the bodies of answers, which are as long as a server wishes.
    reply_limits: Limits,
}

impl<R: Runtime> Proxy<R> {
    /// A proxy in front of `targets`. Whatever happens to one of them is told to `observer`. All are in at first, and
    /// each is checked for the first time after [`Settings::check_every`].
    pub fn new(rt: &R, targets: &[Target], settings: Settings, observer: impl Fn(&Event) + 'static) -> Rc<Proxy<R>> {
        let settings = Settings { http: settings.http.map(Limits::bounded), ..settings };
        let proxy = Rc::new(Proxy {
            servers: Servers::new(targets, &settings, Box::new(observer)),
            idle: Idle::new(targets.len(), settings.idle_per_server, settings.keep_idle),
            reply_limits: Limits { body: u64::MAX, ..Limits::default() },
            settings,
        });
        for server in 0..targets.len() {
            rt.spawn(health::watch(rt.clone(), Rc::downgrade(&proxy), server)).detach();
        }
        proxy
    }

    /// One line for each server: what it is, and what it got.
    #[must_use]
    pub fn summary(&self) -> String {
        self.servers.summary()
    }

    /// A connection to the next server that accepts one, kept or new. Those that don't accept are added to `tried`,
    /// and nobody out of `tried` is asked.
    async fn reach(&self, rt: &R, client: IpAddr, tried: &mut Vec<usize>, is_new: bool) -> Result<Link<R>, Failure> {
        let mut failure = Failure::NobodyThere;
        while let Some(place) = self.servers.next(client, tried) {
            let server = place.server();
            if !is_new && let Some(kept) = self.idle.take(rt, server).await {
                return Ok(Link::kept(kept, place));
            }
            match rt.timeout(self.settings.connect_timeout, rt.connect(self.servers.addr(server))).await {
                Ok(Ok(stream)) => return Ok(Link::new(stream.split(), place)),
                Ok(Err(error)) if is_ours(&error) => return Err(Failure::NobodyThere),
                Ok(Err(error)) => {
                    failure = Failure::Refused;
                    self.fail(server, error.to_string());
                }
                Err(_) => {
                    failure = Failure::TimedOut;
                    self.fail(server, format!("it did not accept within {:?}", self.settings.connect_timeout));
                }
            }
            tried.push(server);
        }
        Err(failure)
    }

    /// The server has failed somehow. What is kept for it would fail, too.
    fn fail(&self, server: usize, reason: String) {
        self.idle.clear(server);
        self.servers.report(server, Err(reason));
    }
}

/// Why no server was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// All servers are out or full, or there are no descriptors or ports left here.
    NobodyThere,
    Refused,
    TimedOut,
}

impl Failure {
    /// As HTTP says it.
    fn status(self) -> Status {
        match self {
            Failure::NobodyThere => Status::Unavailable,
            Failure::Refused => Status::BadGateway,
            Failure::TimedOut => Status::GatewayTimeout,
        }
    }
}

/// Whether a failed connect is for want of something here: no server is to blame.
fn is_ours(error: &io::Error) -> bool {
    const OURS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno))
}

/// Serves one connection to its end. Whatever goes wrong with it ends it and nothing else.
///
/// # Cancel safety
/// Dropping this future closes the connection, and the one to the server with it.
pub async fn connection<R: Runtime>(proxy: Rc<Proxy<R>>, rt: R, stream: R::Stream) {
    // Who has gone already has no address.
    let Ok(client) = stream.peer_addr() else { return };
    match &proxy.settings.http {
        Some(limits) => exchange::converse(&proxy, &rt, stream, client.ip(), limits).await,
        None => relay::relay(&proxy, &rt, stream, client.ip()).await,
    }
}
