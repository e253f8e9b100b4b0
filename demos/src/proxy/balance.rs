//! Which server is next: three answers, and none of them knows a socket.
//!
//! | policy | next is | good for |
//! |---|---|---|
//! | round robin | whose turn it is | equal servers, equal requests |
//! | least connections | who has the least to do | requests of different length |
//! | hash | the one the client's address belongs to | servers that remember their clients |
//!
//! Each respects weights, and each is asked with a list of those that can be had at all, so a server that is out
//! costs the others nothing but its share.

use std::cell::RefCell;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

/// How servers are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// One after the other
    #[default]
    RoundRobin,
    /// The one with the fewest connections
    LeastConnections,
    /// Always the same for a client's address
    Hash,
}

/// A policy at work. Servers are numbers here, from 0.
pub(crate) enum Balance {
    RoundRobin(Turns),
    LeastConnections(Turns),
    Hash(Ring),
}

impl Balance {
    /// For servers with these names and weights.
    pub(crate) fn new(policy: Policy, servers: &[(String, u32)]) -> Balance {
        let turns = || Turns::new(servers.iter().map(|(_, weight)| *weight).collect());
        match policy {
            Policy::RoundRobin => Balance::RoundRobin(turns()),
            Policy::LeastConnections => Balance::LeastConnections(turns()),
            Policy::Hash => Balance::Hash(Ring::new(servers)),
        }
    }

    /// The next server for this client out of those that `can_be_had`; `load` is the number of its connections.
    pub(crate) fn next(
        &self,
        client: IpAddr,
        can_be_had: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> usize,
    ) -> Option<usize> {
        match self {
            Balance::RoundRobin(turns) => turns.next(can_be_had),
            Balance::LeastConnections(turns) => {
                // Loads are compared as fractions of the weights, without dividing.
                let is_less = |one: usize, other: usize| {
                    let weight = |server: usize| u64::from(turns.weights[server]);
                    load(one) as u64 * weight(other) < load(other) as u64 * weight(one)
                };
                let candidates = || (0..turns.weights.len()).filter(|server| can_be_had(*server));
                let least = candidates().reduce(|least, server| if is_less(server, least) { server } else { least })?;
                turns.next(|server| can_be_had(server) && !is_less(least, server))
            }
            Balance::Hash(ring) => ring.next(client, can_be_had),
        }
    }
}

/// Round robin with weights, in the smooth order that nginx made known: with weights 5, 1, 1 it is `aabacaa`
/// rather than `aaaaabc`. Each server earns its weight in every round; the richest is chosen, and pays what all
/// have earned. (nginx, `ngx_http_upstream_round_robin.c`, commit 52327e0627f4 of 2012.)
pub(crate) struct Turns {
    weights: Vec<u32>,
    credits: RefCell<Vec<i64>>,
}

impl Turns {
    fn new(weights: Vec<u32>) -> Turns {
        Turns { credits: RefCell::new(vec![0; weights.len()]), weights }
    }

    fn next(&self, can_be_had: impl Fn(usize) -> bool) -> Option<usize> {
        let mut credits = self.credits.borrow_mut();
        let (mut earned, mut richest) = (0, None::<usize>);
        for server in (0..credits.len()).filter(|server| can_be_had(*server)) {
            let weight = i64::from(self.weights[server]);
            credits[server] += weight;
            earned += weight;
            if richest.is_none_or(|richest| credits[server] > credits[richest]) {
                richest = Some(server);
            }
        }
        credits[richest?] -= earned;
        richest
    }
}

/// Points on the ring for each unit of a server's weight. The more, the more even are the shares: with so many
/// they differ by some 8 %, one standard deviation. As many as libketama has.
const POINTS: u32 = 160;

/// Consistent hashing: servers and clients are hashed to points of a circle, and a client belongs to the first
/// server from its point onwards. A server that goes leaves its clients to whoever comes next on the circle, and
/// nobody else's clients move; a server that comes takes clients, and nobody else gets any. Each server has many
/// points (virtual nodes), so what it leaves is spread over all others.
///
/// Karger, Lehman, Leighton, Panigrahy, Levine, Lewin: Consistent hashing and random trees, STOC 1997, section 4.
/// With many points per server as in libketama (Jones, 2007). The hash is SipHash-1-3 with a key of zeros: it is
/// the same on every machine and in every version, so several balancers agree without talking to each other.
pub(crate) struct Ring {
    /// Point and server, in the order of the points.
    points: Vec<(u64, usize)>,
}

impl Ring {
    fn new(servers: &[(String, u32)]) -> Ring {
        let points_of = |(number, (name, weight)): (usize, &(String, u32))| {
            let points = (0..weight * POINTS).map(|point| (hash(format!("{name}#{point}").as_bytes()), number));
            points.collect::<Vec<_>>()
        };
        let mut points: Vec<_> = servers.iter().enumerate().flat_map(points_of).collect();
        points.sort_unstable();
        Ring { points }
    }

    fn next(&self, client: IpAddr, can_be_had: impl Fn(usize) -> bool) -> Option<usize> {
        let place = hash(client.to_canonical().to_string().as_bytes());
        let (before, from_here) = self.points.split_at(self.points.partition_point(|(point, _)| *point < place));
        let around = from_here.iter().chain(before);
        around.map(|(_, server)| *server).find(|server| can_be_had(*server))
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::Ipv4Addr;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn servers(weights: &[u32]) -> Vec<(String, u32)> {
        weights.iter().enumerate().map(|(number, weight)| (format!("10.0.0.{number}:80"), *weight)).collect()
    }

    fn clients() -> impl Iterator<Item = IpAddr> {
        (0..20_000_u32).map(|number| IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + number)))
    }

    #[test]
    fn round_robin_gives_each_its_share_and_in_a_smooth_order() {
        let balance = Balance::new(Policy::RoundRobin, &servers(&[5, 1, 1]));
        let chosen: Vec<_> = (0..14).map(|_| balance.next(CLIENT, |_| true, |_| 0).unwrap()).collect();
        assert_eq!(chosen, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn round_robin_passes_over_who_is_out_and_nobody_else() {
        let balance = Balance::new(Policy::RoundRobin, &servers(&[1, 1, 1]));
        let next = |out: usize| balance.next(CLIENT, |server| server != out, |_| 0).unwrap();
        assert_eq!((0..4).map(|_| next(1)).collect::<Vec<_>>(), [0, 2, 0, 2]);
        let back: Vec<_> = (0..6).map(|_| next(9)).collect();
        assert!((0..3).all(|server| back.iter().filter(|chosen| **chosen == server).count() == 2), "{back:?}");
    }

    #[test]
    fn least_connections_compares_loads_by_weight_and_takes_turns_among_equals() {
        let balance = Balance::new(Policy::LeastConnections, &servers(&[1, 2, 1]));
        let next = |loads: [usize; 3]| balance.next(CLIENT, |_| true, |server| loads[server]).unwrap();
        assert_eq!(next([1, 0, 1]), 1);
        assert_eq!(next([1, 2, 0]), 2);
        assert_eq!(next([2, 3, 2]), 1);
        let balance = Balance::new(Policy::LeastConnections, &servers(&[1, 1, 1]));
        let idle: Vec<_> = (0..6).map(|_| balance.next(CLIENT, |_| true, |_| 0).unwrap()).collect();
        assert_eq!(idle, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn only_the_clients_of_a_server_that_goes_move_and_they_spread() {
        let balance = Balance::new(Policy::Hash, &servers(&[1; 5]));
        let mut inherited = [0; 5];
        for client in clients() {
            let before = balance.next(client, |_| true, |_| 0).unwrap();
            let after = balance.next(client, |server| server != 3, |_| 0).unwrap();
            if before == 3 {
                inherited[after] += 1;
            } else {
                assert_eq!(after, before, "{client} moved without need");
            }
        }
        assert_eq!(inherited[3], 0);
        assert!(inherited.iter().enumerate().all(|(server, clients)| server == 3 || *clients > 0), "{inherited:?}");
    }

    #[test]
    fn a_ring_without_a_server_is_the_ring_in_which_it_is_out() {
        let all = servers(&[1; 5]);
        let (with, without) = (Balance::new(Policy::Hash, &all), Balance::new(Policy::Hash, &all[..4]));
        for client in clients() {
            let out = with.next(client, |server| server != 4, |_| 0);
            assert_eq!(without.next(client, |_| true, |_| 0), out);
        }
    }

    #[test]
    fn the_hash_gives_shares_by_weight() {
        let balance = Balance::new(Policy::Hash, &servers(&[1, 1, 2]));
        let mut shares = [0_u32; 3];
        clients().for_each(|client| shares[balance.next(client, |_| true, |_| 0).unwrap()] += 1);
        // It is one ring, on every machine: these are the shares, and not roughly.
        assert_eq!(shares, [4888, 4906, 10206]);
    }

    #[test]
    fn nobody_there_is_nobody_chosen() {
        for policy in [Policy::RoundRobin, Policy::LeastConnections, Policy::Hash] {
            assert_eq!(Balance::new(policy, &servers(&[1, 1])).next(CLIENT, |_| false, |_| 0), None);
        }
    }
}
