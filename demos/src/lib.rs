//! Servers and demonstrations, each written once against the traits of `executor`, and run on every engine.
//!
//! | you want to ... | begin with |
//! |---|---|
//! | use a runtime in a program of yours | the page of [`reactor`] or of [`proactor`]: a whole program; then [`executor`], *What programs use* |
//! | learn network programming | `demos/README.md`, the course: each topic with its command, and the file to read |
//! | read the source | *Reading order* at the end of the page of [`executor`]; the smallest server is [`echo`] |
//!
//! | module | what it is |
//! |---|---|
//! | [`echo`] | the smallest server there is: what comes in goes out |
//! | [`http`] | HTTP/1.1 |
//! | [`udp`] | upper case over UDP, and a client that lives with loss |
//! | [`framing`] | messages over a stream of bytes: sticky packets, and three codecs |
//! | [`files`] | file transfer with resumption |
//! | [`tasks`] | tasks against threads and processes: to make, to keep, to switch |
//! | [`blocking`] | why a call that blocks stops all tasks, and what to do |
//! | [`queue`] | producers and consumers over a bounded queue |
//! | [`chat`] | a chat server: one room, a bounded queue for each client |
//! | [`proxy`] | a load balancer in front of several servers, with HTTP and without |
//! | [`rpc`] | remote procedure calls: stubs, messages, concurrent calls |
//! | [`dht`] | look-ups in a ring of nodes over UDP, iterative and recursive |
//! | [`serve`] | what all servers need: the accept loop, the limit of connections, the end |
//! | [`connect`] | what clients need: all addresses of a name are tried |
//! | [`memory`] | what the kernel says about memory |
//! | [`mailbox`] | the way from a blocking thread (stdin) into a runtime |
//! | [`text`] | text and a terminal: what misleads it, and lines that fit |
//! | [`sandbox`] | giving up what a server does not need, once it is set up |
//! | [`plot`] | reports as web pages: the only part that has nothing to do with servers |
//!
//! The command line, and what only the binary needs, is in `src/bin/demos`.
//!
//! Nothing that serves names an engine, or asks the system for sockets or timers: all comes from the
//! [`executor::Runtime`] that is passed in.

#![forbid(unsafe_code)]

pub mod blocking;
pub mod chat;
pub mod connect;
pub mod dht;
pub mod echo;
pub mod files;
pub mod framing;
pub mod http;
pub mod mailbox;
pub mod memory;
pub mod plot;
pub mod proxy;
pub mod queue;
pub mod rpc;
pub mod sandbox;
pub mod serve;
pub mod tasks;
pub mod text;
pub mod udp;
