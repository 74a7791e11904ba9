//! One chart: a title, values to the left, the line, and the time below.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::canvas::{Canvas, Line as Stroke},
};

use super::scale::{Unit, ends};
use crate::{
    report::units::{bytes, duration, short_count, signed_bytes},
    tui::{state::Mark, theme::Theme, widgets::fitting},
};

/// Columns of the values, the longest of which is `-1023.9 MiB`.
const VALUES: u16 = 11;
/// A limit is drawn when it is no more than so many times the highest value away.
const WITHIN_REACH: f64 = 2.0;
/// Columns for each time that is written below.
const TIME_EVERY: u16 = 28;

/// What is shown of one quantity.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What there is to say beside the title, the most important first.
    pub(super) words: Vec<String>,
    pub(super) unit: Unit,
    /// Values with a sign.
    pub(super) signed: bool,
    /// In order of time.
    pub(super) marks: Vec<Mark>,
    /// Something bad happens there; in words, for the line's end.
    pub(super) limit: Option<f64>,
    pub(super) style: Style,
}

impl Chart {
    /// Draws the time from `begin` to `end`, with a mark at `here`, and with the times below if `with_times`.
    pub(super) fn draw(
        &self,
        (begin, end): (f64, f64),
        here: Option<f64>,
        with_times: bool,
        theme: Theme,
        frame: &mut Frame<'_>,
        area: Rect,
    ) {
        let mut title = vec![Span::styled(self.title, theme.heading())];
        title.extend(
            self.words.iter().enumerate().map(|(place, words)| {
                Span::styled(words.clone(), if place == 0 { theme.bold() } else { Style::new() })
            }),
        );
        frame.render_widget(fitting(title, area.width), Rect { height: 1.min(area.height), ..area });
        let below = 1 + u16::from(with_times);
        if area.height <= below || area.width <= VALUES + 2 {
            return;
        }
        let plot =
            Rect { x: area.x + VALUES + 1, y: area.y + 1, width: area.width - VALUES - 1, height: area.height - below };
        if with_times {
            times((begin, end), plot, theme, frame);
        }
        let shown = shown(&self.marks, begin, end);
        if shown.len() < 2 {
            let words = match (self.signed, self.marks.is_empty()) {
                (true, true) => "collecting: a slope takes some seconds",
                _ => "collecting: there are fewer than two readings of this time",
            };
            frame.render_widget(
                Line::styled(words, theme.dim()).centered(),
                Rect { y: plot.y + plot.height / 2, height: 1, ..plot },
            );
            return;
        }
        let values = || shown.iter().map(|mark| mark.value);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let limit = self.limit.filter(|limit| *limit <= high * WITHIN_REACH);
        // Growth is seen against none.
        let low = if self.signed { low.min(0.0) } else { low };
        let high = limit.unwrap_or(high).max(high).max(if self.signed { 0.0 } else { f64::NEG_INFINITY });
        let (bottom, top) = ends(low, high, self.unit);
        self.values((bottom, top), plot, theme, frame);
        let strokes = |context: &mut ratatui::widgets::canvas::Context<'_>| {
            for (from, to) in shown.iter().zip(shown.iter().skip(1)) {
                let color = self.style.fg.unwrap_or_default();
                context.draw(&Stroke { x1: from.at, y1: from.value, x2: to.at, y2: to.value, color });
            }
        };
        let canvas = Canvas::default().marker(theme.marker()).x_bounds([begin, end]).y_bounds([bottom, top]);
        frame.render_widget(canvas.paint(strokes), plot);
        if let Some(here) = here.filter(|here| (begin..=end).contains(here)) {
            let share = (here - begin) / (end - begin);
            let column = plot.x + ((share * f64::from(plot.width)) as u16).min(plot.width - 1);
            for row in plot.top()..plot.bottom() {
                fill((column, row), '┊', theme.bold(), frame);
            }
        }
        let row_of = |value: f64| {
            let share = (top - value) / (top - bottom);
            plot.y + ((share * f64::from(plot.height)) as u16).min(plot.height - 1)
        };
        if self.signed && bottom < 0.0 && top > 0.0 {
            across(row_of(0.0), '·', theme.dim(), plot, frame);
        }
        if let Some(limit) = limit {
            across(row_of(limit), '╌', theme.limit(), plot, frame);
        }
    }

    fn values(&self, (bottom, top): (f64, f64), plot: Rect, theme: Theme, frame: &mut Frame<'_>) {
        let mut at = |row: u16, value: f64| {
            let words = match (self.unit, self.signed) {
                (Unit::Bytes, true) => signed_bytes(value),
                (Unit::Bytes, false) => bytes(value.max(0.0) as u64),
                (Unit::Count, _) => short_count(value.max(0.0) as u64),
            };
            let area = Rect { x: plot.x - VALUES - 1, y: plot.y + row, width: VALUES, height: 1 };
            frame.render_widget(Line::styled(words, theme.dim()).right_aligned(), area);
        };
        at(0, top);
        if plot.height > 1 {
            at(plot.height - 1, bottom);
        }
        // In a low chart only where a row is the middle.
        if plot.height >= 9 || (plot.height >= 5 && plot.height % 2 == 1) {
            at(plot.height / 2, f64::midpoint(bottom, top));
        }
        for row in 0..plot.height {
            let area = Rect { x: plot.x - 1, y: plot.y + row, width: 1, height: 1 };
            frame.render_widget(Line::styled("│", theme.dim()), area);
        }
    }
}

/// The marks of this time, with its ends on the line between neighbours.
fn shown(marks: &[Mark], begin: f64, end: f64) -> Vec<Mark> {
    let first = marks.partition_point(|mark| mark.at < begin).saturating_sub(1);
    let last = (marks.partition_point(|mark| mark.at <= end) + 1).min(marks.len());
    let marks = marks.get(first..last).unwrap_or_default();
    let between =
        |at: f64, a: &Mark, b: &Mark| Mark { at, value: a.value + (b.value - a.value) * (at - a.at) / (b.at - a.at) };
    let mut shown = Vec::with_capacity(marks.len());
    for (index, mark) in marks.iter().enumerate() {
        let neighbour = |other: Option<&Mark>, at: f64| other.map(|other| between(at, mark, other));
        if mark.at < begin {
            shown.extend(neighbour(marks.get(index + 1), begin));
        } else if mark.at > end {
            shown.extend(index.checked_sub(1).and_then(|before| neighbour(marks.get(before), end)));
        } else {
            shown.push(*mark);
        }
    }
    shown
}

/// A line from side to side, behind what is there.
fn across(row: u16, character: char, style: Style, plot: Rect, frame: &mut Frame<'_>) {
    for column in plot.left()..plot.right() {
        fill((column, row), character, style, frame);
    }
}

/// Draws a character where there is none.
fn fill(place: (u16, u16), character: char, style: Style, frame: &mut Frame<'_>) {
    let cell = &mut frame.buffer_mut()[place];
    // What braille leaves empty is a space or its blank pattern.
    if matches!(cell.symbol(), " " | "\u{2800}") {
        cell.set_char(character).set_style(style);
    }
}

/// Times since the attach, at equal distances.
fn times((begin, end): (f64, f64), plot: Rect, theme: Theme, frame: &mut Frame<'_>) {
    let row = plot.bottom();
    let parts = (plot.width / TIME_EVERY).clamp(1, 8);
    for part in 0..=parts {
        let at = begin + (end - begin) * f64::from(part) / f64::from(parts);
        let words = duration(Duration::from_secs_f64(at.max(0.0)));
        let width = words.len() as u16;
        // The first begins where its moment is, the last ends there, the others have it in their middle.
        let place = plot.width.saturating_sub(1) * part / parts;
        let left = match part {
            0 => 0,
            part if part == parts => plot.width.saturating_sub(width),
            _ => place.saturating_sub(width / 2),
        };
        let area = Rect { x: plot.x + left, y: row, width: width.min(plot.width - left), height: 1 };
        frame.render_widget(Line::styled(words, theme.dim()), area);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_ends_where_the_time_ends() {
        let marks: Vec<Mark> = (0..10).map(|at| Mark { at: f64::from(at), value: f64::from(at * 3) }).collect();
        let ends = |begin, end| {
            let shown = shown(&marks, begin, end);
            (shown.len(), shown.first().map(|mark| mark.value), shown.last().map(|mark| mark.value))
        };
        assert_eq!(ends(0.0, 9.0), (10, Some(0.0), Some(27.0)));
        assert_eq!(ends(2.5, 4.5), (4, Some(7.5), Some(13.5)));
        assert_eq!(ends(4.25, 4.75), (2, Some(12.75), Some(14.25)));
        assert_eq!(ends(20.0, 30.0).0, 0);
    }
}
