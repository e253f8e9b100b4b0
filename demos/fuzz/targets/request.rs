//! The parser of requests: one head, and the body that it announces.
//!
//! Three things must hold for all bytes there are:
//!
//! - **No panic.**
//! - **One verdict.** What is decided of the first bytes stays so, whatever follows: that is what lets the
//!   server answer early and parse again with more. A body comes out the same, however it was cut.
//! - **No difference from httparse but those listed**, in either direction: what is understood, httparse
//!   understands in the same way; and what httparse understands and we refuse, we refuse for a reason that
//!   [`reasons`] finds by itself, with the status that belongs to it.
//!
//! | | httparse | the server |
//! |---|---|---|
//! | line ends | a bare LF, too | CRLF only: 400 |
//! | empty lines before a request | any number | four: 400 |
//! | size | any; as many header lines as there is room for | request line 414, header block and lines 431, body 413 |
//! | method | any token | seven: 501 |
//! | target | no spaces, no control characters | visible ASCII without `#`; origin form, absolute form of http(s), `*` for OPTIONS: 400 |
//! | version | 1.0 and 1.1, else an error | the same; 505 if it looks like a version, else 400 |
//! | fields | any | one Host at most, and from 1.1 on at least; at most one Content-Length, Transfer-Encoding, Content-Type, Expect; a length of 1 to 19 digits; exactly `chunked`, and not with a length: 400, or 501 for a known coding before it; no expectation but 100-continue: 417 |
//! | chunks | bare CRs and control characters in extensions | text only; all extensions of a body within a limit: 400, 413 |

#![no_main]

use demos::http::Limits;
use demos::http::fuzzing::{Body, Framing, Head, Verdict, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let small = Limits {
        request_line: 64,
        header_block: 120,
        headers: 5,
        body: 40,
        chunk_extensions: 16,
        trailers: 24,
        ..Limits::default()
    };
    for limits in [Limits::default(), small] {
        let verdict = parse(bytes, &limits);
        stays_the_same(bytes, &limits, &verdict);
        agrees_with_httparse(bytes, &limits, &verdict);
        if let Verdict::Complete(head) = verdict {
            body_is_one(&bytes[head.len..], &limits, head.framing);
        }
    }
});

/// Inputs up to this are cut at every byte, longer ones at so many places.
const CUTS: usize = 64;

/// Places to cut at, which differ from input to input.
fn cuts(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let len = bytes.len();
    let mixed = bytes.iter().fold(len, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let place = move |number: usize| {
        if len <= CUTS { number } else { mixed.wrapping_add(number.wrapping_mul(0x9e37_79b9)) % len }
    };
    (0..len.min(CUTS)).map(place)
}

fn stays_the_same(bytes: &[u8], limits: &Limits, verdict: &Verdict) {
    for cut in cuts(bytes) {
        let early = parse(&bytes[..cut], limits);
        assert!(early == Verdict::Partial || early == *verdict, "{early:?} after {cut} bytes, then {verdict:?}");
    }
    if let Verdict::Complete(head) = verdict {
        assert!(head.len <= bytes.len());
        assert_eq!(parse(&bytes[..head.len], limits), *verdict);
        assert_eq!(parse(&bytes[..head.len - 1], limits), Verdict::Partial);
    }
    if *verdict != Verdict::Partial {
        let more = [bytes, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_eq!(parse(&more, limits), *verdict, "with more bytes");
    }
}

fn agrees_with_httparse(bytes: &[u8], limits: &Limits, verdict: &Verdict) {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut raw = httparse::Request::new(&mut headers);
    let parsed = raw.parse(bytes);
    match (verdict, parsed) {
        (Verdict::Complete(head), Ok(httparse::Status::Complete(len))) => {
            assert_eq!(head.len, len);
            let reasons = reasons(bytes, len, &raw, limits);
            assert!(reasons.is_empty(), "understood, although {reasons:?}");
            same_head(head, &raw);
        }
        (Verdict::Refused(status), Ok(httparse::Status::Complete(len))) => {
            let reasons = reasons(bytes, len, &raw, limits);
            assert!(reasons.contains(status), "refused by {status}, but there is only {reasons:?}");
        }
        // What is too long is refused before its end.
        (Verdict::Refused(_), Ok(httparse::Status::Partial)) => {
            let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let is_long = bytes.len() - skipped > limits.request_line.min(limits.header_block);
            assert!(is_long || skipped > 0, "refused too early");
        }
        (Verdict::Refused(_), Err(_)) => {}
        (Verdict::Partial, Ok(httparse::Status::Partial)) => {}
        // Which version it is, and so the status, shows the whole line.
        (Verdict::Partial, Err(httparse::Error::Version)) => {}
        (_, parsed) => panic!("{verdict:?}, but httparse: {parsed:?}"),
    }
}

fn same_head(head: &Head, raw: &httparse::Request<'_, '_>) {
    assert_eq!(Some(head.method), raw.method);
    assert_eq!(Some(head.is_http10), raw.version.map(|version| version == 0));
    let target = raw.path.unwrap();
    let shown = if head.query.is_empty() { head.path.clone() } else { format!("{}?{}", head.path, head.query) };
    assert!(target.contains(shown.trim_start_matches('/')), "{target:?} became {shown:?}");
    assert!(head.path == "*" || head.path.starts_with('/'), "{:?}", head.path);
    let one = |name| values(raw, name).next();
    assert_eq!(head.content_type.as_deref(), one("content-type"));
    let framing = match (one("content-length"), one("transfer-encoding")) {
        (None, None) => Framing::None,
        (Some(length), None) => match std::str::from_utf8(length).unwrap().parse().unwrap() {
            0 => Framing::None,
            length => Framing::Sized(length),
        },
        (None, Some(_)) => Framing::Chunked,
        both => panic!("understood in spite of {both:?}"),
    };
    assert_eq!(head.framing, framing);
}

fn values<'r>(raw: &'r httparse::Request<'_, '_>, name: &'static str) -> impl Iterator<Item = &'r [u8]> {
    raw.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// The statuses by which the table above has a head refused that httparse understands.
fn reasons(bytes: &[u8], len: usize, raw: &httparse::Request<'_, '_>, limits: &Limits) -> Vec<u16> {
    let mut reasons = Vec::new();
    let mut refuse_if = |is_wrong: bool, status: u16| {
        if is_wrong {
            reasons.push(status);
        }
    };
    let start = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    refuse_if(start > 8, 400);
    refuse_if((0..len).any(|at| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r')), 400);
    // What is measured begins after four empty lines at most. A bare line feed there is no empty line to the
    // server, but a request line of its own.
    let measured = bytes.chunks_exact(2).take(4).take_while(|pair| *pair == b"\r\n").count() * 2;
    let line = bytes[measured..len].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    refuse_if(line.saturating_sub(2) > limits.request_line, 414);
    refuse_if((len - measured - line).saturating_sub(2) > limits.header_block, 431);
    refuse_if(raw.headers.len() > limits.headers, 431);
    let is_http10 = raw.version == Some(0);
    let hosts = values(raw, "host").count();
    refuse_if(hosts > 1 || (hosts == 0 && !is_http10), 400);
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    refuse_if(!values(raw, "host").flatten().all(is_host), 400);
    for name in ["content-length", "transfer-encoding", "content-type", "expect"] {
        refuse_if(values(raw, name).count() > 1, 400);
    }
    for length in values(raw, "content-length") {
        let digits = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.filter(|digits| digits.len() <= 19).and_then(|digits| digits.parse::<u64>().ok());
        refuse_if(number.is_none(), 400);
        refuse_if(number.is_some_and(|number| number > limits.body), 413);
    }
    for codings in values(raw, "transfer-encoding") {
        let is_chunked = codings.eq_ignore_ascii_case(b"chunked");
        refuse_if(!is_chunked || is_http10 || values(raw, "content-length").next().is_some(), 400);
        let text = String::from_utf8_lossy(codings).to_ascii_lowercase();
        refuse_if(text.ends_with("chunked") && text.contains(','), 501);
    }
    let expects_else = values(raw, "expect").any(|value| !value.eq_ignore_ascii_case(b"100-continue"));
    refuse_if(expects_else && !is_http10, 417);
    let method = raw.method.unwrap();
    refuse_if(!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method), 501);
    refuse_if(!is_target(raw.path.unwrap(), method), 400);
    reasons
}

fn is_target(target: &str, method: &str) -> bool {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return false;
    }
    let lower = target.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?']).next());
    let is_authority = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte))
    };
    target.starts_with('/') || (target == "*" && method == "OPTIONS") || authority.is_some_and(is_authority)
}

type Decoded = Result<(Vec<u8>, usize, bool), u16>;

/// Decodes a body that arrives in pieces.
fn decode<'p>(pieces: impl Iterator<Item = &'p [u8]>, limits: &Limits, framing: Framing) -> Decoded {
    let (mut body, mut kept, mut consumed) = (Body::new(framing), Vec::new(), 0);
    let mut is_done = framing == Framing::None;
    for piece in pieces {
        if is_done {
            break;
        }
        let (count, done) = body.decode(piece, limits, &mut kept)?;
        assert!(done || count == piece.len(), "it left bytes of a body that goes on");
        consumed += count;
        is_done = done;
    }
    Ok((kept, consumed, is_done))
}

fn body_is_one(bytes: &[u8], limits: &Limits, framing: Framing) {
    let whole = decode(std::iter::once(bytes), limits, framing);
    assert_eq!(decode(bytes.chunks(1), limits, framing), whole, "byte by byte");
    for cut in cuts(bytes).step_by(8) {
        let (before, after) = bytes.split_at(cut);
        assert_eq!(decode([before, after].into_iter(), limits, framing), whole, "cut after {cut} bytes");
    }
    let Ok((kept, consumed, is_done)) = whole else { return };
    assert!(kept.len() as u64 <= limits.body && consumed <= bytes.len());
    match framing {
        Framing::None => assert_eq!((consumed, is_done), (0, true)),
        Framing::Sized(length) => {
            let there = bytes.len().min(usize::try_from(length).unwrap());
            assert_eq!((&kept[..], consumed), (&bytes[..there], there));
            assert_eq!(is_done, there as u64 == length);
        }
        Framing::Chunked if is_done => {
            assert_eq!(reference(bytes).as_ref(), Some(&(kept, consumed)), "another reader decodes it otherwise");
        }
        Framing::Chunked => {}
    }
}

/// A chunked body as httparse would have it read, and where it ends.
fn reference(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..]) else {
            return None;
        };
        at += line;
        if size == 0 {
            break;
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        body.extend_from_slice(bytes.get(at..end)?);
        if bytes.get(end..end + 2)? != b"\r\n" {
            return None;
        }
        at = end + 2;
    }
    // More than fit into what trailers may take.
    let mut trailers = [httparse::EMPTY_HEADER; 2048];
    match httparse::parse_headers(&bytes[at..], &mut trailers) {
        Ok(httparse::Status::Complete((len, _))) => Some((body, at + len)),
        _ => None,
    }
}
