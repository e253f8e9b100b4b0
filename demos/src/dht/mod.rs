//! Who has the key? A ring of nodes over UDP, in which each knows only a few others, and two ways to find the one that
//! is responsible for a key. Shows what they cost, and what is learned when a node dies.
//!
//! ```text
//! demos dht
//! demos dht --nodes 500 --dead 100 --delay 0.02
//! ```
//!
//! The ring is Chord's: Stoica, Morris, Karger, Kaashoek, Balakrishnan, "Chord: A Scalable Peer-to-peer Lookup Service
//! for Internet Applications", SIGCOMM 2001. Nodes and keys have numbers on a circle; a key belongs to the first node
//! at or after it, its *successor*. A node knows its next few successors, and its *fingers*: the first node at or after
//! itself plus 1, 2, 4, 8 ... So each step at least halves the distance to the key, and with n nodes some log2(n) / 2
//! steps do.
//!
//! ```text
//! iterative      asker <-> node, asker <-> next node, ... asker <-> owner      two messages for each step
//! recursive      asker -> node -> next node -> ... -> owner -> asker           one, and one more to say it came
//! blind          the same without saying so
//! ```
//!
//! | a node has died | who notices | what the asker learns |
//! |---|---|---|
//! | iterative | the asker: its question is not answered | which one it is; it takes the next best, and avoids that one later |
//! | recursive | the node before it, which takes the next best | nothing, but that it took longer |
//! | blind | nobody | that no answer came; it tries another first step, perhaps with the same end |
//!
//! Who dies stays in the others' tables, because what happens then is what is to be seen; until all that live look up anew
//! whom they have to know, and all is as before. What is left out of the paper: joining. All nodes are there when the ring
//! is made.
//!
//! | file | what it is |
//! |---|---|
//! | `ring.rs` | the circle, and what a node knows of it: no sockets |
//! | `message.rs` | what nodes say: JSON, one object in a datagram |
//! | `replies.rs` | waiting for the answer to a question |
//! | `node.rs` | a node: answers, and passes on |
//! | `lookup.rs` | the asker's part |
//! | `trial.rs` | a ring in one process, look-ups on it, and what they cost |

mod lookup;
mod message;
mod node;
mod replies;
mod ring;
mod trial;

pub use lookup::Routing;
pub use trial::{Figures, Plan, Trial};
