//! What a fuzzer gets to see of the parser: plain values, so that nothing else has to be public.
//!
//! Only with the feature `fuzzing`, which `demos/fuzz` sets.

use super::body;
use super::limits::Limits;
use super::request::{self, Method, Parsed};
use super::response::Status;

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// By its length.
    Sized(u64),
    /// By itself.
    Chunked,
}

/// What the parser makes of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The head isn't complete.
    Partial,
    /// It is, and this is what it says.
    Complete(Head),
    /// Answered with this status, and then closed.
    Refused(u16),
}

/// What a request's head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head, with empty lines before it.
    pub len: usize,
    /// As it stood there.
    pub method: &'static str,
    /// Not decoded.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// HTTP/1.0 rather than 1.1.
    pub is_http10: bool,
    /// Whether the client wants the connection to stay.
    pub keep_alive: bool,
    /// Where the body ends.
    pub framing: Framing,
    /// The client waits for "100 Continue".
    pub expects_continue: bool,
    /// The body's type.
    pub content_type: Option<Vec<u8>>,
}

/// Reads one head at the beginning of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8], limits: &Limits) -> Verdict {
    let request = match request::parse(bytes, limits) {
        Parsed::Partial => return Verdict::Partial,
        Parsed::Refused(status) => return Verdict::Refused(code(status)),
        Parsed::Complete(request) => request,
    };
    Verdict::Complete(Head {
        len: request.head_len,
        method: match request.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
        },
        path: request.path.to_owned(),
        query: request.query.to_owned(),
        is_http10: request.is_http10,
        keep_alive: request.keep_alive,
        framing: match request.framing {
            request::Framing::None => Framing::None,
            request::Framing::Sized(length) => Framing::Sized(length),
            request::Framing::Chunked => Framing::Chunked,
        },
        expects_continue: request.expects_continue,
        content_type: request.content_type.map(<[u8]>::to_vec),
    })
}

/// A body that is being received.
#[derive(Debug)]
pub struct Body(body::Body);

impl Body {
    /// One that ends as this says.
    #[must_use]
    pub fn new(framing: Framing) -> Body {
        Body(body::Body::new(match framing {
            Framing::None => request::Framing::None,
            Framing::Sized(length) => request::Framing::Sized(length),
            Framing::Chunked => request::Framing::Chunked,
        }))
    }

    /// Reads on; the decoded bytes are appended to `kept`. Returns how many bytes were the body's, and
    /// whether it is complete.
    ///
    /// # Errors
    /// The status that refuses it.
    pub fn decode(&mut self, input: &[u8], limits: &Limits, kept: &mut Vec<u8>) -> Result<(usize, bool), u16> {
        let progress = self.0.decode(input, limits, Some(kept)).map_err(code)?;
        Ok((progress.consumed, progress.is_done))
    }
}

fn code(status: Status) -> u16 {
    status.text()[..3].parse().expect("a status begins with its code")
}
