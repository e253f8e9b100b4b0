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

const TEMPLATE: &str = include_str!("index.html");
const FILES: &str = "/files/";

/// The answer to `request`.
pub(crate) fn answer<R: Runtime>(request: &Request<'_>, rt: &R, site: &Site) -> Answer {
    let is_read = matches!(request.method, Method::Get | Method::Head);
    let is_post = request.method == Method::Post;
    match request.path {
        "/plaintext" if is_read => Answer::Now(Response::new(TEXT, &b"Hello, World!"[..])),
        "/json" if is_read => Answer::Now(json(serde_json::to_vec(&BTreeMap::from([("message", "Hello, World!")])))),
        "/" if is_read => Answer::Now(index(rt)),
        "/sleep" if is_read => sleep(request.query, site),
        "/stats" if is_read => Answer::Now(stats(rt)),
        "/echo" if is_post => echo(request.content_type),
        path if is_read && path.starts_with(FILES) => file(&path[FILES.len()..], site),
        // Known, but not by this method.
        "/" | "/plaintext" | "/json" | "/sleep" | "/stats" => Answer::Now(Response::not_allowed("GET, HEAD")),
        "/echo" => Answer::Now(Response::not_allowed("POST")),
        path if path.starts_with(FILES) => Answer::Now(Response::not_allowed("GET, HEAD")),
        "*" => Answer::Now(Response { allow: Some("GET, HEAD, POST"), ..Response::plain(Status::Ok) }),
        _ => Answer::Now(Response::plain(Status::NotFound)),
    }
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
