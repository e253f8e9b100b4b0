//! What is compared: which server, and how it is loaded.

use clap::ValueEnum;

/// One way to load a server.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
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

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// messages that come back
    Echo,
    /// GET /plaintext
    Http,
    /// the memory of idle connections
    Idle,
}

/// Bytes of a small message: a lookup, a chat line.
pub const SMALL: usize = 128;
/// Bytes of a large message, as many as the usual record-sized protocols (TLS) send at once.
const LARGE: usize = 16 * 1024;
/// Connections where many are wanted.
const MANY: usize = 64;
/// Requests at once where several are wanted.
const DEEP: usize = 16;

const HTTP: Service = Service::Http { path: "/plaintext", body: "Hello, World!" };

impl Scenario {
    pub fn new(service: Service, connections: usize, depth: usize) -> Scenario {
        let plural = if connections == 1 { "" } else { "s" };
        let mut name = match service {
            Service::Echo { .. } => format!("echo, {connections} connection{plural}"),
            Service::Http { .. } => format!("HTTP, {connections} connection{plural}"),
        };
        match service {
            Service::Echo { message } if message != SMALL && message % 1024 == 0 => {
                name += &format!(", {} KiB", message / 1024);
            }
            Service::Echo { message } if message != SMALL => name += &format!(", {message} bytes"),
            Service::Echo { .. } | Service::Http { .. } => {}
        }
        if depth > 1 {
            name += &format!(", depth {depth}");
        }
        Scenario { name, service, connections, depth }
    }

    fn part(&self) -> Part {
        match self.service {
            Service::Echo { .. } => Part::Echo,
            Service::Http { .. } => Part::Http,
        }
    }
}

/// The usual ones of these parts; or, with numbers of connections or a length of messages, one for each of the numbers.
pub fn chosen(parts: &[Part], connections: &[usize], message: Option<usize>) -> Vec<Scenario> {
    let echo = Service::Echo { message: message.unwrap_or(SMALL) };
    let all = if connections.is_empty() && message.is_none() {
        vec![
            Scenario::new(echo, 1, 1),
            Scenario::new(echo, MANY, 1),
            Scenario::new(echo, MANY, DEEP),
            Scenario::new(Service::Echo { message: LARGE }, MANY, 1),
            Scenario::new(HTTP, 1, 1),
            Scenario::new(HTTP, MANY, 1),
            Scenario::new(HTTP, MANY, DEEP),
        ]
    } else {
        let connections = if connections.is_empty() { &[MANY] } else { connections };
        let each = |service| connections.iter().map(move |number| Scenario::new(service, *number, 1));
        each(echo).chain(each(HTTP)).collect()
    };
    all.into_iter().filter(|scenario| parts.contains(&scenario.part())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_says_what_is_measured() {
        let names = |parts: &[Part], connections: &[usize], message| -> Vec<String> {
            chosen(parts, connections, message).into_iter().map(|scenario| scenario.name).collect()
        };
        let all = [Part::Echo, Part::Http, Part::Idle];
        assert_eq!(names(&all, &[], None).len(), 7);
        assert_eq!(names(&[Part::Idle], &[], None), [""; 0]);
        let http = ["HTTP, 1 connection", "HTTP, 64 connections", "HTTP, 64 connections, depth 16"];
        assert_eq!(names(&[Part::Http], &[], None), http);
        let numbers = ["echo, 1 connection", "echo, 1000 connections", "HTTP, 1 connection", "HTTP, 1000 connections"];
        assert_eq!(names(&all, &[1, 1000], None), numbers);
        assert_eq!(names(&[Part::Echo], &[], Some(100)), ["echo, 64 connections, 100 bytes"]);
        assert_eq!(names(&[Part::Echo], &[2], Some(4096)), ["echo, 2 connections, 4 KiB"]);
    }
}
