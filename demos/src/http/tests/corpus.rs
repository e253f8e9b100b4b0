//! Requests, legal and not, and what a server has to say to them.
//!
//! Goal: no two readings of one stream of bytes, and no panic. Method: each case is played whole, then
//! cut in two at every byte, then byte by byte, then at random, and the outcome must be the same each time. An illegal
//! request is followed by an honest one on the same connection, which must never be answered.

use std::rc::Rc;

use super::simulation::Script;
use crate::http::limits::Limits;
use crate::http::site::Site;

/// Small limits, so that crossing them takes few bytes.
fn limits() -> Limits {
    Limits {
        request_line: 64,
        header_block: 300,
        headers: 10,
        body: 40,
        chunk_extensions: 16,
        trailers: 24,
        ..Limits::default()
    }
}

/// The status codes in a server's output.
pub(crate) fn statuses(output: &[u8]) -> Vec<u16> {
    responses(output).into_iter().map(|(head, _)| head[9..12].parse().unwrap()).collect()
}

/// Heads and bodies. Knows no responses to HEAD.
pub(crate) fn responses(output: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (mut rest, mut responses) = (output, Vec::new());
    while !rest.is_empty() {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8(rest[..end].to_vec()).unwrap();
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        responses.push((head, rest[end..end + length].to_vec()));
        rest = &rest[end + length..];
    }
    responses
}

fn play<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Vec<u16> {
    let site = Rc::new(Site::new(limits(), None).unwrap());
    let transcript = Script::in_pieces(pieces).play(site);
    let mut statuses = statuses(&transcript.output);
    // Whether it is said depends on what has arrived already, and may do so.
    statuses.retain(|status| *status != 100);
    statuses
}

fn check(what: &str, input: &[u8], expected: &[u16]) {
    assert_eq!(play([input]), expected, "{what}, whole");
    for cut in 1..input.len() {
        let (before, after) = input.split_at(cut);
        assert_eq!(play([before, after]), expected, "{what}, cut after {:?}", String::from_utf8_lossy(before));
    }
    assert_eq!(play(input.chunks(1)), expected, "{what}, byte by byte");
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..10 {
        let pieces = input.chunk_by(|_, _| random.u8(..) > 20);
        assert_eq!(play(pieces), expected, "{what}, in pieces, seed {seed}, round {round}");
    }
}

const HONEST: &str = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";

fn illegal(what: &str, input: impl AsRef<[u8]>, status: u16) {
    check(what, &[input.as_ref(), HONEST.as_bytes()].concat(), &[status]);
}

fn legal(what: &str, input: impl AsRef<[u8]>, status: u16) {
    check(what, &[input.as_ref(), HONEST.as_bytes()].concat(), &[status, 200]);
}

/// A request for the echo with these header lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /echo HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

#[test]
fn bodies_with_two_readings_are_refused() {
    for lines in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 1e1\r\n",
        "Content-Length:\r\n",
        "Content-Length: 00000000000000000005\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\r\n 5\r\n",
        "Content-Length: \u{ff15}\r\n",
    ] {
        illegal(lines, post(lines, "hello"), 400);
    }
    // The same with a body that either reading would take: it is the head that is refused.
    for lines in ["Content-Length: 5", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"] {
        for beside in ["Transfer-Encoding: chunked\r\n", "transfer-encoding:chunked\r\n"] {
            illegal(lines, post(&format!("{lines}\r\n{beside}"), "0\r\n\r\n"), 400);
            illegal(lines, post(&format!("{beside}{lines}\r\n"), "0\r\n\r\n"), 400);
        }
    }
    for codings in ["gzip, chunked", "deflate,chunked", "x-gzip , Chunked"] {
        illegal(codings, post(&format!("Transfer-Encoding: {codings}\r\n"), "0\r\n\r\n"), 501);
    }
    illegal("1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    illegal("a length over the limit", post("Content-Length: 41\r\n", &"x".repeat(41)), 413);
    illegal("any length over the limit", post("Content-Length: 9999999999999999999\r\n", ""), 413);
}

#[test]
fn chunks_are_read_strictly() {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    for body in [
        "\r\n",
        "\r\n\r\n",
        ";a\r\n\r\n",
        " \r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "g\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "2\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1 1\r\na\r\n0\r\n\r\n",
        "1\r\r\na\r\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        "1;a\0\r\na\r\n0\r\n\r\n",
        ";a\r\n",
        "1;\r\na\r\n0\r\n\r\n",
        "1;@=b\r\na\r\n0\r\n\r\n",
        "1;a=\"b\r\na\r\n0\r\n\r\n",
        "00000000000000001\r\na\r\n0\r\n\r\n",
        "10000000000000000\r\n",
        "0\r\n\n",
        "0\n\n",
        "0\r\n\rx",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\rc\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\n A: b\r\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\nA\r\n\r\n",
        "0\r\n: b\r\n\r\n",
        "0\r\nA: \0\r\n\r\n",
    ] {
        illegal(&format!("{body:?}"), chunked(body), 400);
    }
    illegal("the final line is missing", chunked("0\r\n"), 400);
    for body in [
        "0\r\n\r\n",
        "1\r\na\r\n0\r\n\r\n",
        "0000000000000001\r\na\r\n000\r\n\r\n",
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "1;a=b\r\na\r\n0;c\r\n\r\n",
        "1 ; a=\"b\"\r\na\r\n0\r\n\r\n",
        "0\r\nA: b\r\nC:\r\n\r\n",
        "28\r\n0123456789012345678901234567890123456789\r\n0\r\n\r\n",
        "1;345678901234567\r\na\r\n0\r\n\r\n",
        "0\r\nA:34567890123456789012\r\n\r\n",
    ] {
        legal(&format!("{body:?}"), chunked(body), 200);
    }
    illegal("too long", chunked("29\r\n01234567890123456789012345678901234567890\r\n0\r\n\r\n"), 413);
    illegal("too long in two", chunked("28\r\n0123456789012345678901234567890123456789\r\n1\r\na\r\n"), 413);
    illegal("as long as can be said", chunked("ffffffffffffffff\r\n"), 413);
    illegal("too long together", chunked("1\r\na\r\nffffffffffffffff\r\n"), 413);
    illegal("a long extension", chunked("1;3456789012345678\r\na\r\n0\r\n\r\n"), 413);
    illegal("many extensions", chunked("1;34567890\r\na\r\n1;34567890\r\na\r\n0\r\n\r\n"), 413);
    illegal("a long trailer", chunked("0\r\nA:345678901234567890123\r\n\r\n"), 413);
    illegal("many trailers", chunked("0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n"), 413);
}

#[test]
fn heads_are_read_strictly() {
    for head in [
        "GET /plaintext HTTP/1.1\nHost: a\n\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\n\n",
        "GET /plaintext HTTP/1.1\nHost: a\r\n\r\n",
        "\nGET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "GET /plaintext HTTP/1.1\rHost: a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        "GET /plain\0text HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nX\u{e9}: b\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET /plaintext HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET /plaintext\r\nHost: a\r\n\r\n",
        "GET  /plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plaintext  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plaintext HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET\t/plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plain text HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.12\r\nHost: a\r\n\r\n",
        "GET / HTTP/+1.1\r\nHost: a\r\n\r\n",
        "GET / XTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/9.9\nHost: a\r\n\r\n",
        "G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\0\x01",
    ] {
        illegal(&format!("{head:?}"), head, 400);
    }
    for host in ["[::1", "::1", "[]", "[123g::1]", "a:80a", "a:b:c", "a:99999", "%zz", ":80", "[::1]x"] {
        illegal(host, format!("GET /plaintext HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
        illegal(host, format!("GET http://{host}/plaintext HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
    for version in ["0.9", "1.2", "2.0", "9.9"] {
        illegal(version, format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"), 505);
    }
    for method in ["BREW", "TRACE", "get", "PRI"] {
        illegal(method, format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"), 501);
    }
    illegal("TLS", "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 421);
    illegal("a proxy", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501);
    let expecting = |value: &str| post(&format!("Expect: {value}\r\nContent-Length: 1\r\n"), "x");
    illegal("another expectation", expecting("200-ok"), 417);
    illegal("two expectations", post("Expect: 100-continue\r\nExpect: 100-continue\r\n", ""), 400);
    legal("the known expectation", expecting("100-Continue"), 200);
}

#[test]
fn legal_heads_are_understood() {
    for head in [
        "\r\nGET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nhOST:a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a,b%41:\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: \t a \t\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nX: \u{e9}\t\u{ff}\r\nY:\r\n\r\n",
        "GET /plaintext?a=b/../c?d HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/plaintext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP://a:80/plaintext?x HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%70lain%74ext HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nContent-Length: 0003\r\n\r\nabc",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n",
        "GET /plaintext HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        "GET /plaintext HTTP/1.0\r\nExpect: whatever\r\nConnection: keep-alive\r\n\r\n",
    ] {
        legal(&format!("{head:?}"), head, 200);
    }
    for head in [
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: y , CLOSE\r\n\r\n",
        "GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
        "GET /plaintext HTTP/1.0\r\n\r\n",
        "GET /plaintext HTTP/1.0\r\nHost: a\r\nConnection: \u{e9}\r\n\r\n",
    ] {
        check(&format!("{head:?}"), &[head, HONEST].concat().into_bytes(), &[200]);
    }
    for target in ["*", "/", "/json", "/%6Ason", "/echo", "/files/a"] {
        legal(target, format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"), 204);
    }
    for (conditions, status) in [
        ("If-None-Match: *", 304),
        ("If-None-Match: \"a\"", 200),
        ("If-Match: \"a\"", 412),
        ("If-Match: *", 200),
        ("If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT", 200),
        ("Range: bytes=0-1", 200),
    ] {
        legal(conditions, format!("GET /json HTTP/1.1\r\nHost: a\r\n{conditions}\r\n\r\n"), status);
    }
    legal("a condition on what is not there", "GET /nowhere HTTP/1.1\r\nHost: a\r\nIf-Match: *\r\n\r\n", 404);
    let condition = "GET /nowhere HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n";
    legal("the opposite condition on what is not there", condition, 404);
    for path in ["/%2570laintext", "/%", "/%6", "/%ff", "/json%00", "/%2566iles/a"] {
        legal(path, format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"), 404);
    }
    legal("nowhere", "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404);
    legal("no files", "GET /files/a HTTP/1.1\r\nHost: a\r\n\r\n", 404);
    legal("a wrong method", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405);
    legal("a body nobody wants", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET", 405);
    let expecting = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n";
    check("a body nobody wants, asked for", expecting.as_bytes(), &[405]);
    for query in ["", "ms=", "ms=-1", "ms=+1", "ms=60001", "ms=99999999999999999999", "ms=1.5", "s=1"] {
        legal(query, format!("GET /sleep?{query} HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
    }
    legal("a nap", "GET /sleep?x&ms=5 HTTP/1.1\r\nHost: a\r\n\r\n", 200);
}

#[test]
fn limits_hold_to_the_byte() {
    let line = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 14));
    legal("the longest request line", line(64), 404);
    illegal("a longer one", line(65), 414);
    illegal("a much longer one", line(500), 414);
    illegal("one that never ends", "GET /".to_owned() + &"a".repeat(500), 414);
    illegal("a long method", "A".repeat(500), 501);
    illegal("a long line that is wrong in its method", "A".repeat(50) + "@" + &"A".repeat(500), 400);
    illegal("a long line that is wrong early", "GET /\x01".to_owned() + &"a".repeat(500), 400);
    illegal("a long line that is wrong late", "GET /".to_owned() + &"a".repeat(100) + "\x01", 414);
    let block = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(len - 14));
    legal("the longest header block", block(300), 200);
    illegal("a longer one", block(301), 431);
    illegal("a much longer one", block(900), 431);
    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    legal("the most lines", lines(10), 200);
    illegal("one line more", lines(11), 431);
    legal("the longest body", post("Content-Length: 40\r\n", &"x".repeat(40)), 200);
}

#[test]
fn an_unfinished_request_is_answered_400_when_the_client_ends() {
    for input in ["G", "GET / HTTP/1.1\r\n", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        check(input, input.as_bytes(), &[400]);
    }
    check("half a body", post("Content-Length: 9\r\n", "half").as_bytes(), &[400]);
    check("half a chunk", post("Transfer-Encoding: chunked\r\n", "9\r\nhalf").as_bytes(), &[400]);
    check("nothing", b"", &[]);
}

/// Random damage: the verdict may be anything, but it is one verdict, however the bytes arrive.
#[test]
fn damaged_requests_get_one_verdict() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let chunked = post("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n");
    let sized = post("Content-Length: 5\r\nConnection: keep-alive\r\n", "hello");
    let whole = [HONEST, &chunked, &sized, HONEST].concat().into_bytes();
    for round in 0..2_000 {
        let mut bytes = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 if bytes.len() > 1 => drop(bytes.remove(at)),
                1 => bytes.insert(at, *random.choice(b"\r\n\0 :;,0aG/\t\xff").unwrap()),
                2 => bytes[at] = random.u8(..),
                _ => bytes.truncate(at + 1),
            }
        }
        let expected = play([&bytes[..]]);
        let cut = random.usize(..bytes.len());
        let what = format!("seed {seed}, round {round}: {:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(play([&bytes[..cut], &bytes[cut..]]), expected, "cut at {cut}, {what}");
        assert_eq!(play(bytes.chunks(1)), expected, "byte by byte, {what}");
    }
}
