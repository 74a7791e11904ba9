//! The line that the user types into, in the place of the last line.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthChar;

use crate::{
    report::untrusted::{clean, columns},
    tui::{state::Prompt, theme::Theme},
};

/// Draws the label, then as much of the text as fits around the cursor.
pub(in crate::tui) fn draw(prompt: &Prompt, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    frame.render_widget(line(prompt, theme, usize::from(area.width)), area);
}

fn line(prompt: &Prompt, theme: Theme, width: usize) -> Line<'static> {
    let label = format!("{}: ", prompt.label);
    let room = width.saturating_sub(columns(&label) + 1);
    let (before, after) = prompt.parts();
    // Typed is not yet displayable: a paste may hold anything.
    let (before, after) = (clean(before, usize::MAX), clean(after, width));
    let before = end_of(&before, room);
    // The cursor is on the next character, or behind the last one.
    let under = after.chars().next().map_or_else(|| " ".to_owned(), String::from);
    let rest = clean(&after[after.chars().next().map_or(0, char::len_utf8)..], room.saturating_sub(columns(before)));
    Line::from(vec![
        Span::styled(label, theme.heading()),
        Span::raw(before.to_owned()),
        Span::styled(under, theme.selected(true)),
        Span::raw(rest.into_owned()),
    ])
}

/// The last part of `text` that fits into `width` columns.
fn end_of(text: &str, width: usize) -> &str {
    let mut taken = 0;
    let fits = |&(_, character): &(usize, char)| {
        taken += character.width().unwrap_or(0);
        taken <= width
    };
    let first = text.char_indices().rev().take_while(fits).last();
    first.map_or("", |(index, _)| &text[index..])
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;

    #[test]
    fn the_text_around_the_cursor_is_shown() {
        let shown = |prompt: &Prompt, width| line(prompt, Theme::new(false), width).to_string();
        let mut prompt = Prompt::new("search", "http_parse");
        assert_eq!(shown(&prompt, 40), "search: http_parse ");
        assert_eq!(shown(&prompt, 15), "search: _parse ");
        prompt.apply(KeyEvent::new(KeyCode::Home, KeyModifiers::NONE));
        assert_eq!(shown(&prompt, 15), "search: http_p…");
        assert_eq!(shown(&Prompt::new("search", "漢字\u{1b}"), 40), r"search: 漢字\u{1b} ");
    }
}
