//! The first lines, the same on every tab: who is traced, how much memory and how many descriptors it has of how much, how
//! fast that changes and how long it can, and what the numbers are missing.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{fds::summary, fitting, sparkline::sparkline};
use crate::{
    aggregate::{IncompleteCount, LossCount, ProcessSnapshot, Rates, Snapshot},
    analyze::process::ProcessSignal,
    report::{
        estimate_mark,
        mode_words::change_words,
        state_words,
        units::{bytes, count, duration, rate, signed_bytes},
        untrusted::clean,
    },
    tui::{
        state::{Quantity, Recorded, State},
        theme::Theme,
    },
};

/// Lines it takes.
pub(in crate::tui) const HEIGHT: u16 = 4;
/// Seconds that the sparkline shows, and its columns.
const TREND: f64 = 600.0;
const SPARKS: usize = 12;
/// Percent of the target's CPU time from which on what the probes take is a warning.
const DEAR: f64 = 10.0;
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
    vec![
        target(state, snapshot, theme, width, duration(*elapsed)),
        memory(state, snapshot, theme, width),
        flow(snapshot, theme, width),
        trust(loss, incomplete, theme, width),
    ]
}

/// Resident memory against its limit, how it grows, and how long that can go on.
fn memory(state: &State, snapshot: &Snapshot, theme: Theme, width: u16) -> Line<'static> {
    let analyses = || snapshot.analysis.iter().map(|(_, analysis)| analysis);
    let Some(rss) = analyses().filter_map(|analysis| analysis.reading.rss).reduce(u64::saturating_add) else {
        return Line::styled("resident memory is not known yet", theme.dim());
    };
    let nearest = analyses()
        .filter_map(|analysis| analysis.limits.iter().find(|limit| limit.kind.is_fatal()))
        .max_by(|a, b| a.pressure().share().total_cmp(&b.pressure().share()));
    let mut segments = vec![Span::styled(format!("RSS {}", bytes(rss)), theme.bold())];
    segments.extend(nearest.map(|limit| {
        let share = limit.pressure().share();
        Span::styled(
            format!("{:.0}% of {}", share * 100.0, bytes(limit.bytes)),
            theme.pressure(limit.pressure().mark()),
        )
    }));
    if let Some(trail) = state.trails.whole(Quantity::Resident)
        && width >= NARROW
    {
        let line = sparkline(&[trail], snapshot.elapsed.as_secs_f64(), TREND, SPARKS);
        segments.extend((!line.is_empty()).then(|| Span::styled(line, theme.dim())));
    }
    let growth = analyses().filter_map(|analysis| analysis.resident).filter(|growth| growth.certain);
    segments.push(match growth.map(|growth| growth.per_hour.value).reduce(|a, b| a + b) {
        Some(per_hour) => Span::styled(format!("{} an hour", signed_bytes(per_hour)), theme.growth(per_hour)),
        None => Span::styled("no growth", theme.dim()),
    });
    let left = analyses().flat_map(|analysis| &analysis.signals).filter_map(|signal| match signal {
        ProcessSignal::OutOfMemory { eta, .. } => Some(eta.expected),
        _ => None,
    });
    segments.extend(left.min().map(|left| Span::styled(format!("out of memory in {}", duration(left)), theme.loss())));
    fitting(segments, width)
}

/// Descriptors against their limit, and what goes on.
fn flow(snapshot: &Snapshot, theme: Theme, width: u16) -> Line<'static> {
    let mut segments = Vec::new();
    if let Some(descriptors) = &snapshot.descriptors {
        segments.push(summary::limit(descriptors, theme));
        let left = snapshot.analysis.iter().flat_map(|(_, analysis)| &analysis.signals);
        let left = left.filter_map(|signal| match signal {
            ProcessSignal::OutOfDescriptors { eta, .. } => Some(eta.expected),
            _ => None,
        });
        segments.extend(left.min().map(|left| Span::styled(format!("none left in {}", duration(left)), theme.loss())));
    }
    if let Some(faults) = &snapshot.growth {
        segments.push(Span::raw(format!("1 page fault in {}", count(faults.period))));
        if snapshot.modes.latest.is_empty() {
            segments.push(Span::styled("estimates; no probes", theme.dim()));
        }
    }
    if snapshot.heap_traced {
        let Rates { allocs_per_s, frees_per_s, .. } = snapshot.rates;
        let mark = estimate_mark(snapshot.sample.is_some());
        segments.push(Span::raw(format!("{mark}{} allocs/s", rate(allocs_per_s))));
        segments.push(Span::raw(format!("{mark}{} frees/s", rate(frees_per_s))));
        let sampled = snapshot.sample.as_ref();
        segments.extend(sampled.map(|sample| {
            let words = match sample.turns {
                Some(turns) if turns.share >= 1.0 && sample.rate.is_all() => "all tracked again".to_owned(),
                Some(turns) if turns.share < 1.0 => format!("tracked {:.1} % of the time", turns.share * 100.0),
                _ => sample.rate.short(),
            };
            Span::styled(words, theme.bold())
        }));
    }
    segments.extend(snapshot.overhead.as_ref().map(|overhead| {
        let percent = overhead.share() * 100.0;
        let style =
            if percent >= overhead.limit.map_or(DEAR, |limit| limit * 110.0) { theme.warning() } else { Style::new() };
        Span::styled(format!("costs {percent:.1} %"), style)
    }));
    let calls = snapshot
        .modes
        .calls
        .filter(|share| *share < 1.0)
        .map(|share| format!("calls {:.1} % of the time", share * 100.0));
    segments.extend(calls.map(Span::raw));
    fitting(segments, width)
}

fn target<'a>(state: &State, snapshot: &'a Snapshot, theme: Theme, width: u16, elapsed: String) -> Line<'a> {
    let narrow = width < NARROW;
    let words = state_words(&snapshot.state);
    // That numbers are final goes without saying in a recording.
    let words =
        if narrow || state.recorded.is_some() { words.split([',', ' ']).next().unwrap_or(words) } else { words };
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
    segments.extend(change_words(&snapshot.modes).into_iter().flatten().map(Span::raw));
    segments.retain(|segment| !segment.content.is_empty());
    match &state.recorded {
        Some(recorded) => segments.insert(0, Span::styled(recording(recorded, narrow), theme.heading())),
        None if !narrow => segments.insert(0, Span::styled("leaktrace", theme.heading())),
        None => {}
    }
    if state.paused.is_some() {
        segments.insert(0, Span::styled("PAUSED", theme.warning()));
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

/// That it is a recording, and of when.
fn recording(recorded: &Recorded, narrow: bool) -> String {
    let Recorded { window, windows, time } = recorded;
    if narrow {
        return format!("REC {}", time.strftime("%T"));
    }
    format!("RECORDING {}/{}  {}", count(*window as u64), count(*windows as u64), time.strftime("%F %TZ"))
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
