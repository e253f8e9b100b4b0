//! What nodes say to each other: one JSON object in each datagram. `token` ties an answer to its question.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::ring::{Contact, Id};

/// Bytes there is room for.
pub const LONGEST: usize = 1400;

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Who is nearer to the key, these not being there? Answered by `Closer` or `Owner`.
    Step { token: u64, key: Id, avoid: Vec<Id> },
    /// These, the nearest first.
    Closer { token: u64, nodes: Vec<Contact> },
    /// The first of these that lives has it.
    Owner { token: u64, nodes: Vec<Contact> },
    /// Have you got the key? Answered by `Have`, as a node that serves data would answer with that.
    Get { token: u64, key: Id },
    /// Yes.
    Have { token: u64 },
    /// Look this up for the one at `origin`, who gets a `Found`. With a token it is answered by `Taken` at once.
    Forward { token: Option<u64>, lookup: Lookup },
    /// The `Forward` has arrived.
    Taken { token: u64 },
    /// The owner itself, to the origin.
    Found { token: u64, owner: Contact, hops: u32 },
}

/// A look-up on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The origin's token.
    pub token: u64,
    pub key: Id,
    pub origin: SocketAddr,
    /// Steps so far.
    pub hops: u32,
    /// Whether who gets this is the owner.
    pub last: bool,
}

impl Message {
    /// The question that this is the answer to.
    pub fn answers(&self) -> Option<u64> {
        match self {
            Message::Closer { token, .. }
            | Message::Owner { token, .. }
            | Message::Have { token }
            | Message::Taken { token }
            | Message::Found { token, .. } => Some(*token),
            Message::Step { .. } | Message::Get { .. } | Message::Forward { .. } => None,
        }
    }
}
