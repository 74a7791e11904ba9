//! The table of sites: numbers, then the program's own frame that they belong to.

use ratatui::{
    Frame,
    layout::{Alignment, Rect},
    style::Style,
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::{
    aggregate::{SiteSnapshot, TargetState},
    report::{
        FrameText, Sort, basename, call_site, no_symbol_words, place, short_name, stack_end_words,
        units::{UNKNOWN, bytes, duration, rate, short_count, signed_bytes},
        untrusted::{clean, columns as columns_of},
    },
    symbolize::Stack,
    tui::{
        state::{Change, Focus, State},
        theme::Theme,
    },
};

/// The least that is left for the call site, and the least share of the width.
const CALL_SITE: usize = 24;
const CALL_SITE_PERCENT: usize = 40;
/// Marks the selected row.
const MARK: &str = "> ";

/// A column of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Column {
    Inuse,
    Objects,
    Change,
    Allocs,
    AllocRate,
    Oldest,
}

impl Column {
    /// In the order on screen.
    pub(in crate::tui) const ALL: [Self; 6] =
        [Self::Inuse, Self::Objects, Self::Change, Self::Allocs, Self::AllocRate, Self::Oldest];
    /// Which to keep when there is not room for all.
    const BY_IMPORTANCE: [Self; 6] =
        [Self::Inuse, Self::Change, Self::Objects, Self::Oldest, Self::Allocs, Self::AllocRate];

    pub(in crate::tui) fn heading(self) -> &'static str {
        match self {
            Self::Inuse => "INUSE",
            Self::Objects => "OBJECTS",
            Self::Change => "CHANGE/S",
            Self::Allocs => "ALLOCS",
            Self::AllocRate => "ALLOCS/S",
            Self::Oldest => "OLDEST",
        }
    }

    pub(in crate::tui) fn meaning(self) -> &'static str {
        match self {
            Self::Inuse => "bytes outstanding",
            Self::Objects => "blocks outstanding",
            Self::Change => "bytes outstanding, change per second",
            Self::Allocs => "blocks allocated since attach",
            Self::AllocRate => "blocks allocated per second",
            Self::Oldest => "age of the oldest outstanding block",
        }
    }

    fn width(self) -> usize {
        match self {
            Self::Inuse => 10,
            Self::Objects | Self::Allocs | Self::AllocRate => 9,
            Self::Change => 11,
            Self::Oldest => 8,
        }
    }

    fn sorts(self, sort: Sort) -> bool {
        self == match sort {
            Sort::Inuse => Self::Inuse,
            Sort::Objects => Self::Objects,
            Sort::Allocs => Self::AllocRate,
            Sort::Oldest => Self::Oldest,
        }
    }

    fn cell(self, site: &SiteSnapshot, change: Option<Change>, theme: Theme) -> (String, Style) {
        let counters = &site.counters;
        let plain = Style::new();
        match self {
            Self::Inuse => (bytes(counters.inuse_bytes()), theme.bold()),
            Self::Objects => (short_count(counters.inuse_objects()), plain),
            Self::Change => match change {
                Some(Change { inuse_bytes_per_s, .. }) => {
                    (signed_bytes(inuse_bytes_per_s), theme.change(inuse_bytes_per_s))
                }
                None => (UNKNOWN.to_owned(), theme.dim()),
            },
            Self::Allocs => (short_count(counters.alloc_objects), plain),
            Self::AllocRate => (change.map_or_else(|| UNKNOWN.to_owned(), |change| rate(change.allocs_per_s)), plain),
            Self::Oldest => (site.oldest.map_or_else(|| UNKNOWN.to_owned(), duration), plain),
        }
    }
}

/// The columns that leave enough of `width` to the call site; the one that is sorted by is always among them.
fn columns(width: usize, sort: Sort) -> Vec<Column> {
    let least = CALL_SITE.max(width * CALL_SITE_PERCENT / 100);
    let mut room = width.saturating_sub(least + MARK.len());
    let mut chosen: Vec<Column> = Vec::new();
    let sorted = Column::ALL.into_iter().filter(|column| column.sorts(sort));
    for column in sorted.chain(Column::BY_IMPORTANCE) {
        if column.width() < room && !chosen.contains(&column) {
            room -= column.width() + 1;
            chosen.push(column);
        }
    }
    Column::ALL.into_iter().filter(|column| chosen.contains(column)).collect()
}

pub(in crate::tui) fn draw(state: &mut State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let columns = columns(width, state.sort);
    state.fit(usize::from(area.height.saturating_sub(1)));
    let rows = area.rows();
    let mut lines = vec![heading(&columns, state.sort, theme)];
    lines.extend(state.visible().map(|(row, site)| {
        let selected = row == state.row();
        let line = line(site, state.change(site.id), &columns, width, selected, theme);
        if selected { line.style(theme.selected(state.focus == Focus::Sites)) } else { line }
    }));
    // One widget per line: a line's own style then reaches to the end of its row.
    for (line, row) in lines.into_iter().zip(rows) {
        frame.render_widget(line, row);
    }
    if state.len() == 0 {
        let middle = Rect { y: area.y + area.height / 2, height: 1, ..area };
        frame.render_widget(Paragraph::new(nothing(state)).alignment(Alignment::Center), middle);
    }
}

fn nothing(state: &State) -> &'static str {
    match state.snapshot.as_ref().map(|snapshot| &snapshot.state) {
        _ if state.young > 0 => "no block is old enough yet",
        None | Some(TargetState::Running) => "waiting for the first allocations",
        Some(TargetState::Exited | TargetState::Replaced | TargetState::Detached) => "no allocation was seen",
    }
}

fn heading(columns: &[Column], sort: Sort, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::raw(" ".repeat(MARK.len()))];
    for column in columns {
        let sorted = if column.sorts(sort) { "▼" } else { "" };
        let heading = format!("{sorted}{}", column.heading());
        spans.push(Span::styled(format!("{heading:>width$} ", width = column.width()), theme.heading()));
    }
    spans.push(Span::styled("CALL SITE", theme.heading()));
    Line::from(spans)
}

fn line(
    site: &SiteSnapshot,
    change: Option<Change>,
    columns: &[Column],
    width: usize,
    selected: bool,
    theme: Theme,
) -> Line<'static> {
    let mut spans = vec![Span::raw(if selected { MARK } else { "  " })];
    let mut room = width.saturating_sub(MARK.len());
    for column in columns {
        let (cell, style) = column.cell(site, change, theme);
        spans.push(Span::styled(format!("{cell:>width$} ", width = column.width()), style));
        room = room.saturating_sub(column.width() + 1);
    }
    let (name, place) = label(&site.stack, room);
    spans.push(Span::raw(name));
    spans.push(Span::styled(place, theme.dim()));
    Line::from(spans)
}

/// The call site in `width` columns, in two parts: the name, and where that is. Both are cut if they must be, the
/// name only down to half of the width.
fn label(stack: &Stack, width: usize) -> (String, String) {
    let Some(frame) = call_site(stack) else {
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
