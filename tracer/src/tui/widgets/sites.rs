//! The table of sites: numbers, then the program's own frame that they belong to.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    call_site::label,
    table::{MARK, choose, draw_table, heading_cell, mark, rows_below_heading, say},
};
use crate::{
    aggregate::{SiteSnapshot, Snapshot, TargetState},
    report::{
        Sort,
        units::{UNKNOWN, bytes, duration, rate, short_count, signed_bytes},
    },
    tui::{
        state::{Change, Focus, Leaks},
        theme::Theme,
    },
};

/// The least that is left for the call site, and the least share of the width.
const CALL_SITE: usize = 24;
const CALL_SITE_PERCENT: usize = 40;

/// Before anything was allocated.
pub(in crate::tui) const WAITING: &str = "waiting for the first allocations";

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
    let room = width.saturating_sub(least + MARK.len());
    let sorted = Column::ALL.into_iter().filter(|column| column.sorts(sort));
    choose(&Column::ALL, sorted.chain(Column::BY_IMPORTANCE), Column::width, room)
}

pub(in crate::tui) fn draw(snapshot: &Snapshot, leaks: &mut Leaks, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let columns = columns(width, leaks.sort);
    leaks.browser.fit(rows_below_heading(area));
    let focused = leaks.browser.focus == Focus::List;
    let rows = leaks.browser.visible().map(|(row, (_, index))| {
        let selected = row == leaks.browser.row();
        let site = &snapshot.sites[index];
        (selected, line(site, leaks.change(site.id), &columns, width, selected, theme))
    });
    draw_table(heading(&columns, leaks.sort, theme), rows, focused, theme, frame, area);
    if leaks.browser.len() == 0 {
        say(nothing(snapshot, leaks), frame, area);
    }
}

fn nothing(snapshot: &Snapshot, leaks: &Leaks) -> &'static str {
    match snapshot.state {
        _ if leaks.young > 0 => "no block is old enough yet",
        TargetState::Running => WAITING,
        TargetState::Exited | TargetState::Detached => "no allocation was seen",
    }
}

fn heading(columns: &[Column], sort: Sort, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::raw(" ".repeat(MARK.len()))];
    spans.extend(
        columns.iter().map(|&column| heading_cell(column.heading(), column.width(), column.sorts(sort), theme)),
    );
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
    let mut spans = vec![mark(selected)];
    let mut room = width.saturating_sub(MARK.len());
    for column in columns {
        let (cell, style) = column.cell(site, change, theme);
        spans.push(Span::styled(format!("{cell:>width$} ", width = column.width()), style));
        room = room.saturating_sub(column.width() + 1);
    }
    if site.kind.is_range() {
        let kind = format!("[{}] ", site.kind.name());
        room = room.saturating_sub(kind.len());
        spans.push(Span::styled(kind, theme.dim()));
    }
    let (name, place) = label(&site.stack, room);
    spans.push(Span::raw(name));
    spans.push(Span::styled(place, theme.dim()));
    Line::from(spans)
}
