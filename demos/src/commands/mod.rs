//! The demonstrations: for each its arguments, what it prints, and the way to its part in the library.

pub mod chat;
pub mod dht;
pub mod files;
pub mod framing;
pub mod ipc;
pub mod models;
pub mod proxy;
pub mod queue;
pub mod udp;
pub mod web;
