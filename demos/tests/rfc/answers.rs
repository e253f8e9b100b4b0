//! Reads answers strictly: what a careful client would refuse is a failure.

use std::fmt;
use std::time::SystemTime;

use super::table::shorten;

/// An answer with its body.
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        write!(f, "{} {{{}}} {}", self.status, fields.join(", "), shorten(&self.body.escape_ascii().to_string()))
    }
}

impl Answer {
    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let found = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &value[..]).collect()
    }

    /// Whether a field is there: `Name`, or `Name: value`.
    pub fn has(&self, field: &str) -> bool {
        match field.split_once(": ") {
            Some((name, value)) => self.values(name) == [value],
            None => !self.values(field).is_empty(),
        }
    }

    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// What RFC 9110 asks of every answer.
    fn check(&self) -> Result<(), String> {
        let has = |name: &str| !self.values(name).is_empty();
        let is_dated = match self.values("Date")[..] {
            [date] => httpdate::parse_http_date(date).is_ok_and(|date| date <= SystemTime::now()),
            _ => false,
        };
        let rules = [
            ("6.6.1: one Date, which is true", self.is_interim() || is_dated),
            (
                "8.6: no Content-Length in 1xx and 204",
                !(self.is_interim() || self.status == 204) || !has("Content-Length"),
            ),
            ("15.5.6: 405 names the methods in Allow", self.status != 405 || has("Allow")),
            ("15.3.7: 206 says which part it is", self.status != 206 || has("Content-Range")),
            ("8.3: content has a type", self.body.is_empty() || has("Content-Type")),
        ];
        match rules.iter().find(|(_, holds)| !holds) {
            Some((rule, _)) => Err(format!("{} breaks RFC 9110, {rule}", self.status)),
            None => Ok(()),
        }
    }
}

/// The answers in `bytes`, to requests of which these are HEAD requests; every later one is none.
pub fn read(mut bytes: &[u8], heads: &[bool]) -> Result<Vec<Answer>, String> {
    let (mut answers, mut finals) = (Vec::new(), 0);
    while !bytes.is_empty() {
        let (answer, rest) = one(bytes, heads.get(finals).copied().unwrap_or(false))?;
        finals += usize::from(!answer.is_interim());
        answer.check()?;
        answers.push(answer);
        bytes = rest;
    }
    Ok(answers)
}

fn one(bytes: &[u8], is_head: bool) -> Result<(Answer, &[u8]), String> {
    let (line, mut rest) = line(bytes)?;
    let status = status(line)?;
    let mut answer = Answer { status, fields: Vec::new(), body: Vec::new() };
    loop {
        let (field, after) = self::line(rest)?;
        rest = after;
        if field.is_empty() {
            break;
        }
        answer.fields.push(self::field(field)?);
    }
    let is_empty = is_head || answer.is_interim() || matches!(status, 204 | 304);
    let length = match answer.values("Content-Length")[..] {
        [] => None,
        [length] if !length.is_empty() && length.bytes().all(|digit| digit.is_ascii_digit()) => length.parse().ok(),
        _ => return Err(format!("a wrong Content-Length: {answer:?}")),
    };
    match (&answer.values("Transfer-Encoding")[..], length) {
        ([], _) if is_empty => {}
        ([], Some(length)) => {
            let (body, after) = rest.split_at_checked(length).ok_or_else(|| format!("a body cut short: {answer:?}"))?;
            (answer.body, rest) = (body.to_vec(), after);
        }
        (["chunked"], None) if is_empty => {}
        (["chunked"], None) => (answer.body, rest) = chunks(rest)?,
        _ => return Err(format!("no telling where it ends: {answer:?}")),
    }
    Ok((answer, rest))
}

/// One line without its end, which is CR LF. Nothing in it is a control character.
fn line(bytes: &[u8]) -> Result<(&str, &[u8]), String> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    let end = end.ok_or_else(|| format!("no whole line: {}", bytes.escape_ascii()))?;
    let is_text = bytes[..end].iter().all(|byte| *byte == b'\t' || matches!(byte, b' '..=b'~'));
    if !is_text {
        return Err(format!("no line of a head: {}", bytes[..end].escape_ascii()));
    }
    Ok((std::str::from_utf8(&bytes[..end]).expect("it is ASCII"), &bytes[end + 2..]))
}

fn status(line: &str) -> Result<u16, String> {
    let wrong = || format!("no status line: {line:?}");
    let rest = line.strip_prefix("HTTP/1.1 ").ok_or_else(wrong)?;
    let (digits, _) = rest.split_once(' ').ok_or_else(wrong)?;
    let is_number = digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|status| is_number && (100..600).contains(status)).ok_or_else(wrong)
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no field: {line:?}"))?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("no name of a field: {line:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn chunks(mut bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let mut body = Vec::new();
    loop {
        let (size, after) = line(bytes)?;
        let is_number = (1..=8).contains(&size.len()) && size.bytes().all(|digit| digit.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| is_number);
        let size = size.ok_or_else(|| format!("no size of a chunk: {}", bytes.escape_ascii()))?;
        let (chunk, after) = after.split_at_checked(size).ok_or("a chunk cut short")?;
        let after = after.strip_prefix(b"\r\n").ok_or("no line end after a chunk")?;
        body.extend_from_slice(chunk);
        if size == 0 {
            return Ok((body, after));
        }
        bytes = after;
    }
}
