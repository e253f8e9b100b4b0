//! Peers that send back what they are sent: another server of this kind, or this one itself.
//!
//! A datagram's source may be forged. So one datagram can make two servers answer each other for ever. The answers know no
//! numbers, so an answer looks like a question. But a question that is the answer before it, 16 times in a row, comes
//! from no client: then the peer gets no more answers until it asks something else.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::SocketAddr;

/// How often a peer may ask what it was just answered. A client that asks the same again, because an answer was lost, does so
/// less often.
const IN_A_ROW: u32 = 16;
/// Peers that are remembered. When there are more, all are forgotten.
const PEERS: usize = 1024;

/// What peers were answered last.
#[derive(Debug, Default)]
pub struct Echoes(HashMap<SocketAddr, Last>);

#[derive(Debug, Default)]
struct Last {
    /// A hash of the answer.
    answer: u64,
    in_a_row: u32,
}

impl Echoes {
    /// Whether `peer` only sends back what it gets. If not, it gets `answer` now.
    pub fn is_echo(&mut self, peer: SocketAddr, question: &[u8], answer: &[u8]) -> bool {
        let hasher = self.0.hasher();
        let (asked, answered) = (hasher.hash_one(question), hasher.hash_one(answer));
        if self.0.len() >= PEERS && !self.0.contains_key(&peer) {
            self.0.clear();
        }
        let last = self.0.entry(peer).or_default();
        last.in_a_row = if last.answer == asked { last.in_a_row + 1 } else { 0 };
        if last.in_a_row > IN_A_ROW {
            last.in_a_row = IN_A_ROW;
            return true;
        }
        last.answer = answered;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn who_sends_answers_back_gets_no_more_until_it_asks() {
        let mut echoes = Echoes::default();
        assert!(!echoes.is_echo(peer(1), b"a", b"A"));
        let answered = (0..1000).filter(|_| !echoes.is_echo(peer(1), b"A", b"A")).count();
        assert_eq!(answered, IN_A_ROW as usize);
        assert!(!echoes.is_echo(peer(2), b"A", b"A"), "another peer");
        assert!(!echoes.is_echo(peer(1), b"b", b"B"), "it asks again");
    }

    #[test]
    fn a_client_may_ask_the_same_as_often_as_it_likes() {
        let mut echoes = Echoes::default();
        assert!((0..1000).all(|_| !echoes.is_echo(peer(1), b"a", b"A")));
        assert!((0..IN_A_ROW).all(|_| !echoes.is_echo(peer(2), b"1", b"1")), "no capitals");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut echoes = Echoes::default();
        for port in 0..5000 {
            echoes.is_echo(peer(port), b"a", b"A");
        }
        assert!(echoes.0.len() <= PEERS);
    }
}
