//! What the tables have in common: a heading, rows of which one is selected, and columns that give way to the last one.

use ratatui::{
    Frame,
    layout::{Alignment, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::tui::theme::Theme;

/// Marks the selected row.
pub(super) const MARK: &str = "> ";

pub(super) fn mark(selected: bool) -> Span<'static> {
    Span::raw(if selected { MARK } else { "  " })
}

/// The columns for which there is `room`, each with a space behind it, as they come in `by_importance`; in the order
/// of `all`.
pub(super) fn choose<C: Copy + PartialEq>(
    all: &[C],
    by_importance: impl IntoIterator<Item = C>,
    width: impl Fn(C) -> usize,
    mut room: usize,
) -> Vec<C> {
    let mut chosen = Vec::new();
    for column in by_importance {
        if width(column) < room && !chosen.contains(&column) {
            room -= width(column) + 1;
            chosen.push(column);
        }
    }
    all.iter().copied().filter(|column| chosen.contains(column)).collect()
}

/// The heading of a column of numbers.
pub(super) fn heading_cell(heading: &str, width: usize, sorted: bool, theme: Theme) -> Span<'static> {
    let heading = format!("{}{heading}", if sorted { "▼" } else { "" });
    Span::styled(format!("{heading:>width$} "), theme.heading())
}

pub(super) fn rows_below_heading(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(1))
}

/// Draws the rows, of which the selected one is marked with `true`.
pub(super) fn draw_table(
    heading: Line<'_>,
    rows: impl Iterator<Item = (bool, Line<'static>)>,
    focused: bool,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let mut places = area.rows();
    let Some(first) = places.next() else { return };
    frame.render_widget(heading, first);
    // One widget per line: a line's own style then reaches to the end of its row.
    for ((selected, line), place) in rows.zip(places) {
        frame.render_widget(if selected { line.style(theme.selected(focused)) } else { line }, place);
    }
}

/// In the middle of an area that has nothing to show.
pub(in crate::tui) fn say(words: &str, frame: &mut Frame<'_>, area: Rect) {
    let middle = Rect { y: area.y + area.height / 2, height: 1.min(area.height), ..area };
    frame.render_widget(Paragraph::new(words).alignment(Alignment::Center), middle);
}
