//! A list and a pane about its selected row: selection, scrolling and focus, the same on every tab.

use super::Action;

/// Rows assumed before the first frame.
const FIRST_PAGE: usize = 50;
/// Columns of one step sideways.
pub(super) const SIDE_STEP: usize = 8;

/// Which pane the movement keys act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Focus {
    List,
    Detail,
}

/// Scroll position of a pane; the view bounds it when it knows what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Scroll {
    pub(in crate::tui) top: usize,
    pub(in crate::tui) left: usize,
    pub(in crate::tui) page: usize,
}

impl Scroll {
    /// Keeps the last page in sight, of `lines` lines.
    pub(in crate::tui) fn bound(&mut self, lines: usize, page: usize) {
        self.page = page;
        self.top = self.top.min(lines.saturating_sub(page));
    }

    pub(super) fn apply(&mut self, action: Action) {
        match action {
            Action::Up => self.top = self.top.saturating_sub(1),
            Action::Down => self.top += 1,
            Action::PageUp => self.top = self.top.saturating_sub(self.page.max(1)),
            Action::PageDown => self.top += self.page.max(1),
            Action::Home => (self.top, self.left) = (0, 0),
            Action::End => self.top = usize::MAX / 2,
            Action::Left => self.left = self.left.saturating_sub(SIDE_STEP),
            Action::Right => self.left += SIDE_STEP,
            Action::SwitchFocus
            | Action::Seek(_)
            | Action::NextSort
            | Action::PreviousSort
            | Action::Reverse
            | Action::Group
            | Action::Fold
            | Action::Fastest
            | Action::MarkBaseline
            | Action::ClearBaseline
            | Action::Pause
            | Action::Copy
            | Action::Export
            | Action::Search
            | Action::Show(_)
            | Action::NextTab
            | Action::PreviousTab
            | Action::Help
            | Action::Back
            | Action::Escape
            | Action::Enter
            | Action::Backspace
            | Action::Closer
            | Action::Farther
            | Action::Whole
            | Action::Quit => {}
        }
    }
}

/// Rows are known by a key that outlives updates, and lead to an index into what the Snapshot has.
#[derive(Debug)]
pub(in crate::tui) struct Browser<K> {
    pub(in crate::tui) focus: Focus,
    pub(in crate::tui) detail: Scroll,
    rows: Vec<(K, usize)>,
    /// The row that the user chose; `None` stays with whichever is on top.
    chosen: Option<K>,
    /// The row that `detail` was scrolled in.
    scrolled: Option<K>,
    /// The selected row.
    row: usize,
    /// First row on screen.
    offset: usize,
    /// Rows on screen.
    page: usize,
}

impl<K> Default for Browser<K> {
    fn default() -> Self {
        Self {
            focus: Focus::List,
            detail: Scroll::default(),
            rows: Vec::new(),
            chosen: None,
            scrolled: None,
            row: 0,
            offset: 0,
            page: FIRST_PAGE,
        }
    }
}

impl<K: Clone + PartialEq> Browser<K> {
    /// Shows these rows; the selection follows the chosen one.
    pub(super) fn set_rows(&mut self, rows: Vec<(K, usize)>) {
        self.rows = rows;
        if let Some(chosen) = &self.chosen {
            // A row that is gone leaves the selection where it was.
            let found = self.rows.iter().position(|(key, _)| key == chosen);
            self.row = found.unwrap_or(self.row).min(self.rows.len().saturating_sub(1));
        } else {
            self.row = 0;
        }
        self.settle();
    }

    /// Selects this row, and stays with it.
    pub(super) fn choose(&mut self, key: &K) {
        if let Some(row) = self.rows.iter().position(|(known, _)| known == key) {
            self.row = row;
            self.chosen = self.key();
            self.settle();
        }
    }

    /// Selects the row in this line of the screen, if there is one.
    pub(super) fn point(&mut self, line: usize) {
        if line < self.page && self.offset + line < self.rows.len() {
            self.row = self.offset + line;
            self.chosen = self.key();
            self.settle();
        }
    }

    /// Obeys a key that moves.
    pub(super) fn apply(&mut self, action: Action) {
        match (action, self.focus) {
            (Action::SwitchFocus, _) => self.switch_focus(),
            (action, Focus::List) => self.select(action),
            (action, Focus::Detail) => self.detail.apply(action),
        }
    }

    /// Who goes to read about a row wants it to stay.
    fn switch_focus(&mut self) {
        self.focus = match self.focus {
            Focus::List => Focus::Detail,
            Focus::Detail => Focus::List,
        };
        self.chosen = self.key();
    }

    fn select(&mut self, action: Action) {
        let page = self.page.max(1);
        let row = match action {
            Action::Up => self.row.saturating_sub(1),
            Action::Down => self.row + 1,
            Action::PageUp => self.row.saturating_sub(page),
            Action::PageDown => self.row + page,
            Action::Home => 0,
            Action::End => usize::MAX,
            Action::Left | Action::Right => return self.detail.apply(action),
            _ => return,
        };
        self.row = row.min(self.rows.len().saturating_sub(1));
        self.chosen = if action == Action::Home { None } else { self.key() };
        self.settle();
    }

    /// A pane is scrolled anew when it is about another row.
    fn settle(&mut self) {
        let selected = self.key();
        if self.scrolled != selected {
            self.scrolled = selected;
            self.detail = Scroll { page: self.detail.page, ..Scroll::default() };
        }
    }

    fn key(&self) -> Option<K> {
        self.selected().map(|(key, _)| key.clone())
    }

    /// Makes `page` rows visible around the selection.
    pub(in crate::tui) fn fit(&mut self, page: usize) {
        self.page = page;
        self.offset = self.offset.min(self.rows.len().saturating_sub(page)).min(self.row);
        if self.row >= self.offset + page {
            self.offset = self.row + 1 - page.max(1);
        }
    }

    /// Number of rows.
    pub(in crate::tui) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The selected row's number.
    pub(in crate::tui) fn row(&self) -> usize {
        self.row
    }

    pub(in crate::tui) fn selected(&self) -> Option<(&K, usize)> {
        self.at(self.row)
    }

    fn at(&self, row: usize) -> Option<(&K, usize)> {
        self.rows.get(row).map(|(key, index)| (key, *index))
    }

    /// The rows on screen, with their numbers.
    pub(in crate::tui) fn visible(&self) -> impl Iterator<Item = (usize, (&K, usize))> {
        (self.offset..self.offset + self.page).map_while(|row| Some((row, self.at(row)?)))
    }

    /// The rows on screen, the selected one first.
    pub(super) fn in_view(&self) -> impl Iterator<Item = (&K, usize)> {
        let others = self.visible().filter(|&(row, _)| row != self.row).map(|(_, entry)| entry);
        self.selected().into_iter().chain(others)
    }
}
