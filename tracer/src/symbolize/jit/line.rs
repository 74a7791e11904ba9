//! One line of a perf map: `START SIZE NAME`, both numbers hexadecimal, the name everything to the end of the line.

/// A line taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) start: u64,
    /// First address after it.
    pub(super) end: u64,
    pub(super) name: &'a [u8],
}

impl<'a> Line<'a> {
    /// `None` for what is no line of a perf map, names no function or an empty one.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let (start, rest) = word(line)?;
        let (size, name) = word(rest)?;
        let (start, size) = (hex(start)?, hex(size)?);
        let name = name.trim_ascii();
        (size != 0 && !name.is_empty()).then_some(())?;
        Some(Self { start, end: start.checked_add(size)?, name })
    }
}

/// The first word of a text, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace)?;
    Some(text.split_at(end))
}

/// With or without `0x`, as perf takes it.
fn hex(word: &[u8]) -> Option<u64> {
    let digits = word.strip_prefix(b"0x").unwrap_or(word);
    digits.first()?.is_ascii_hexdigit().then_some(())?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_everything_to_the_end() {
        let line = Line::parse(b"7f64327c7d40 278 JS:*get size /srv/my app/a.js:3:20\r").expect("a line");
        let name = &b"JS:*get size /srv/my app/a.js:3:20"[..];
        assert_eq!(line, Line { start: 0x7f64_327c_7d40, end: 0x7f64_327c_7fb8, name });
        let line = Line::parse(b"0x10 0xB \xff").expect("a line");
        assert_eq!(line, Line { start: 16, end: 27, name: b"\xff" });
    }

    #[test]
    fn lines_that_are_none() {
        let lines =
            [&b""[..], b"10", b"10 b", b"10 b ", b"10 0 empty", b"x 1 f", b"10 -1 f", b"+10 1 f", b"0x 1 f", b"\xff"];
        for line in lines.into_iter().chain([&b"ffffffffffffffff 2 f"[..], b"10000000000000000 1 f"]) {
            assert_eq!(Line::parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..100), text in "[0-9a-fx]{0,20} [0-9a-f]{0,20} ?.*") {
            Line::parse(&line);
            Line::parse(text.as_bytes());
        }
    }
}
