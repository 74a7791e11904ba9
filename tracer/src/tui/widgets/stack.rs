//! The selected heap site: its exact numbers and its whole stack.

use ratatui::{Frame, layout::Rect, text::Line};

use super::{
    fitting,
    frames::Frames,
    pane::{self, Pane},
};
use crate::{
    aggregate::{BlockCounters, SiteSnapshot, Snapshot},
    report::units::{UNKNOWN, count, counted, duration},
    tui::{state::Leaks, theme::Theme},
};

/// `beside`: the pane is to the right of the sites, not below them.
pub(in crate::tui) fn draw(
    snapshot: &Snapshot,
    leaks: &mut Leaks,
    theme: Theme,
    frame: &mut Frame<'_>,
    area: Rect,
    beside: bool,
) {
    let site = leaks.browser.selected().map(|(_, index)| &snapshot.sites[index]);
    let title = site.map_or_else(|| " stack ".to_owned(), |site| format!(" stack of site {} ", site.id.0));
    let pane = Pane { title, focused: leaks.browser.focus == pane::FOCUS, beside };
    let focused = pane.focused;
    let inner = pane.draw(theme, frame, area);
    if let Some(site) = site {
        let below = pane::numbers(numbers(site, inner.width), frame, inner);
        let frames = Frames::new(&site.stack, focused);
        let line = |index| frames.line(index, theme);
        pane::scrolled(&mut leaks.browser.detail, frames.len(), line, frame, below);
    }
}

fn numbers(site: &SiteSnapshot, width: u16) -> Vec<Line<'static>> {
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = site.counters;
    let amount = |bytes: u64, objects: u64| format!("{} B in {}", count(bytes), counted(objects, "object", "objects"));
    let age = site.oldest.map_or_else(|| UNKNOWN.to_owned(), duration);
    let held = amount(site.counters.inuse_bytes(), site.counters.inuse_objects());
    let taken = amount(alloc_bytes, alloc_objects);
    let given = amount(free_bytes, free_objects);
    vec![
        fitting(vec![format!("outstanding {held}").into(), format!("oldest {age}").into()], width),
        fitting(vec![format!("allocated {taken}").into(), format!("freed {given}").into()], width),
    ]
}
