//! The servers behind the proxy: who is in, who has how much to do, and who is next.

use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use super::balance::Balance;
use super::oneself::leads_to;
use super::settings::Settings;

/// Where a server is, and how much of the work it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its share, compared with those of the others.
    pub weight: u32,
}

impl Target {
    /// Whether a connect to it reaches who listens at this address.
    #[must_use]
    pub fn leads_to(&self, listening: SocketAddr) -> bool {
        leads_to(self.addr, listening)
    }
}

/// The greatest weight.
const MOST_WEIGHT: u32 = 100;

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let wanted =
            || format!("give HOST:PORT or HOST:PORT=WEIGHT, such as 127.0.0.1:9001=2, weights from 1 to {MOST_WEIGHT}");
        let (addr, weight) = text.split_once('=').unwrap_or((text, "1"));
        let weight = weight.parse().ok().filter(|weight| (1..=MOST_WEIGHT).contains(weight));
        let weight = weight.ok_or_else(wanted)?;
        if !addr.contains(':') {
            return Err(format!("the port is missing: {}", wanted()));
        }
        let found = addr.to_socket_addrs().map_err(|error| format!("{error}: {}", wanted()))?;
        Ok(Target { addr: one_of(&found.collect::<Vec<_>>()).ok_or_else(wanted)?, weight })
    }
}

/// The address of a name: where there are several, the first that accepts now, or else the first.
fn one_of(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    let accepts = |addr: &&SocketAddr| TcpStream::connect_timeout(addr, NAME_PATIENCE).is_ok();
    let answering = if addrs.len() > 1 { addrs.iter().find(accepts) } else { None };
    answering.or(addrs.first()).copied()
}

/// How long each address of a name may take to accept, at the start.
const NAME_PATIENCE: Duration = Duration::from_millis(500);

/// What happened to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It failed so often that it gets nothing any more; why the last time.
    Out(SocketAddr, String),
    /// It gets its share again.
    Back(SocketAddr),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Out(addr, reason) => write!(f, "server {addr} is out: {reason}"),
            Event::Back(addr) => write!(f, "server {addr} is back"),
        }
    }
}

/// All servers.
pub(crate) struct Servers {
    list: Vec<Server>,
    balance: Balance,
    most: usize,
    rise: u32,
    fall: u32,
    observer: Box<dyn Fn(&Event)>,
}

struct Server {
    addr: SocketAddr,
    is_out: Cell<bool>,
    /// Checks in a row that speak against what it is: failures of one that is in, successes of one that is out.
    contrary: Cell<u32>,
    /// Connects of clients in a row that failed.
    refusals: Cell<u32>,
    /// What it has to do now: connections, or requests.
    active: Cell<usize>,
    served: Cell<u64>,
    failures: Cell<u64>,
}

impl Servers {
    pub(crate) fn new(targets: &[Target], settings: &Settings, observer: Box<dyn Fn(&Event)>) -> Rc<Servers> {
        let names: Vec<_> = targets.iter().map(|target| (target.addr.to_string(), target.weight)).collect();
        let server = |target: &Target| Server {
            addr: target.addr,
            is_out: Cell::new(false),
            contrary: Cell::new(0),
            refusals: Cell::new(0),
            active: Cell::new(0),
            served: Cell::new(0),
            failures: Cell::new(0),
        };
        Rc::new(Servers {
            list: targets.iter().map(server).collect(),
            balance: Balance::new(settings.policy, &names),
            most: settings.most_per_server,
            rise: settings.rise,
            fall: settings.fall,
            observer,
        })
    }

    pub(crate) fn addr(&self, server: usize) -> SocketAddr {
        self.list[server].addr
    }

    /// The next server for this client, none of those `tried`; `None` if all others are full. A server that is out is
    /// next only if all that are in have been tried: it may be well again, and the client has nothing to lose.
    pub(crate) fn next(self: &Rc<Self>, client: IpAddr, tried: &[usize]) -> Option<Place> {
        let is_in = |number: usize| !self.list[number].is_out.get();
        let is_last_resort = (0..self.list.len()).all(|number| !is_in(number) || tried.contains(&number));
        let can_be_had = |number: usize| {
            let has_room = self.list[number].active.get() < self.most;
            has_room && !tried.contains(&number) && (is_last_resort || is_in(number))
        };
        let server = self.balance.next(client, can_be_had, |number| self.list[number].active.get())?;
        let active = &self.list[server].active;
        active.set(active.get() + 1);
        Some(Place { servers: Rc::clone(self), server })
    }

    /// What came of a check. Checks take a server out, and only they take it back in.
    pub(crate) fn checked(&self, server: usize, result: Result<(), String>) {
        let Server { is_out, contrary, refusals, .. } = &self.list[server];
        match &result {
            Ok(()) => refusals.set(0),
            Err(_) => self.failed(server),
        }
        if result.is_err() == is_out.get() {
            contrary.set(0);
            return;
        }
        contrary.set(contrary.get() + 1);
        if contrary.get() >= if is_out.get() { self.rise } else { self.fall } {
            self.turn(server, result);
        }
    }

    /// What came of a client's connect. Failures in a row take a server out, too: no client can cause them.
    pub(crate) fn connected(&self, server: usize, result: Result<(), String>) {
        let Server { is_out, refusals, .. } = &self.list[server];
        if result.is_ok() {
            return refusals.set(0);
        }
        self.failed(server);
        refusals.set(refusals.get() + 1);
        if !is_out.get() && refusals.get() >= self.fall {
            self.turn(server, result);
        }
    }

    /// Something failed, such as a request: that is counted. It takes no server out, because a client can choose
    /// requests that fail.
    pub(crate) fn failed(&self, server: usize) {
        let failures = &self.list[server].failures;
        failures.set(failures.get() + 1);
    }

    /// Takes a server out, or back in.
    fn turn(&self, server: usize, result: Result<(), String>) {
        let Server { addr, is_out, contrary, refusals, .. } = &self.list[server];
        contrary.set(0);
        refusals.set(0);
        is_out.set(result.is_err());
        let event = result.map_or_else(|reason| Event::Out(*addr, reason), |()| Event::Back(*addr));
        (self.observer)(&event);
    }

    /// One line for each.
    pub(crate) fn summary(&self) -> String {
        let line = |server: &Server| {
            let state = if server.is_out.get() { "out" } else { "in" };
            let (served, failures) = (server.served.get(), server.failures.get());
            format!("server {} {state} served={served} failures={failures}", server.addr)
        };
        self.list.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A connection's or a request's place at a server, given back on drop.
pub(crate) struct Place {
    servers: Rc<Servers>,
    server: usize,
}

impl Place {
    pub(crate) fn server(&self) -> usize {
        self.server
    }

    /// The server has got the work.
    pub(crate) fn count(&self) {
        let served = &self.servers.list[self.server].served;
        served.set(served.get() + 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let active = &self.servers.list[self.server].active;
        active.set(active.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::cell::RefCell;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn targets() -> Vec<Target> {
        ["127.0.0.1:1", "127.0.0.1:2"].map(|text| text.parse().unwrap()).into()
    }

    #[test]
    fn targets_have_an_address_and_may_have_a_weight() {
        let target: Target = "[::1]:80=7".parse().unwrap();
        assert_eq!((target.addr.to_string().as_str(), target.weight), ("[::1]:80", 7));
        for wrong in ["", "80", "localhost", "127.0.0.1:80=0", "127.0.0.1:80=101", "127.0.0.1:80=x"] {
            assert!(wrong.parse::<Target>().unwrap_err().contains("HOST:PORT=WEIGHT"), "{wrong}");
        }
    }

    #[test]
    fn a_server_goes_out_after_failures_in_a_row_and_comes_back_after_successes_in_a_row() {
        let events = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&events);
        let settings = Settings { fall: 2, rise: 3, ..Settings::default() };
        let servers = Servers::new(&targets(), &settings, Box::new(move |event| seen.borrow_mut().push(event.clone())));
        let fail = || servers.checked(0, Err("no".to_owned()));
        let pass = || servers.checked(0, Ok(()));
        let is_out = |server: usize| servers.list[server].is_out.get();
        fail();
        pass();
        fail();
        assert!(!is_out(0), "two failures, but not in a row");
        fail();
        assert!(is_out(0) && !is_out(1));
        let next = || servers.next(CLIENT, &[]).map(|place| place.server());
        assert_eq!([next(), next(), next()], [Some(1); 3]);
        pass();
        pass();
        fail();
        pass();
        pass();
        assert!(is_out(0));
        pass();
        assert!(!is_out(0));
        let (addr, reason) = (targets()[0].addr, "no".to_owned());
        assert_eq!(*events.borrow(), [Event::Out(addr, reason), Event::Back(addr)]);
    }

    #[test]
    fn connects_take_a_server_out_and_requests_do_not() {
        let servers = Servers::new(&targets(), &Settings { fall: 2, rise: 1, ..Settings::default() }, Box::new(|_| {}));
        let is_out = || servers.list[0].is_out.get();
        let refuse = || servers.connected(0, Err("no".to_owned()));
        (0..10).for_each(|_| servers.failed(0));
        refuse();
        servers.connected(0, Ok(()));
        refuse();
        assert!(!is_out(), "two failures, but not in a row");
        refuse();
        assert!(is_out());
        servers.connected(0, Ok(()));
        assert!(is_out(), "only a check takes it back");
        servers.checked(0, Ok(()));
        assert!(!is_out());
    }

    #[test]
    fn connects_do_not_hide_that_checks_fail() {
        let servers = Servers::new(&targets(), &Settings { fall: 2, ..Settings::default() }, Box::new(|_| {}));
        for _ in 0..2 {
            servers.checked(0, Err("no".to_owned()));
            servers.connected(0, Ok(()));
        }
        assert!(servers.list[0].is_out.get());
    }

    #[test]
    fn who_is_out_is_tried_when_all_who_are_in_have_been() {
        let servers = Servers::new(&targets(), &Settings { fall: 1, ..Settings::default() }, Box::new(|_| {}));
        let next = |tried: &[usize]| servers.next(CLIENT, tried).map(|place| place.server());
        servers.checked(0, Err("no".to_owned()));
        assert_eq!([next(&[]), next(&[1]), next(&[1, 0])], [Some(1), Some(0), None]);
        servers.checked(1, Err("no".to_owned()));
        assert!(next(&[]).is_some(), "a last server is tried anyway");
    }

    #[test]
    fn a_full_server_gets_nothing_until_a_place_is_given_back() {
        let settings = Settings { most_per_server: 1, ..Settings::default() };
        let servers = Servers::new(&targets(), &settings, Box::new(|_| {}));
        let first = servers.next(CLIENT, &[]).unwrap();
        let second = servers.next(CLIENT, &[]).unwrap();
        assert_ne!(first.server(), second.server());
        assert!(servers.next(CLIENT, &[]).is_none());
        let free = second.server();
        drop(second);
        assert_eq!(servers.next(CLIENT, &[]).unwrap().server(), free);
        assert!(servers.next(CLIENT, &[free]).is_none(), "it was tried already");
    }
}
