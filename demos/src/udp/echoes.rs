//! Peers that send back what they are sent: another server of this kind, or this one itself.
//!
//! A datagram's source may be forged. So one datagram can make two servers answer each other for ever, and several of them
//! can go round at the same time. The server knows no numbers, so an answer looks like a question. But questions that are
//! answers of a moment ago, 16 in a row, come from no client: then the peer gets no more answers until it asks something else.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;

/// How often in a row a peer may ask what it was answered. A client that asks the same again, because an answer was lost, does
/// so less often.
const IN_A_ROW: u32 = 16;
/// Answers to a peer that are remembered: more than the memory of two sockets holds, and so more than can go round.
const ANSWERS: usize = 512;
/// Peers that are remembered. When there are more, all are forgotten.
const PEERS: usize = 256;

/// What peers were answered.
#[derive(Debug, Default)]
pub struct Echoes(HashMap<SocketAddr, Answered>);

#[derive(Debug, Default)]
struct Answered {
    /// Hashes of the last answers.
    answers: VecDeque<u64>,
    /// Questions in a row that were among them.
    returned: u32,
}

impl Echoes {
    /// Whether `peer` only sends back what it gets. If not, it gets `answer` now.
    pub fn is_echo(&mut self, peer: SocketAddr, question: &[u8], answer: &[u8]) -> bool {
        let hasher = self.0.hasher();
        let (question, answer) = (hasher.hash_one(question), hasher.hash_one(answer));
        if self.0.len() >= PEERS && !self.0.contains_key(&peer) {
            self.0.clear();
        }
        let Answered { answers, returned } = self.0.entry(peer).or_default();
        *returned = if answers.contains(&question) { *returned + 1 } else { 0 };
        if *returned > IN_A_ROW {
            *returned = IN_A_ROW;
            return true;
        }
        if !answers.contains(&answer) {
            answers.truncate(ANSWERS - 1);
            answers.push_front(answer);
        }
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
    fn several_datagrams_do_not_go_round_for_ever() {
        let mut echoes = Echoes::default();
        let texts: Vec<String> = (0..200).map(|number| format!("TEXT {number}")).collect();
        let mut flying: VecDeque<_> = texts.iter().map(String::as_bytes).collect();
        let mut answered = 0;
        while let Some(text) = flying.pop_front() {
            if !echoes.is_echo(peer(1), text, text) {
                answered += 1;
                flying.push_back(text);
            }
        }
        assert_eq!(answered, texts.len() + IN_A_ROW as usize);
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
