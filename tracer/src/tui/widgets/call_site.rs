//! A call site in one line.

use crate::{
    report::{
        FrameText, basename, call_site, no_symbol_words, place, short_name, stack_end_words,
        untrusted::{clean, columns as columns_of},
    },
    symbolize::Stack,
};

/// The call site in `width` columns, in two parts: the name, and where that is. Both are cut if they must be, the
/// name only down to half of the width. By the rule for call sites, or by the innermost frame.
pub(super) fn label(stack: &Stack, innermost: bool, width: usize) -> (String, String) {
    let frame = if innermost { stack.frames.first() } else { call_site(stack) };
    let Some(frame) = frame else {
        let why = stack_end_words(stack.end).unwrap_or("no frames");
        return (clean(&format!("[no stack: {why}]"), width).into_owned(), String::new());
    };
    let (name, place) = match &frame.function {
        Ok(function) => (short_name(function), place(frame, basename)),
        Err(reason) => {
            let FrameText { name, place, note: _ } = FrameText::new(frame, width);
            let known = if place.is_empty() { name.into_owned() } else { place };
            return (
                clean(&known, width).into_owned(),
                cut_place(&format!("[{}]", no_symbol_words(*reason)), &known, width),
            );
        }
    };
    let place = place.unwrap_or_default();
    let reserved = if place.is_empty() { 0 } else { columns_of(&place) + 1 };
    let name = end_of(name, width.saturating_sub(reserved).max(width / 2));
    let place = cut_place(&place, &name, width);
    (name, place)
}

/// A name in `room` columns. Of a path that is too long the end is left, which tells what is called:
/// `service::session::open` is `…session::open`, or `…open`.
fn end_of(name: &str, room: usize) -> String {
    let fits = |text: &str, room: usize| columns_of(&clean(text, room + 1)) <= room;
    if fits(name, room) {
        return clean(name, room).into_owned();
    }
    let room_beside = room.saturating_sub(1);
    let mut end = None;
    for start in segments(name) {
        end = Some(&name[start..]);
        if fits(&name[start..], room_beside) {
            break;
        }
    }
    match end {
        Some(end) if room > 2 => format!("…{}", clean(end, room_beside)),
        _ => clean(name, room).into_owned(),
    }
}

/// Where the segments of a path begin that are names, but for the first: not `{{closure}}` or `<T>`, which belong to the
/// one before.
fn segments(path: &str) -> impl Iterator<Item = usize> {
    let (mut depth, mut last) = (0usize, [b' '; 2]);
    // The type and the trait of `<a::Type as b::Trait>::method` are paths too.
    let mut is_type = path.starts_with('<');
    path.bytes().enumerate().filter_map(move |(index, byte)| {
        let begins = (depth == 0 || is_type && depth == 1)
            && last == *b"::"
            && (byte.is_ascii_alphabetic() || !byte.is_ascii() || matches!(byte, b'_' | b'~'));
        match byte {
            b'<' | b'(' | b'[' | b'{' => depth += 1,
            b'>' if last[1] == b'-' => {}
            b'>' | b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_type &= depth > 0;
        last = [last[1], byte];
        begins.then_some(index)
    })
}

/// What is left for `place` after `name` and a space.
fn cut_place(place: &str, name: &str, width: usize) -> String {
    let room = width.saturating_sub(columns_of(name) + 1);
    if place.is_empty() || room < 2 { String::new() } else { format!(" {}", clean(place, room)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_path_the_end_is_left() {
        let open = "service::session::open";
        assert_eq!(end_of(open, 22), open);
        assert_eq!(
            [21, 14, 13, 5, 4, 2, 1, 0].map(|room| end_of(open, room)),
            ["…session::open", "…session::open", "…open", "…open", "…op…", "s…", "…", ""]
        );
        assert_eq!(end_of("an_incomprehensibility", 5), "an_i…");
    }

    #[test]
    fn what_belongs_to_a_name_stays_with_it() {
        assert_eq!(end_of("service::run::{{closure}}", 20), "…run::{{closure}}");
        assert_eq!(end_of("service::run::<a::B>::{{closure}}", 30), "…run::<a::B>::{{closure}}");
        assert_eq!(end_of("<service::Session as core::ops::Drop>::drop", 34), "…Session as core::ops::Drop>::drop");
        assert_eq!(end_of("<service::Session as core::ops::Drop>::drop", 15), "…Drop>::drop");
        assert_eq!(end_of("std::map<std::string, int>::~map", 20), "…~map");
        assert_eq!(end_of("größe::österreich", 12), "…österreich");
    }
}
