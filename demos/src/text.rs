//! Text from outside, and what it does to a terminal.

/// Whether a terminal obeys a character instead of showing it: control characters, line separators, and those that turn
/// the direction of the text that follows (Unicode Standard Annex 9). Joiners and direction marks are parts of words.
pub fn misleads(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::misleads;

    #[test]
    fn words_of_all_scripts_pass() {
        assert!(!"grün 李 עברית עברית\u{200f}! नमस्ते क्\u{200d}ष 👩\u{200d}💻".chars().any(misleads));
        for letter in "\0\n\r\u{1b}\u{7f}\u{9b}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert!(misleads(letter), "{letter:?}");
        }
    }
}
