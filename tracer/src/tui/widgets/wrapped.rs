//! A text in lines of a width.

use crate::report::untrusted::{clean, columns};

/// Its words in lines of at most `width` columns, `most` of them: an ellipsis says that there are more.
pub(super) fn wrapped(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    lines.iter().map(|line| clean(line, width).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(wrapped("no growth in 4m", 9, 3), ["no growth", "in 4m"]);
        assert_eq!(wrapped("one two three four", 5, 2), ["one", "two …"]);
        assert_eq!(wrapped("incomprehensibilities", 6, 1), ["incom…"]);
        assert!(wrapped("", 10, 3).is_empty());
    }
}
