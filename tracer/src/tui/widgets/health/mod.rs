//! How far the numbers can be trusted: what was lost, what could not be followed, which probes are in and hit, what of the
//! kernel is in use, and what leaktrace itself costs.

mod probes;
mod sections;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
};

use super::pane::{Pane, scrolled};
use crate::{
    aggregate::Snapshot,
    tui::{state::State, theme::Theme},
};

/// From this width on, the probes are beside the rest.
const WIDE: u16 = 160;

/// What the help says of it.
pub(in crate::tui) const EXPLAINED: &[(&str, &str)] = &[
    ("LOSS", "what is in no number, why, what to do"),
    ("STACKS", "how walks of call stacks ended"),
    ("KERNEL", "* stands in for something newer"),
    ("HITS", "times that a probe was hit"),
];

pub(in crate::tui) fn draw(state: &mut State, snapshot: &Snapshot, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let scroll = &mut state.health.scroll;
    // Names wrap nowhere; sideways there is the rest of them.
    if area.width >= WIDE {
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(area);
        let lines = sections::lines(snapshot, theme, usize::from(left.width.saturating_sub(1)));
        let probes = probes::Probes::new(snapshot, usize::from(right.width.saturating_sub(1)));
        let pane = Pane { title: " PROBES ".to_owned(), focused: false, beside: true };
        let right = pane.draw(theme, frame, right);
        // Both are scrolled together, each as far as it goes.
        let longest = lines.len().max(probes.len() + usize::from(left.height - right.height));
        scroll.bound(longest, usize::from(left.height));
        let (mut own, mut others) = (*scroll, *scroll);
        scrolled(&mut own, lines.len(), |line| lines[line].clone(), frame, left);
        scrolled(&mut others, probes.len(), |line| probes.line(line, theme), frame, right);
        scroll.left = own.left.max(others.left);
        return;
    }
    let mut lines = sections::lines(snapshot, theme, usize::from(area.width));
    lines.extend([Line::default(), sections::title("PROBES", "", theme)]);
    let probes = probes::Probes::new(snapshot, usize::from(area.width));
    let line = |index: usize| match lines.get(index) {
        Some(line) => line.clone(),
        None => probes.line(index - lines.len(), theme),
    };
    scrolled(scroll, lines.len() + probes.len(), line, frame, area);
}
