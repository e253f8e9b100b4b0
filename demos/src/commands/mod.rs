//! The options of the commands, each with its help, and what they lead to.

pub mod files;
pub mod ipc;
