//! What this server serves.
//!
//! [`answer`] looks at a request's head only and never waits. What needs the body or time comes back as
//! a plan that the connection carries out.

use std::collections::BTreeMap;
use std::time::Duration;

use executor::Runtime;

use super::files::{self, OpenFile};
use super::request::{Method, Request};
use super::response::{BYTES, HTML, HeaderValue, JSON, Response, Status, TEXT};
use super::site::Site;

/// How a request is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Now(Response),
    /// After this time.
    Later(Duration, Response),
    /// With the request's body, under this content type.
    Echo(HeaderValue),
    File(OpenFile),
}

const READ: &str = "GET, HEAD";
const POST: &str = "POST";
const TEMPLATE: &str = include_str!("index.html");
const FILES: &str = "/files/";

/// The answer to `request`.
pub(crate) fn answer<R: Runtime>(request: &Request<'_>, rt: &R, site: &Site) -> Answer {
    let methods = match request.path {
        "/" | "/plaintext" | "/json" | "/sleep" | "/stats" => READ,
        "/echo" => POST,
        "*" => return Answer::Now(not_allowed_but(Status::Ok, "GET, HEAD, POST")),
        path if path.starts_with(FILES) => READ,
        _ => return Answer::Now(Response::plain(Status::NotFound)),
    };
    let is_allowed = match request.method {
        Method::Get | Method::Head => methods == READ,
        Method::Post => methods == POST,
        _ => false,
    };
    if !is_allowed {
        return Answer::Now(not_allowed_but(Status::MethodNotAllowed, methods));
    }
    match request.path {
        "/plaintext" => Answer::Now(Response::new(TEXT, &b"Hello, World!"[..])),
        "/json" => Answer::Now(json(serde_json::to_vec(&BTreeMap::from([("message", "Hello, World!")])))),
        "/" => Answer::Now(index(rt)),
        "/sleep" => sleep(request.query, site),
        "/stats" => Answer::Now(stats(rt)),
        "/echo" => echo(request.content_type),
        path => file(&path[FILES.len()..], site),
    }
}

fn not_allowed_but(status: Status, methods: &'static str) -> Response {
    Response { allow: Some(methods), ..Response::plain(status) }
}

fn json(serialised: serde_json::Result<Vec<u8>>) -> Response {
    serialised.map_or_else(|_| Response::plain(Status::InternalError), |body| Response::new(JSON, body))
}

fn index<R: Runtime>(rt: &R) -> Response {
    let number = fastrand::u64(..).to_string();
    let page = TEMPLATE.replace("{{engine}}", rt.engine()).replace("{{number}}", &number);
    Response { no_store: true, ..Response::new(HTML, page.into_bytes()) }
}

fn sleep(query: &str, site: &Site) -> Answer {
    let parameter = query.split('&').find_map(|parameter| parameter.strip_prefix("ms="));
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ms = parameter.filter(is_number).and_then(|text| text.parse().ok());
    match ms.map(Duration::from_millis) {
        Some(duration) if duration <= site.limits.sleep => {
            let body = format!("slept {} ms\n", duration.as_millis());
            Answer::Later(duration, Response { no_store: true, ..Response::new(TEXT, body.into_bytes()) })
        }
        _ => {
            let body = format!("wanted: /sleep?ms=N, N from 0 to {}\n", site.limits.sleep.as_millis());
            let refused = Response::new(TEXT, body.into_bytes());
            Answer::Now(Response { status: Status::BadRequest, ..refused })
        }
    }
}

fn stats<R: Runtime>(rt: &R) -> Response {
    let mut fields = serde_json::Map::new();
    fields.insert("engine".to_owned(), rt.engine().into());
    fields.extend(rt.stats().fields().into_iter().map(|(name, value)| (name, value.into())));
    Response { no_store: true, ..json(serde_json::to_vec(&fields)) }
}

fn echo(content_type: Option<&[u8]>) -> Answer {
    match content_type.map(HeaderValue::from_outside) {
        None => Answer::Echo(BYTES),
        Some(Some(value)) => Answer::Echo(value),
        // The parser lets no such value pass; this is the second lock.
        Some(None) => Answer::Now(Response::plain(Status::BadRequest)),
    }
}

fn file(path: &str, site: &Site) -> Answer {
    let opened = match &site.root {
        Some(root) => files::open(root, path, site.limits.file_size),
        None => Err(Status::NotFound),
    };
    opened.map_or_else(|status| Answer::Now(Response::plain(status)), Answer::File)
}
