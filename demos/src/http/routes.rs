//! What this server serves.
//!
//! [`answer`] looks at a request's head only and never waits. What needs the body or time comes back as
//! a plan that the connection carries out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use executor::Runtime;
use percent_encoding::percent_decode_str;

use super::conditions::{Conditions, Verdict};
use super::files::{self, Wanted};
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
    /// With a file, which is still to be opened.
    File(Wanted),
}

const TEMPLATE: &str = include_str!("index.html");
const FILES: &str = "/files/";

/// The answer to `request`.
pub(crate) fn answer<R: Runtime>(request: &Request<'_>, rt: &R, site: &Site) -> Answer {
    let answer = answer_path(request.path, request, rt, site);
    match request.conditions {
        Some(head) => under_conditions(answer, request.method, Conditions::read(head)),
        None => answer,
    }
}

fn answer_path<R: Runtime>(path: &str, request: &Request<'_>, rt: &R, site: &Site) -> Answer {
    let is_read = matches!(request.method, Method::Get | Method::Head);
    let is_post = request.method == Method::Post;
    match path {
        "/plaintext" if is_read => Answer::Now(Response::new(TEXT, &b"Hello, World!"[..])),
        "/json" if is_read => Answer::Now(json(serde_json::to_vec(&BTreeMap::from([("message", "Hello, World!")])))),
        "/" if is_read => Answer::Now(index(rt)),
        "/sleep" if is_read => sleep(request.query, site),
        "/stats" if is_read => Answer::Now(stats(rt)),
        "/echo" if is_post => echo(request.content_type),
        path if is_read && path.starts_with(FILES) => file(&path[FILES.len()..], request.method, site),
        path => Answer::Now(match methods(path) {
            Some(methods) if request.method == Method::Options => Response::options(methods),
            Some(methods) => Response::not_allowed(methods),
            None => return answer_unknown(path, request, rt, site),
        }),
    }
}

/// What a resource knows, if it is one.
fn methods(path: &str) -> Option<&'static str> {
    match path {
        "/" | "/plaintext" | "/json" | "/sleep" | "/stats" => Some("GET, HEAD, OPTIONS"),
        "/echo" => Some("POST, OPTIONS"),
        path if path.starts_with(FILES) => Some("GET, HEAD, OPTIONS"),
        "*" => Some("GET, HEAD, POST, OPTIONS"),
        _ => None,
    }
}

/// `/%6Ason` is `/json` (RFC 3986, 6.2.2.2). A decoded percent sign is only itself, so this ends.
fn answer_unknown<R: Runtime>(path: &str, request: &Request<'_>, rt: &R, site: &Site) -> Answer {
    let is_plain = |decoded: &str| decoded != path && !decoded.contains('%') && !decoded.starts_with(FILES);
    match percent_decode_str(path).decode_utf8() {
        Ok(decoded) if is_plain(&decoded) => answer_path(&decoded, request, rt, site),
        _ => Answer::Now(Response::plain(Status::NotFound)),
    }
}

/// The same answer unless a condition is false. A condition counts only if all would be well without it.
fn under_conditions(answer: Answer, method: Method, conditions: Conditions) -> Answer {
    let verdict = match &answer {
        Answer::Now(response) | Answer::Later(_, response) if response.status == Status::Ok => {
            conditions.decide_without_validators(method, true)
        }
        // Nothing is there before the echo.
        Answer::Echo(_) => conditions.decide_without_validators(method, false),
        _ => Verdict::Whole,
    };
    match (verdict, answer) {
        (Verdict::NotModified, _) => Answer::Now(Response::plain(Status::NotModified)),
        (Verdict::Failed, _) => Answer::Now(Response::plain(Status::PreconditionFailed)),
        (_, Answer::File(wanted)) => Answer::File(Wanted { conditions: Some(Box::new(conditions)), ..wanted }),
        (_, answer) => answer,
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

fn file(path: &str, method: Method, site: &Site) -> Answer {
    let Some(root) = &site.root else { return Answer::Now(Response::plain(Status::NotFound)) };
    match files::decode_path(path) {
        Ok(path) => Answer::File(Wanted { root: Arc::clone(root), path, method, conditions: None }),
        Err(status) => Answer::Now(Response::plain(status)),
    }
}
