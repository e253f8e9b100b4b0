//! The head of a request, written anew for a server.
//!
//! What it says about the body comes from how the body is read here, never from what the client wrote, and what
//! concerns the client's connection stays behind: RFC 9110, 7.6.1.

use std::net::IpAddr;

use crate::http::limits::HEADERS;
use crate::http::{Framing, Method, Request, Status};

/// A request on its way.
pub(crate) struct Ask {
    /// The head, as a server gets it.
    pub(crate) head: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) is_head: bool,
    pub(crate) is_http10: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    /// Whether it does no harm that a server gets it twice: it asks only, and there is no body that would be gone.
    pub(crate) may_repeat: bool,
    /// Whether it is for the proxy itself: `Max-Forwards` allows it no further step.
    pub(crate) ends_here: bool,
}

/// Headers between two neighbours, of no concern to anybody else. `Content-Length` is here because it is written
/// anew, `Expect` because the proxy says "100 Continue" itself.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const FORWARDED_FOR: &str = "x-forwarded-for";
const MAX_FORWARDS: &str = "max-forwards";

impl Ask {
    /// Out of the head's `bytes`, which `request` was made of. `own_name` is this proxy's in `Via`.
    pub(crate) fn new(bytes: &[u8], request: &Request<'_>, client: IpAddr, own_name: &str) -> Result<Ask, Status> {
        let mut storage = [httparse::EMPTY_HEADER; HEADERS];
        let mut raw = httparse::Request::new(&mut storage);
        if !raw.parse(&bytes[..request.head_len]).is_ok_and(|status| status.is_complete()) {
            return Err(Status::BadRequest);
        }
        let (headers, target) = (&*raw.headers, raw.path.unwrap_or_default());
        let named = named_by_connection(headers);
        // Who takes the Host from between wants the server to see another one than the proxy has.
        if named.iter().any(|name| name.eq_ignore_ascii_case(b"host")) {
            return Err(Status::BadRequest);
        }
        if has_passed(headers, own_name) {
            return Err(Status::LoopDetected);
        }
        // RFC 9110, 7.6.2: it counts for OPTIONS and TRACE. TRACE goes no further than this proxy in any case.
        let steps = if request.method == Method::Options { steps_left(headers)? } else { None };
        let mut head = Vec::with_capacity(request.head_len + 128);
        let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
        let host = headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
        let (authority, local) = split_target(target, request.method, host.map_or(&b""[..], |host| host.value));
        add(&[raw.method.unwrap_or_default().as_bytes(), b" "]);
        add(&[if local.starts_with('?') { b"/" } else { b"" }, local.as_bytes(), b" HTTP/1.1\r\nHost: ", authority]);
        let is_named = |name: &str| named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes()));
        for header in headers {
            let is_hop = HOP_BY_HOP.iter().any(|hop| header.name.eq_ignore_ascii_case(hop));
            if is_hop
                || pretends(header.name)
                || header.name.eq_ignore_ascii_case(FORWARDED_FOR)
                || is_named(header.name)
            {
                continue;
            }
            if let Some(steps) = steps.filter(|_| header.name.eq_ignore_ascii_case(MAX_FORWARDS)) {
                let left = steps.saturating_sub(1).to_string();
                add(&[b"\r\n", header.name.as_bytes(), b": ", left.as_bytes()]);
            } else {
                add(&[b"\r\n", header.name.as_bytes(), b": ", header.value]);
            }
        }
        add(&[b"\r\nX-Forwarded-For: "]);
        for header in headers.iter().filter(|header| header.name.eq_ignore_ascii_case(FORWARDED_FOR)) {
            if !is_named(FORWARDED_FOR) && !header.value.is_empty() {
                add(&[header.value, b", "]);
            }
        }
        // RFC 9110, 7.6.3: the version is the one that came in.
        let version: &[u8] = if request.is_http10 { b"1.0 " } else { b"1.1 " };
        add(&[client.to_canonical().to_string().as_bytes(), b"\r\nVia: ", version, own_name.as_bytes()]);
        match request.framing {
            Framing::None if matches!(request.method, Method::Post | Method::Put | Method::Patch) => {
                add(&[b"\r\nContent-Length: 0"]);
            }
            Framing::None => {}
            Framing::Sized(len) => add(&[b"\r\nContent-Length: ", len.to_string().as_bytes()]),
            Framing::Chunked => add(&[b"\r\nTransfer-Encoding: chunked"]),
        }
        add(&[b"\r\n\r\n"]);
        let asks_only = matches!(request.method, Method::Get | Method::Head | Method::Options);
        Ok(Ask {
            head,
            framing: request.framing,
            is_head: request.method == Method::Head,
            is_http10: request.is_http10,
            keep_alive: request.keep_alive,
            expects_continue: request.expects_continue,
            may_repeat: asks_only && request.framing == Framing::None,
            ends_here: steps == Some(0),
        })
    }
}

/// Whether a program that makes variables of names, and so takes `_` and `-` for the same (RFC 3875, 4.1.18), would take a
/// field for one that the proxy itself writes or obeys, such as `X_Forwarded_For`. nginx drops all names with `_`, but
/// a proxy must pass on what it does not know: RFC 9110, 5.1.
fn pretends(name: &str) -> bool {
    let is_one = |own: &&str| name.replace('_', "-").eq_ignore_ascii_case(own);
    name.contains('_') && HOP_BY_HOP.iter().chain(&[FORWARDED_FOR, "via"]).any(is_one)
}

/// Whether a proxy of this name has passed the request on already. Each part of `Via` is a protocol, a name and perhaps a
/// comment: RFC 9110, 7.6.3.
fn has_passed(headers: &[httparse::Header<'_>], name: &str) -> bool {
    let vias = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("via"));
    let mut parts = vias.flat_map(|header| header.value.split(|byte| *byte == b','));
    parts.any(|part| {
        let mut words = part.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// How many more steps `Max-Forwards` allows, if it is there. It must be one number.
fn steps_left(headers: &[httparse::Header<'_>]) -> Result<Option<u64>, Status> {
    let mut found = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(MAX_FORWARDS));
    let Some(header) = found.next() else { return Ok(None) };
    let is_number = !header.value.is_empty() && header.value.iter().all(u8::is_ascii_digit);
    if found.next().is_some() || !is_number {
        return Err(Status::BadRequest);
    }
    // More than fits is as good as no limit.
    let text = std::str::from_utf8(header.value).map_err(|_| Status::BadRequest)?;
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

/// The names that the `Connection` headers call hop-by-hop, too.
pub(crate) fn named_by_connection<'b>(headers: &[httparse::Header<'b>]) -> Vec<&'b [u8]> {
    let connections = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
    connections.flat_map(|header| header.value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).collect()
}

/// Host and local part of a target. If the target is absolute it says the host, and the header does not: RFC 9112,
/// 3.2.2. OPTIONS without a path is about the server: 3.2.4.
fn split_target<'t>(target: &'t str, method: Method, host: &'t [u8]) -> (&'t [u8], &'t str) {
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let local = match &rest[end..] {
                "" if method == Method::Options => "*",
                "" => "/",
                local => local,
            };
            (&rest.as_bytes()[..end], local)
        }
        _ => (host, target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::http::{Limits, Parsed, parse};

    fn forward(request: &str) -> Result<String, Status> {
        let Parsed::Complete(parsed) = parse(request.as_bytes(), &Limits::default()) else {
            panic!("the parser refuses {request:?}")
        };
        let ask = Ask::new(request.as_bytes(), &parsed, "192.0.2.7".parse().unwrap(), "demos")?;
        Ok(String::from_utf8(ask.head).unwrap())
    }

    const END: &str = "\r\nX-Forwarded-For: 192.0.2.7\r\nVia: 1.1 demos\r\n\r\n";

    #[test]
    fn what_concerns_the_connection_stays_behind() {
        let request = "\r\nGET /a?b HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nConnection: X-Secret, close\r\nx-secret: 2\r\n\
                       Keep-Alive: 3\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: 4\r\nX-Two: 5\r\n\r\n";
        let expected = format!("GET /a?b HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nX-Two: 5{END}");
        assert_eq!(forward(request).unwrap(), expected);
    }

    #[test]
    fn a_name_that_another_program_may_take_for_ours_stays_behind() {
        let request = "GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 10.1.1.1\r\ncontent_length: 5\r\nX-Forwarded_For: 1\r\n\
                       X_Other: 1\r\nX-Real-IP: 1\r\nForwarded: for=10.1.1.1\r\n\r\n";
        let expected =
            format!("GET / HTTP/1.1\r\nHost: h\r\nX_Other: 1\r\nX-Real-IP: 1\r\nForwarded: for=10.1.1.1{END}");
        assert_eq!(forward(request).unwrap(), expected);
    }

    #[test]
    fn the_client_is_added_to_those_it_came_through() {
        let request = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.1.1.1\r\nx-forwarded-for: 10.2.2.2\r\n\r\n";
        assert!(forward(request).unwrap().contains("\r\nX-Forwarded-For: 10.1.1.1, 10.2.2.2, 192.0.2.7\r\n"));
        let hidden = request.replace("\r\n\r\n", "\r\nConnection: x-forwarded-for\r\n\r\n");
        assert!(forward(&hidden).unwrap().contains("\r\nX-Forwarded-For: 192.0.2.7\r\n"));
    }

    #[test]
    fn an_absolute_target_says_the_host() {
        for (target, host, local) in [
            ("http://one/a?b", "one", "/a?b"),
            ("http://one", "one", "/"),
            ("http://one?b", "one", "/?b"),
            ("/http://one/a", "two", "/http://one/a"),
        ] {
            let expected = format!("GET {local} HTTP/1.1\r\nHost: {host}{END}");
            assert_eq!(forward(&format!("GET {target} HTTP/1.1\r\nHost: two\r\n\r\n")).unwrap(), expected);
        }
        let end = END.replace("1.1 demos", "1.0 demos");
        assert_eq!(forward("GET / HTTP/1.0\r\n\r\n").unwrap(), format!("GET / HTTP/1.1\r\nHost: {end}"));
        let all = forward("OPTIONS http://one HTTP/1.1\r\nHost: two\r\n\r\n").unwrap();
        assert_eq!(all, format!("OPTIONS * HTTP/1.1\r\nHost: one{END}"));
    }

    #[test]
    fn the_length_is_written_as_it_was_understood_and_once() {
        let sized = forward("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\r\n").unwrap();
        assert!(sized.ends_with("Content-Length: 7\r\n\r\n") && sized.matches("ength").count() == 1, "{sized}");
        let chunked =
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nConnection: transfer-encoding\r\n\r\n";
        assert!(forward(chunked).unwrap().ends_with("\r\nTransfer-Encoding: chunked\r\n\r\n"));
        assert!(forward("PUT / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().ends_with("\r\nContent-Length: 0\r\n\r\n"));
        assert!(!forward("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").unwrap().contains("Length"));
    }

    #[test]
    fn a_limited_number_of_steps_counts_down_and_ends_here() {
        let ask = |method: &str, steps: &str| {
            let request = format!("{method} / HTTP/1.1\r\nHost: h\r\nMax-Forwards: {steps}\r\n\r\n");
            let Parsed::Complete(parsed) = parse(request.as_bytes(), &Limits::default()) else { panic!("{request:?}") };
            let ask = Ask::new(request.as_bytes(), &parsed, "192.0.2.7".parse().unwrap(), "demos")?;
            Ok::<_, Status>((ask.ends_here, String::from_utf8(ask.head).unwrap()))
        };
        for (method, steps, left) in
            [("OPTIONS", "5", "4"), ("OPTIONS", "1", "0"), ("GET", "0", "0"), ("GET", "5", "5")]
        {
            let (ends_here, head) = ask(method, steps).unwrap();
            assert!(!ends_here && head.contains(&format!("\r\nMax-Forwards: {left}\r\n")), "{method} {steps}: {head}");
        }
        assert!(ask("OPTIONS", "0").unwrap().0);
        assert!(!ask("OPTIONS", "99999999999999999999999").unwrap().0);
        for wrong in ["", "-1", "1, 2", "1\r\nMax-Forwards: 0"] {
            assert_eq!(ask("OPTIONS", wrong).unwrap_err(), Status::BadRequest, "{wrong:?}");
        }
    }

    #[test]
    fn a_request_that_comes_back_is_known_by_its_name_and_no_other_is() {
        let with = |via: &str| forward(&format!("GET / HTTP/1.1\r\nHost: h\r\n{via}\r\n\r\n"));
        for known in [
            "Via: 1.1 demos",
            "via: HTTP/1.0\t DEMOS (a comment)",
            "Via: 1.0 fred, 1.1 demos, 1.1 p.example.net:8080",
            "Via: 1.0 fred\r\nVia: 1.1 demos",
            "Connection: via\r\nVia: 1.1 demos",
        ] {
            assert_eq!(with(known), Err(Status::LoopDetected), "{known}");
        }
        for other in
            ["Via: 1.1 demos-2", "Via: demos", "Via: 1.1 fred (demos)", "Via: demos fred", "Via:", "X: 1.1 demos"]
        {
            assert!(with(other).is_ok(), "{other}");
        }
    }

    #[test]
    fn the_host_cannot_be_declared_hop_by_hop() {
        let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, Host\r\n\r\n";
        assert_eq!(forward(request), Err(Status::BadRequest));
    }
}
