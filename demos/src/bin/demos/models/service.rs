//! What every rung serves: an echo, or one page with a fresh random number and the server's name.
//!
//! Here are only bytes that came and bytes that are to go; how they come and go is all that the rungs differ in.

use std::io::Write as _;
use std::time::SystemTime;

use clap::ValueEnum;
use demos::http::is_host;

/// What a server does with what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Sends back what it receives.
    Echo,
    /// HTTP with one page, /.
    Web,
}

/// Bytes that are received at once, at most.
pub const BUFFER: usize = 16 * 1024;
/// Bytes of a request's head at most.
const LONGEST_HEAD: usize = 8 * 1024;
/// Fields of a request's head at most.
const FIELDS: usize = 64;

/// A connection's side of the conversation. One that is idle owns no memory.
#[derive(Debug, Default)]
pub struct Dialogue {
    /// The beginning of a request that is not complete: less than [`LONGEST_HEAD`].
    partial: Vec<u8>,
}

/// Whether the conversation goes on when the answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It does.
    GoOn,
    /// The connection is to be closed.
    Close,
}

impl Dialogue {
    /// Appends to `output` what the server called `name` has to say to `received`.
    pub fn answer(&mut self, service: Service, name: &str, received: &[u8], output: &mut Vec<u8>) -> Then {
        match service {
            Service::Echo => {
                output.extend_from_slice(received);
                Then::GoOn
            }
            Service::Web if self.partial.is_empty() => self.requests(name, received, output),
            Service::Web => {
                let mut all = std::mem::take(&mut self.partial);
                all.extend_from_slice(received);
                self.requests(name, &all, output)
            }
        }
    }

    fn requests(&mut self, name: &str, mut bytes: &[u8], output: &mut Vec<u8>) -> Then {
        while !bytes.is_empty() {
            let with_body = !is_head(bytes);
            let mut fields = [httparse::EMPTY_HEADER; FIELDS];
            let mut request = httparse::Request::new(&mut fields);
            let length = match request.parse(bytes) {
                Ok(httparse::Status::Complete(length)) if length <= LONGEST_HEAD => length,
                Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => {
                    self.partial = bytes.to_vec();
                    return Then::GoOn;
                }
                Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                    let text = "the head is longer than 8 KiB, or has more than 64 fields";
                    respond(output, "431 Request Header Fields Too Large", text, with_body, Then::Close);
                    return Then::Close;
                }
                Err(error) => {
                    respond(output, "400 Bad Request", &error.to_string(), with_body, Then::Close);
                    return Then::Close;
                }
            };
            if respond_to(&request, name, output) == Then::Close {
                return Then::Close;
            }
            bytes = &bytes[length..];
        }
        Then::GoOn
    }
}

/// Whether these bytes begin a HEAD request. No content follows the head of its answer, whatever the status is.
fn is_head(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"HEAD ")
}

/// Makes the answer to a client that the rung does not serve, and that has sent `heard`.
pub fn refusal(service: Service, heard: &[u8], reason: &str) -> Vec<u8> {
    let mut output = Vec::new();
    match service {
        Service::Echo => output.extend_from_slice(format!("refused: {reason}\n").as_bytes()),
        Service::Web => respond(&mut output, "503 Service Unavailable", reason, !is_head(heard), Then::Close),
    }
    output
}

fn respond_to(request: &httparse::Request<'_, '_>, name: &str, output: &mut Vec<u8>) -> Then {
    let values = |wanted: &'static str| {
        let fields = request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(wanted));
        fields.map(|field| field.value)
    };
    let says = |word: &[u8]| {
        let mut words = values("connection").flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|said| said.trim_ascii().eq_ignore_ascii_case(word))
    };
    // Each length counts: a reader that takes another one would see another request.
    let is_zero = |length: &[u8]| !length.is_empty() && length.iter().all(|digit| *digit == b'0');
    let has_body = values("transfer-encoding").next().is_some() || !values("content-length").all(is_zero);
    let with_body = request.method != Some("HEAD");
    if has_body {
        respond(output, "413 Content Too Large", "this server takes no bodies", with_body, Then::Close);
        return Then::Close;
    }
    let hosts = values("host").count();
    if !values("host").all(is_host) || hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        respond(output, "400 Bad Request", "one field Host is wanted, which holds a host", with_body, Then::Close);
        return Then::Close;
    }
    let lasts = !says(b"close") && (request.version == Some(1) || says(b"keep-alive"));
    let then = if lasts { Then::GoOn } else { Then::Close };
    let path = path(request.path.unwrap_or_default());
    match (request.method.unwrap_or_default(), path) {
        ("GET", "/") => respond(output, "200 OK", &page(name), true, then),
        ("HEAD", "/") => respond(output, "200 OK", &page(name), false, then),
        ("GET" | "HEAD", _) => {
            respond(output, "404 Not Found", "the only page is /", with_body, then);
        }
        _ => respond(output, "405 Method Not Allowed\r\nAllow: GET, HEAD", "ask with GET", true, then),
    }
    then
}

/// The path of a target. In absolute form a host stands before it.
fn path(target: &str) -> &str {
    let is_absolute = target.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let rest = if is_absolute { &target[7..] } else { target };
    let host = if is_absolute { rest.find(['/', '?']).unwrap_or(rest.len()) } else { 0 };
    if is_absolute && (host == 0 || !is_host(&rest.as_bytes()[..host])) {
        return target;
    }
    match rest[host..].split('?').next() {
        Some("") | None if is_absolute => "/",
        path => path.unwrap_or_default(),
    }
}

/// What stands before the number in every page.
const BEFORE_NUMBER: &str = "<p>A fresh random number: <b>";

/// The page. Its length is the same every time.
pub fn page(name: &str) -> String {
    let number = fastrand::u32(100_000..1_000_000);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>One page</title></head>\n\
         <body>\n<h1>One page</h1>\n{BEFORE_NUMBER}{number}</b></p>\n<p>Served by: <b>{name}</b></p>\n\
         </body>\n</html>\n"
    )
}

/// The length of the page of the server called `name`, and a look at whether something is one.
pub fn page_check(name: &str) -> (usize, impl Fn(&[u8]) -> bool + use<>) {
    let page = page(name);
    let start = page.find(BEFORE_NUMBER).map_or(0, |place| place + BEFORE_NUMBER.len());
    let number = start..start + 6;
    let (length, page) = (page.len(), page.into_bytes());
    let is_page = move |body: &[u8]| {
        body.len() == page.len()
            && body[number.clone()].iter().all(u8::is_ascii_digit)
            && body[..number.start] == page[..number.start]
            && body[number.end..] == page[number.end..]
    };
    (length, is_page)
}

fn respond(output: &mut Vec<u8>, status: &str, body: &str, with_body: bool, then: Then) {
    let kind = if body.starts_with('<') { "text/html" } else { "text/plain" };
    let end = if with_body { body } else { "" };
    let connection = if then == Then::Close { "Connection: close\r\n" } else { "" };
    let (length, date) = (body.len(), httpdate::fmt_http_date(SystemTime::now()));
    // A vector takes all that is written to it.
    let _ = write!(
        output,
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\n{connection}\r\n{end}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(dialogue: &mut Dialogue, received: &str) -> (String, Then) {
        let mut output = Vec::new();
        let then = dialogue.answer(Service::Web, "me", received.as_bytes(), &mut output);
        (String::from_utf8(output).unwrap(), then)
    }

    #[test]
    fn requests_may_be_cut_anywhere_and_come_together() {
        let all = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3);
        for cut in 0..all.len() {
            let mut dialogue = Dialogue::default();
            let parts = [answer(&mut dialogue, &all[..cut]), answer(&mut dialogue, &all[cut..])];
            assert!(parts.iter().all(|(_, then)| *then == Then::GoOn));
            let output = parts.map(|(output, _)| output).concat();
            assert_eq!(output.matches("HTTP/1.1 200 OK").count(), 3, "cut at {cut}");
            assert_eq!(output.matches("Served by: <b>me</b>").count(), 3);
            assert!(dialogue.partial.is_empty());
        }
    }

    #[test]
    fn the_end_of_a_conversation_is_the_clients_choice() {
        let cases = [
            ("GET / HTTP/1.0\r\n\r\n", Then::Close),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Then::GoOn),
            ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Then::Close),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: te\r\nConnection: close\r\n\r\n", Then::Close),
            ("GET http://a HTTP/1.1\r\nHost: b\r\n\r\n", Then::GoOn),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: te, close\r\n\r\n", Then::Close),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Then::GoOn),
        ];
        for (request, expected) in cases {
            let (output, then) = answer(&mut Dialogue::default(), request);
            assert_eq!((then, output.contains("200 OK")), (expected, true), "{request}: {output}");
            assert_eq!(output.contains("<b>"), !request.starts_with("HEAD"));
        }
    }

    #[test]
    fn what_is_not_served_is_refused() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LONGEST_HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        let cases = [
            ("GET /other HTTP/1.1\r\nHost: a\r\n\r\n", "404", Then::GoOn),
            ("PUT / HTTP/1.1\r\nHost: a\r\n\r\n", "405", Then::GoOn),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "413", Then::Close),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "413", Then::Close),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\nabc", "413", Then::Close),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "413", Then::Close),
            ("GET / HTTP/1.1\r\n\r\n", "400", Then::Close),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400", Then::Close),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "404", Then::GoOn),
            ("nonsense\r\n\r\n", "400", Then::Close),
            (&long, "431", Then::Close),
            (&long[..LONGEST_HEAD], "431", Then::Close),
            (&many, "431", Then::Close),
        ];
        for (request, status, expected) in cases {
            let (output, then) = answer(&mut Dialogue::default(), request);
            assert!(output.starts_with(&format!("HTTP/1.1 {status} ")) && then == expected, "{request}: {output}");
        }
    }

    #[test]
    fn nothing_follows_the_head_of_an_answer_to_head() {
        let many = format!("HEAD / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        let cases = [
            ("\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
            ("HEAD /other HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
            ("HEAD / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "413"),
            ("HEAD / HTTP/1.1\r\nHost: ::1\r\n\r\n", "400"),
            ("HEAD / nonsense\r\n\r\n", "400"),
            (&many, "431"),
        ];
        for (request, status) in cases {
            let (output, _) = answer(&mut Dialogue::default(), request);
            assert!(output.starts_with(&format!("HTTP/1.1 {status} ")) && output.ends_with("\r\n\r\n"), "{output}");
        }
        assert!(refusal(Service::Web, b"HEAD / HT", "full").ends_with(b"\r\n\r\n"));
        assert!(refusal(Service::Web, b"", "full").ends_with(b"full"));
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for (host, status) in [("[::1", "400"), ("h:80a", "400"), ("h:80", "200"), ("[::1]", "200")] {
            let (output, _) = answer(&mut Dialogue::default(), &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert!(output.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {output}");
        }
    }

    #[test]
    fn the_number_is_fresh_and_the_length_the_same() {
        let pages: Vec<_> = (0..20).map(|_| page("me")).collect();
        assert!(pages.iter().all(|page| page.len() == pages[0].len()));
        assert!(pages.iter().any(|page| *page != pages[0]));
        let (length, is_page) = page_check("me");
        assert!(pages.iter().all(|page| page.len() == length && is_page(page.as_bytes())));
        for wrong in [page("you"), page("me").replace("One", "Two"), page("me").replace("<b>", "<b>x")] {
            assert!(!is_page(wrong.as_bytes()), "{wrong}");
        }
    }
}
