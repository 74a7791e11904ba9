//! The table of sites: numbers, then the program's own frame that they belong to.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    call_site::label,
    sparkline::sparkline,
    table::{MARK, choose, draw_table, mark, rows_below_heading, say},
};
use crate::{
    aggregate::{Snapshot, TargetState},
    analyze::verdict::Label,
    report::{
        estimate_mark,
        units::{UNKNOWN, bytes, counted, duration, rate, short_count, signed_bytes},
        untrusted::clean,
    },
    tui::{
        state::{Column, Focus, Grouping, Leaks, Row, RowKey, Trail, Trails},
        theme::Theme,
    },
};

/// The least that is left for the call site, and the least share of the width.
const CALL_SITE: usize = 24;
const CALL_SITE_PERCENT: usize = 40;

/// Before anything was allocated.
pub(in crate::tui) const WAITING: &str = "waiting for the first allocations";

/// Which to keep when there is not room for all.
const BY_IMPORTANCE: [Column; 12] = [
    Column::Verdict,
    Column::Inuse,
    Column::Baseline,
    Column::PerHour,
    Column::Oldest,
    Column::Minute,
    Column::Trend,
    Column::Objects,
    Column::TenMinutes,
    Column::Change,
    Column::Allocs,
    Column::AllocRate,
];
/// What a sparkline shows.
const TREND: f64 = 600.0;

/// Headings and what they mean, for the help.
pub(in crate::tui) const COLUMNS: &[(&str, &str)] = &[
    ("VERDICT", "what the site does, and how sure that is"),
    ("INUSE", "bytes outstanding"),
    ("OBJECTS", "blocks outstanding"),
    ("FAULTED", "bytes touched first, estimated"),
    ("PAGES", "the same in pages (--growth)"),
    ("CHANGE/S", "bytes outstanding, change per second"),
    ("1 MIN 10 MIN", "the same over the last minutes"),
    ("SINCE b", "the same since the baseline"),
    ("PER HOUR", "growth of what leaks or grows"),
    ("ALLOCS", "blocks allocated since attach"),
    ("ALLOCS/S", "blocks allocated per second"),
    ("OLDEST", "age of the oldest outstanding block"),
    ("TREND", "bytes outstanding in the last ten minutes"),
];

fn name(column: Column, faults: bool) -> &'static str {
    match column {
        Column::Inuse if faults => "FAULTED",
        Column::Objects if faults => "PAGES",
        Column::AllocRate if faults => "PAGES/S",
        Column::Verdict => "VERDICT",
        Column::Inuse => "INUSE",
        Column::Objects => "OBJECTS",
        Column::Change => "CHANGE/S",
        Column::Minute => "1 MIN",
        Column::TenMinutes => "10 MIN",
        Column::Baseline => "SINCE b",
        Column::PerHour => "PER HOUR",
        Column::Allocs => "ALLOCS",
        Column::AllocRate => "ALLOCS/S",
        Column::Oldest => "OLDEST",
        Column::Trend => "TREND",
    }
}

fn width_of(column: Column) -> usize {
    match column {
        Column::Verdict | Column::PerHour | Column::Change => 11,
        Column::Inuse | Column::Trend => 10,
        Column::Minute | Column::TenMinutes | Column::Baseline => 10,
        Column::Objects | Column::Allocs | Column::AllocRate => 9,
        Column::Oldest => 8,
    }
}

fn is_numeric(column: Column) -> bool {
    !matches!(column, Column::Verdict | Column::Trend)
}

/// A change of bytes, and the style of growth.
fn signed(change: Option<f64>, theme: Theme) -> (String, Style) {
    match change {
        Some(change) => (signed_bytes(change), theme.change(change)),
        None => (UNKNOWN.to_owned(), theme.dim()),
    }
}

fn cell(column: Column, row: &Row, trend: impl Fn() -> String, theme: Theme) -> (String, Style) {
    let counters = &row.counters;
    let estimated = estimate_mark(row.estimated);
    let plain = Style::new();
    match column {
        Column::Verdict => verdict(row, theme),
        Column::Inuse => (format!("{estimated}{}", bytes(counters.inuse_bytes())), theme.bold()),
        Column::Objects => (format!("{estimated}{}", short_count(counters.inuse_objects())), plain),
        Column::Change => signed(row.change.map(|change| change.inuse_bytes_per_s), theme),
        Column::Minute => signed(row.minute, theme),
        Column::TenMinutes => signed(row.ten_minutes, theme),
        Column::Baseline => signed(row.since_baseline, theme),
        Column::PerHour => match row.per_hour {
            Some(per_hour) => (signed_bytes(per_hour), theme.growth(per_hour)),
            None => (String::new(), plain),
        },
        Column::Allocs => (format!("{estimated}{}", short_count(counters.alloc_objects)), plain),
        Column::AllocRate => (row.change.map_or_else(|| UNKNOWN.to_owned(), |change| rate(change.allocs_per_s)), plain),
        Column::Oldest => (row.oldest.map_or_else(|| UNKNOWN.to_owned(), duration), plain),
        Column::Trend => (trend(), theme.dim()),
    }
}

fn verdict(row: &Row, theme: Theme) -> (String, Style) {
    if row.suppressed {
        return ("suppressed".to_owned(), theme.dim());
    }
    match &row.verdict {
        // Only of these does it matter how sure it is.
        Some(verdict) if matches!(verdict.label, Label::Leaking) => {
            (format!("{} {:.0}%", verdict.label.name(), verdict.confidence * 100.0), theme.verdict(verdict.label))
        }
        Some(verdict) => (verdict.label.name().to_owned(), theme.verdict(verdict.label)),
        None => (UNKNOWN.to_owned(), theme.dim()),
    }
}

/// The columns that leave enough of `width` to the call site; the one that is sorted by is always among them.
fn columns(width: usize, leaks: &Leaks, faults: bool) -> Vec<Column> {
    let least = CALL_SITE.max(width * CALL_SITE_PERCENT / 100);
    let room = width.saturating_sub(least + MARK.len());
    let wanted = [leaks.sort].into_iter().chain(BY_IMPORTANCE);
    let wanted = wanted.filter(|column| *column != Column::Baseline || leaks.baseline.is_some());
    // Of pages nobody sees the end: as many are outstanding as were ever touched, and how old they are is not known.
    let wanted = wanted.filter(|column| !faults || !matches!(column, Column::Allocs | Column::Oldest));
    choose(&Column::ALL, wanted, width_of, room)
}

pub(in crate::tui) fn draw(
    snapshot: &Snapshot,
    leaks: &mut Leaks,
    trails: &Trails,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let width = usize::from(area.width);
    let faults = snapshot.growth.is_some();
    let columns = columns(width, leaks, faults);
    leaks.browser.fit(rows_below_heading(area));
    leaks.complete_visible(snapshot, trails);
    let focused = leaks.browser.focus == Focus::List;
    let drawn = Drawn { snapshot, trails, columns: &columns, width, innermost: leaks.innermost, theme };
    let rows = leaks.browser.visible().map(|(row, (_, place))| {
        let selected = row == leaks.browser.row();
        (selected, drawn.line(leaks.row(place), selected))
    });
    draw_table(heading(&columns, leaks, faults, theme), rows, focused, theme, frame, area);
    if leaks.browser.len() == 0 {
        say(nothing(snapshot, leaks), frame, area);
    }
}

fn nothing(snapshot: &Snapshot, leaks: &Leaks) -> &'static str {
    match snapshot.state {
        _ if leaks.filtered > 0 => "no site has these words: / changes them",
        TargetState::Running if snapshot.growth.is_some() => "waiting for the first page faults",
        _ if leaks.young > 0 => "no block is old enough yet",
        TargetState::Running => WAITING,
        TargetState::Exited | TargetState::Detached => "no allocation was seen",
    }
}

fn heading(columns: &[Column], leaks: &Leaks, faults: bool, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::raw(" ".repeat(MARK.len()))];
    spans.extend(columns.iter().map(|&column| {
        let mark = if leaks.reversed { "▲" } else { "▼" };
        let sorted = if column == leaks.sort { mark } else { "" };
        let (heading, width) = (format!("{sorted}{}", name(column, faults)), width_of(column));
        let cell = if is_numeric(column) { format!("{heading:>width$} ") } else { format!("{heading:<width$} ") };
        Span::styled(cell, theme.heading())
    }));
    let rule = match (leaks.grouping, leaks.innermost) {
        (Grouping::Site, true) => " (innermost frame)",
        _ => "",
    };
    spans.push(Span::styled(format!("{}{rule}", leaks.grouping.heading()), theme.heading()));
    Line::from(spans)
}

/// What rows are drawn with.
struct Drawn<'a> {
    snapshot: &'a Snapshot,
    trails: &'a Trails,
    columns: &'a [Column],
    width: usize,
    innermost: bool,
    theme: Theme,
}

impl Drawn<'_> {
    fn line(&self, row: &Row, selected: bool) -> Line<'static> {
        let theme = self.theme;
        let mut spans = vec![mark(selected)];
        let mut room = self.width.saturating_sub(MARK.len());
        for &column in self.columns {
            let (cell, style) = cell(column, row, || self.trend(row), theme);
            let width = width_of(column);
            let cell = if is_numeric(column) { format!("{cell:>width$} ") } else { format!("{cell:<width$} ") };
            spans.push(Span::styled(cell, style));
            room = room.saturating_sub(width + 1);
        }
        let site = &self.snapshot.sites[row.first()];
        if let RowKey::Group(group) = &row.key {
            let sites = format!(" {}", counted(row.len() as u64, "site", "sites"));
            spans.push(Span::raw(clean(group, room.saturating_sub(sites.len())).into_owned()));
            spans.push(Span::styled(sites, theme.dim()));
            return Line::from(spans);
        }
        if site.kind.is_range() {
            let kind = format!("[{}] ", site.kind.name());
            room = room.saturating_sub(kind.len());
            spans.push(Span::styled(kind, theme.dim()));
        }
        let (name, place) = label(&site.stack, self.innermost, room);
        spans.push(Span::raw(name));
        spans.push(Span::styled(place, theme.dim()));
        Line::from(spans)
    }

    fn trend(&self, row: &Row) -> String {
        let trails: Vec<&Trail> =
            row.sites().filter_map(|index| self.trails.site(self.snapshot.sites[index].id)).collect();
        sparkline(&trails, self.snapshot.elapsed.as_secs_f64(), TREND, width_of(Column::Trend))
    }
}
