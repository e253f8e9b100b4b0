//! What is compared: which server, and how it is loaded.

/// One way to load a server.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub service: Service,
    pub connections: usize,
    /// Requests that are sent together on a connection.
    pub depth: usize,
}

/// Which server, and what is said to it.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    Echo { message: usize },
    Http { path: &'static str, body: &'static str },
}

/// Bytes of a small message: a lookup, a chat line.
const SMALL: usize = 128;
/// Bytes of a large message, as many as the usual record-sized protocols (TLS) send at once.
const LARGE: usize = 16 * 1024;

const ECHO: Service = Service::Echo { message: SMALL };
const HTTP: Service = Service::Http { path: "/plaintext", body: "Hello, World!" };

/// All that is compared.
pub const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "echo, 1 connection", service: ECHO, connections: 1, depth: 1 },
    Scenario { name: "echo, 64 connections", service: ECHO, connections: 64, depth: 1 },
    Scenario { name: "echo, 64 connections, depth 16", service: ECHO, connections: 64, depth: 16 },
    Scenario {
        name: "echo, 64 connections, 16 KiB",
        service: Service::Echo { message: LARGE },
        connections: 64,
        depth: 1,
    },
    Scenario { name: "HTTP, 1 connection", service: HTTP, connections: 1, depth: 1 },
    Scenario { name: "HTTP, 64 connections", service: HTTP, connections: 64, depth: 1 },
    Scenario { name: "HTTP, 64 connections, depth 16", service: HTTP, connections: 64, depth: 16 },
];
