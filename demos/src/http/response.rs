//! Responses, and how they are written.
//!
//! A header comes from a typed field, and text from outside gets into one only as a [`HeaderValue`],
//! which no line end can enter: a client cannot make this server say a second response.

use std::borrow::Cow;

use super::validators::Validators;

/// The status codes this server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    NoContent,
    PartialContent,
    NotModified,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    PreconditionFailed,
    ContentTooLarge,
    UriTooLong,
    RangeNotSatisfiable,
    ExpectationFailed,
    Misdirected,
    HeaderTooLarge,
    InternalError,
    NotImplemented,
    BadGateway,
    Unavailable,
    GatewayTimeout,
    VersionNotSupported,
    LoopDetected,
}

impl Status {
    /// Code and reason, as they stand in the status line.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::NoContent => "204 No Content",
            Status::PartialContent => "206 Partial Content",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::PreconditionFailed => "412 Precondition Failed",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Status::ExpectationFailed => "417 Expectation Failed",
            Status::Misdirected => "421 Misdirected Request",
            Status::HeaderTooLarge => "431 Request Header Fields Too Large",
            Status::InternalError => "500 Internal Server Error",
            Status::NotImplemented => "501 Not Implemented",
            Status::BadGateway => "502 Bad Gateway",
            Status::Unavailable => "503 Service Unavailable",
            Status::GatewayTimeout => "504 Gateway Timeout",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
            Status::LoopDetected => "508 Loop Detected",
        }
    }

    /// The code alone.
    pub(crate) fn code(self) -> u16 {
        self.text()[..3].parse().unwrap_or_default()
    }

    /// Neither content nor its length follows (RFC 9110, 8.6 and 15.4.5).
    fn is_empty(self) -> bool {
        matches!(self, Status::NoContent | Status::NotModified)
    }
}

/// How a response begins if all is well. It is kept with the lines that follow in every response.
pub(crate) const OK_LINE: &str = "HTTP/1.1 200 OK\r\n";
/// How the lines end that are kept.
pub(crate) const TYPE_NAME: &str = "\r\nContent-Type: ";

/// A header's value: no CR, no LF, no NUL, no other control character but the tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderValue(Cow<'static, [u8]>);

impl HeaderValue {
    /// A value that stands in the source.
    ///
    /// # Panics
    /// At compile time if it is used in a constant, as it should be, and is no header value.
    pub(crate) const fn fixed(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(is_allowed(bytes[at]));
            at += 1;
        }
        HeaderValue(Cow::Borrowed(bytes))
    }

    /// A value from outside; `None` if it contains what no header value may contain.
    pub(crate) fn from_outside(bytes: &[u8]) -> Option<Self> {
        bytes.iter().all(|byte| is_allowed(*byte)).then(|| HeaderValue(Cow::Owned(bytes.to_vec())))
    }
}

const fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

pub(crate) const TEXT: HeaderValue = HeaderValue::fixed("text/plain");
pub(crate) const HTML: HeaderValue = HeaderValue::fixed("text/html; charset=utf-8");
pub(crate) const JSON: HeaderValue = HeaderValue::fixed("application/json");
pub(crate) const BYTES: HeaderValue = HeaderValue::fixed("application/octet-stream");

/// A response, its body included unless it is a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub status: Status,
    pub content_type: HeaderValue,
    /// The methods a resource knows.
    pub allow: Option<&'static str>,
    /// Tells browsers to believe the content type, where the content is not ours.
    pub nosniff: bool,
    /// Tells caches to keep away from what is different each time.
    pub no_store: bool,
    /// What it says of a file.
    pub file: Option<Box<FileFields>>,
    pub body: Cow<'static, [u8]>,
}

/// What a response says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileFields {
    pub validators: Validators,
    /// Its size.
    pub len: u64,
    /// The first and the last byte that are sent, if not all are.
    pub part: Option<(u64, u64)>,
}

/// What a response says about the connection's future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Nothing: an HTTP/1.1 connection stays.
    Implied,
    /// The connection stays, for so many seconds without a request. A client of HTTP/1.0 has to be told, and others like
    /// to know.
    KeepAlive(u64),
    Close,
}

impl Response {
    pub(crate) fn new(content_type: HeaderValue, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Response {
            status: Status::Ok,
            content_type,
            allow: None,
            nosniff: false,
            no_store: false,
            file: None,
            body: body.into(),
        }
    }

    /// A response that says no more than its status.
    pub(crate) fn plain(status: Status) -> Self {
        let body = if status.is_empty() { Vec::new() } else { [status.text().as_bytes(), b"\n"].concat() };
        Response { status, ..Response::new(TEXT, body) }
    }

    /// The resource is there, but knows these methods only.
    pub(crate) fn not_allowed(methods: &'static str) -> Self {
        Response { allow: Some(methods), ..Response::plain(Status::MethodNotAllowed) }
    }

    /// The resource is there, and knows these methods.
    pub(crate) fn options(methods: &'static str) -> Self {
        Response { allow: Some(methods), ..Response::plain(Status::NoContent) }
    }

    /// Appends the head. `stamp` is [`OK_LINE`] and what follows in all responses, up to the content type's value,
    /// `length` the length of the body.
    pub(crate) fn write_head(&self, out: &mut Vec<u8>, stamp: &[u8], length: u64, persistence: Persistence) {
        if self.status == Status::Ok {
            out.extend_from_slice(stamp);
        } else {
            self.write_other_status(out, stamp);
        }
        if !self.status.is_empty() {
            out.extend_from_slice(&self.content_type.0);
            out.extend_from_slice(b"\r\nContent-Length: ");
            write_decimal(out, length);
        }
        if let Some(methods) = self.allow {
            out.extend_from_slice(b"\r\nAllow: ");
            out.extend_from_slice(methods.as_bytes());
        }
        if self.nosniff {
            out.extend_from_slice(b"\r\nX-Content-Type-Options: nosniff");
        }
        if self.no_store {
            out.extend_from_slice(b"\r\nCache-Control: no-store");
        }
        if let Some(file) = &self.file {
            file.write(self.status, out);
        }
        match persistence {
            Persistence::Implied => {}
            Persistence::KeepAlive(seconds) => {
                out.extend_from_slice(b"\r\nConnection: keep-alive\r\nKeep-Alive: timeout=");
                write_decimal(out, seconds);
            }
            Persistence::Close => out.extend_from_slice(b"\r\nConnection: close"),
        }
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn write_other_status(&self, out: &mut Vec<u8>, stamp: &[u8]) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.text().as_bytes());
        out.extend_from_slice(b"\r\n");
        let end = if self.status.is_empty() { stamp.len() - TYPE_NAME.len() } else { stamp.len() };
        out.extend_from_slice(&stamp[OK_LINE.len()..end]);
    }
}

impl FileFields {
    fn write(&self, status: Status, out: &mut Vec<u8>) {
        let mut line = |name: &str, value: &str| {
            for part in ["\r\n", name, ": ", value] {
                out.extend_from_slice(part.as_bytes());
            }
        };
        match self.part {
            Some((first, last)) => line("Content-Range", &format!("bytes {first}-{last}/{}", self.len)),
            None if status == Status::RangeNotSatisfiable => line("Content-Range", &format!("bytes */{}", self.len)),
            None => {}
        }
        line("ETag", &self.validators.field());
        line("Last-Modified", &httpdate::fmt_http_date(self.validators.modified));
        line("Accept-Ranges", "bytes");
    }
}

/// As `write!` would, without its machinery: this runs for each response.
fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut rest, mut start) = (number, digits.len());
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_end_gets_into_a_header_value() {
        for bad in ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", "\x7f", "\x1b[2J"] {
            assert_eq!(HeaderValue::from_outside(bad.as_bytes()), None, "{bad:?}");
        }
        for good in ["", "text/plain; charset=\"utf-8\"", "tab\tbed", "h\u{e4}"] {
            assert!(HeaderValue::from_outside(good.as_bytes()).is_some(), "{good:?}");
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 13, 999, 1_048_576, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn a_head_has_its_lines_in_order() {
        let mut out = Vec::new();
        let response = Response { allow: Some("GET"), nosniff: true, ..Response::plain(Status::NotFound) };
        response.write_head(&mut out, b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Type: ", 14, Persistence::Close);
        let expected = "HTTP/1.1 404 Not Found\r\nServer: s\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\
                        Allow: GET\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(*response.body, *b"404 Not Found\n");
    }
}
