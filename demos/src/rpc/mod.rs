//! Remote procedure calls: a function of another program, called as if it were one's own.
//!
//! ```text
//! demos rpc                          the nine steps of a call with their times, and what can go wrong
//! demos rpc serve                    then: demos rpc call 127.0.0.1:8080 Hello.SayHello '{"name": "Ada"}'
//! ```
//!
//! # The nine steps
//!
//! ```text
//!   client                 client stub                          server stub                 procedure
//!     | 1 calls the stub        |                                     |                         |
//!     |------------------------>| 2 marshals the arguments            |                         |
//!     |                         |------ 3 sends the message --------->| 4 receives it           |
//!     |                         |                                     | 5 unmarshals            |
//!     |                         |                                     |----- 6 calls it ------->|
//!     |                         |                                     |<---- 7 its result ------|
//!     |                         |<----- 8 marshals it and sends ------|                         |
//!     |<------------------------| 9 receives, unmarshals, returns     |                         |
//! ```
//!
//! Steps 1 and 6 look like any call; all that is between is what RPC is. What it cannot hide is that there *is*
//! something between: a call may take long, fail though the procedure is right, or be done though no answer came
//! (Birrell and Nelson, Implementing remote procedure calls, 1984). So every stub returns a [`CallError`], and every
//! call has a time limit.
//!
//! # What is on the wire
//!
//! Frames of [`framing`](crate::framing): four bytes of length, then JSON, so that any language can take part.
//!
//! | message | who | means |
//! |---|---|---|
//! | `{"call": 1, "method": "Hello.SayHello", "arguments": {"name": "Ada"}}` | client | call; the number is the client's choice, and unused at the time |
//! | `{"cancel": 1}` | client | nobody waits for call 1 any more; it gets no reply |
//! | `{"reply": 1, "result": "Hello, Ada!"}` | server | call 1 has returned |
//! | `{"reply": 1, "error": {"kind": "unknown_method", "text": "..."}}` | server | it has not; [`Kind`] says why |
//!
//! Replies come in the order in which calls are done: many calls share a connection, and the number tells them apart.
//!
//! # Reading order
//!
//! `hello.rs` (the example), `interface.rs` (how its stubs are made), `client.rs`, `server.rs`, `wire.rs`.

mod client;
mod hello;
mod interface;
mod server;
mod show;
#[cfg(test)]
mod tests;
mod wire;

use std::rc::Rc;

pub use client::{CallError, Client};
pub use hello::{Counts, Greeter, Hello, HelloClient, HelloServer};
pub use server::{Answer, Dispatch, Limits, connection};
pub use show::{Scene, show};
pub use wire::{Fault, Kind};

/// One of the nine steps, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which, from 1.
    pub number: u8,
    /// Of which call.
    pub call: u64,
    /// What exactly.
    pub what: String,
}

/// Who wants to see the steps, if anybody does.
#[derive(Clone, Default)]
pub struct Trace(Option<Rc<Observer>>);

type Observer = dyn Fn(&Step);

impl Trace {
    /// Every step is told to `observer`.
    pub fn new(observer: impl Fn(&Step) + 'static) -> Trace {
        Trace(Some(Rc::new(observer)))
    }

    /// Words are made only if somebody listens.
    fn step(&self, number: u8, call: u64, what: impl FnOnce() -> String) {
        if let Trace(Some(observer)) = self {
            observer(&Step { number, call, what: what() });
        }
    }
}
