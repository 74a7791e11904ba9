//! What the mouse points at, as of the last frame.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::{Action, Focus, State, Tab};

/// Rows of one turn of the wheel.
const TURN: usize = 3;

/// Where things are on the screen; the view says so with each frame.
#[derive(Debug, Default)]
pub(in crate::tui) struct Places {
    pub(in crate::tui) tabs: Vec<(Rect, Tab)>,
    /// The table, whose first line is its heading.
    pub(in crate::tui) table: Option<Rect>,
    pub(in crate::tui) pane: Option<Rect>,
}

impl State {
    /// Obeys the mouse: a click shows a tab or selects a row, the wheel moves what it is over.
    pub(in crate::tui) fn on_mouse(&mut self, event: MouseEvent) {
        let MouseEvent { kind, column, row, modifiers: _ } = event;
        let at = Position { x: column, y: row };
        if self.help.is_some() || self.exporting || self.prompt.is_some() {
            return self.turn_help(kind);
        }
        let over = |area: Option<Rect>| area.is_some_and(|area| area.contains(at));
        match kind {
            MouseEventKind::Down(MouseButton::Left) => {
                if let Some((_, tab)) = self.places.tabs.iter().find(|(area, _)| area.contains(at)) {
                    self.apply(Action::Show(*tab));
                } else if let Some(table) = self.places.table.filter(|table| table.contains(at) && row > table.y) {
                    self.point(usize::from(row - table.y - 1));
                }
            }
            MouseEventKind::ScrollUp => self.turn(Action::Up, over(self.places.pane)),
            MouseEventKind::ScrollDown => self.turn(Action::Down, over(self.places.pane)),
            _ => {}
        }
    }

    fn turn_help(&mut self, kind: MouseEventKind) {
        let action = match kind {
            MouseEventKind::ScrollUp => Action::Up,
            MouseEventKind::ScrollDown => Action::Down,
            _ => return,
        };
        if self.help.is_some() {
            (0..TURN).for_each(|_| drop(self.apply(action)));
        }
    }

    /// Turns the wheel over the list, or over the pane.
    fn turn(&mut self, action: Action, over_pane: bool) {
        let before = self.focus();
        let wanted = if over_pane { Focus::Detail } else { Focus::List };
        if before != wanted {
            self.apply(Action::SwitchFocus);
        }
        (0..TURN).for_each(|_| drop(self.apply(action)));
        if before != self.focus() {
            self.apply(Action::SwitchFocus);
        }
    }

    /// Selects the row in this line of the table.
    fn point(&mut self, line: usize) {
        if self.focus() == Focus::Detail {
            self.apply(Action::SwitchFocus);
        }
        match self.tab {
            Tab::Leaks => self.leaks.browser.point(line),
            Tab::Descriptors => self.fds.browser.point(line),
            Tab::Peers => self.peers.browser.point(line),
            Tab::Timeline | Tab::Flame | Tab::Health => {}
        }
    }
}
