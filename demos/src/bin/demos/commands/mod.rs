//! The demonstrations: for each its arguments, what it prints, and the way to its part in the library.

pub mod bench;
pub mod blocking;
pub mod chat;
pub mod dht;
pub mod doctor;
pub mod echo;
pub mod files;
pub mod framing;
pub mod http;
pub mod ipc;
pub mod manual;
pub mod models;
pub mod proxy;
pub mod queue;
pub mod rpc;
pub mod tasks;
pub mod udp;
pub mod web;
