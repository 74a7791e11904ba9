//! Everything but the probes, as lines. There are few enough to make all of them.

use std::time::Duration;

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use crate::{
    aggregate::{Feature, IncompleteCount, LossCount, Note, Overhead, OwnCost, Snapshot, StatCount},
    report::{
        loss_advice, loss_words,
        mode_words::{calls_words, modes_words},
        stack_end_words, stat_words,
        units::{bytes, count, duration},
        untrusted::{clean, columns, displayable},
    },
    tui::theme::Theme,
};

/// Columns of a number, and of a name.
const NUMBER: usize = 13;
const NAME: usize = 14;

pub(super) fn title(name: &'static str, words: &str, theme: Theme) -> Line<'static> {
    Line::from(vec![Span::styled(name, theme.heading()), Span::raw(format!("  {words}"))])
}

pub(super) fn lines(snapshot: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let sections = [
        loss(snapshot, theme, width),
        notes(snapshot, theme, width),
        stacks(snapshot, theme, width),
        seen(snapshot, theme, width),
        kernel(snapshot, theme, width),
        overhead(snapshot, theme, width),
        own_cost(snapshot, theme, width),
    ];
    let sections = sections.into_iter().filter(|lines| !lines.is_empty());
    let mut lines = Vec::new();
    for section in sections {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.extend(section);
    }
    lines
}

/// `first`, then words that go on below where they began.
fn wrapped(first: Span<'static>, words: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let indent = columns(&first.content);
    let room = width.saturating_sub(indent).max(16);
    let mut rows = vec![String::new()];
    for word in displayable(words).split(' ') {
        let taken = rows.last().map_or(0, |row| columns(row));
        if taken > 0 && taken + 1 + columns(word) > room {
            rows.push(String::new());
        }
        if let Some(row) = rows.last_mut() {
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(&clean(word, room));
        }
    }
    let mut first = Some(first);
    let line = |row: String| {
        let before = first.take().unwrap_or_else(|| Span::raw(" ".repeat(indent)));
        Line::from(vec![before, Span::styled(row, style)])
    };
    rows.into_iter().map(line).collect()
}

fn number(value: u64, style: Style) -> Span<'static> {
    Span::styled(format!("{:>NUMBER$} ", count(value)), style)
}

fn name(name: &str) -> Span<'static> {
    Span::raw(format!("  {:<NAME$} ", clean(name, NAME)))
}

fn loss(Snapshot { loss, sample, growth, .. }: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if loss.is_empty() {
        let is_exact = sample.is_none() && growth.is_none();
        let words = if is_exact { "  none: every number is exact" } else { "  none" };
        return vec![Line::from(vec![Span::styled("LOSS", theme.heading()), Span::styled(words, theme.no_loss())])];
    }
    let mut lines = vec![Line::styled("LOSS", theme.loss())];
    for &LossCount { cause, count } in loss {
        lines.extend(wrapped(number(count, theme.loss()), loss_words(cause), theme.loss_words(), width));
        lines.extend(wrapped(Span::raw(" ".repeat(NUMBER + 1)), loss_advice(cause), Style::new(), width));
    }
    lines
}

fn notes(Snapshot { notes, processes, .. }: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if notes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![title("NOT IN THE NUMBERS", "", theme)];
    for Note { what, pids } in notes {
        let whose = match pids[..] {
            [] => String::new(),
            _ if processes.len() <= 1 => String::new(),
            [pid] => format!("process {}: ", pid.0),
            [first, ..] => format!("process {} and {} more: ", first.0, pids.len() - 1),
        };
        lines.extend(wrapped(Span::raw("  "), &format!("{whose}{what}"), Style::new(), width));
    }
    lines
}

fn stacks(snapshot: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if !snapshot.heap_traced {
        return Vec::new();
    }
    let all = snapshot.totals.alloc_objects;
    let cut: u64 = snapshot.incomplete.iter().map(|incomplete| incomplete.objects).sum();
    let mut lines = vec![title("STACKS", "of blocks allocated since attach", theme)];
    let row = |objects: u64, words: &str, style: Style| {
        let share = if all == 0 { 0.0 } else { objects as f64 / all as f64 * 100.0 };
        wrapped(number(objects, style), &format!("{share:>5.1} %  {words}"), Style::new(), width)
    };
    lines.extend(row(all.saturating_sub(cut), "complete, down to the thread's start", Style::new()));
    for &IncompleteCount { end, objects } in &snapshot.incomplete {
        lines.extend(row(
            objects,
            &format!("not whole: {}", stack_end_words(end).unwrap_or_default()),
            theme.incomplete(),
        ));
    }
    lines
}

fn seen(Snapshot { stats, .. }: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if stats.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![title("ALSO SEEN", "no loss, for the record", theme)];
    let rows = stats.iter().flat_map(|&StatCount { stat, count }| {
        wrapped(number(count, Style::new()), stat_words(stat), Style::new(), width)
    });
    lines.extend(rows);
    lines
}

fn kernel(Snapshot { features, .. }: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if features.is_empty() {
        return Vec::new();
    }
    let fallback = features.iter().any(|feature| !feature.best);
    let mut lines = vec![title("KERNEL", if fallback { "* stands in for something newer" } else { "" }, theme)];
    for Feature { name: what, used, best } in features {
        let (used, style) =
            if *best { (used.to_string(), Style::new()) } else { (format!("* {used}"), theme.incomplete()) };
        lines.extend(wrapped(name(what), &used, style, width));
    }
    lines
}

/// What the probes cost the target.
fn overhead(snapshot: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let Some(overhead @ Overhead { probes, cpu, limit }) = &snapshot.overhead else { return Vec::new() };
    let seconds = |time: Duration| format!("{:.3}s", time.as_secs_f64());
    let share = format!("{:.1} % of its CPU time", overhead.share() * 100.0);
    let words = format!("{share}, {} of {} in the last {}", seconds(*probes), seconds(*cpu), duration(snapshot.window));
    let mut lines = vec![title("COST TO THE TARGET", "", theme)];
    lines.extend(wrapped(name("probes"), &words, Style::new(), width));
    if let Some(limit) = limit {
        let words = format!("{:.1} % at most, as --max-overhead says", limit * 100.0);
        lines.extend(wrapped(name("limit"), &words, Style::new(), width));
    }
    if let Some(words) = modes_words(&snapshot.modes) {
        lines.extend(wrapped(name("mode"), &words, Style::new(), width));
    }
    if let Some(words) = calls_words(&snapshot.modes) {
        lines.extend(wrapped(name("calls"), &words, Style::new(), width));
    }
    if let Some(sample) = snapshot.sample.as_ref().filter(|sample| !sample.rate.is_all()) {
        let words = format!("{} is tracked: memory is estimated", sample.rate.words());
        lines.extend(wrapped(name("sampling"), &words, Style::new(), width));
    }
    lines
}

/// What leaktrace itself costs.
fn own_cost(snapshot: &Snapshot, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let Some(OwnCost { cpu, resident }) = snapshot.own_cost else { return Vec::new() };
    let mut lines = vec![title("LEAKTRACE ITSELF", "", theme)];
    let elapsed = snapshot.elapsed.as_secs_f64();
    // What the start took is not what it goes on to cost.
    let share = if elapsed >= 10.0 {
        format!(", {:.1} % of a core", cpu.as_secs_f64() / elapsed * 100.0)
    } else {
        String::new()
    };
    let spent = if cpu.as_secs() < 60 { format!("{:.1}s", cpu.as_secs_f64()) } else { duration(cpu) };
    lines.extend(wrapped(name("processor"), &format!("{spent}{share}"), Style::new(), width));
    lines.extend(wrapped(name("resident"), &bytes(resident), Style::new(), width));
    lines
}
