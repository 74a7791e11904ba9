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
        state::{Focus, State},
        theme::Theme,
    },
};

pub(in crate::tui) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    if let Some(message) = &state.status {
        let message = clean(message, usize::from(area.width));
        frame.render_widget(Paragraph::new(Line::styled(message, theme.bold())), area);
        return;
    }
    let place = Line::styled(place(state), theme.dim());
    let other = match state.focus {
        Focus::Sites => "Tab stack",
        Focus::Stack => "Tab sites",
    };
    let keys = ["? help", "q quit", other, "s sort"].map(|key| Span::styled(key, theme.dim()));
    let room = area.width.saturating_sub(place.width() as u16 + 2);
    frame.render_widget(Paragraph::new(fitting(keys.to_vec(), room)), area);
    frame.render_widget(Paragraph::new(place).alignment(Alignment::Right), area);
}

fn place(state: &State) -> String {
    let row = if state.len() == 0 { 0 } else { state.row() as u64 + 1 };
    let place = format!("{} of {}", count(row), counted(state.len() as u64, "site", "sites"));
    match state.young {
        0 => place,
        young => format!("{place}, {young} under {} old", duration(state.min_age)),
    }
}
