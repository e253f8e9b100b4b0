//! A server's answer: its head, read strictly and written anew, and its body on its way to the client.
//!
//! RFC 9112, 6.3 says where an answer ends. An answer that leaves two ways to read it is refused (502): the next
//! client on the same connection would get what is left of it.

use std::time::SystemTime;

use crate::http::limits::HEADERS;
use crate::http::{Body, Framing, Limits, content_length};

use super::request::named_by_connection;

/// What of a request decides over the form of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) is_http10: bool,
    /// Whether the client's connection may stay after the answer.
    pub(crate) may_stay: bool,
    /// The date of an answer that has none.
    pub(crate) now: SystemTime,
}

/// What [`take_reply`] made of the bytes so far.
pub(crate) enum Taken {
    /// The head isn't complete.
    Partial,
    /// A head of so many bytes that is followed by another, such as "103 Early Hints".
    Interim(usize),
    Final(Reply),
    /// No answer that could be passed on.
    Wrong,
}

/// An answer whose head has been passed on.
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) head_len: usize,
    /// How its end is found.
    ending: Ending,
    /// Whether the client gets it in chunks.
    is_chunked: bool,
    /// Whether the server's connection can be used for another request.
    pub(crate) server_stays: bool,
    /// Whether the client's can.
    pub(crate) client_stays: bool,
}

enum Ending {
    Body(Body),
    /// The end of the connection is the end of the body.
    Close,
}

/// Headers that are not passed on.
const HOP_BY_HOP: [&str; 7] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "trailer", "transfer-encoding", "upgrade"];

/// Reads a head at the beginning of `bytes`, and appends what the client gets instead to `out`.
pub(crate) fn take_reply(bytes: &[u8], asked: Asked, out: &mut Vec<u8>) -> Taken {
    let mut storage = [httparse::EMPTY_HEADER; HEADERS];
    let mut raw = httparse::Response::new(&mut storage);
    let head_len = match raw.parse(bytes) {
        Ok(httparse::Status::Complete(head_len)) => head_len,
        Ok(httparse::Status::Partial) => return Taken::Partial,
        Err(_) => return Taken::Wrong,
    };
    let code = raw.code.unwrap_or_default();
    let is_interim = (100..200).contains(&code);
    // Nobody has asked for another protocol: `Upgrade` is not passed on.
    if code == 101 || !(100..600).contains(&code) {
        return Taken::Wrong;
    }
    let Some(message) = Message::new(&raw, asked, code) else { return Taken::Wrong };
    if !(is_interim && asked.is_http10) {
        write_head(&raw, code, &message, out);
    }
    if is_interim {
        return Taken::Interim(head_len);
    }
    let Message { framing, is_chunked, server_stays, client_stays, .. } = message;
    let ending = framing.map_or(Ending::Close, |framing| Ending::Body(Body::new(framing)));
    Taken::Final(Reply { code, head_len, ending, is_chunked, server_stays, client_stays })
}

/// What a head says about the body and about the connection.
struct Message {
    /// `None`: until the server closes.
    framing: Option<Framing>,
    /// What is said to the client, whether or not there is a body.
    length: Option<u64>,
    is_chunked: bool,
    server_stays: bool,
    client_stays: bool,
    is_interim: bool,
    is_http10: bool,
    now: SystemTime,
}

impl Message {
    /// `None` if it can be read in two ways.
    fn new(raw: &httparse::Response<'_, '_>, asked: Asked, code: u16) -> Option<Message> {
        let one = |name: &str| {
            let mut found = raw.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            let first = found.next().map(|header| header.value);
            found.next().is_none().then_some(first)
        };
        let (length, coding) = (one("content-length")?, one("transfer-encoding")?);
        let length = match length {
            Some(length) => Some(content_length(length).ok()?),
            None => None,
        };
        let is_interim = code < 200;
        let is_bodiless = asked.is_head || is_interim || code == 204 || code == 304;
        let framing = match (length, coding) {
            (Some(_), Some(_)) => return None,
            (None, Some(coding)) if raw.version == Some(0) || !coding.eq_ignore_ascii_case(b"chunked") => return None,
            _ if is_bodiless => Some(Framing::None),
            (None, Some(_)) => Some(Framing::Chunked),
            (Some(0), None) => Some(Framing::None),
            (Some(length), None) => Some(Framing::Sized(length)),
            (None, None) => None,
        };
        let has_unknown_length = matches!(framing, None | Some(Framing::Chunked));
        let options = named_by_connection(raw.headers);
        let says = |option: &str| options.iter().any(|said| said.eq_ignore_ascii_case(option.as_bytes()));
        let is_persistent = if raw.version == Some(1) { !says("close") } else { says("keep-alive") };
        Some(Message {
            framing,
            length: length.filter(|_| !is_interim && code != 204),
            is_chunked: has_unknown_length && !asked.is_http10,
            server_stays: is_persistent && framing.is_some(),
            client_stays: asked.may_stay && !(has_unknown_length && asked.is_http10),
            is_interim,
            is_http10: asked.is_http10,
            now: asked.now,
        })
    }
}

fn write_head(raw: &httparse::Response<'_, '_>, code: u16, message: &Message, out: &mut Vec<u8>) {
    let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
    let digits = [b'0' + (code / 100) as u8, b'0' + (code / 10 % 10) as u8, b'0' + (code % 10) as u8];
    add(&[b"HTTP/1.1 ", &digits, b" ", raw.reason.unwrap_or_default().as_bytes()]);
    let named = named_by_connection(raw.headers);
    let mut has_date = message.is_interim;
    for header in &*raw.headers {
        let is_hop = HOP_BY_HOP.iter().any(|hop| header.name.eq_ignore_ascii_case(hop));
        if !is_hop && !named.iter().any(|name| name.eq_ignore_ascii_case(header.name.as_bytes())) {
            add(&[b"\r\n", header.name.as_bytes(), b": ", header.value]);
            has_date |= header.name.eq_ignore_ascii_case("date");
        }
    }
    // RFC 9110, 6.6.1: a proxy adds the date if the server, which may have no clock, sent none.
    if !has_date {
        add(&[b"\r\nDate: ", httpdate::fmt_http_date(message.now).as_bytes()]);
    }
    if let Some(length) = message.length {
        add(&[b"\r\nContent-Length: ", length.to_string().as_bytes()]);
    } else if message.is_chunked {
        add(&[b"\r\nTransfer-Encoding: chunked"]);
    }
    match message {
        Message { is_interim: true, .. } | Message { client_stays: true, is_http10: false, .. } => {}
        Message { client_stays: true, .. } => add(&[b"\r\nConnection: keep-alive"]),
        Message { client_stays: false, .. } => add(&[b"\r\nConnection: close"]),
    }
    add(&[b"\r\n\r\n"]);
}

impl Reply {
    /// Takes what `input` has of the body, and appends it to `out` as the client gets it. Returns how many bytes were
    /// taken, and whether that was all of the body; `None` if the server breaks off the rules.
    pub(crate) fn pass(&mut self, input: &[u8], limits: &Limits, out: &mut Vec<u8>) -> Option<(usize, bool)> {
        let before = out.len();
        if self.is_chunked {
            out.extend_from_slice(CHUNK_HEAD);
        }
        let start = out.len();
        let (consumed, is_done) = match &mut self.ending {
            Ending::Body(body) => {
                let progress = body.decode(input, limits, Some(out)).ok()?;
                (progress.consumed, progress.is_done)
            }
            Ending::Close => {
                out.extend_from_slice(input);
                (input.len(), false)
            }
        };
        if self.is_chunked {
            end_chunk(out, before, start);
            if is_done {
                out.extend_from_slice(LAST_CHUNK);
            }
        }
        Some((consumed, is_done))
    }

    /// The server has closed; whether that was the end of the body.
    pub(crate) fn end(&self, out: &mut Vec<u8>) -> bool {
        let is_whole = matches!(self.ending, Ending::Close);
        if is_whole && self.is_chunked {
            out.extend_from_slice(LAST_CHUNK);
        }
        is_whole
    }
}

/// Room for the size of a chunk that is not known yet: eight digits, which hold any size that is in memory at once.
pub(crate) const CHUNK_HEAD: &[u8] = b"00000000\r\n";
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Ends the chunk whose [`CHUNK_HEAD`] is at `head` and whose data begins at `start`; without data there is none,
/// for an empty chunk would be the last.
pub(crate) fn end_chunk(out: &mut Vec<u8>, head: usize, start: usize) {
    let len = out.len() - start;
    if len == 0 {
        out.truncate(head);
        return;
    }
    let size = format!("{len:08x}");
    out[head..head + size.len()].copy_from_slice(size.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Asked = Asked { is_head: false, is_http10: false, may_stay: true, now: SystemTime::UNIX_EPOCH };
    const DATE: &str = "\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT";

    /// The whole answer as the client gets it, when it comes in pieces of `piece` bytes and then the end; `None` if it
    /// is refused or cut.
    fn pass(reply: &str, asked: Asked, piece: usize) -> Option<(String, bool, bool)> {
        let limits = Limits { body: u64::MAX, ..Limits::default() };
        let (mut input, mut out, mut open) = (Vec::new(), Vec::new(), None::<Reply>);
        for bytes in reply.as_bytes().chunks(piece).chain([&b""[..]]) {
            input.extend_from_slice(bytes);
            while open.is_none() {
                match take_reply(&input, asked, &mut out) {
                    Taken::Partial => break,
                    Taken::Interim(head_len) => drop(input.drain(..head_len)),
                    Taken::Final(reply) => {
                        input.drain(..reply.head_len);
                        open = Some(reply);
                    }
                    Taken::Wrong => return None,
                }
            }
            let Some(reply) = &mut open else { continue };
            let (consumed, is_done) = reply.pass(&input, &limits, &mut out)?;
            input.drain(..consumed);
            if is_done || (bytes.is_empty() && reply.end(&mut out)) {
                assert!(bytes.is_empty() || input.is_empty() || piece > 1);
                return Some((String::from_utf8(out).unwrap(), reply.server_stays, reply.client_stays));
            }
        }
        None
    }

    /// No expectation has the date, which each final answer gets, and once.
    fn passes(reply: &str, asked: Asked, expected: &str, server_stays: bool, client_stays: bool) {
        let pass = |piece| {
            let passed = pass(reply, asked, piece);
            passed.map(|(out, server, client)| {
                assert_eq!(out.matches("Date: ").count(), 1, "{out}");
                (out.replacen(DATE, "", 1), server, client)
            })
        };
        let whole = pass(usize::MAX);
        assert_eq!(whole, Some((expected.to_owned(), server_stays, client_stays)), "{reply:?}");
        let pieces = pass(1).unwrap();
        assert_eq!((pieces.1, pieces.2), (server_stays, client_stays));
        assert_eq!(join_chunks(&pieces.0), join_chunks(expected), "{reply:?} byte by byte");
    }

    /// How a body is cut into chunks depends on how it arrives.
    fn join_chunks(reply: &str) -> String {
        reply.split("\r\n").filter(|line| line.len() != 8 || !line.starts_with("000")).collect()
    }

    #[test]
    fn a_date_is_added_where_there_is_none() {
        let pass = |reply: &str| pass(reply, USUAL, usize::MAX).unwrap().0;
        let dated = "HTTP/1.1 204 No\r\ndate: yesterday\r\n\r\n";
        assert_eq!(pass(dated), dated);
        // Not for the next neighbour, so it is as if there were none.
        let hidden = "HTTP/1.1 204 No\r\ndate: yesterday\r\nConnection: date\r\n\r\n";
        assert_eq!(pass(hidden), format!("HTTP/1.1 204 No{DATE}\r\n\r\n"));
    }

    #[test]
    fn a_length_stays_a_length() {
        let reply = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\nKeep-Alive: 5\r\n\r\nabc";
        passes(reply, USUAL, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabc", true, true);
        let last = Asked { may_stay: false, ..USUAL };
        let expected = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        passes(reply, last, expected, true, false);
        let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        passes(empty, USUAL, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, true);
    }

    #[test]
    fn chunks_are_made_anew_without_extensions_and_trailers() {
        let reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n\
                     1;x=y\r\na\r\n2\r\nbc\r\n0\r\nT: z\r\n\r\n";
        let expected = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000003\r\nabc\r\n0\r\n\r\n";
        passes(reply, USUAL, expected, true, true);
        let old = Asked { is_http10: true, ..USUAL };
        passes(reply, old, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", true, false);
    }

    #[test]
    fn a_body_that_ends_with_the_connection_gets_chunks_and_the_connection_stays() {
        let reply = "HTTP/1.0 200 OK\r\n\r\nabc";
        let expected = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000003\r\nabc\r\n0\r\n\r\n";
        passes(reply, USUAL, expected, false, true);
    }

    #[test]
    fn an_answer_to_head_has_a_length_and_no_body() {
        let asked = Asked { is_head: true, ..USUAL };
        let reply = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        passes(reply, asked, reply, true, true);
        passes(
            "HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n",
            USUAL,
            "HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n",
            true,
            true,
        );
        passes("HTTP/1.1 204 No\r\n\r\n", USUAL, "HTTP/1.1 204 No\r\n\r\n", true, true);
    }

    #[test]
    fn early_hints_are_passed_on_to_those_who_know_them() {
        let reply = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n";
        passes(reply, USUAL, reply, true, true);
        let old = Asked { is_http10: true, ..USUAL };
        passes(reply, old, "HTTP/1.1 204 No\r\nConnection: keep-alive\r\n\r\n", true, true);
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_ends_early_is_refused() {
        for wrong in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nA b\r\n\r\n",
            "",
        ] {
            assert_eq!(pass(wrong, USUAL, usize::MAX), None, "{wrong:?}");
            assert_eq!(pass(wrong, USUAL, 1), None, "{wrong:?} byte by byte");
        }
    }
}
