//! Servers and demonstrations, each written once against the traits of `executor`, and run on every engine.
//!
//! | module | what it is |
//! |---|---|
//! | [`echo`] | the smallest server there is: what comes in goes out |
//! | [`http`] | HTTP/1.1 |
//! | [`udp`] | upper case over UDP, and a client that lives with loss |
//! | [`framing`] | messages over a stream of bytes: sticky packets, and three codecs |
//! | [`files`] | file transfer with resumption |
//! | [`queue`] | producers and consumers over a bounded queue |
//! | [`chat`] | a chat server: one room, a bounded queue for each client |
//! | [`dht`] | look-ups in a ring of nodes over UDP, iterative and recursive |
//! | [`serve`] | what all servers need: the accept loop, the limit of connections, the end |
//! | [`mailbox`] | the way from a blocking thread (stdin) into a runtime |
//! | [`proxy`] | a load balancer in front of several servers, with HTTP and without |
//! | [`sandbox`] | giving up what a server does not need, once it is set up |
//! | [`plot`] | reports as web pages: the only part that has nothing to do with servers |
//!
//! Nothing that serves names an engine, or asks the system for sockets or timers: all comes from the
//! [`executor::Runtime`] that is passed in.

#![forbid(unsafe_code)]

pub mod chat;
pub mod dht;
pub mod echo;
pub mod files;
pub mod framing;
pub mod http;
pub mod mailbox;
pub mod plot;
pub mod proxy;
pub mod queue;
pub mod sandbox;
pub mod serve;
pub mod udp;
