//! The menu of what can be exported.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use crate::tui::{input::EXPORTS, state::State, theme::Theme};

const WIDTH: u16 = 48;

pub(in crate::tui) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>, area: Rect) {
    if !state.exporting {
        return;
    }
    let mut lines: Vec<Line<'_>> = EXPORTS
        .iter()
        .map(|(key, _, words)| Line::from(vec![Span::styled(format!(" {key}  "), theme.bold()), Span::raw(*words)]))
        .collect();
    lines.push(Line::styled(" any other key leaves", theme.dim()));
    let (width, height) = (WIDTH.min(area.width), (lines.len() as u16 + 2).min(area.height));
    let overlay = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let block = Block::bordered().title(Span::styled(" export to this folder ", theme.heading()));
    frame.render_widget(Clear, overlay);
    frame.render_widget(Paragraph::new(lines).block(block), overlay);
}
