//! What the two sides say to each other, beside the bytes themselves.

use std::io::{self, ErrorKind};

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

    /// The receiver's system does not let it do this. What runs short for a while is refused for now.
    pub fn by_error(what: &str, error: &io::Error) -> Refusal {
        Refusal { why: format!("the receiver cannot {what}: {error}"), again: passes(error) }
    }
}

/// Whether an error speaks of what runs short for a while: descriptors, memory, places in a queue, or threads, which are
/// EAGAIN for the blocking pool and ECANCELED for io_uring.
fn passes(error: &io::Error) -> bool {
    use libc::{EAGAIN, EBUSY, ECANCELED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let passing = [EAGAIN, EBUSY, ECANCELED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM];
    error.kind() == ErrorKind::ResourceBusy || error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_short_for_a_while_is_refused_for_now() {
        let again = |error: io::Error| Refusal::by_error("write", &error).again;
        for errno in [libc::EMFILE, libc::ENFILE, libc::EAGAIN, libc::ECANCELED] {
            assert!(again(io::Error::from_raw_os_error(errno)), "{errno}");
        }
        assert!(again(ErrorKind::ResourceBusy.into()));
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG, libc::EIO, libc::EROFS, libc::EACCES] {
            assert!(!again(io::Error::from_raw_os_error(errno)), "{errno}");
        }
    }

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
