//! Charts of memory and descriptors over time.

mod chart;
mod scale;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
};

use self::{chart::Chart, scale::Unit};
use super::{fitting, table::say};
use crate::{
    aggregate::Snapshot,
    report::units::{bytes, count, counted, duration, signed_bytes},
    tui::{
        state::{Mark, Quantity, State, growth},
        theme::Theme,
    },
};

/// From this width on, two charts are beside each other.
const WIDE: u16 = 120;
/// The least height of a chart: its title and three rows.
const LEAST: u16 = 4;
/// Columns between two charts.
const BETWEEN: u16 = 2;

/// What the help says of it.
pub(in crate::tui) const EXPLAINED: &[(&str, &str)] = &[
    ("RESIDENT", "memory in RAM, of all processes"),
    ("OUTSTANDING", "allocated since attach, not freed"),
    ("DESCRIPTORS", "open now"),
    ("GROWTH", "change per hour, over a minute"),
    ("╌╌╌", "the limit, when it is near"),
    ("┊", "the window that is shown, of a recording"),
];

pub(in crate::tui) fn draw(state: &mut State, snapshot: &Snapshot, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let charts = charts(state, snapshot, theme);
    let range = state.timeline.range(&state.trails, snapshot.elapsed.as_secs_f64());
    if charts.is_empty() || range.1 <= range.0 {
        return say("collecting: charts begin with the second reading", frame, area);
    }
    let [above, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let columns = if area.width >= WIDE { 2 } else { 1 };
    let rows = charts.len().div_ceil(columns);
    // The times are below the last of a column.
    let room = usize::from((body.height.saturating_sub(1) / LEAST).max(1));
    let shown_rows = rows.min(room);
    state.timeline.top = state.timeline.top.min(rows - shown_rows);
    let first = state.timeline.top * columns;
    let hidden = charts.len().saturating_sub(shown_rows * columns);
    frame.render_widget(heading(state, range, hidden, theme, area.width), above);
    let lines = Layout::vertical((0..shown_rows).map(|row| {
        // That with the times has a row more.
        Constraint::Length(height(body.height, shown_rows as u16, row as u16))
    }))
    .split(body);
    for (place, chart) in charts.iter().skip(first).take(shown_rows * columns).enumerate() {
        let (row, column) = (place / columns, place % columns);
        let line = lines[row];
        let width = (line.width + BETWEEN) / columns as u16 - BETWEEN;
        let alone = columns > 1 && column == 0 && first + place + 1 == charts.len();
        let left = line.x + column as u16 * (width + BETWEEN);
        let area = Rect { x: left, width: if alone { line.width } else { width }, ..line };
        let here = state.trails.is_recorded().then_some(snapshot.elapsed.as_secs_f64());
        chart.draw(range, here, row + 1 == shown_rows, theme, frame, area);
    }
}

/// All rows of a body, as equal as they can be; the last one has the times, and so one more.
fn height(body: u16, rows: u16, row: u16) -> u16 {
    let share = (body - 1) / rows;
    let more = (body - 1) % rows;
    share + u16::from(row < more) + u16::from(row + 1 == rows)
}

/// What part of the time is shown, and how to see another one.
fn heading(state: &State, (begin, end): (f64, f64), hidden: usize, theme: Theme, width: u16) -> Line<'static> {
    let time = |seconds: f64| duration(std::time::Duration::from_secs_f64(seconds.max(0.0)));
    let shown = match (state.timeline.is_whole(), state.timeline.follows()) {
        (true, _) => format!("all of {}", time(end - begin)),
        (false, true) => format!("the last {}", time(end - begin)),
        (false, false) => format!("{} to {} since attach", time(begin), time(end)),
    };
    let mut segments = vec![Span::styled(shown, theme.bold())];
    if hidden > 0 {
        segments.push(Span::raw(format!("Up Down {}", counted(hidden as u64, "more chart", "more charts"))));
    }
    segments.push(Span::styled("+ - closer, farther", theme.dim()));
    segments.push(Span::styled("Left Right in time", theme.dim()));
    segments.push(Span::styled("0 all", theme.dim()));
    fitting(segments, width)
}

fn charts(state: &State, snapshot: &Snapshot, theme: Theme) -> Vec<Chart> {
    // A paused picture does not go on, what is remembered does.
    let now = snapshot.elapsed.as_secs_f64();
    let recorded = state.trails.is_recorded();
    let until_now = |mut marks: Vec<Mark>| {
        if recorded {
            return marks;
        }
        marks.truncate(marks.partition_point(|mark| mark.at <= now));
        marks
    };
    let marks = |quantity| state.trails.charted(quantity).map(|trail| until_now(trail.marks().to_vec()));
    // The one shown, of a recording; else there is none after it.
    let at_now = |marks: &[Mark]| marks[..marks.partition_point(|mark| mark.at <= now)].last().copied();
    let last = |marks: &[Mark]| at_now(marks).map_or(0.0, |mark| mark.value);
    // Marks are left out, so the Snapshot is asked first; one of a process that is gone may not have it.
    let value = |quantity: Quantity, marks: &[Mark]| quantity.of(snapshot).unwrap_or_else(|| last(marks) as u64);
    let mut charts = Vec::new();
    if let Some(marks) = marks(Quantity::Resident) {
        let now = value(Quantity::Resident, &marks);
        let (limit, limited) = memory_limit(snapshot, now as f64).unzip();
        let words = std::iter::once(bytes(now)).chain(limited.into_iter().flatten()).collect();
        let style = theme.resident();
        charts.push(Chart { title: "RESIDENT", words, unit: Unit::Bytes, signed: false, marks, limit, style });
    }
    if let Some(marks) = marks(Quantity::Outstanding) {
        let words = vec![bytes(value(Quantity::Outstanding, &marks))];
        let style = theme.outstanding();
        charts.push(Chart { title: "OUTSTANDING", words, unit: Unit::Bytes, signed: false, marks, limit: None, style });
    }
    if let Some(marks) = marks(Quantity::Descriptors) {
        let limits = snapshot.descriptors.as_ref().and_then(|descriptors| descriptors.limits);
        let mut words = vec![format!("{} open", count(value(Quantity::Descriptors, &marks)))];
        words.extend(limits.map(|limits| format!("limit {}", count(limits.nofile_soft))));
        let limit = limits.map(|limits| limits.nofile_soft as f64);
        let style = theme.descriptors();
        charts.push(Chart { title: "DESCRIPTORS", words, unit: Unit::Count, signed: false, marks, limit, style });
    }
    let grown = [(Quantity::Outstanding, "outstanding bytes"), (Quantity::Resident, "resident memory")];
    let grown = grown.into_iter().find_map(|(quantity, of)| Some((state.trails.charted(quantity)?, of)));
    if let Some((trail, of)) = grown {
        let marks = until_now(growth(trail));
        let now = at_now(&marks).map(|mark| format!("{} an hour", signed_bytes(mark.value)));
        let words = now.into_iter().chain([format!("of {of}, over a minute")]).collect();
        let style = theme.change(last(&marks));
        charts.push(Chart { title: "GROWTH", words, unit: Unit::Bytes, signed: true, marks, limit: None, style });
    }
    charts
}

/// At how much resident memory the tightest limit is reached, if what it counts besides stays as it is; with words.
fn memory_limit(snapshot: &Snapshot, resident: f64) -> Option<(f64, [String; 2])> {
    let limits = snapshot.analysis.iter().flat_map(|(_, analysis)| &analysis.limits);
    let limit = limits.filter(|limit| limit.kind.is_fatal()).min_by_key(|limit| limit.room())?;
    let left = format!("{} left", bytes(limit.room()));
    let words = [left, format!("of {} ({})", bytes(limit.bytes), limit.kind.name())];
    Some((resident + limit.room() as f64, words))
}
