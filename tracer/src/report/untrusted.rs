//! The one place where text of the target becomes displayable: names, paths and arguments can hold anything, and a
//! terminal obeys what it is sent. What a reader could not see, or what would act, is written as an escape instead.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Columns after which a name in a report is cut: far beyond any name that can be read, far below a flood.
pub const LONGEST: usize = 512;

const ELLIPSIS: char = '…';

/// `text` with everything invisible or active written as an escape (`\u{1b}`), at most `columns` terminal columns
/// wide; what was cut off shows as `…`. Looks no further into the text than it shows.
///
/// Escaped are control characters, the bidirectional controls (which reorder what follows them, "Trojan Source",
/// CVE-2021-42574), line separators, and everything that takes no column of its own: zero-width and tag characters,
/// variation selectors, and combining marks, which can pile up over neighbouring rows.
pub fn clean(text: &str, columns: usize) -> Cow<'_, str> {
    if text.len() <= columns && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut width = 0;
    // Where to cut so that the ellipsis still fits.
    let mut cut = 0;
    for character in text.chars() {
        let before = shown.len();
        let wide = if is_unsafe(character) {
            shown.extend(character.escape_default());
            shown.len() - before
        } else {
            shown.push(character);
            character.width().unwrap_or(0)
        };
        if width + wide > columns {
            shown.truncate(cut);
            if columns > 0 {
                shown.push(ELLIPSIS);
            }
            return Cow::Owned(shown);
        }
        width += wide;
        if width < columns {
            cut = shown.len();
        }
    }
    Cow::Owned(shown)
}

/// [`clean`] at the length that reports allow.
pub fn displayable(text: &str) -> Cow<'_, str> {
    clean(text, LONGEST)
}

/// Columns that cleaned text takes.
pub fn columns(clean: &str) -> usize {
    clean.chars().map(|character| character.width().unwrap_or(0)).sum()
}

fn is_unsafe(character: char) -> bool {
    if matches!(character, ' '..='~') {
        return false;
    }
    character.width().is_none_or(|width| width == 0)
        || matches!(
            character,
            '\u{ad}' // soft hyphen
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // bidi controls
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{feff}' // zero width
            | '\u{2028}' | '\u{2029}' // line and paragraph separator
            | '\u{fffe}' | '\u{ffff}' // no characters, and not allowed in XML
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers: blank
            | '\u{fe00}'..='\u{fe0f}' | '\u{fff9}'..='\u{fffb}' // variation selectors, annotations
            | '\u{e0000}'..='\u{e0fff}' // tags and more variation selectors
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_is_passed_on_without_a_copy() {
        assert!(matches!(clean("alloc::vec::Vec<T>", 80), Cow::Borrowed("alloc::vec::Vec<T>")));
        assert_eq!(clean("größe 漢字", 80), "größe 漢字");
    }

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        assert_eq!(clean("a\x1b[2Jb", 80), r"a\u{1b}[2Jb");
        assert_eq!(clean("a\nb\tc\rd\x07\x7f\u{9b}", 80), r"a\nb\tc\rd\u{7}\u{7f}\u{9b}");
    }

    #[test]
    fn what_hides_or_reorders_is_written_out() {
        assert_eq!(clean("user\u{202e}nimda", 80), r"user\u{202e}nimda");
        assert_eq!(clean("a\u{200b}b\u{feff}c\u{ad}", 80), r"a\u{200b}b\u{feff}c\u{ad}");
        assert_eq!(clean("e\u{301}\u{2066}\u{3164}", 80), r"e\u{301}\u{2066}\u{3164}");
    }

    #[test]
    fn a_cut_shows_and_splits_neither_escapes_nor_wide_characters() {
        assert_eq!(clean("abcdef", 6), "abcdef");
        assert_eq!(clean("abcdefg", 6), "abcde…");
        assert_eq!(clean("ab\x1bc", 6), "ab…");
        assert_eq!(clean("漢字漢字", 6), "漢字…");
        assert_eq!(clean("漢字漢字", 5), "漢字…");
        assert_eq!(clean("漢字漢字", 4), "漢…");
        assert_eq!(clean("abc", 1), "…");
        assert_eq!(clean("abc", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left_and_the_width_holds(text in any::<String>(), limit in 0usize..64) {
            let shown = clean(&text, limit);
            prop_assert!(!shown.chars().any(is_unsafe));
            prop_assert!(columns(&shown) <= limit);
        }
    }
}
