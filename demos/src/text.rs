//! Text and a terminal: what text from outside does to it, and lines that fit into it.

/// Whether a terminal obeys a character instead of showing it: control characters, line separators, and those that turn
/// the direction of the text that follows (Unicode Standard Annex 9). Joiners and direction marks are parts of words.
pub fn misleads(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Breaks the lines of prose that are longer than `width` characters, between words. What follows of a line is indented as
/// it is, and the items of a list as their text.
#[must_use]
pub fn filled(prose: &str, width: usize) -> String {
    let mut filled = Vec::new();
    for line in prose.split('\n') {
        let text = line.trim_start().trim_start_matches("- ");
        let indent = line.chars().count() - text.chars().count();
        let mut rest = line;
        let mut lead = String::new();
        while lead.len() + rest.chars().count() > width {
            // The last space at which it fits, or the first of all. What is quoted `like this` stays in one piece.
            let (mut is_quoted, mut breaks) = (false, Vec::new());
            for (count, (place, letter)) in rest.char_indices().enumerate() {
                is_quoted ^= letter == '`';
                if letter == ' ' && !is_quoted && (count >= indent || !lead.is_empty()) {
                    breaks.push((count, place));
                }
            }
            let most = width.saturating_sub(lead.len());
            let place = breaks.iter().rev().find(|(count, _)| *count <= most).or(breaks.first());
            let Some((_, place)) = place else { break };
            filled.push(format!("{lead}{}", &rest[..*place]));
            rest = rest[*place..].trim_start();
            lead = " ".repeat(indent);
        }
        filled.push(format!("{lead}{rest}"));
    }
    filled.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{filled, misleads};

    #[test]
    fn words_of_all_scripts_pass() {
        assert!(!"grün 李 עברית עברית\u{200f}! नमस्ते क्\u{200d}ष 👩\u{200d}💻".chars().any(misleads));
        for letter in "\0\n\r\u{1b}\u{7f}\u{9b}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert!(misleads(letter), "{letter:?}");
        }
    }

    #[test]
    fn prose_breaks_between_words_and_keeps_its_indentation() {
        assert_eq!(filled("one two three", 80), "one two three");
        assert_eq!(filled("\none\n", 80), "\none\n");
        assert_eq!(filled("one two three", 7), "one two\nthree");
        assert_eq!(filled("one two three", 6), "one\ntwo\nthree");
        assert_eq!(filled("- one two three\n\n  four five", 9), "- one two\n  three\n\n  four\n  five");
        assert_eq!(filled("unbreakable and more", 4), "unbreakable\nand\nmore");
        assert_eq!(filled("try `one two` or three", 9), "try\n`one two`\nor three");
        assert_eq!(filled("µµ µµ µµ", 5), "µµ µµ\nµµ");
    }
}
