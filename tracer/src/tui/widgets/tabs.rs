//! The bar of tabs. It also says on the other tabs that something is wrong with the descriptors.

use ratatui::{Frame, layout::Rect, text::Span};

use super::fitting;
use crate::{
    report::units::counted,
    tui::{
        state::{State, Tab},
        theme::Theme,
    },
};

/// Under this width, the number of signals has no words.
const NARROW: u16 = 60;
/// A signal is at least as urgent as this share of the limit.
const SIGNAL: f64 = 0.80;

pub(in crate::tui) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let mut segments = Vec::new();
    for (number, tab) in Tab::ALL.into_iter().enumerate() {
        let style = if tab == state.tab { theme.selected(true) } else { theme.heading() };
        segments.push(Span::styled(format!(" {} {} ", number + 1, tab.name()), style));
        let Some(descriptors) = state.descriptors().filter(|_| tab == Tab::Descriptors) else { continue };
        let signals = descriptors.signals.len() as u64;
        if signals > 0 {
            let words = if area.width < NARROW { format!("!{signals}") } else { counted(signals, "signal", "signals") };
            let share = descriptors.limits.map_or(0.0, |limits| limits.share());
            segments.push(Span::styled(words, theme.share(share.max(SIGNAL))));
        }
    }
    frame.render_widget(fitting(segments, area.width), area);
}
