//! The last line: a message, or the keys that matter and the place in the list.

use ratatui::{
    Frame,
    layout::{Alignment, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::fitting;
use crate::{
    report::{
        units::{count, counted, duration},
        untrusted::clean,
    },
    tui::{
        state::{Focus, Leaks, State, Tab},
        theme::Theme,
    },
};

pub(in crate::tui) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    if let Some(message) = &state.status {
        let message = clean(message, usize::from(area.width));
        frame.render_widget(Paragraph::new(Line::styled(message, theme.bold())), area);
        return;
    }
    let mut place = Line::styled(place(state), theme.dim());
    // On the first screen, it is in the middle.
    if let Some(progress) = state.progress.as_deref().filter(|_| state.snapshot.is_some()) {
        let words = format!("{}  ", clean(progress, usize::from(area.width / 2)));
        place.spans.insert(0, Span::styled(words, theme.bold()));
    }
    let other = match (state.focus(), state.tab) {
        (Focus::Detail, _) => "Tab list",
        (Focus::List, Tab::Leaks) => "Tab stack",
        (Focus::List, Tab::Descriptors) => "Tab descriptors",
        (Focus::List, Tab::Peers) => "Tab call sites",
        (Focus::List, Tab::Timeline | Tab::Flame | Tab::Health) => "",
    };
    let sort = if matches!(state.tab, Tab::Timeline | Tab::Health) { "" } else { "s sort" };
    let mut keys = vec!["? help", "q quit", other, sort, "1-6 tabs"];
    keys.retain(|key| !key.is_empty());
    if state.recorded.is_some() {
        keys.insert(2, ", . time");
    }
    let keys = keys.into_iter().map(|key| Span::styled(key, theme.dim())).collect();
    let room = area.width.saturating_sub(place.width() as u16 + 2);
    frame.render_widget(Paragraph::new(fitting(keys, room)), area);
    frame.render_widget(Paragraph::new(place).alignment(Alignment::Right), area);
}

fn place(state: &State) -> String {
    let place = |row: usize, len: usize, one: &str, many: &str| {
        let row = if len == 0 { 0 } else { row as u64 + 1 };
        format!("{} of {}", count(row), counted(len as u64, one, many))
    };
    match state.tab {
        Tab::Leaks if state.snapshot.as_ref().is_some_and(|snapshot| !snapshot.has_memory()) => String::new(),
        Tab::Descriptors | Tab::Peers if state.descriptors().is_none() => String::new(),
        Tab::Leaks => {
            let Leaks { browser, young, min_age, .. } = &state.leaks;
            let place = place(browser.row(), browser.len(), "site", "sites");
            match young {
                0 => place,
                young => format!("{place}, {young} under {} old", duration(*min_age)),
            }
        }
        Tab::Descriptors => place(state.fds.browser.row(), state.fds.browser.len(), "row", "rows"),
        Tab::Timeline | Tab::Flame | Tab::Health => String::new(),
        Tab::Peers => place(state.peers.browser.row(), state.peers.browser.len(), "peer", "peers"),
    }
}
