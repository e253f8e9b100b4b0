//! What a client may ask for, and how long it may take.
//!
//! Everything a client can make grow or last has a bound here: a name, a default with its reason, and
//! a field in [`Limits`], because the tests want them small and some users want them bigger.

use std::time::Duration;

use crate::serve;

/// Bytes of a request line, without its line end. More is answered 414.
pub const REQUEST_LINE: usize = 8 * 1024;
/// Bytes of all header lines with their line ends, without the empty line. More is answered 431.
/// Real clients stay below a tenth of it; cookies are what needs the rest.
pub const HEADER_BLOCK: usize = 16 * 1024;
/// Header lines of a request. More is answered 431. The parser's table lies on the stack, so this is
/// also the most that [`Limits::headers`] can allow.
pub const HEADERS: usize = 100;
/// Bytes of a request body. More is answered 413. `/echo` keeps the whole body in memory, because
/// a client that sends everything before it reads anything must not deadlock with us.
pub const BODY: u64 = 1024 * 1024;
/// Bytes of chunk extensions in one body. They mean nothing here, so they may not cost much.
pub const CHUNK_EXTENSIONS: usize = 4 * 1024;
/// Bytes of trailer lines after a chunked body, with their line ends.
pub const TRAILERS: usize = 4 * 1024;
/// From the accept, or from the first byte after the previous response, to the end of the header
/// block. It is absolute: one byte now and then doesn't move it, or slow clients would stay forever.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay without a request after its last response.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes per second that a body must bring on average once [`BODY_GRACE`] is over.
pub const BODY_RATE: u32 = 500;
/// The time before [`BODY_RATE`] counts.
pub const BODY_GRACE: Duration = Duration::from_secs(5);
/// How long a body or a response may make no progress at all. The same as nginx's `client_body_timeout` and `send_timeout`.
/// A shorter time cuts off slow readers: a receiver may make room in steps of 64 KiB, which take a minute at 1 kB/s.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests on one connection; the last response says `Connection: close`. Spreads long-lived clients
/// anew, and bounds what a leak per connection could cost.
pub const REQUESTS: u64 = 10_000;
/// How long to wait for more input after the last response. It is thrown away, so that the client gets the response:
/// closing a socket with unread input sends a reset, which may overtake it.
pub const LINGER_IDLE: Duration = serve::LINGER_IDLE;
/// How long the same may take in all.
pub const LINGER_TIME: Duration = serve::LINGER_TIME;
/// Bytes of responses to pipelined requests that are collected before they are written. No further
/// request is looked at until they are.
pub const PENDING_OUTPUT: usize = 64 * 1024;
/// Size of a file that is served. Bigger ones are answered 403.
pub const FILE_SIZE: u64 = 1 << 30;
/// The longest `/sleep`.
pub const SLEEP: Duration = Duration::from_secs(60);

/// A time no deadline needs to exceed, and small enough for every clock.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The limits of one server; the default is this module's constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`REQUEST_LINE`].
    pub request_line: usize,
    /// See [`HEADER_BLOCK`].
    pub header_block: usize,
    /// See [`HEADERS`].
    pub headers: usize,
    /// See [`BODY`].
    pub body: u64,
    /// See [`CHUNK_EXTENSIONS`].
    pub chunk_extensions: usize,
    /// See [`TRAILERS`].
    pub trailers: usize,
    /// See [`HEADER_TIMEOUT`].
    pub header_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`BODY_RATE`]; 0 asks for none.
    pub body_rate: u32,
    /// See [`BODY_GRACE`].
    pub body_grace: Duration,
    /// See [`STALL_TIMEOUT`].
    pub stall_timeout: Duration,
    /// See [`REQUESTS`].
    pub requests: u64,
    /// See [`LINGER_IDLE`].
    pub linger_idle: Duration,
    /// See [`LINGER_TIME`].
    pub linger_time: Duration,
    /// See [`PENDING_OUTPUT`].
    pub pending_output: usize,
    /// See [`FILE_SIZE`].
    pub file_size: u64,
    /// See [`SLEEP`].
    pub sleep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_line: REQUEST_LINE,
            header_block: HEADER_BLOCK,
            headers: HEADERS,
            body: BODY,
            chunk_extensions: CHUNK_EXTENSIONS,
            trailers: TRAILERS,
            header_timeout: HEADER_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            body_rate: BODY_RATE,
            body_grace: BODY_GRACE,
            stall_timeout: STALL_TIMEOUT,
            requests: REQUESTS,
            linger_idle: LINGER_IDLE,
            linger_time: LINGER_TIME,
            pending_output: PENDING_OUTPUT,
            file_size: FILE_SIZE,
            sleep: SLEEP,
        }
    }
}

impl Limits {
    /// The same with every duration short enough to be added to the time without overflow.
    pub(crate) fn bounded(mut self) -> Self {
        let durations = [
            &mut self.header_timeout,
            &mut self.idle_timeout,
            &mut self.body_grace,
            &mut self.stall_timeout,
            &mut self.linger_idle,
            &mut self.linger_time,
            &mut self.sleep,
        ];
        for duration in durations {
            *duration = (*duration).min(FOREVER);
        }
        self
    }

    /// How long after its start a body that has brought `received` bytes may go on.
    pub(crate) fn body_time(&self, received: u64) -> Duration {
        match self.body_rate {
            0 => FOREVER,
            rate => {
                let earned = Duration::from_millis(received.saturating_mul(1000) / u64::from(rate));
                self.body_grace.saturating_add(earned).min(FOREVER)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_earns_time_by_the_bytes_it_brings() {
        let limits = Limits::default();
        assert_eq!(limits.body_time(0), Duration::from_secs(5));
        assert_eq!(limits.body_time(1000), Duration::from_secs(7));
        assert_eq!(limits.body_time(u64::MAX), FOREVER);
        assert_eq!(Limits { body_rate: 0, ..limits }.body_time(0), FOREVER);
    }

    #[test]
    fn endless_durations_are_cut_to_what_a_clock_can_hold() {
        let limits = Limits { idle_timeout: Duration::MAX, ..Limits::default() }.bounded();
        assert_eq!(limits.idle_timeout, FOREVER);
        assert_eq!(limits.stall_timeout, STALL_TIMEOUT);
    }
}
