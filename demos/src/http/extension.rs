//! The extensions of a chunk, byte by byte: RFC 9112, 7.1.1.
//!
//! They mean nothing here, and are read all the same. A reader that skips to the line's end, and one that knows quotes,
//! may see the end in two places.
//!
//! ```text
//!   ; --> Before --> Name -- = --> Equals --> Token --------+
//!           ^          |             |                      |
//!           |          |             +-- " --> Quoted -- " --> Closed
//!           +--- ; ----+---- ; --------------------- ; -----+
//! ```

/// Where in an extension a byte stands. White space may stand around `;` and `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// After the semicolon.
    Before,
    Name,
    /// White space after the name.
    AfterName,
    /// After the equals sign.
    Equals,
    Token,
    Quoted,
    /// After a backslash in a quoted string.
    Escaped,
    /// After a quoted string.
    Closed,
    /// White space after a value.
    AfterValue,
}

impl Place {
    /// The place after one more byte; `None` if the byte may not stand here.
    pub(super) fn after(self, byte: u8) -> Option<Place> {
        use Place::{AfterName, AfterValue, Before, Closed, Equals, Escaped, Name, Quoted, Token};
        Some(match (self, byte) {
            (Before | Equals | AfterName | AfterValue, b' ' | b'\t') => self,
            (Before | Name, _) if is_name_byte(byte) => Name,
            (Name, b' ' | b'\t') => AfterName,
            (Name | AfterName, b'=') => Equals,
            (Equals | Token, _) if is_name_byte(byte) => Token,
            (Equals, b'"') => Quoted,
            (Quoted, b'"') => Closed,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, _) if is_text(byte) => Quoted,
            (Token | Closed, b' ' | b'\t') => AfterValue,
            (Name | AfterName | Token | Closed | AfterValue, b';') => Before,
            _ => return None,
        })
    }

    /// Whether the line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Place::Name | Place::Token | Place::Closed)
    }
}

/// What may stand in a header's value, or in quotes in a chunk's extension.
pub(super) fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// What may stand in a token, such as a header's name.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether this may stand between the semicolon and the line's end.
    fn is_extension(text: &str) -> bool {
        let place = text.bytes().try_fold(Place::Before, Place::after);
        place.is_some_and(Place::may_end)
    }

    #[test]
    fn an_extension_is_a_name_and_perhaps_a_value() {
        for good in [
            "a",
            " a",
            "a=b",
            "a = b",
            "a=\"b\"",
            "a=\"\"",
            "a=\"\\\"\"",
            "a=\";=\t\"",
            "a;b",
            "a ;b=c ; d",
            "a=\"b\" ;c",
        ] {
            assert!(is_extension(good), "{good:?}");
        }
        for bad in [
            "",
            " ",
            "a ",
            "a=",
            "a= ",
            "=b",
            ";a",
            "a;",
            "a;;b",
            "a b",
            "a=b c",
            "a=b ",
            "a=\"b",
            "a=\"b\\\"",
            "a=\"b\"c",
            "a=b\"c\"",
            "@",
            "a=@",
            "a=\"\x01\"",
            "\u{e9}",
        ] {
            assert!(!is_extension(bad), "{bad:?}");
        }
    }
}
