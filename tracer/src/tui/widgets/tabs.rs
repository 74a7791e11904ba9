//! The bar of tabs. It also says on the other tabs that something is wrong with the descriptors.

use std::ops::Range;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use crate::{
    report::units::counted,
    tui::{
        state::{State, Tab},
        theme::Theme,
    },
};

/// A signal is at least as urgent as this share of the limit.
const SIGNAL: f64 = 0.80;

/// How much is said of each tab; the first one that fits is drawn.
#[derive(Clone, Copy)]
enum Words {
    Whole,
    Short,
    /// The name of the tab that is shown, and the numbers of the others.
    Numbers,
}

/// Draws the bar, and returns where each tab's name is.
pub(in crate::tui) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) -> Vec<(Rect, Tab)> {
    let bars = [Words::Whole, Words::Short, Words::Numbers].map(|words| bar(state, words, theme));
    let fits = bars.iter().find(|(bar, _)| bar.width() <= usize::from(area.width));
    let (bar, names) = fits.unwrap_or(&bars[2]);
    frame.render_widget(bar, area);
    let place = |(columns, tab): &(Range<usize>, Tab)| {
        let name = Rect { x: area.x + columns.start as u16, width: columns.len() as u16, ..area };
        (name.intersection(area), *tab)
    };
    names.iter().map(place).collect()
}

/// The bar, and the columns of each tab's name in it.
fn bar(state: &State, words: Words, theme: Theme) -> (Line<'static>, Vec<(Range<usize>, Tab)>) {
    let mut bar = Line::default();
    let mut names = Vec::new();
    for (number, tab) in (1..).zip(Tab::ALL) {
        let shown = tab == state.tab;
        let style = if shown { theme.selected(true) } else { theme.heading() };
        let name = match words {
            Words::Whole => format!(" {number} {} ", tab.name()),
            Words::Numbers if !shown => format!(" {number} "),
            Words::Short | Words::Numbers => format!(" {number} {} ", tab.short_name()),
        };
        let begin = bar.width();
        bar.push_span(Span::styled(name, style));
        names.push((begin..bar.width(), tab));
        let Some(descriptors) = state.descriptors().filter(|_| tab == Tab::Descriptors) else { continue };
        let signals = descriptors.signals.len() as u64;
        if signals > 0 {
            let words = match words {
                Words::Whole => counted(signals, "signal", "signals"),
                Words::Short | Words::Numbers => format!("!{signals}"),
            };
            let share = descriptors.limits.map_or(0.0, |limits| limits.share());
            bar.push_span(Span::styled(words, theme.share(share.max(SIGNAL))));
        }
    }
    (bar, names)
}
