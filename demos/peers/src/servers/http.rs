//! The tiny HTTP that the servers speak: enough to be parsed and answered, no more.
//!
//! Every request is answered with the same 200. Pipelined requests are answered in one go, so that a
//! server writes once for all that it has read. Bodies are not understood: a request must be a GET.

use std::io;
use std::mem::{self, MaybeUninit};

/// The answer to every request.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
/// Header lines of a request, more than any client of the benchmark sends.
const HEADERS: usize = 32;
/// Bytes of a request. Who sends more without an end is cut off.
const LONGEST: usize = 16 * 1024;

/// The client sent what is no request we know; its connection has to be closed.
#[derive(Debug)]
pub struct BadRequest;

impl From<BadRequest> for io::Error {
    fn from(_: BadRequest) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, "not a request that is known here")
    }
}

/// The requests of one connection: keeps what has arrived of one that isn't complete.
#[derive(Debug, Default)]
pub struct Requests {
    begun: Vec<u8>,
}

impl Requests {
    /// Appends one response to `output` for each request that `received` completes.
    pub fn answer(&mut self, received: &[u8], output: &mut Vec<u8>) -> Result<(), BadRequest> {
        if self.begun.is_empty() {
            let used = answer(received, output)?;
            return self.keep(&received[used..]);
        }
        let mut begun = mem::take(&mut self.begun);
        begun.extend_from_slice(received);
        let used = answer(&begun, output)?;
        self.keep(&begun[used..])
    }

    fn keep(&mut self, begun: &[u8]) -> Result<(), BadRequest> {
        if begun.len() > LONGEST {
            return Err(BadRequest);
        }
        // Nothing is allocated for nothing.
        self.begun = begun.to_vec();
        Ok(())
    }
}

/// Answers all complete requests; returns how many bytes they had.
fn answer(input: &[u8], output: &mut Vec<u8>) -> Result<usize, BadRequest> {
    let mut used = 0;
    while used < input.len() {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(&input[used..], &mut headers) {
            Ok(httparse::Status::Complete(len)) if request.method == Some("GET") => used += len,
            Ok(httparse::Status::Partial) => break,
            Ok(httparse::Status::Complete(_)) | Err(_) => return Err(BadRequest),
        }
        output.extend_from_slice(RESPONSE);
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";

    #[test]
    fn requests_cut_anywhere_get_one_answer_each() {
        let stream = REQUEST.repeat(3);
        for cut in 0..=stream.len() {
            let (mut requests, mut output) = (Requests::default(), Vec::new());
            let (first, second) = stream.split_at(cut);
            requests.answer(first, &mut output).unwrap();
            assert_eq!(output, RESPONSE.repeat(cut / REQUEST.len()), "cut at {cut}");
            requests.answer(second, &mut output).unwrap();
            assert_eq!(output, RESPONSE.repeat(3), "cut at {cut}");
            assert_eq!(requests.begun.capacity(), 0, "nothing is kept between requests");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let (mut requests, mut output) = (Requests::default(), Vec::new());
        assert!(requests.answer(b"hello\r\n\r\n", &mut output).is_err());
        assert!(requests.answer(b"POST / HTTP/1.1\r\n\r\n", &mut output).is_err());
        assert!(output.is_empty());
    }

    #[test]
    fn a_request_without_end_is_refused() {
        let (mut requests, mut output) = (Requests::default(), Vec::new());
        requests.answer(b"GET /", &mut output).unwrap();
        let endless = std::iter::repeat_n(b"aaaaaaaaaaaaaaaa", 2 * LONGEST / 16);
        assert!(endless.map(|more| requests.answer(more, &mut output)).any(|answered| answered.is_err()));
    }
}
