//! What the panes beside or below the tables have in common: a title, numbers, and lines to scroll through.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};

use crate::tui::{
    state::{Focus, Scroll},
    theme::Theme,
};

/// Has the movement keys when the pane is scrolled.
pub(super) const FOCUS: Focus = Focus::Detail;

/// In fewer lines than this, the numbers leave all of them to what is below.
const ROOMY: u16 = 5;

pub(super) struct Pane {
    pub(super) title: String,
    pub(super) focused: bool,
    /// To the right of the table, not below it.
    pub(super) beside: bool,
}

impl Pane {
    /// Draws the frame and returns what is in it.
    pub(super) fn draw(self, theme: Theme, frame: &mut Frame<'_>, area: Rect) -> Rect {
        let Self { title, focused, beside } = self;
        let style = if focused { theme.selected(true) } else { theme.heading() };
        let borders = if beside { Borders::LEFT | Borders::TOP } else { Borders::TOP };
        let block = Block::new().borders(borders).border_style(theme.dim()).title(Span::styled(title, style));
        let inner = block.inner(area);
        frame.render_widget(block, area);
        inner
    }
}

/// Draws the numbers if there is room, and returns the rest.
pub(super) fn numbers(lines: Vec<Line<'_>>, frame: &mut Frame<'_>, area: Rect) -> Rect {
    if area.height < ROOMY {
        return area;
    }
    let above = lines.len() as u16;
    frame.render_widget(Paragraph::new(lines), area);
    Rect { y: area.y + above, height: area.height - above, ..area }
}

/// Draws those of `total` lines that are scrolled to.
pub(super) fn scrolled<'a>(
    scroll: &mut Scroll,
    total: usize,
    line: impl Fn(usize) -> Line<'a>,
    frame: &mut Frame<'_>,
    area: Rect,
) {
    let page = usize::from(area.height);
    scroll.bound(total, page);
    let lines: Vec<Line<'_>> = (scroll.top..total.min(scroll.top + page)).map(line).collect();
    let widest = lines.iter().map(Line::width).max().unwrap_or(0);
    scroll.left = scroll.left.min(widest.saturating_sub(usize::from(area.width)));
    frame.render_widget(Paragraph::new(lines).scroll((0, scroll.left as u16)), area);
}
