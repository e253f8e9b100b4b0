//! What the server commands share: where they listen, on how many threads, how they end, and what they say at the end.
//!
//! | file | what it holds |
//! |---|---|
//! | `host.rs` | what a server command says about itself |
//! | `run.rs` | one runtime or several, and the line that says what was served |
//! | `program.rs` | the server on one runtime |
//! | `addresses.rs` | all addresses of a name, listened on as one |
//! | `listen.rs`, `team.rs` | the addresses: listened on by one, shared by several |
//! | `control.rs` | the channel by which commands that measure ask for counters |

mod addresses;
pub mod control;
mod host;
mod listen;
mod program;
mod run;
mod team;

pub use addresses::Addresses;
pub use host::{Host, Service};
pub use listen::{check_reach, refusal, watch_over};
pub use run::{run, run_on_workers};
