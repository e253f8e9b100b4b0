//! A chat server: many clients, one room, and what to do about those who don't keep up.
//!
//! ```sh
//! demos chat                                    # then, in two more terminals: nc 127.0.0.1 8080
//! demos chat --queue 8 --when-full close        # who doesn't read is shown the door
//! ```
//!
//! One client's line goes to all others, so one client who doesn't read could hold up all of them, or have the server
//! keep lines for it without end. Here each has a *bounded queue* (an `async_channel`), filled by those who talk and
//! emptied by its own connection:
//!
//! ```text
//!   ann's lines --+                        +--> [ queue ] --> ann's connection
//!   bob's lines --+--> the room (a table) -+--> [ queue ] --> bob's connection
//!   cal's lines --+                        +--> [ queue full, and stays so ]   cal doesn't read
//! ```
//!
//! A queue may be full for a moment, when somebody says much at once: then who talks waits, [`PATIENCE`] at most. A
//! queue that is still full then belongs to a slow client, and nobody waits for that one again until it has caught up.
//! [`WhenFull`] says what the room does then: it drops the oldest lines, and sends their number; or it closes the connection.
//!
//! There is one room in one runtime, on one thread: the room needs no lock, and several workers would be several rooms.
//! What does need one is a connection's writing side, which has two users: lines from the room, and the answers to what
//! its own client has asked. An `async_lock::Mutex` keeps the one from writing into the other's line.
//!
//! Files: `room.rs` (who is here, and who is slow), `guest.rs` (one connection, from its name to its end).

mod guest;
mod room;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::framing::length;

pub use guest::connection;
pub use room::Room;

/// How long somebody who talks waits, for each line, for queues that are full.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// What becomes of a client who doesn't read what it is sent.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// the room drops the oldest lines, and sends it their number
    DropOldest,
    /// it is disconnected
    Close,
}

/// Arguments of the chat server, to be flattened into a command.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Chat")]
pub struct ChatArgs {
    /// Lines that may wait for each client, 10,000 at most
    #[arg(long, value_name = "LINES", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub queue: u16,

    /// What happens to a client whose queue stays full
    #[arg(long, value_name = "WHAT", value_enum, default_value = "drop-oldest")]
    pub when_full: WhenFull,

    /// Longest line in bytes; a longer one ends its connection
    #[arg(long, value_name = "BYTES", default_value = "1024", value_parser = length)]
    pub line: NonZeroUsize,
}
