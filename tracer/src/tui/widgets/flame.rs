//! The flame graph: the outermost frames on top, what they called below, each as wide as its share.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
};

use super::{call_site::label, fitting, table::say};
use crate::{
    aggregate::{SiteMap, SiteSnapshot, Snapshot},
    report::{
        units::{count, counted},
        untrusted::{clean, columns},
    },
    tui::{
        state::{Cell, Flame, FlameMeasure, NodeId, State},
        theme::Theme,
    },
};

/// From this height of the tab on, the selected frame's name may take several lines.
const TALL: u16 = 24;
const NAME_LINES: u16 = 3;
/// Rows below the graph that are worth a list: an empty one, a heading, and two call sites.
const LEAST_FOR_SITES: u16 = 4;
/// Columns of a number, and of a share.
const NUMBER: usize = 16;
const SHARE: usize = 9;

/// What the help says of it.
pub(in crate::tui) const EXPLAINED: &[(&str, &str)] = &[
    ("width", "share of the measure; s is the next one"),
    ("Up Down", "the caller, the largest it called"),
    ("Left Right", "frames beside it"),
    ("Enter", "zoom in; Backspace a step out, Esc all the way"),
    ("… std", "frames of a library or runtime: f shows each"),
    ("…12", "12 frames too small for a column each"),
];

pub(in crate::tui) fn draw(state: &mut State, snapshot: &Snapshot, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let State { flame, trails, leaks, .. } = state;
    flame.refresh(snapshot, trails, leaks.innermost);
    let lines = if area.height >= TALL { NAME_LINES } else { 1 };
    let [above, graph, below] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(lines)]).areas(area);
    frame.render_widget(heading(flame, theme, above.width), above);
    if flame.total() == 0 {
        return say(nothing(flame.measure), frame, graph);
    }
    flame.lay_out(graph.width, usize::from(graph.height));
    let rows = flame.rows();
    for cell in flame.cells().iter().filter(|cell| rows.contains(&cell.row)) {
        let place =
            Rect { x: graph.x + cell.left, y: graph.y + (cell.row - rows.start) as u16, width: cell.width, height: 1 };
        frame.render_widget(box_of(flame, cell, theme), place);
    }
    let under = under(flame, graph);
    if under.height >= LEAST_FOR_SITES {
        sites(flame, snapshot, leaks.innermost, theme, frame, under);
    }
    for (line, row) in
        selected(flame, theme, usize::from(below.width), usize::from(lines)).into_iter().zip(below.rows())
    {
        frame.render_widget(line, row);
    }
}

/// What the graph leaves empty at the lower left: a deep stack of little memory is a column at its right end.
fn under(flame: &Flame, graph: Rect) -> Rect {
    let top = flame.rows().start;
    let is_left = |cell: &&Cell| cell.left < graph.width / 2;
    let used = flame.cells().iter().filter(is_left).map(|cell| cell.row + 1).max().unwrap_or(0);
    let width = flame.cells().iter().filter(|cell| cell.row > used).map(|cell| cell.left).min();
    let width = width.map_or(graph.width, |left| left.saturating_sub(1));
    let used = (used.saturating_sub(top) as u16).min(graph.height);
    Rect { y: graph.y + used, height: graph.height - used, width, ..graph }
}

/// The call sites with the most, of those that come by the selected frame.
fn sites(flame: &Flame, snapshot: &Snapshot, innermost: bool, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let largest = flame.largest_below(flame.selected(), usize::from(area.height - 2));
    let mut by_id: SiteMap<Option<&SiteSnapshot>> = largest.iter().map(|(id, _)| (*id, None)).collect();
    for site in &snapshot.sites {
        if let Some(wanted) = by_id.get_mut(&site.id) {
            *wanted = Some(site);
        }
    }
    let heading = format!("{:>NUMBER$}{:>SHARE$}  CALL SITES through the selected frame", "", "SHARE");
    let lines = largest.iter().filter_map(|(id, value)| {
        let site = by_id.get(id).copied().flatten()?;
        let numbers = format!("{:>NUMBER$}{:>SHARE$}  ", flame.measure.number(*value), percent(*value, flame.total()));
        let (name, place) = label(&site.stack, innermost, usize::from(area.width).saturating_sub(numbers.len()));
        Some(Line::from(vec![Span::raw(numbers), Span::raw(name), Span::styled(place, theme.dim())]))
    });
    let lines = std::iter::once(Line::styled(heading, theme.heading())).chain(lines);
    for (line, row) in lines.zip(area.rows().skip(1)) {
        frame.render_widget(line, row);
    }
}

fn nothing(measure: FlameMeasure) -> &'static str {
    match measure {
        FlameMeasure::Inuse | FlameMeasure::Objects => "nothing is outstanding",
        FlameMeasure::Growth => "nothing has grown over the last minute",
    }
}

/// What is measured, all of it, and what was found.
fn heading(flame: &Flame, theme: Theme, width: u16) -> Line<'static> {
    let total = flame.total();
    let mut segments = vec![Span::styled(flame.measure.words(), theme.heading())];
    if let Some(found) = flame.found() {
        let text = clean(flame.searched(), 24).into_owned();
        let words = match found.len() {
            0 => format!("\"{text}\" is in no frame"),
            frames => {
                format!("\"{text}\" {} in {}", percent(found.value, total), counted(frames as u64, "frame", "frames"))
            }
        };
        segments.push(Span::styled(words, theme.bold()));
    }
    segments.push(Span::raw(flame.measure.number(total)));
    if let Some(zoom) = flame.zoomed() {
        segments.push(Span::raw(format!("zoomed into {}", percent(flame.value(zoom), total))));
        segments.push(Span::styled("Esc out", theme.dim()));
    }
    let fold = if flame.is_whole() { "f fold libraries" } else { "f all frames" };
    segments.extend(["s measure", "Enter zoom", "/ search", fold].map(|key| Span::styled(key, theme.dim())));
    fitting(segments, width)
}

/// Exact at both ends: only nothing is 0 %, and only all is 100 %.
fn percent(part: u64, total: u64) -> String {
    let percent = part as f64 / total.max(1) as f64 * 100.0;
    match percent {
        _ if part == 0 || part == total => format!("{percent:.0} %"),
        percent if percent < 0.1 => "< 0.1 %".to_owned(),
        percent if percent > 99.9 => "> 99.9 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

/// A frame: its left edge, and as much of its name as fits.
fn box_of(flame: &Flame, cell: &Cell, theme: Theme) -> Line<'static> {
    let width = usize::from(cell.width);
    let Some(node) = cell.node else {
        let number = count(cell.rest as u64);
        let words = [format!("… {number} too small to show"), format!("…{number}"), "…".to_owned()];
        let words = words.into_iter().find(|words| columns(words) <= width);
        return Line::styled(words.unwrap_or_default(), theme.dim());
    };
    // One that has a single column is all edge.
    let text = clean(flame.name(node), width.saturating_sub(1)).into_owned();
    // Less than two letters and an ellipsis name nothing.
    let text = if width < 4 && text.ends_with('…') { String::new() } else { text };
    let blank = " ".repeat(width.saturating_sub(1 + columns(&text)));
    Line::styled(format!("▏{text}{blank}"), style(flame, node, theme))
}

fn style(flame: &Flame, node: NodeId, theme: Theme) -> Style {
    match flame.found() {
        _ if node == flame.selected() => theme.selected_flame(),
        Some(found) if found.has(node) => theme.found(),
        // The same function looks the same everywhere.
        _ => theme.flame(flame.name(node).bytes().fold(0, |sum, byte| sum * 31 % 1_009 + usize::from(byte))),
    }
}

/// The selected frame: how much, which share, and its whole name.
fn selected(flame: &Flame, theme: Theme, width: usize, lines: usize) -> Vec<Line<'static>> {
    let node = flame.selected();
    let value = flame.value(node);
    let numbers = format!("{}  {} ", flame.measure.number(value), percent(value, flame.total()));
    let indent = columns(&numbers);
    let room = width.saturating_sub(indent);
    let name = clean(flame.name(node), room * lines);
    let mut wrapped = wrap(&name, room).into_iter();
    let first = Line::from(vec![Span::styled(numbers, theme.bold()), Span::raw(wrapped.next().unwrap_or_default())]);
    let others = wrapped.map(|part| Line::raw(format!("{}{part}", " ".repeat(indent))));
    std::iter::once(first).chain(others).take(lines).collect()
}

/// Cleaned text in pieces of at most `width` columns.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut taken = 0;
    for character in text.chars() {
        let wide = columns(character.encode_utf8(&mut [0; 4]));
        if taken + wide > width {
            pieces.push(String::new());
            taken = 0;
        }
        taken += wide;
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_not_rounded_to_nothing_or_all() {
        assert_eq!([percent(0, 7), percent(7, 7), percent(1, 3)], ["0 %", "100 %", "33.3 %"]);
        assert_eq!([percent(1, 1_000_000), percent(999_999, 1_000_000)], ["< 0.1 %", "> 99.9 %"]);
    }

    #[test]
    fn wide_characters_are_not_split() {
        assert_eq!(wrap("漢字仮名", 5), ["漢字", "仮名"]);
        assert_eq!(wrap("abcdef", 4), ["abcd", "ef"]);
    }
}
