//! The head of a request: from bytes to a [`Request`], or to the status that refuses it.
//!
//! `httparse` finds the parts; what they mean, and above all where the body ends, is decided here.
//! When two readers of one request disagree about its end, one of them takes body bytes for a request
//! (request smuggling). So everything is refused that could be read in two ways: bare line feeds, which
//! httparse lets pass, several lengths, a length beside a transfer coding, signs and lists in numbers.
//!
//! [`parse`] has no state and may be called again with more bytes. Its verdict never changes by that:
//! what is refused as a prefix is refused as a whole, with the same status, and the other way round.
//! For this the limits are looked at where they are crossed, not after whatever follows.

use std::mem::MaybeUninit;

use super::host::is_host;
use super::limits::{HEADERS, Limits};
use super::response::Status;

/// The methods this server knows. Any other is "not implemented" rather than "not allowed here".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Sized(u64),
    Chunked,
}

/// What a request's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'b> {
    /// Bytes of the head, that is, where the body begins.
    pub head_len: usize,
    pub method: Method,
    /// The target's path, not decoded; `*` for the server as a whole.
    pub path: &'b str,
    /// What follows the `?`.
    pub query: &'b str,
    pub is_http10: bool,
    /// Whether the client wants the connection to stay.
    pub keep_alive: bool,
    pub framing: Framing,
    /// The client waits for "100 Continue" before it sends the body.
    pub expects_continue: bool,
    pub content_type: Option<&'b [u8]>,
    /// The head, if it has conditions or asks for a part: see `conditions.rs`.
    pub conditions: Option<&'b [u8]>,
}

/// What [`parse`] made of the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'b> {
    /// The head isn't complete.
    Partial,
    Complete(Request<'b>),
    /// There is no telling where the next request would begin: answer, and close.
    Refused(Status),
}

/// Empty lines that old clients may leave after a request. They are no part of the next one.
const EMPTY_LINES: usize = 4;

/// Returns whether these bytes, which may be wrong or incomplete, begin a HEAD request. No content follows the head of its
/// answer, whatever the status is (RFC 9110, 9.3.2).
pub(crate) fn is_head(bytes: &[u8]) -> bool {
    bytes[empty_lines(bytes)..].starts_with(b"HEAD ")
}

/// Reads one head at the beginning of `bytes`.
pub(crate) fn parse<'b>(bytes: &'b [u8], limits: &Limits) -> Parsed<'b> {
    parse_head(bytes, empty_lines(bytes), limits).unwrap_or_else(Parsed::Refused)
}

fn empty_lines(bytes: &[u8]) -> usize {
    if bytes.first() != Some(&b'\r') {
        return 0;
    }
    let lines = bytes.chunks_exact(2).take(EMPTY_LINES).take_while(|pair| *pair == b"\r\n");
    2 * lines.count()
}

/// The same, for a head that begins after `skipped` bytes.
fn parse_head<'b>(bytes: &'b [u8], skipped: usize, limits: &Limits) -> Result<Parsed<'b>, Status> {
    let whole = bytes;
    let bytes = &bytes[skipped..];
    if bytes.starts_with(b"\r\n") {
        return Err(Status::BadRequest);
    }
    // The usual head is shorter than any limit, and not searched for them.
    let window =
        if bytes.len() <= limits.request_line.min(limits.header_block) { None } else { head_window(bytes, limits)? };
    let head = &bytes[..window.map_or(bytes.len(), |window| window.min(bytes.len()))];
    let mut storage = [const { MaybeUninit::uninit() }; HEADERS];
    let storage = &mut storage[..limits.headers.min(HEADERS)];
    let mut raw = httparse::Request::new(&mut []);
    match raw.parse_with_uninit_headers(head, storage) {
        Ok(httparse::Status::Complete(head_len)) => {
            if has_bare_line_feed(&head[..head_len]) {
                return Err(Status::BadRequest);
            }
            interpret(&raw, &whole[..skipped + head_len], limits)
        }
        Ok(httparse::Status::Partial) if window.is_some_and(|window| bytes.len() >= window) => {
            Err(Status::HeaderTooLarge)
        }
        Ok(httparse::Status::Partial) => Ok(Parsed::Partial),
        Err(httparse::Error::TooManyHeaders) => Err(Status::HeaderTooLarge),
        Err(httparse::Error::Version) => version_error(head),
        Err(_) => Err(Status::BadRequest),
    }
}

/// How many bytes the head may have at most, if the request line's end is there already.
fn head_window(bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Status> {
    // One byte of the line end may belong to what is looked at, both may not.
    let longest = limits.request_line.saturating_add(1);
    match bytes.iter().take(longest + 1).position(|byte| *byte == b'\n') {
        Some(end) => Ok(Some((end + 1).saturating_add(limits.header_block).saturating_add(2))),
        None if bytes.len() <= longest => Ok(None),
        // Too long; unless it was wrong before that. A method that long is none that we know: RFC 9112, 3.
        None => {
            let mut raw = httparse::Request::new(&mut []);
            match raw.parse(&bytes[..longest]) {
                Ok(_) if raw.method.is_none() => Err(Status::NotImplemented),
                Ok(_) | Err(httparse::Error::Version) => Err(Status::UriTooLong),
                Err(_) => Err(Status::BadRequest),
            }
        }
    }
}

/// A line feed without a carriage return ends a line for some readers and not for others.
fn has_bare_line_feed(head: &[u8]) -> bool {
    /// As many bytes are compared with one vector instruction.
    const BLOCK: usize = 16;
    let is_bare = |(byte, before): (&u8, &u8)| (*byte == b'\n') & (*before != b'\r');
    // Looks at all of a block: with a way out it would be done byte by byte.
    let has_bare = |(bytes, before): (&[u8; BLOCK], &[u8; BLOCK])| {
        bytes.iter().zip(before).fold(false, |found, pair| found | is_bare(pair))
    };
    let Some((first, bytes)) = head.split_first() else { return false };
    let before = &head[..bytes.len()];
    let mut blocks = bytes.as_chunks().0.iter().zip(before.as_chunks().0);
    *first == b'\n'
        || blocks.any(has_bare)
        || match bytes.last_chunk().zip(before.last_chunk()) {
            // It overlaps the one before it.
            Some(last) => has_bare(last),
            None => bytes.iter().zip(before).any(is_bare),
        }
}

/// A version that looks like one is answered 505, nonsense 400. Which it is shows the whole line.
fn version_error<'b>(head: &[u8]) -> Result<Parsed<'b>, Status> {
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else { return Ok(Parsed::Partial) };
    let line = head[..end].strip_suffix(b"\r").ok_or(Status::BadRequest)?;
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let (Some(version), None) = (words.next(), words.next()) else { return Err(Status::BadRequest) };
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Status::VersionNotSupported)
        }
        _ => Err(Status::BadRequest),
    }
}

/// The headers that matter here, as they stand.
#[derive(Default)]
struct Fields<'b> {
    hosts: usize,
    content_length: Option<&'b [u8]>,
    transfer_encoding: Option<&'b [u8]>,
    says_close: bool,
    says_keep_alive: bool,
    expect: Option<&'b [u8]>,
    content_type: Option<&'b [u8]>,
    has_conditions: bool,
}

fn interpret<'b>(raw: &httparse::Request<'_, 'b>, head: &'b [u8], limits: &Limits) -> Result<Parsed<'b>, Status> {
    let is_http10 = raw.version == Some(0);
    let fields = collect(raw.headers)?;
    // RFC 9112, 3.2: exactly one Host, from 1.1 on.
    if fields.hosts > 1 || (fields.hosts == 0 && !is_http10) {
        return Err(Status::BadRequest);
    }
    let framing = framing(&fields, is_http10)?;
    let method = method(raw.method.unwrap_or_default())?;
    let (path, query) = target(raw.path.unwrap_or_default(), method)?;
    let expects_continue = match fields.expect {
        // A client of 1.0 doesn't wait, whatever it says.
        _ if is_http10 => false,
        None => false,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => framing != Framing::None,
        Some(_) => return Err(Status::ExpectationFailed),
    };
    if matches!(framing, Framing::Sized(len) if len > limits.body) {
        return Err(Status::ContentTooLarge);
    }
    Ok(Parsed::Complete(Request {
        head_len: head.len(),
        method,
        path,
        query,
        is_http10,
        keep_alive: !fields.says_close && (!is_http10 || fields.says_keep_alive),
        framing,
        expects_continue,
        content_type: fields.content_type,
        conditions: fields.has_conditions.then_some(head),
    }))
}

fn collect<'b>(headers: &[httparse::Header<'b>]) -> Result<Fields<'b>, Status> {
    let mut fields = Fields::default();
    for header in headers {
        let name = header.name;
        // By length first: most headers are none of these, and cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                fields.hosts += 1;
                if !is_host(header.value) {
                    return Err(Status::BadRequest);
                }
            }
            6 if name.eq_ignore_ascii_case("expect") => only_one(&mut fields.expect, header.value)?,
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in header.value.split(|byte| *byte == b',') {
                    let option = option.trim_ascii();
                    fields.says_close |= option.eq_ignore_ascii_case(b"close");
                    fields.says_keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            12 if name.eq_ignore_ascii_case("content-type") => {
                only_one(&mut fields.content_type, header.value)?;
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                only_one(&mut fields.content_length, header.value)?;
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                only_one(&mut fields.transfer_encoding, header.value)?;
            }
            5 | 8 | 13 | 17 | 19 => fields.has_conditions |= is_condition(name),
            _ => {}
        }
    }
    Ok(fields)
}

/// Returns whether a request's field of this name belongs to its conditions. `name` has any case.
fn is_condition(name: &str) -> bool {
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn only_one<'b>(field: &mut Option<&'b [u8]>, value: &'b [u8]) -> Result<(), Status> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Status::BadRequest),
    }
}

/// It may not stand in a target.
const NO_TARGET: u8 = 1;
/// It begins the query.
const QUERY: u8 = 2;

/// What there is to say about any of the bytes. They are looked up, and without a way out: as comparisons this
/// would be most of what the usual request costs.
fn traits(bytes: &[u8]) -> u8 {
    const TABLE: [u8; 256] = {
        let mut table = [NO_TARGET; 256];
        let mut byte = 0u8;
        while byte < 128 {
            if byte.is_ascii_graphic() && byte != b'#' {
                table[byte as usize] = 0;
            }
            byte += 1;
        }
        table[b'?' as usize] |= QUERY;
        table
    };
    bytes.iter().fold(0, |all, byte| all | TABLE[usize::from(*byte)])
}

/// RFC 9112, 6: either a length or exactly one `chunked`, never both.
fn framing(fields: &Fields<'_>, is_http10: bool) -> Result<Framing, Status> {
    match (fields.content_length, fields.transfer_encoding) {
        (None, None) => Ok(Framing::None),
        (Some(length), None) => Ok(match content_length(length)? {
            0 => Framing::None,
            length => Framing::Sized(length),
        }),
        // There were no transfer codings in 1.0: somebody else would read this differently.
        (None, Some(_)) if is_http10 => Err(Status::BadRequest),
        (None, Some(codings)) if codings.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, Some(codings)) if is_known_coding_then_chunked(codings) => Err(Status::NotImplemented),
        _ => Err(Status::BadRequest),
    }
}

/// Digits only: no sign, no list, no 0x. 19 of them always fit; whatever needs more is over any limit,
/// and a number that long comes from nobody honest.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Status> {
    if !(1..=19).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return Err(Status::BadRequest);
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// A compressed body whose end is nevertheless clear: honest, but nothing we can do.
fn is_known_coding_then_chunked(codings: &[u8]) -> bool {
    const KNOWN: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    let mut codings: Vec<_> = codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    codings.pop().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"))
        && !codings.is_empty()
        && codings.iter().all(|coding| KNOWN.iter().any(|known| coding.eq_ignore_ascii_case(known)))
}

fn method(name: &str) -> Result<Method, Status> {
    Ok(match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        _ => return Err(Status::NotImplemented),
    })
}

/// Path and query of a target in origin form, absolute form, or `*` for OPTIONS.
fn target(target: &str, method: Method) -> Result<(&str, &str), Status> {
    let traits_of_all = traits(target.as_bytes());
    if traits_of_all & NO_TARGET != 0 {
        return Err(Status::BadRequest);
    }
    let local = if target.starts_with('/') || (target == "*" && method == Method::Options) {
        target
    } else {
        let (is_secure, after_scheme) = strip_scheme(target).ok_or(Status::BadRequest)?;
        let authority = after_scheme.find(['/', '?']).unwrap_or(after_scheme.len());
        if authority == 0 || !is_host(&after_scheme.as_bytes()[..authority]) {
            return Err(Status::BadRequest);
        }
        // RFC 9110, 7.4: it was meant for a connection with TLS.
        if is_secure {
            return Err(Status::Misdirected);
        }
        match &after_scheme[authority..] {
            // RFC 9112, 3.2.4: it is about the server.
            "" if method == Method::Options => "*",
            "" => "/",
            local => local,
        }
    };
    if traits_of_all & QUERY == 0 {
        return Ok((local, ""));
    }
    match local.bytes().position(|byte| byte == b'?') {
        Some(0) => Ok(("/", &local[1..])),
        Some(at) => Ok((&local[..at], &local[at + 1..])),
        None => Ok((local, "")),
    }
}

/// Whether the scheme of a target asks for TLS, and what follows it.
fn strip_scheme(target: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let is_secure = scheme.eq_ignore_ascii_case("https");
    (is_secure || scheme.eq_ignore_ascii_case("http")).then_some((is_secure, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_line_feed_is_found_wherever_it_is() {
        for len in 0..100 {
            let line = b"0123456789\r\n".iter().copied().cycle().take(len).collect::<Vec<_>>();
            assert!(!has_bare_line_feed(&line), "{len} bytes without one");
            for at in 0..len {
                let mut bytes = line.clone();
                bytes[at] = b'\n';
                let is_bare = at == 0 || bytes[at - 1] != b'\r';
                // In place of a carriage return it makes the next one bare.
                let is_next_bare = bytes.get(at + 1) == Some(&b'\n');
                assert_eq!(has_bare_line_feed(&bytes), is_bare || is_next_bare, "at {at} of {len}");
            }
        }
    }
}
