//! What is asked, and what must be answered.
//!
//! What is expected is never taken from an answer. Echo messages are pieces of a block of random bytes,
//! each batch from a random place, so bytes that were lost, repeated, or sent to the wrong connection do
//! not go unnoticed.

use std::ops::Range;

use anyhow::{Context, bail, ensure};

/// Bytes of random data beyond one batch: so many places to cut from, and no more than stay in the cache.
const PLACES: usize = 64 * 1024;
/// The body every HTTP response must have.
const BODY: &[u8] = b"Hello, World!";
/// Bytes of a response's head at most.
const LONGEST_HEAD: usize = 16 * 1024;
/// Header fields of a response at most.
const MOST_FIELDS: usize = 64;

/// One connection's part in it.
#[derive(Debug, Default)]
pub struct Talk {
    /// Answers that have yet to come.
    pub open: u32,
    /// When the batch was sent, or should have been: ns on the client's clock.
    pub since: u64,
    /// What of the block of random bytes has yet to come back.
    expected: Range<usize>,
    /// The beginning of a response that is not complete.
    partial: Vec<u8>,
}

/// What all connections have in common.
pub enum Dialogue {
    Echo(Echo),
    Http(Http),
}

impl Dialogue {
    /// Echo messages of `message` bytes, `depth` in a batch.
    pub fn echo(message: usize, depth: u32) -> Dialogue {
        let batch = message * depth as usize;
        let mut random = fastrand::Rng::new();
        let block = Vec::leak(vec![0; batch + PLACES]);
        random.fill(block);
        Dialogue::Echo(Echo { block, random, message, depth, batch })
    }

    /// `GET path`, `depth` in a batch.
    pub fn http(path: &str, depth: u32) -> Dialogue {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let requests = Vec::leak(request.repeat(depth as usize).into_bytes());
        Dialogue::Http(Http { requests, depth, known: Vec::new() })
    }

    /// The next batch to send. It is never freed: the kernel may look at it at any time.
    pub fn ask(&mut self, talk: &mut Talk) -> &'static [u8] {
        match self {
            Dialogue::Echo(echo) => echo.ask(talk),
            Dialogue::Http(http) => {
                talk.open = http.depth;
                http.requests
            }
        }
    }

    /// Checks bytes that arrived; returns how many answers they completed.
    pub fn check(&mut self, talk: &mut Talk, bytes: &[u8]) -> anyhow::Result<u32> {
        let before = talk.open;
        match self {
            Dialogue::Echo(echo) => echo.check(talk, bytes)?,
            Dialogue::Http(http) => http.check(talk, bytes)?,
        }
        Ok(before - talk.open)
    }
}

/// Sends pieces of `block`, and expects them back.
pub struct Echo {
    block: &'static [u8],
    random: fastrand::Rng,
    message: usize,
    depth: u32,
    /// Bytes of a batch.
    batch: usize,
}

impl Echo {
    fn ask(&mut self, talk: &mut Talk) -> &'static [u8] {
        let start = self.random.usize(..=self.block.len() - self.batch);
        talk.open = self.depth;
        talk.expected = start..start + self.batch;
        &self.block[talk.expected.clone()]
    }

    fn check(&self, talk: &mut Talk, bytes: &[u8]) -> anyhow::Result<()> {
        let expected = &self.block[talk.expected.clone()];
        ensure!(bytes.len() <= expected.len(), "{} bytes more than were sent came back", bytes.len() - expected.len());
        if bytes != &expected[..bytes.len()] {
            let place = bytes.iter().zip(expected).take_while(|(one, other)| one == other).count();
            let done = self.batch - expected.len();
            bail!("byte {} is {:#04x} instead of {:#04x}", done + place, bytes[place], expected[place]);
        }
        talk.expected.start += bytes.len();
        talk.open = u32::try_from(talk.expected.len().div_ceil(self.message)).expect("at most the depth");
        Ok(())
    }
}

/// Sends the same request again and again, and expects status 200 and the same body.
pub struct Http {
    requests: &'static [u8],
    depth: u32,
    /// The last response that was checked. Only the date in it changes, and only once a second.
    known: Vec<u8>,
}

impl Http {
    fn check(&mut self, talk: &mut Talk, bytes: &[u8]) -> anyhow::Result<()> {
        if talk.partial.is_empty() {
            let used = self.responses(&mut talk.open, bytes)?;
            talk.partial.extend_from_slice(&bytes[used..]);
        } else {
            talk.partial.extend_from_slice(bytes);
            let used = self.responses(&mut talk.open, &talk.partial)?;
            talk.partial.drain(..used);
        }
        Ok(())
    }

    /// Takes the responses that `bytes` start with off `open`; returns their length.
    fn responses(&mut self, open: &mut u32, bytes: &[u8]) -> anyhow::Result<usize> {
        let mut used = 0;
        while *open > 0
            && let Some(len) = self.response(&bytes[used..])?
        {
            used += len;
            *open -= 1;
        }
        ensure!(*open > 0 || used == bytes.len(), "{} bytes more than were asked for came", bytes.len() - used);
        Ok(used)
    }

    /// The length of the response that `bytes` start with; `None` if it is not complete.
    fn response(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        if !self.known.is_empty() && bytes.starts_with(&self.known) {
            return Ok(Some(self.known.len()));
        }
        let Some(head) = head(bytes)? else { return Ok(None) };
        let body = &bytes[head..bytes.len().min(head + BODY.len())];
        ensure!(BODY.starts_with(body), "the body is {:?}", String::from_utf8_lossy(body));
        if body.len() < BODY.len() {
            return Ok(None);
        }
        self.known = bytes[..head + BODY.len()].to_vec();
        Ok(Some(self.known.len()))
    }
}

/// The length of the head that `bytes` start with, which has status 200 and the right content length;
/// `None` if it is not complete.
fn head(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let text = || String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let parsed = response.parse(bytes).with_context(|| format!("this is no HTTP response: {:?}", text()))?;
    let httparse::Status::Complete(len) = parsed else {
        ensure!(bytes.len() < LONGEST_HEAD, "the head of the response does not end");
        return Ok(None);
    };
    ensure!(response.code == Some(200), "a status other than 200 in the response {:?}", text());
    let mut lengths = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    ensure!(
        length == Some(BODY.len()) && lengths.next().is_none(),
        "not one Content-Length of {} in the response {:?}",
        BODY.len(),
        text()
    );
    Ok(Some(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &str = "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 13\r\n\r\nHello, World!";

    fn echo() -> (Dialogue, Talk, Vec<u8>) {
        let (mut dialogue, mut talk) = (Dialogue::echo(4, 3), Talk::default());
        let batch = dialogue.ask(&mut talk).to_vec();
        (dialogue, talk, batch)
    }

    fn http(depth: u32) -> (Dialogue, Talk) {
        let (mut dialogue, mut talk) = (Dialogue::http("/plaintext", depth), Talk::default());
        dialogue.ask(&mut talk);
        (dialogue, talk)
    }

    #[test]
    fn an_echo_counts_when_its_last_byte_has_come() {
        let (mut dialogue, mut talk, batch) = echo();
        let answers: Vec<_> = batch.chunks(3).map(|bytes| dialogue.check(&mut talk, bytes).unwrap()).collect();
        assert_eq!((answers, talk.open), (vec![0, 1, 1, 1], 0));
    }

    #[test]
    fn an_echo_with_a_wrong_byte_or_one_too_many_is_an_error() {
        for place in 0..12 {
            let (mut dialogue, mut talk, mut batch) = echo();
            batch[place] ^= 0x10;
            let error = dialogue.check(&mut talk, &batch).unwrap_err().to_string();
            assert!(error.starts_with(&format!("byte {place} is ")), "{error}");
        }
        let (mut dialogue, mut talk, mut batch) = echo();
        batch.push(0);
        assert!(dialogue.check(&mut talk, &batch).is_err());
    }

    #[test]
    fn responses_may_be_cut_anywhere() {
        let bytes = RESPONSE.repeat(3).into_bytes();
        for cut in 0..bytes.len() {
            let (mut dialogue, mut talk) = http(3);
            let first = dialogue.check(&mut talk, &bytes[..cut]).unwrap();
            let answers = first + dialogue.check(&mut talk, &bytes[cut..]).unwrap();
            assert_eq!((answers, talk.open, talk.partial.len()), (3, 0, 0), "cut at {cut}");
        }
    }

    #[test]
    fn responses_may_come_byte_by_byte_and_change_their_date() {
        let (mut dialogue, mut talk) = http(2);
        let bytes = format!("{RESPONSE}{}", RESPONSE.replace("now", "tomorrow"));
        let answers: u32 = bytes.bytes().map(|byte| dialogue.check(&mut talk, &[byte]).unwrap()).sum();
        assert_eq!(answers, 2);
    }

    #[test]
    fn a_wrong_response_is_an_error() {
        let changes = [
            ("200", "404"),
            ("13\r", "14\r"),
            ("World", "world"),
            ("Content", "Kontent"),
            ("Date: now", "Content-Length: 13"),
            ("HTTP", "HTTQ"),
            ("World!", "World!!"),
        ];
        for (from, to) in changes {
            let (mut dialogue, mut talk) = http(1);
            let wrong = RESPONSE.replace(from, to);
            assert!(dialogue.check(&mut talk, wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_head_that_does_not_end_is_an_error() {
        let (mut dialogue, mut talk) = http(1);
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(LONGEST_HEAD));
        assert!(dialogue.check(&mut talk, endless.as_bytes()).is_err());
    }
}
