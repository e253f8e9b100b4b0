//! The messages, and their way into frames.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::framing::{Prefix, Width};

/// What a client says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Request {
    Call { call: u64, method: String, arguments: Value },
    Cancel { cancel: u64 },
}

/// What a server says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// Which call; `None`: the whole conversation.
    pub(crate) reply: Option<u64>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Result(Value),
    Error(Fault),
}

/// Why a call did not return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What sort of reason.
    pub kind: Kind,
    /// In words.
    pub text: String,
}

/// The sorts of reasons for which a server has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It has no such method.
    UnknownMethod,
    /// The method takes other arguments.
    BadArguments,
    /// The procedure says no.
    Failed,
    /// The procedure has a bug, and the server lives on.
    Panicked,
    /// The procedure took longer than the server allows.
    TookTooLong,
    /// Too many calls at the same time on this connection.
    Busy,
    /// A call with this number is under way.
    NumberInUse,
    /// The message is none of the protocol's; nothing after it is read.
    BadMessage,
}

impl Fault {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Fault {
        Fault { kind, text: text.into() }
    }
}

impl Reply {
    pub(crate) fn new(call: u64, outcome: Result<Value, Fault>) -> Reply {
        Reply { reply: Some(call), outcome: outcome.map_or_else(Outcome::Error, Outcome::Result) }
    }
}

/// How long a message may be.
pub(crate) const LONGEST: usize = 1 << 20;

/// Where messages end.
pub(crate) fn codec() -> Prefix {
    Prefix::new(Width::Four, LONGEST)
}
