//! Conditional requests and requests for a part: RFC 9110, sections 13 and 14.
//!
//! A client that has a copy of a file names it: by a tag, or by the time of the last change. [`Conditions::decide`]
//! compares this with what the file is now, in the order of section 13.2.2. Few requests have such fields, so the parser
//! only notes that there are some, and [`Conditions::read`] looks at them again.

use std::time::SystemTime;

use super::limits::HEADERS;
use super::request::Method;
use super::validators::Validators;

/// What a client asks beside its method and target. Lists keep their text, other fields are read at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    if_match: Option<Vec<u8>>,
    if_none_match: Option<Vec<u8>>,
    if_modified_since: Single<SystemTime>,
    if_unmodified_since: Single<SystemTime>,
    if_range: Single<Vec<u8>>,
    range: Single<Vec<u8>>,
}

/// The value of a field that may be given once. A second line, or a value of another form, makes it count as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Single<T> {
    #[default]
    Absent,
    Given(T),
    Ignored,
}

impl<T> Single<T> {
    fn add(&mut self, value: Option<T>) {
        *self = match (&self, value) {
            (Single::Absent, Some(value)) => Single::Given(value),
            _ => Single::Ignored,
        };
    }

    fn get(&self) -> Option<&T> {
        match self {
            Single::Given(value) => Some(value),
            _ => None,
        }
    }
}

/// What follows from the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Do what the request says, with all of the content.
    Whole,
    /// Send these bytes, the last one included.
    Part { first: u64, last: u64 },
    /// The client has it already.
    NotModified,
    /// A condition is false.
    Failed,
    /// No byte of the part exists.
    Unsatisfiable,
}

impl Conditions {
    /// Reads them from a head that the parser has accepted.
    pub(crate) fn read(head: &[u8]) -> Conditions {
        let mut conditions = Conditions::default();
        let mut fields = [httparse::EMPTY_HEADER; HEADERS];
        let lines = head.trim_ascii_start();
        let lines = lines.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &lines[end + 1..]);
        let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(lines, &mut fields) else {
            return conditions;
        };
        for field in fields {
            match &*field.name.to_ascii_lowercase() {
                "if-match" => add_to_list(&mut conditions.if_match, field.value),
                "if-none-match" => add_to_list(&mut conditions.if_none_match, field.value),
                "if-modified-since" => conditions.if_modified_since.add(date(field.value)),
                "if-unmodified-since" => conditions.if_unmodified_since.add(date(field.value)),
                "if-range" => conditions.if_range.add(Some(field.value.to_vec())),
                "range" => conditions.range.add(Some(field.value.to_vec())),
                _ => {}
            }
        }
        conditions
    }

    /// Decides about a file that has `len` bytes.
    pub(crate) fn decide(&self, method: Method, validators: &Validators, len: u64) -> Verdict {
        let is_read = matches!(method, Method::Get | Method::Head);
        if let Some(tags) = &self.if_match {
            if !list_has(tags, |tag| !tag.is_weak && !validators.is_weak && tag.text == validators.tag.as_bytes()) {
                return Verdict::Failed;
            }
        } else if self.if_unmodified_since.get().is_some_and(|since| validators.modified > *since) {
            return Verdict::Failed;
        }
        if let Some(tags) = &self.if_none_match {
            if list_has(tags, |tag| tag.text == validators.tag.as_bytes()) {
                return if is_read { Verdict::NotModified } else { Verdict::Failed };
            }
        } else if is_read && self.if_modified_since.get().is_some_and(|since| validators.modified <= *since) {
            return Verdict::NotModified;
        }
        match self.range.get() {
            Some(range) if method == Method::Get && self.is_same_file(validators) => part(range, len),
            _ => Verdict::Whole,
        }
    }

    /// Decides about content that has neither a tag nor a time. It `exists`, or the request would make it.
    pub(crate) fn decide_without_validators(&self, method: Method, exists: bool) -> Verdict {
        let is_any = |tags: &Vec<u8>| exists && tags.trim_ascii() == b"*";
        if self.if_match.as_ref().is_some_and(|tags| !is_any(tags)) {
            return Verdict::Failed;
        }
        if self.if_none_match.as_ref().is_some_and(is_any) {
            return if matches!(method, Method::Get | Method::Head) { Verdict::NotModified } else { Verdict::Failed };
        }
        Verdict::Whole
    }

    /// Whether If-Range lets the client have a part: its copy is one of this very state.
    fn is_same_file(&self, validators: &Validators) -> bool {
        match &self.if_range {
            Single::Absent => true,
            Single::Ignored => false,
            Single::Given(_) if validators.is_weak => false,
            Single::Given(value) => value == validators.tag.as_bytes() || date(value) == Some(validators.modified),
        }
    }
}

fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

fn add_to_list(list: &mut Option<Vec<u8>>, value: &[u8]) {
    let list = list.get_or_insert_default();
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(value);
}

struct Tag<'b> {
    is_weak: bool,
    /// With its quotes.
    text: &'b [u8],
}

/// Whether the list is `*`, or one of its tags is like that. What follows something that is no tag does not count.
fn list_has(list: &[u8], is_like: impl Fn(&Tag<'_>) -> bool) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        let (is_weak, tag) = rest.strip_prefix(b"W/").map_or((false, rest), |tag| (true, tag));
        let Some(text) = tag.strip_prefix(b"\"") else { return false };
        let Some(end) = text.iter().position(|byte| *byte == b'"') else { return false };
        if text[..end].iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return false;
        }
        if is_like(&Tag { is_weak, text: &tag[..end + 2] }) {
            return true;
        }
        rest = text[end + 1..].trim_ascii_start();
        // Something else than the end, or the next one, follows.
        if !matches!(rest.first(), None | Some(b',')) {
            return false;
        }
    }
}

/// Section 14.1.2. Several ranges, another unit, and what has another form are as if they were not there, and so is a
/// part of nothing.
fn part(range: &[u8], len: u64) -> Verdict {
    let Some((unit, set)) = split_once(range, b'=') else { return Verdict::Whole };
    let mut parts = set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty());
    let (true, Some(part), None) = (unit.eq_ignore_ascii_case(b"bytes"), parts.next(), parts.next()) else {
        return Verdict::Whole;
    };
    let Some((first, last)) = split_once(part, b'-') else { return Verdict::Whole };
    match (number(first), number(last)) {
        (Number::Some(first), Number::Some(last)) if first > last => Verdict::Whole,
        (Number::Some(first), Number::Some(_) | Number::None) if first >= len => Verdict::Unsatisfiable,
        (Number::Some(first), Number::Some(last)) => Verdict::Part { first, last: last.min(len - 1) },
        (Number::Some(first), Number::None) => Verdict::Part { first, last: len - 1 },
        (Number::None, Number::Some(0)) => Verdict::Unsatisfiable,
        (Number::None, Number::Some(count)) if len > 0 => {
            Verdict::Part { first: len.saturating_sub(count), last: len - 1 }
        }
        _ => Verdict::Whole,
    }
}

enum Number {
    None,
    Some(u64),
    Wrong,
}

/// Digits only. A number that has no room is as good as the greatest.
fn number(digits: &[u8]) -> Number {
    if digits.is_empty() {
        return Number::None;
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Number::Wrong;
    }
    Number::Some(
        digits.iter().fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
    )
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Changed at 12:00:00.5 of a day, looked at `age` later.
    fn validators(age: Duration) -> Validators {
        let changed = Duration::from_secs(1_700_000_000) + Duration::from_millis(500);
        Validators::new(0xab, 1000, changed, UNIX_EPOCH + changed + age)
    }

    fn settled() -> Validators {
        validators(Duration::from_secs(60))
    }

    const TAG: &str = "\"ab-3e8-6553f100.1dcd6500\"";
    const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const LATER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    fn decide_as(method: Method, validators: &Validators, lines: &str) -> Verdict {
        let head = format!("\r\nGET /files/a HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        Conditions::read(head.as_bytes()).decide(method, validators, 1000)
    }

    fn decide(lines: &str) -> Verdict {
        decide_as(Method::Get, &settled(), lines)
    }

    #[test]
    fn the_client_is_told_that_its_copy_is_good() {
        use Verdict::{NotModified, Whole};
        for (lines, verdict) in [
            (format!("If-None-Match: {TAG}\r\n"), NotModified),
            (format!("If-None-Match: W/{TAG}\r\n"), NotModified),
            (format!("If-None-Match: \"x\", {TAG}\r\n"), NotModified),
            (format!("If-None-Match: \"x\"\r\nif-none-match: {TAG}\r\n"), NotModified),
            (format!("If-None-Match: ,,{TAG}\r\n"), NotModified),
            ("If-None-Match: *\r\n".into(), NotModified),
            ("If-None-Match: \"x\"\r\n".into(), Whole),
            (format!("If-None-Match: x, {TAG}\r\n"), Whole),
            (format!("If-None-Match: \"x\" {TAG}\r\n"), Whole),
            (format!("If-Modified-Since: {DATE}\r\n"), NotModified),
            (format!("If-Modified-Since: {LATER}\r\n"), NotModified),
            (format!("If-Modified-Since: {EARLIER}\r\n"), Whole),
            ("If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT\r\n".into(), NotModified),
            ("If-Modified-Since: Tue Nov 14 22:13:20 2023\r\n".into(), NotModified),
            ("If-Modified-Since: yesterday\r\n".into(), Whole),
            (format!("If-Modified-Since: {DATE}\r\nIf-Modified-Since: {DATE}\r\n"), Whole),
            // The tag is looked at, not the time.
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {LATER}\r\n"), Whole),
        ] {
            assert_eq!(decide(&lines), verdict, "{lines}");
            assert_eq!(decide_as(Method::Head, &settled(), &lines), verdict, "HEAD, {lines}");
        }
        let lines = format!("If-None-Match: {TAG}\r\n");
        assert_eq!(decide_as(Method::Post, &settled(), &lines), Verdict::Failed);
        assert_eq!(decide_as(Method::Post, &settled(), &format!("If-Modified-Since: {DATE}\r\n")), Whole);
    }

    #[test]
    fn a_false_condition_stops_the_request() {
        use Verdict::{Failed, Whole};
        for (lines, verdict) in [
            (format!("If-Match: {TAG}\r\n"), Whole),
            ("If-Match: *\r\n".into(), Whole),
            (format!("If-Match: W/{TAG}\r\n"), Failed),
            ("If-Match: \"x\"\r\n".into(), Failed),
            ("If-Match: nonsense\r\n".into(), Failed),
            (format!("If-Unmodified-Since: {DATE}\r\n"), Whole),
            (format!("If-Unmodified-Since: {EARLIER}\r\n"), Failed),
            ("If-Unmodified-Since: tomorrow\r\n".into(), Whole),
            // The tag is looked at, not the time.
            (format!("If-Match: {TAG}\r\nIf-Unmodified-Since: {EARLIER}\r\n"), Whole),
        ] {
            assert_eq!(decide(&lines), verdict, "{lines}");
        }
        let unsettled = validators(Duration::ZERO);
        assert_eq!(decide_as(Method::Get, &unsettled, &format!("If-Match: {TAG}\r\n")), Failed);
    }

    #[test]
    fn a_part_is_one_range_of_bytes() {
        use Verdict::{Unsatisfiable, Whole};
        let part = |first, last| Verdict::Part { first, last };
        for (range, verdict) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 999)),
            ("bytes=10-19", part(10, 19)),
            ("BYTES=990-2000", part(990, 999)),
            ("bytes=990-99999999999999999999999", part(990, 999)),
            ("bytes=-1", part(999, 999)),
            ("bytes=-5000", part(0, 999)),
            ("bytes= 3-4 ,", part(3, 4)),
            ("bytes=1000-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=--1", Whole),
            ("bytes=0-1,3-4", Whole),
            ("lines=1-2", Whole),
        ] {
            assert_eq!(decide(&format!("Range: {range}\r\n")), verdict, "{range}");
        }
        assert_eq!(decide("Range: bytes=0-1\r\nRange: bytes=0-1\r\n"), Whole);
        assert_eq!(decide_as(Method::Head, &settled(), "Range: bytes=0-1\r\n"), Whole);
        let empty = Conditions::read(b"GET / HTTP/1.1\r\nRange: bytes=-5\r\n\r\n");
        assert_eq!(empty.decide(Method::Get, &settled(), 0), Whole);
    }

    #[test]
    fn a_part_of_another_state_is_not_sent() {
        let part = Verdict::Part { first: 0, last: 1 };
        for (if_range, verdict) in [
            (TAG, part),
            (&format!("W/{TAG}"), Verdict::Whole),
            ("\"x\"", Verdict::Whole),
            (DATE, part),
            (LATER, Verdict::Whole),
            (EARLIER, Verdict::Whole),
            ("nonsense", Verdict::Whole),
        ] {
            assert_eq!(decide(&format!("Range: bytes=0-1\r\nIf-Range: {if_range}\r\n")), verdict, "{if_range}");
        }
        for if_range in [TAG, DATE] {
            let lines = format!("Range: bytes=0-1\r\nIf-Range: {if_range}\r\n");
            assert_eq!(decide_as(Method::Get, &validators(Duration::ZERO), &lines), Verdict::Whole, "{if_range}");
        }
    }

    #[test]
    fn content_without_validators_knows_only_the_star() {
        let decide = |lines: &str, method, exists| {
            let head = format!("GET / HTTP/1.1\r\n{lines}\r\n");
            Conditions::read(head.as_bytes()).decide_without_validators(method, exists)
        };
        assert_eq!(decide("If-Match: *\r\n", Method::Get, true), Verdict::Whole);
        assert_eq!(decide("If-Match: *\r\n", Method::Post, false), Verdict::Failed);
        assert_eq!(decide("If-Match: \"a\"\r\n", Method::Get, true), Verdict::Failed);
        assert_eq!(decide("If-None-Match: *\r\n", Method::Get, true), Verdict::NotModified);
        assert_eq!(decide("If-None-Match: *\r\n", Method::Post, false), Verdict::Whole);
        assert_eq!(decide("If-None-Match: \"a\"\r\nRange: bytes=0-1\r\n", Method::Get, true), Verdict::Whole);
    }
}
