//! Upper case over UDP: a server that answers each datagram with the same text in capitals, and a client. Shows what
//! UDP doesn't do, and what a program has to do instead.
//!
//! ```text
//! demos udp serve --listen 127.0.0.1:7070 --drop 0.3
//! printf 'one\ntwo\n' | demos udp ask 127.0.0.1:7070
//! ```
//!
//! A datagram arrives as a whole or not at all, and nobody says so. So the client of `client.rs` does what TCP would have
//! done for it, one datagram at a time:
//!
//! | trouble | what is done about it | how to see it |
//! |---|---|---|
//! | the question is lost, or its answer | ask again after a time that doubles, and give up in the end | `--drop 0.3` of the server |
//! | the answer comes late, when it was asked again | a number before each text; answers to others are dropped | `--drop`, with a short `--timeout` |
//! | the datagram is longer than the receiver's memory | long lines are sent in pieces; an answer that is too short is noticed | `--room 10` of the server |
//! | nobody is there | the kernel may say so, by ICMP, to a socket that is connected | ask a port where nobody listens |
//!
//! To ask again means that the server may do its work twice. Here that does no harm, because it keeps nothing.
//!
//! The server knows nothing of the numbers: digits have no capitals. So it talks to `nc -u` as well. That makes an answer
//! look like a question, and `echoes.rs` keeps two servers from answering each other for ever.

mod client;
mod echoes;
mod server;

pub use client::{Client, Outcome, Patience, Unanswered};
pub use echoes::Echoes;
pub use server::{Loss, Served, serve};

/// The longest datagram over IPv4, in bytes.
pub const LONGEST_DATAGRAM: usize = 65_507;
