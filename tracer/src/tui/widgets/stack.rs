//! The selected heap site: why it is called what it is, its exact numbers, its course, how long its blocks live and how
//! large they are, and its whole stack.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    fds::pane::Table,
    fitting,
    frames::Frames,
    lifetimes,
    pane::{self, Pane},
    sizes,
    sparkline::sparkline,
    wrapped::wrapped,
};
use crate::{
    aggregate::{BlockCounters, Descriptors, SiteSnapshot, Snapshot},
    report::{
        basename, call_site,
        fd_words::kinds_words,
        growth_words::faulted_words,
        units::{UNKNOWN, bytes, count, counted, duration, signed_bytes},
        untrusted::{clean, columns},
        with_errors,
    },
    tui::{
        state::{Related, Row, Sources, State, Trails},
        theme::Theme,
    },
};

/// From this height of the pane on, there is room for the course and the ages.
const ROOMY: u16 = 12;
/// One in so many lines of the pane may be of the histogram of sizes.
const HISTOGRAM: u16 = 5;
/// Lines of the reason at most.
const REASON: usize = 3;
/// Seconds that the course shows: a day.
const COURSE: f64 = 86_400.0;

/// `beside`: the pane is to the right of the sites, not below them.
pub(in crate::tui) fn draw(
    snapshot: &Snapshot,
    state: &mut State,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
    beside: bool,
) {
    let State { leaks, trails, sources, related, .. } = state;
    let site = leaks.selected_site(snapshot);
    let title = match (site, leaks.selected().map_or(1, Row::len)) {
        (None, _) => " stack ".to_owned(),
        (Some(site), 1) => format!(" stack of site {} ", site.id.0),
        (Some(site), sites) => format!(" stack of site {}, the largest of {sites} ", site.id.0),
    };
    let pane = Pane { title, focused: leaks.browser.focus == pane::FOCUS, beside };
    let focused = pane.focused;
    let inner = pane.draw(theme, frame, area);
    if let Some(site) = site {
        let mut lines = numbers(site, inner.width);
        lines.extend(reason(site, theme, inner.width));
        lines.extend(source(site, sources, theme, inner.width));
        let related = snapshot.descriptors.as_ref().and_then(|all| Some((all, related.find(site, Some(all))?)));
        lines.extend(related.map(|(all, related)| together(all, related, theme, inner.width)));
        if inner.height >= ROOMY {
            lines.extend(course(site, snapshot, trails, theme, inner.width));
            lines.extend(site.ages.as_ref().and_then(|ages| lifetimes::line(ages, theme, inner.width)));
            let rows = usize::from(inner.height / HISTOGRAM);
            lines.extend(site.sizes.iter().flat_map(|sizes| sizes::lines(sizes, rows, theme, inner.width)));
        }
        let below = pane::numbers(lines, frame, inner);
        let frames = Frames::new(&site.stack, focused);
        let table = related
            .map(|(all, related)| Table::new(all, &related.group, related.origin, usize::from(inner.width), focused));
        // An empty line, and a heading.
        let total = frames.len() + table.as_ref().map_or(0, |table| 2 + table.len());
        let line = |index: usize| match (&table, index.checked_sub(frames.len())) {
            (_, None) => frames.line(index, theme),
            (None, _) | (_, Some(0)) => Line::default(),
            (Some(table), Some(1)) => table.heading(theme),
            (Some(table), Some(row)) => table.line(row - 2, theme),
        };
        pane::scrolled(&mut leaks.browser.detail, total, line, frame, below);
    }
}

fn numbers(site: &SiteSnapshot, width: u16) -> Vec<Line<'static>> {
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = site.counters;
    if let Some(faulted) = site.faulted {
        let words = format!("{} faulted in", faulted_words(faulted));
        let samples = counted(faulted.samples, "sample", "samples");
        return vec![
            fitting(vec![words.into()], width),
            fitting(vec![format!("by {samples}").into(), "what is given back is not seen".into()], width),
        ];
    }
    let amount = |bytes: u64, objects: u64| format!("{} B in {}", count(bytes), counted(objects, "object", "objects"));
    let age = site.oldest.map_or_else(|| UNKNOWN.to_owned(), duration);
    let sampled = site.sampled.as_deref();
    let held = amount(site.counters.inuse_bytes(), site.counters.inuse_objects());
    let held = with_errors(held, sampled.map(|sampled| (sampled.inuse_bytes(), sampled.inuse_objects())));
    let taken = amount(alloc_bytes, alloc_objects);
    let taken = with_errors(taken, sampled.map(|sampled| (sampled.alloc_bytes(), sampled.alloc_objects())));
    let given = amount(free_bytes, free_objects);
    let given = with_errors(given, sampled.map(|sampled| (sampled.free_bytes(), sampled.free_objects())));
    vec![
        fitting(vec![format!("outstanding {held}").into(), format!("oldest {age}").into()], width),
        fitting(vec![format!("allocated {taken}").into(), format!("freed {given}").into()], width),
    ]
}

/// The verdict, since when it holds, and why.
fn reason(site: &SiteSnapshot, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let Some(verdict) = &site.verdict else { return Vec::new() };
    let begin = format!("{} since {} ", verdict.label.name(), duration(verdict.since));
    let words = format!("{begin}({:.0}% sure): {}", verdict.confidence * 100.0, verdict.reason);
    let mut lines: Vec<Line<'static>> =
        wrapped(&words, usize::from(width), REASON).into_iter().map(Line::raw).collect();
    if let Some(first) = lines.first_mut() {
        let text = first.to_string();
        let label = verdict.label.name();
        let rest = text.strip_prefix(label).unwrap_or_default().to_owned();
        *first = Line::from(vec![Span::styled(label, theme.verdict(verdict.label)), Span::raw(rest)]);
    }
    lines
}

/// The line of the source that the call site is at.
fn source(site: &SiteSnapshot, sources: &mut Sources, theme: Theme, width: u16) -> Option<Line<'static>> {
    let frame = call_site(&site.stack)?;
    let (file, number) = (frame.file.as_ref()?, frame.line?);
    let text = sources.line(file, number)?;
    let place = format!("{}:{number} ", basename(file));
    let room = usize::from(width).saturating_sub(columns(&place));
    Some(Line::from(vec![
        Span::styled(clean(&place, usize::from(width)).into_owned(), theme.dim()),
        Span::styled(clean(&text, room).into_owned(), theme.heading()),
    ]))
}

/// What is open that has the same function in its stack. Each of them has a line below the stack.
fn together(descriptors: &Descriptors, related: &Related, theme: Theme, width: u16) -> Line<'static> {
    let fds = &related.group.fds;
    let oldest = fds.first().and_then(|&index| descriptors.open[index].age);
    let name = clean(&related.function, usize::from(width / 3)).into_owned();
    let open = counted(fds.len() as u64, "descriptor", "descriptors");
    let mut segments = vec![
        Span::styled(format!("{open} open below {name}"), theme.bold()),
        Span::raw(kinds_words(&related.group.kinds)),
    ];
    segments.extend(oldest.map(|age| Span::raw(format!("oldest {}", duration(age)))));
    fitting(segments, width)
}

/// What it held over time.
fn course(
    site: &SiteSnapshot,
    snapshot: &Snapshot,
    trails: &Trails,
    theme: Theme,
    width: u16,
) -> Option<Line<'static>> {
    let trail = trails.site(site.id)?;
    let (first, last) = (trail.marks().first()?, trail.marks().last()?);
    let span = std::time::Duration::from_secs_f64((last.at - first.at).max(0.0));
    let change = signed_bytes(last.value - first.value);
    let words = format!(" {change} in {}, now {}", duration(span), bytes(last.value as u64));
    let room = usize::from(width).saturating_sub(words.len());
    let sparks = sparkline(&[trail], snapshot.elapsed.as_secs_f64(), COURSE, room.min(60));
    (!sparks.is_empty()).then(|| Line::from(vec![Span::styled(sparks, theme.bold()), Span::raw(words)]))
}
