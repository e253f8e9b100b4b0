//! What the connections of a proxy share, and how one of them reaches a server.

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use executor::Runtime;
use rustix::io::Errno;

use super::idle::{Idle, Link};
use super::oneself::connect;
use super::pair::Pair;
use super::servers::{Event, Servers, Target};
use super::settings::Settings;
use crate::http::{Limits, Status};

/// A proxy on one runtime: what its connections share.
pub struct Proxy<R: Runtime> {
    /// Sets what a new connection to a server needs, such as options of its socket.
    pub prepare: Cell<fn(&R::Stream)>,
    pub(super) settings: Settings,
    pub(super) servers: Rc<Servers>,
    pub(super) idle: Idle<R>,
    /// For the bodies of answers, which are as long as a server wishes.
    pub(super) reply_limits: Limits,
}

impl<R: Runtime> Proxy<R> {
    /// A proxy whose servers are not checked yet.
    pub(super) fn unchecked(targets: &[Target], settings: Settings, observer: impl Fn(&Event) + 'static) -> Proxy<R> {
        let settings = Settings { http: settings.http.map(Limits::bounded), ..settings };
        Proxy {
            prepare: Cell::new(|_| ()),
            servers: Servers::new(targets, &settings, Box::new(observer)),
            idle: Idle::new(targets.len(), settings.idle_per_server, settings.keep_idle),
            reply_limits: Limits { body: u64::MAX, ..Limits::default() },
            settings,
        }
    }

    /// One line for each server: what it is, and what it got.
    #[must_use]
    pub fn summary(&self) -> String {
        self.servers.summary()
    }

    /// A connection to the next server that accepts one, kept or new. Those that don't accept are added to `tried`,
    /// and nobody out of `tried` is asked.
    pub(super) async fn reach(
        &self,
        rt: &R,
        client: IpAddr,
        tried: &mut Vec<usize>,
        is_new: bool,
    ) -> Result<Link<R>, Failure> {
        let mut failure = Failure::NobodyThere;
        while let Some(place) = self.servers.next(client, tried) {
            let server = place.server();
            if !is_new && let Some(kept) = self.idle.take(rt, server).await {
                return Ok(Link::kept(kept, place));
            }
            match rt.timeout(self.settings.connect_timeout, connect(rt, self.servers.addr(server))).await {
                Ok(Ok(stream)) => {
                    self.servers.connected(server, Ok(()));
                    self.prepare.get()(&stream);
                    return Ok(Link::new(Pair::new(stream), place));
                }
                Ok(Err(error)) if is_ours(&error) => return Err(Failure::NobodyThere),
                Ok(Err(error)) => {
                    failure = Failure::Refused;
                    self.refuse(server, error.to_string());
                }
                Err(_) => {
                    failure = Failure::TimedOut;
                    self.refuse(server, format!("it did not accept within {:?}", self.settings.connect_timeout));
                }
            }
            tried.push(server);
        }
        Err(failure)
    }

    /// The server has not accepted. What is kept for it would fail, too.
    fn refuse(&self, server: usize, reason: String) {
        self.idle.clear(server);
        self.servers.connected(server, Err(reason));
    }
}

/// Why no server was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// All servers are full, or there are no descriptors or ports left here.
    NobodyThere,
    Refused,
    TimedOut,
}

impl Failure {
    /// As HTTP says it.
    pub(super) fn status(self) -> Status {
        match self {
            Failure::NobodyThere => Status::Unavailable,
            Failure::Refused => Status::BadGateway,
            Failure::TimedOut => Status::GatewayTimeout,
        }
    }
}

/// Whether a failed connect is for want of something here: no server is to blame.
pub(super) fn is_ours(error: &io::Error) -> bool {
    const OURS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|errno| OURS.contains(&errno))
}
