//! What can be said about a proxy.

use std::time::Duration;

use super::balance::Policy;
use crate::http::{AccessLog, Limits};

/// How a proxy behaves. The default is what the command line says without options.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How servers are chosen.
    pub policy: Policy,
    /// How long a server may take to accept.
    pub connect_timeout: Duration,
    /// How long a connection may be silent in both directions, without HTTP.
    pub idle_timeout: Duration,
    /// HTTP: how long a server may take from the last byte of a request to the head of its answer.
    pub response_timeout: Duration,
    /// HTTP: how long a server may pause in the middle of an answer.
    pub pause_timeout: Duration,
    /// The time between two checks of a server.
    pub check_every: Duration,
    /// HTTP: what a check asks for. `None`: it connects, and that is enough.
    pub check_path: Option<String>,
    /// Good checks in a row after which a server is back.
    pub rise: u32,
    /// Failed checks in a row, or failed connects of clients in a row, after which a server is out.
    pub fall: u32,
    /// Connections, or requests, that a server has at the same time.
    pub most_per_server: usize,
    /// HTTP: connections that are kept for each server.
    pub idle_per_server: usize,
    /// HTTP: how long they are kept. It must be shorter than the servers' own patience.
    pub keep_idle: Duration,
    /// HTTP: how the proxy calls itself in `Via`. A request that has passed a proxy of this name goes in a circle, and is
    /// refused. So no two proxies, one behind the other, may have the same name.
    pub name: String,
    /// HTTP: what takes a line for each answer.
    pub access: Option<AccessLog>,
    /// What clients may do, and that HTTP is spoken; `None`: bytes are moved.
    pub http: Option<Limits>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            policy: Policy::RoundRobin,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(30),
            pause_timeout: Duration::from_secs(60),
            check_every: Duration::from_secs(1),
            check_path: None,
            rise: 2,
            fall: 2,
            most_per_server: 1000,
            idle_per_server: 32,
            keep_idle: Duration::from_secs(5),
            name: "demos".to_owned(),
            access: None,
            http: None,
        }
    }
}
