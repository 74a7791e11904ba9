//! What the dashboard shows and where the user is in it; no drawing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::input::{Action, Flow};
use crate::{
    aggregate::{SiteId, SiteSnapshot, Snapshot},
    report::{Sort, sort_indices},
};

/// Rows assumed before the first frame.
const FIRST_PAGE: usize = 50;
/// Columns of one step sideways.
const SIDE_STEP: usize = 8;

/// Which pane the movement keys act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    Sites,
    Stack,
}

/// A site's change since the snapshot before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) inuse_bytes_per_s: f64,
    pub(super) allocs_per_s: f64,
}

/// Scroll position of a pane; the view bounds it when it knows what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scroll {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) page: usize,
}

impl Scroll {
    /// Keeps the last page in sight, of `lines` lines.
    pub(super) fn bound(&mut self, lines: usize, page: usize) {
        self.page = page;
        self.top = self.top.min(lines.saturating_sub(page));
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Up => self.top = self.top.saturating_sub(1),
            Action::Down => self.top += 1,
            Action::PageUp => self.top = self.top.saturating_sub(self.page.max(1)),
            Action::PageDown => self.top += self.page.max(1),
            Action::Home => (self.top, self.left) = (0, 0),
            Action::End => self.top = usize::MAX / 2,
            Action::Left => self.left = self.left.saturating_sub(SIDE_STEP),
            Action::Right => self.left += SIDE_STEP,
            Action::SwitchFocus | Action::NextSort | Action::Help | Action::Back | Action::Quit => {}
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) sort: Sort,
    pub(super) min_age: Duration,
    pub(super) focus: Focus,
    /// Scroll position of the help, when it is open.
    pub(super) help: Option<Scroll>,
    pub(super) stack: Scroll,
    pub(super) status: Option<String>,
    /// Sites left out by `min_age`.
    pub(super) young: usize,
    changes: HashMap<SiteId, Change>,
    /// Indices into the snapshot's sites, in the order shown.
    order: Vec<usize>,
    /// The site that the user chose; `None` stays with whichever is on top.
    chosen: Option<SiteId>,
    /// The site that `stack` was scrolled in.
    scrolled: Option<SiteId>,
    /// Position of the selected site in `order`.
    row: usize,
    /// First row on screen.
    offset: usize,
    /// Rows on screen.
    page: usize,
}

impl State {
    pub(super) fn new(sort: Sort, min_age: Duration) -> Self {
        Self {
            snapshot: None,
            sort,
            min_age,
            focus: Focus::Sites,
            help: None,
            stack: Scroll::default(),
            status: None,
            young: 0,
            changes: HashMap::new(),
            order: Vec::new(),
            chosen: None,
            scrolled: None,
            row: 0,
            offset: 0,
            page: FIRST_PAGE,
        }
    }

    pub(super) fn update(&mut self, next: Arc<Snapshot>) {
        if let Some(previous) = &self.snapshot
            && next.elapsed != previous.elapsed
        {
            self.changes = changes(previous, &next);
        }
        self.snapshot = Some(next);
        self.reorder();
    }

    pub(super) fn apply(&mut self, action: Action) -> Flow {
        self.status = None;
        match (action, &mut self.help) {
            (Action::Quit, _) | (Action::Back, None) => return Flow::Quit,
            (Action::Back | Action::Help, help @ Some(_)) => *help = None,
            (Action::Help, help @ None) => *help = Some(Scroll::default()),
            (action, Some(scroll)) => scroll.apply(action),
            (Action::SwitchFocus, None) => self.switch_focus(),
            (Action::NextSort, None) => {
                self.sort = self.sort.next();
                self.reorder();
            }
            (action, None) => match self.focus {
                Focus::Sites => self.select(action),
                Focus::Stack => self.stack.apply(action),
            },
        }
        Flow::Continue
    }

    /// Who goes to read a stack wants it to stay.
    fn switch_focus(&mut self) {
        self.focus = match self.focus {
            Focus::Sites => Focus::Stack,
            Focus::Stack => Focus::Sites,
        };
        self.chosen = self.selected().map(|site| site.id);
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
            Action::Left | Action::Right => return self.stack.apply(action),
            Action::SwitchFocus | Action::NextSort | Action::Help | Action::Back | Action::Quit => return,
        };
        self.row = row.min(self.order.len().saturating_sub(1));
        self.chosen = if action == Action::Home { None } else { self.selected().map(|site| site.id) };
        self.settle();
    }

    /// Puts the sites in order again; the selection follows the chosen site.
    fn reorder(&mut self) {
        let Some(snapshot) = &self.snapshot else { return };
        let sites = &snapshot.sites;
        let old_enough = |site: &SiteSnapshot| site.oldest.is_some_and(|age| age >= self.min_age);
        self.order.clear();
        self.order.extend((0..sites.len()).filter(|&index| self.min_age.is_zero() || old_enough(&sites[index])));
        self.young = sites.len() - self.order.len();
        // Before there is a change to go by, the rate since attach orders like the count.
        let rate = |site: &SiteSnapshot| match self.changes.get(&site.id) {
            Some(change) => change.allocs_per_s,
            None if self.changes.is_empty() => site.counters.alloc_objects as f64,
            None => 0.0,
        };
        sort_indices(&mut self.order, sites, self.sort, rate);
        if let Some(chosen) = self.chosen {
            // A site that is gone (from under `min_age`) leaves the selection where it was.
            let found = self.order.iter().position(|&index| sites[index].id == chosen);
            self.row = found.unwrap_or(self.row).min(self.order.len().saturating_sub(1));
        } else {
            self.row = 0;
        }
        self.settle();
    }

    /// A stack is scrolled anew when another one takes its place.
    fn settle(&mut self) {
        let selected = self.selected().map(|site| site.id);
        if self.scrolled != selected {
            self.scrolled = selected;
            self.stack = Scroll { page: self.stack.page, ..Scroll::default() };
        }
    }

    /// Makes `page` rows visible around the selection.
    pub(super) fn fit(&mut self, page: usize) {
        self.page = page;
        self.offset = self.offset.min(self.order.len().saturating_sub(page)).min(self.row);
        if self.row >= self.offset + page {
            self.offset = self.row + 1 - page.max(1);
        }
    }

    /// Number of sites shown.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn row(&self) -> usize {
        self.row
    }

    pub(super) fn selected(&self) -> Option<&SiteSnapshot> {
        self.at(self.row)
    }

    fn at(&self, row: usize) -> Option<&SiteSnapshot> {
        Some(&self.snapshot.as_ref()?.sites[*self.order.get(row)?])
    }

    /// The sites on screen, with their rows.
    pub(super) fn visible(&self) -> impl Iterator<Item = (usize, &SiteSnapshot)> {
        (self.offset..self.offset + self.page).map_while(|row| Some((row, self.at(row)?)))
    }

    pub(super) fn visible_sites(&self) -> Vec<SiteId> {
        let selected = self.selected().map(|site| site.id);
        let others = self.visible().map(|(_, site)| site.id).filter(|&id| Some(id) != selected);
        selected.into_iter().chain(others).collect()
    }

    /// `None` before there are two snapshots to compare.
    pub(super) fn change(&self, site: SiteId) -> Option<Change> {
        self.changes.get(&site).copied()
    }
}

/// Over the time between the two, which is more than the later one's window when snapshots in between were not shown.
fn changes(previous: &Snapshot, next: &Snapshot) -> HashMap<SiteId, Change> {
    let Some(window) = next.elapsed.checked_sub(previous.elapsed) else { return HashMap::new() };
    let seconds = window.as_secs_f64();
    let before: HashMap<SiteId, _> = previous.sites.iter().map(|site| (site.id, site.counters)).collect();
    let change = |site: &SiteSnapshot| {
        let (now, before) = (site.counters, before.get(&site.id).copied().unwrap_or_default());
        Change {
            inuse_bytes_per_s: (now.inuse_bytes() as f64 - before.inuse_bytes() as f64) / seconds,
            allocs_per_s: now.alloc_objects.saturating_sub(before.alloc_objects) as f64 / seconds,
        }
    };
    next.sites.iter().map(|site| (site.id, change(site))).collect()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
