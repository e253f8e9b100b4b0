//! What the two sides say to each other, beside the bytes themselves.

use serde::{Deserialize, Serialize};

/// The longest message in bytes. A longer one is refused before any of it is read.
pub const LONGEST_MESSAGE: usize = 4096;

/// The sender's message: the header of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// How the receiver shall call it: a name without a path.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// SHA-256 of its bytes: 64 digits, `0` to `9` and `a` to `f`.
    pub sha256: String,
}

/// The receiver's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Send what comes from this place on, counted in bytes.
    SendFrom(u64),
    /// All of it is here, and is what was offered.
    Received {
        /// The size of the file.
        bytes: u64,
    },
    /// It is not taken.
    Refused(Refusal),
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For people to read.
    pub why: String,
    /// Whether the same offer may be taken later.
    pub again: bool,
}

impl Refusal {
    /// It will be the same the next time.
    pub fn for_good(why: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), again: false }
    }

    /// It may be different the next time.
    pub fn for_now(why: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), again: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_look_as_the_documentation_says() {
        let answers = [
            (Answer::SendFrom(7), r#"{"send_from":7}"#),
            (Answer::Received { bytes: 12 }, r#"{"received":{"bytes":12}}"#),
            (Answer::Refused(Refusal::for_now("busy")), r#"{"refused":{"why":"busy","again":true}}"#),
        ];
        for (answer, text) in answers {
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            assert_eq!(serde_json::from_str::<Answer>(text).unwrap(), answer);
        }
    }
}
