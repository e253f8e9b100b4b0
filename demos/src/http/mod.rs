//! An HTTP/1.1 server, written once for every engine.
//!
//! ```sh
//! demos http --on proactor --root .             # then: curl http://127.0.0.1:8080/json
//! demos http --on reactor-edge --workers 4      # the same on four cores
//! ```
//!
//! [`connection`] serves one connection of a [`Site`]; whoever accepts them spawns one task for each.
//!
//! # Reading order
//!
//! | file | what it holds |
//! |---|---|
//! | `connection.rs` | the life of a connection: start here |
//! | `request.rs`, `host.rs`, `body.rs`, `extension.rs` | what a request is, and where it ends: pure functions over bytes |
//! | `routes.rs`, `files.rs` | what is served |
//! | `validators.rs`, `conditions.rs`, `send_file.rs` | a file for a client that has a copy, or wants a part |
//! | `response.rs` | what goes back |
//! | `requests.rs`, `input.rs` | the receiving side: waiting for the next request, and where its bytes lie |
//! | `patience.rs` | deadlines: one timer per connection |
//! | `site.rs` | what connections share |
//! | `access.rs` | a line for each answer, for those who count them |
//! | `limits.rs` | the bounds of everything |
//!
//! # What it speaks
//!
//! HTTP/1.1 and 1.0: persistent connections, pipelining, HEAD, bodies with a length or in chunks,
//! `Expect: 100-continue`. Responses with content have a `Content-Length`. What can be read in two ways is
//! refused with 400, and the connection is closed. Files have a tag and a time: conditional requests and
//! requests for one range of bytes work. No TLS, no compression.
//!
//! # Stopping
//!
//! When the runtime is asked to stop, idle connections close after a last look for what has arrived, and a request that is being
//! answered is answered to its end, with `Connection: close`. It is up to the caller to give up on
//! connections that take too long: dropping the future closes the connection.

mod access;
mod body;
mod conditions;
mod connection;
mod extension;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod host;
mod input;
pub mod limits;
mod patience;
mod request;
mod requests;
mod response;
mod routes;
mod send_file;
mod site;
#[cfg(test)]
mod tests;
mod validators;

pub use access::AccessLog;
pub use connection::connection;
pub use host::is_host;
pub use limits::Limits;
pub use site::Site;

// For whoever else reads HTTP here: one way to read it, and no second opinion.
pub(crate) use access::Access;
pub(crate) use body::Body;
pub(crate) use input::Input;
pub(crate) use patience::{Patience, Until, Waited};
pub(crate) use request::{Framing, Method, Parsed, Request, content_length, is_head, parse};
pub(crate) use requests::{End, Requests};
pub(crate) use response::{OK_LINE, Persistence, Response, Status};
