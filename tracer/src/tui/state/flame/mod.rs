//! The tab of the flame graph: what it measures, which frame is selected, how far it is zoomed in, and what is searched.
//!
//! The tree takes the numbers of a Snapshot when it is to be drawn, so it costs nothing on the other tabs.

mod layout;
#[cfg(test)]
mod tests;
mod tree;

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

pub(in crate::tui) use self::{layout::Cell, tree::NodeId};
use self::{
    layout::lay_out,
    tree::{ROOT, Tree},
};
use super::{Action, Trails};
use crate::{
    aggregate::{SiteId, SiteSnapshot, Snapshot},
    report::units::{bytes, counted, signed_bytes},
};

/// What growth is over.
pub(in crate::tui) const GROWTH: Duration = Duration::from_secs(60);
/// Sites that are asked to be named first.
const NAMED_FIRST: usize = 200;

/// What a frame is as wide as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) enum FlameMeasure {
    #[default]
    Inuse,
    Growth,
    Objects,
}

impl FlameMeasure {
    fn next(self) -> Self {
        match self {
            Self::Inuse => Self::Growth,
            Self::Growth => Self::Objects,
            Self::Objects => Self::Inuse,
        }
    }

    pub(in crate::tui) fn words(self) -> &'static str {
        match self {
            Self::Inuse => "bytes outstanding",
            Self::Growth => "growth over the last minute",
            Self::Objects => "objects outstanding",
        }
    }

    pub(in crate::tui) fn number(self, value: u64) -> String {
        match self {
            Self::Inuse => bytes(value),
            Self::Growth => signed_bytes(value as f64),
            Self::Objects => counted(value, "object", "objects"),
        }
    }

    /// What has shrunk has not grown.
    fn of(self, site: &SiteSnapshot, trails: &Trails) -> u64 {
        match self {
            Self::Inuse => site.counters.inuse_bytes(),
            Self::Objects => site.counters.inuse_objects(),
            Self::Growth => {
                trails.site(site.id).and_then(|trail| trail.change(GROWTH)).map_or(0, |change| change.max(0.0) as u64)
            }
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) struct Found {
    nodes: HashSet<NodeId>,
    /// Of all stacks with a match.
    pub(in crate::tui) value: u64,
}

impl Found {
    pub(in crate::tui) fn has(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    pub(in crate::tui) fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[derive(Debug, Default)]
pub(in crate::tui) struct Flame {
    pub(in crate::tui) measure: FlameMeasure,
    tree: Tree,
    selected: NodeId,
    /// The user selected it; until then it is where most of everything comes by.
    chosen: bool,
    zoom: NodeId,
    searched: String,
    found: Found,
    /// Runs of library frames are not folded.
    whole: bool,
    /// The tree has not taken the latest Snapshot.
    stale: bool,
    /// What was found of frames that were selected, since the tree took a Snapshot: it takes a pass over all of it.
    largest: RefCell<HashMap<NodeId, Vec<(SiteId, u64)>>>,
    /// What was on the screen last.
    cells: Vec<Cell>,
    /// First row on screen.
    top: usize,
    page: usize,
}

impl Flame {
    pub(super) fn update(&mut self) {
        self.stale = true;
    }

    /// Brings the tree up to the Snapshot that is shown. `whole`: with all frames of libraries and runtimes.
    pub(in crate::tui) fn refresh(&mut self, snapshot: &Snapshot, trails: &Trails, whole: bool) {
        let as_before = std::mem::replace(&mut self.whole, whole) == whole;
        if !std::mem::take(&mut self.stale) && as_before {
            return;
        }
        let (selected, zoom) = (self.tree.path(self.selected), self.tree.path(self.zoom));
        self.largest.borrow_mut().clear();
        let measure = self.measure;
        self.tree.update(snapshot, whole, |site| measure.of(site, trails));
        // A name that has been found stands where an address was, so the path may end earlier now.
        (self.selected, self.zoom) = (self.there(&selected), self.there(&zoom));
        if !self.chosen {
            self.selected = self.tree.majority();
        }
        if !self.tree.is_within(self.selected, self.zoom) {
            self.selected = self.zoom;
        }
        self.look();
    }

    /// The node at the end of a path, or the last one above it that holds something.
    fn there(&self, path: &[Arc<str>]) -> NodeId {
        let mut node = self.tree.find(path);
        while node != ROOT && self.tree.value(node) == 0 {
            node = self.tree.parent(node);
        }
        node
    }

    /// The frames for which there is room, from the row to which it is scrolled on.
    pub(in crate::tui) fn lay_out(&mut self, width: u16, page: usize) -> &[Cell] {
        self.page = page;
        let row = self.tree.depth(self.selected) as usize;
        // Some of what is below the selected frame shows what comes next.
        let ahead = (page / 4).min(3);
        self.top = self.top.min(row);
        let rows = |top: usize| top..top + page;
        if row + ahead >= self.top + page {
            self.top = (row + ahead + 1).saturating_sub(page);
        }
        self.cells = lay_out(&self.tree, self.zoom, width, rows(self.top));
        // There may be less below than what was hoped for.
        let last = self.cells.iter().map(|cell| cell.row).max().unwrap_or(0);
        let bound = (last + 1).saturating_sub(page);
        if self.top > bound {
            self.top = bound;
            self.cells = lay_out(&self.tree, self.zoom, width, rows(self.top));
        }
        &self.cells
    }

    pub(in crate::tui) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The rows on screen.
    pub(in crate::tui) fn rows(&self) -> Range<usize> {
        self.top..self.top + self.page
    }

    pub(in crate::tui) fn name(&self, node: NodeId) -> &str {
        self.tree.name(node)
    }

    pub(in crate::tui) fn value(&self, node: NodeId) -> u64 {
        self.tree.value(node)
    }

    pub(in crate::tui) fn total(&self) -> u64 {
        self.tree.value(ROOT)
    }

    pub(in crate::tui) fn selected(&self) -> NodeId {
        self.selected
    }

    /// The frame that has the whole width, unless it is that of all.
    pub(in crate::tui) fn zoomed(&self) -> Option<NodeId> {
        (self.zoom != ROOT).then_some(self.zoom)
    }

    pub(super) fn apply(&mut self, action: Action) {
        self.chosen = true;
        match action {
            Action::Up => self.selected = self.tree.parent(self.selected),
            Action::Down => self.descend(1),
            Action::PageUp => (0..self.page.max(1)).for_each(|_| self.selected = self.tree.parent(self.selected)),
            Action::PageDown => self.descend(self.page.max(1)),
            Action::Home => self.selected = self.zoom,
            Action::End => self.descend(usize::MAX),
            Action::Left => self.step(|cells, at| cells[..at].last().copied()),
            Action::Right => self.step(|cells, at| cells.get(at + 1).copied()),
            Action::Enter => self.zoom = self.selected,
            Action::Backspace => self.zoom_out(),
            _ => {}
        }
        // Who goes further out than what is zoomed into wants to see that.
        if !self.tree.is_within(self.selected, self.zoom) {
            self.zoom = self.selected;
        }
    }

    /// All the way out, or out of the search. Whether there was something to leave.
    pub(super) fn escape(&mut self) -> bool {
        if std::mem::replace(&mut self.zoom, ROOT) != ROOT {
            return true;
        }
        let searching = !self.searched.is_empty();
        self.search("");
        searching
    }

    fn zoom_out(&mut self) {
        self.zoom = self.tree.parent(self.zoom);
        // A frame through which everything comes is as wide as the one that it was called from.
        while self.zoom != ROOT && self.tree.value(self.zoom) == self.tree.value(self.tree.parent(self.zoom)) {
            self.zoom = self.tree.parent(self.zoom);
        }
    }

    /// So many times to the largest child.
    fn descend(&mut self, steps: usize) {
        for _ in 0..steps {
            let children = self.tree.children(self.selected).iter().copied();
            let order = |node: &NodeId| (self.tree.value(*node), std::cmp::Reverse(self.tree.name(*node).to_owned()));
            let Some(child) = children.filter(|child| self.tree.value(*child) > 0).max_by_key(order) else { break };
            self.selected = child;
        }
    }

    /// To another frame of the same row, of those on screen.
    fn step(&mut self, to: impl Fn(&[NodeId], usize) -> Option<NodeId>) {
        let row = self.tree.depth(self.selected) as usize;
        let cells: Vec<NodeId> =
            self.cells.iter().filter(|cell| cell.row == row).filter_map(|cell| cell.node).collect();
        let at = cells.iter().position(|node| *node == self.selected);
        if let Some(node) = at.and_then(|at| to(&cells, at)) {
            self.selected = node;
        }
    }

    /// Another measure of the same graph, to the one side or to the other.
    pub(super) fn measure_beside(&mut self, next: bool) {
        // Two to the right of three is one to the left.
        self.measure = if next { self.measure.next() } else { self.measure.next().next() };
        self.stale = true;
    }

    /// Whether each frame of a library has a place.
    pub(in crate::tui) fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is searched for; empty for nothing.
    pub(in crate::tui) fn searched(&self) -> &str {
        &self.searched
    }

    /// What was found, when something is searched for.
    pub(in crate::tui) fn found(&self) -> Option<&Found> {
        (!self.searched.is_empty()).then_some(&self.found)
    }

    pub(super) fn search(&mut self, text: &str) {
        text.clone_into(&mut self.searched);
        self.look();
    }

    /// Without capitals, both are the same.
    fn look(&mut self) {
        self.found = Found::default();
        if self.searched.is_empty() {
            return;
        }
        let text = self.searched.as_str();
        let (nodes, value) = if text.chars().any(char::is_uppercase) {
            self.tree.matches(|name| name.contains(text))
        } else {
            self.tree.matches(|name| name.to_lowercase().contains(text))
        };
        self.found = Found { nodes, value };
    }

    /// The sites with the most, of those that come by this frame: [`NAMED_FIRST`] at most.
    pub(in crate::tui) fn largest_below(&self, node: NodeId, most: usize) -> Vec<(SiteId, u64)> {
        let mut known = self.largest.borrow_mut();
        let largest = known.entry(node).or_insert_with(|| self.tree.largest(node, NAMED_FIRST));
        largest.iter().take(most).copied().collect()
    }

    /// Those with the most of what is selected, then of what is zoomed into.
    pub(super) fn visible_sites(&self) -> Vec<SiteId> {
        let mut sites = self.largest_below(self.selected, NAMED_FIRST);
        if self.selected != self.zoom {
            sites.extend(self.largest_below(self.zoom, NAMED_FIRST));
        }
        let mut seen = HashSet::new();
        sites.into_iter().map(|(id, _)| id).filter(|id| seen.insert(*id)).collect()
    }
}
