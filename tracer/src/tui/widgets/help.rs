//! The overlay that lists every key and explains the columns.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::{fds, flame, health, peers, sites, timeline};
use crate::tui::{
    input::{KEYS, RECORDING_KEYS},
    state::{State, Tab},
    theme::Theme,
};

const WIDTH: u16 = 78;
const KEY_COLUMNS: usize = 16;

pub(in crate::tui) fn draw(state: &mut State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    let Some(scroll) = &mut state.help else { return };
    let lines = lines(state.tab, state.recorded.is_some(), theme, area.width < WIDTH);
    let width = WIDTH.min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let overlay = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    scroll.bound(lines.len(), usize::from(height - 2));
    let block = Block::bordered().title(Span::styled(" keys ", theme.heading()));
    frame.render_widget(Clear, overlay);
    frame.render_widget(Paragraph::new(lines).scroll((scroll.top as u16, 0)).block(block), overlay);
}

/// `narrow`: meanings go below what they explain.
fn lines(tab: Tab, recorded: bool, theme: Theme, narrow: bool) -> Vec<Line<'static>> {
    let entry = |key: &str, meaning: &'static str| {
        let key = Span::styled(format!(" {key:<KEY_COLUMNS$}"), theme.bold());
        if narrow {
            let meaning = Line::raw(format!("   {meaning}"));
            if key.content.trim().is_empty() { vec![meaning] } else { vec![Line::from(key), meaning] }
        } else {
            vec![Line::from(vec![key, Span::raw(meaning)])]
        }
    };
    // Those of a recording come first, since they are other than what one knows.
    let of_recording = if recorded { RECORDING_KEYS } else { &[] };
    let is_other = |(key, _): &&(&str, &str)| recorded && matches!(*key, "Home g" | "End G");
    let keys = of_recording.iter().chain(KEYS.iter().filter(|entry| !is_other(entry)));
    let keys = keys.flat_map(|&(key, meaning)| entry(key, meaning));
    let explained = match tab {
        Tab::Leaks => sites::COLUMNS,
        Tab::Descriptors => fds::table::COLUMNS,
        Tab::Peers => peers::table::COLUMNS,
        Tab::Timeline => timeline::EXPLAINED,
        Tab::Flame => flame::EXPLAINED,
        Tab::Health => health::EXPLAINED,
    };
    let columns = explained.iter().flat_map(|&(heading, meaning)| entry(heading, meaning));
    keys.chain([Line::default()]).chain(columns).collect()
}
