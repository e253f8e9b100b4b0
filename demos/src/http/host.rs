//! What a host is: `uri-host [":" port]` (RFC 9112, 3.2; RFC 3986, 3.2.2).
//!
//! Readers that take a malformed one each in their own way send one request to two places. So it is refused.

use std::net::Ipv6Addr;

/// Returns whether this is a host: a name or an address, and a port if there is a colon. An empty value says that the
/// target has no host.
#[must_use]
pub fn is_host(value: &[u8]) -> bool {
    match value {
        [] => true,
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => is_literal(&rest[..end]) && is_port(&rest[end + 1..]),
            None => false,
        },
        _ => {
            let end = name_len(value);
            end > 0 && is_port(&value[end..])
        }
    }
}

/// How many bytes at the beginning make a name. An IPv4 address is one, too.
fn name_len(value: &[u8]) -> usize {
    let mut end = 0;
    loop {
        match &value[end..] {
            [byte, ..] if is_of_names(*byte) => end += 1,
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => end += 3,
            _ => return end,
        }
    }
}

/// RFC 3986: unreserved and sub-delims.
fn is_of_names(byte: u8) -> bool {
    /// Looked up, because it is asked for each byte of each request's host.
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*')
                || matches!(byte, b'+' | b',' | b';' | b'=');
            byte += 1;
        }
        table
    };
    TABLE[usize::from(byte)]
}

/// What follows the name: nothing, or a colon and a port, which may be left out.
fn is_port(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b':', digits @ ..] => {
            let add =
                |port: u32, digit: &u8| port.saturating_mul(10).saturating_add(u32::from(digit.wrapping_sub(b'0')));
            digits.iter().all(u8::is_ascii_digit) && digits.iter().fold(0, add) <= u32::from(u16::MAX)
        }
        _ => false,
    }
}

/// What stands between brackets: an IPv6 address, or one of a version to come.
fn is_literal(inside: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = inside {
        let Some(dot) = future.iter().position(|byte| *byte == b'.') else { return false };
        let (version, address) = (&future[..dot], &future[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|byte| *byte == b':' || is_of_names(*byte));
    }
    std::str::from_utf8(inside).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        let good = [
            "",
            "h",
            "h:80",
            "h:",
            "a.b-c_d~e",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
            "[v1.a:b]",
            "%41b",
            "a,b;c=d",
            "h:00080",
            "h:65535",
            "999.1.1.1",
        ];
        for host in good {
            assert!(is_host(host.as_bytes()), "{host:?}");
        }
        let bad = [
            "[::1",
            "::1",
            "[]",
            "[]:80",
            "[123g::1]",
            "[::1]x",
            "]h[",
            "[::1]:x",
            "[fe80::1%25eth0]",
            "[1.2.3.4]",
            "[v.a]",
            "[v1.]",
            "h:80a",
            "h:+80",
            "h: 80",
            "h:65536",
            "h:99999999999999999999",
            "a:b:c",
            ":80",
            ":",
            "%",
            "%4",
            "%zz",
            "a b",
            "a/b",
            "u@h",
            "h?",
            "h#",
            "\u{e4}",
            "a\0",
        ];
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
    }
}
