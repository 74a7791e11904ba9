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
    let name = clean(name, width.saturating_sub(reserved).max(width / 2)).into_owned();
    let place = cut_place(&place, &name, width);
    (name, place)
}

/// What is left for `place` after `name` and a space.
fn cut_place(place: &str, name: &str, width: usize) -> String {
    let room = width.saturating_sub(columns_of(name) + 1);
    if place.is_empty() || room < 2 { String::new() } else { format!(" {}", clean(place, room)) }
}
