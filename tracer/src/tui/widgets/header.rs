//! The first lines: who is traced, how much it holds, how fast that changes, and what the numbers are missing.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{fds::summary, fitting};
use crate::{
    aggregate::{IncompleteCount, LossCount, ProcessSnapshot, Rates, Snapshot},
    report::{
        state_words,
        units::{bytes, count, counted, duration, rate, signed_bytes},
        untrusted::clean,
    },
    tui::{
        state::{State, Tab},
        theme::Theme,
    },
};

/// Lines it takes.
pub(in crate::tui) const HEIGHT: u16 = 4;
/// Under this width, words give way to numbers.
const NARROW: u16 = 60;

pub(in crate::tui) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let lines = match &state.snapshot {
        Some(snapshot) => lines(state, snapshot, theme, area.width),
        None => vec![Line::styled("leaktrace", theme.heading())],
    };
    frame.render_widget(Paragraph::new(lines), area);
}

fn lines<'a>(state: &'a State, snapshot: &'a Snapshot, theme: Theme, width: u16) -> Vec<Line<'a>> {
    let Snapshot { elapsed, loss, incomplete, .. } = snapshot;
    let [first, second] = match (state.tab, &snapshot.descriptors) {
        (Tab::Leaks, _) if snapshot.heap_traced => heap(snapshot, theme, width),
        (Tab::Descriptors, Some(descriptors)) => summary::descriptors(descriptors, &state.fds, theme, width),
        (Tab::Peers, Some(descriptors)) => summary::peers(descriptors, theme, width),
        (Tab::Leaks, _) | (Tab::Descriptors | Tab::Peers, None) => [Line::default(), Line::default()],
    };
    vec![target(snapshot, theme, width, duration(*elapsed)), first, second, trust(loss, incomplete, theme, width)]
}

fn heap(snapshot: &Snapshot, theme: Theme, width: u16) -> [Line<'static>; 2] {
    let Snapshot { totals, sample, rates, .. } = snapshot;
    let mark = if sample.is_some() { "~" } else { "" };
    let Rates { allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s } = *rates;
    [
        fitting(
            vec![
                Span::styled(format!("{mark}{} outstanding", bytes(totals.inuse_bytes())), theme.bold()),
                Span::raw(format!("{mark}{}", counted(totals.inuse_objects(), "object", "objects"))),
                Span::styled(format!("{mark}{}/s", signed_bytes(inuse_bytes_per_s)), theme.change(inuse_bytes_per_s)),
            ],
            width,
        ),
        fitting(
            sample
                .iter()
                .map(|sample| Span::styled(format!("sampled 1 in {}", sample.rate), theme.bold()))
                .chain([
                    Span::raw(format!("{mark}{} allocs/s", rate(allocs_per_s))),
                    Span::raw(format!("{mark}{} frees/s", rate(frees_per_s))),
                    Span::raw(format!("{mark}{}/s allocated", signed_bytes(alloc_bytes_per_s).trim_start_matches('+'))),
                ])
                .collect(),
            width,
        ),
    ]
}

fn target(snapshot: &Snapshot, theme: Theme, width: u16, elapsed: String) -> Line<'_> {
    let narrow = width < NARROW;
    let words = state_words(&snapshot.state);
    let words = if narrow { words.split([',', ' ']).next().unwrap_or(words) } else { words };
    let comm = clean(&snapshot.target.comm, if narrow { 14 } else { 24 });
    let mut segments = vec![
        Span::styled(format!("{comm}[{}]", snapshot.target.pid.0), theme.bold()),
        Span::raw(processes(&snapshot.processes)),
        Span::styled(words, theme.state(&snapshot.state)),
        Span::raw(elapsed),
    ];
    if narrow {
        // What there is no room for is the last ones.
        segments.swap(1, 2);
    }
    segments.retain(|segment| !segment.content.is_empty());
    if !narrow {
        segments.insert(0, Span::styled("leaktrace", theme.heading()));
    }
    fitting(segments, width)
}

/// How many processes there are, of which the first has its name in the header; empty for one.
fn processes(processes: &[ProcessSnapshot]) -> String {
    let all = processes.len() as u64;
    let ended = processes.iter().filter(|process| process.ended.is_some()).count() as u64;
    match (all, ended) {
        (0 | 1, _) => String::new(),
        (all, 0) => format!("{} processes", count(all)),
        (all, ended) => format!("{} of {} processes", count(all - ended), count(all)),
    }
}

/// How far the numbers and the stacks can be trusted.
fn trust(loss: &[LossCount], incomplete: &[IncompleteCount], theme: Theme, width: u16) -> Line<'static> {
    let mut segments = Vec::new();
    if loss.is_empty() {
        segments.push(Span::styled("no loss", theme.no_loss()));
    } else {
        let total = loss.iter().map(|loss| loss.count).fold(0, u64::saturating_add);
        segments.push(Span::styled(format!("LOSS {}", count(total)), theme.loss()));
    }
    segments.extend(loss.iter().map(|&LossCount { cause, count: lost }| {
        Span::styled(format!("{} {}", cause.name(), count(lost)), theme.loss())
    }));
    if !incomplete.is_empty() {
        let total = incomplete.iter().map(|incomplete| incomplete.objects).fold(0, u64::saturating_add);
        segments.push(Span::styled(format!("incomplete stacks {}", count(total)), theme.incomplete()));
        segments.extend(incomplete.iter().map(|&IncompleteCount { end, objects }| {
            Span::styled(format!("{} {}", end.name(), count(objects)), theme.incomplete())
        }));
    }
    fitting(segments, width)
}
