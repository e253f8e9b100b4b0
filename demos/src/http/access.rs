//! The access log: a line for each answer, in the Common Log Format, which programs that count visits read.
//!
//! ```text
//! 192.0.2.7 - - [10/Oct/2026:13:55:36 +0000] "GET /plaintext HTTP/1.1" 200 13
//! ```
//!
//! The bytes are those of the content, without the head. `demos http` writes the line when it has the head of the answer,
//! the proxy when the answer has been passed on. A client that was gone before is 499, as in nginx.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::time::SystemTime;

/// What takes the lines. It must not wait.
pub type AccessLog = fn(&dyn Display);

/// The longest request line that is logged, as it is written. The answer behind it must not be cut off.
const LONGEST: usize = 700;

/// The log of one connection.
pub(crate) struct Access {
    log: AccessLog,
    client: Option<IpAddr>,
    /// The line of the request that is to be answered. Empty: its head is not complete, or is none.
    line: Vec<u8>,
}

impl Access {
    pub(crate) fn new(log: AccessLog, client: Option<IpAddr>) -> Box<Access> {
        Box::new(Access { log, client, line: Vec::new() })
    }

    /// A request with this head is to be answered next.
    pub(crate) fn asked(&mut self, head: &[u8]) {
        self.line = first_line(head).to_vec();
    }

    /// It is answered; or what is left of the `input` is, which is no request.
    pub(crate) fn answered(&mut self, code: u16, bytes: u64, input: &[u8]) {
        let asked = std::mem::take(&mut self.line);
        let line = if asked.is_empty() { first_line(input) } else { &asked };
        (self.log)(&Entry { client: self.client, now: SystemTime::now(), line, code, bytes });
    }
}

/// The first line, without the empty ones that may stand before it.
fn first_line(head: &[u8]) -> &[u8] {
    let begin = head.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(head.len());
    let line = &head[begin..];
    let end = line.iter().take(LONGEST).position(|byte| b"\r\n".contains(byte));
    // One byte more than is written shows that there is more.
    &line[..end.unwrap_or(line.len().min(LONGEST + 1))]
}

/// A line of the log.
struct Entry<'a> {
    client: Option<IpAddr>,
    now: SystemTime,
    line: &'a [u8],
    code: u16,
    bytes: u64,
}

impl Display for Entry<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "{}", client.to_canonical())?,
            None => write!(f, "-")?,
        }
        // `Sat, 10 Oct 2026 13:55:36 GMT`, in another order.
        let date = httpdate::fmt_http_date(self.now);
        write!(f, " - - [{}/{}/{}:{} +0000] \"", &date[5..7], &date[8..11], &date[12..16], &date[17..25])?;
        if self.line.is_empty() {
            write!(f, "-")?;
        }
        let mut written = 0;
        for byte in self.line {
            written += 4;
            if written > LONGEST {
                write!(f, "...")?;
                break;
            }
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                b' '..=b'~' => {
                    written -= 3;
                    write!(f, "{}", char::from(*byte))?;
                }
                // Nothing of it may end the line, or talk to a terminal.
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        write!(f, "\" {} {}", self.code, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: &[u8]) -> String {
        let now = SystemTime::UNIX_EPOCH;
        Entry { client: "::ffff:192.0.2.7".parse().ok(), now, line, code: 404, bytes: 14 }.to_string()
    }

    #[test]
    fn a_line_is_in_the_common_log_format() {
        let expected = "192.0.2.7 - - [01/Jan/1970:00:00:00 +0000] \"GET /x HTTP/1.1\" 404 14";
        assert_eq!(entry(first_line(b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n")), expected);
        assert!(entry(b"").ends_with("] \"-\" 404 14"));
    }

    #[test]
    fn a_client_forges_no_line_and_cuts_off_no_answer() {
        assert!(entry(b"a\" 200 \\\x1b[2J\x80\x00").ends_with("] \"a\\\" 200 \\\\\\x1b[2J\\x80\\x00\" 404 14"));
        for long in [vec![b'a'; 100_000], vec![0x80; 100_000]] {
            let line = entry(first_line(&long));
            assert!(line.ends_with("...\" 404 14") && line.len() < 800, "{} {line}", line.len());
        }
        assert!(!entry(&[b'a'; LONGEST - 3]).contains("..."));
    }
}
