//! The tab of sites that hold memory: which are shown, as which rows, in which order.

mod changes;
mod column;
mod rows;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::{
    changes::{Change, Changes},
    rows::{Sources, has_words},
};
pub(in crate::tui) use self::{
    column::Column,
    rows::{Grouping, Row, RowKey},
};
use super::{Trails, browser::Browser};
use crate::aggregate::{SiteId, SiteMap, SiteSnapshot, Snapshot};

/// What was held at a moment that the user marked.
#[derive(Clone, Debug)]
pub(in crate::tui) struct Baseline {
    /// When, since attach.
    pub(in crate::tui) at: Duration,
    held: SiteMap<u64>,
}

#[derive(Debug)]
pub(in crate::tui) struct Leaks {
    pub(in crate::tui) sort: Column,
    /// The least first.
    pub(in crate::tui) reversed: bool,
    pub(in crate::tui) grouping: Grouping,
    /// Sites are named by the innermost frame, not by the first that is the program's own.
    pub(in crate::tui) innermost: bool,
    /// Words that a stack must have to be shown, in lower case.
    pub(in crate::tui) filter: String,
    pub(in crate::tui) min_age: Duration,
    /// Sites left out by `min_age`.
    pub(in crate::tui) young: usize,
    /// Sites left out by `filter`.
    pub(in crate::tui) filtered: usize,
    pub(in crate::tui) baseline: Option<Baseline>,
    /// Leads to `rows`.
    pub(in crate::tui) browser: Browser<RowKey>,
    rows: Vec<Row>,
    changes: Changes,
}

impl Leaks {
    pub(super) fn new(sort: Column, min_age: Duration) -> Self {
        Self {
            sort,
            reversed: false,
            grouping: Grouping::default(),
            innermost: false,
            filter: String::new(),
            min_age,
            young: 0,
            filtered: 0,
            baseline: None,
            browser: Browser::default(),
            rows: Vec::new(),
            changes: Changes::default(),
        }
    }

    pub(super) fn update(&mut self, previous: Option<&Snapshot>, next: &Snapshot, trails: &Trails) {
        if let Some(previous) = previous
            && next.elapsed != previous.elapsed
        {
            self.changes = Changes::new(previous, next);
        }
        self.reorder(next, trails);
    }

    /// The next Snapshot is none that follows.
    pub(super) fn forget_changes(&mut self) {
        self.changes = Changes::default();
    }

    /// Sorts by the next column, or the one before.
    pub(super) fn sort_beside(&mut self, forward: bool) {
        self.sort = self.sort.beside(forward, self.baseline.is_some());
        self.reversed = false;
    }

    /// Groups by the next thing.
    pub(super) fn group_next(&mut self) {
        self.grouping = self.grouping.next();
    }

    /// Marks what is held now, to compare with.
    pub(super) fn mark_baseline(&mut self, snapshot: &Snapshot) {
        let held = snapshot.sites.iter().map(|site| (site.id, site.counters.inuse_bytes())).collect();
        self.baseline = Some(Baseline { at: snapshot.elapsed, held });
    }

    /// Forgets the mark. Returns whether there was one.
    pub(super) fn clear_baseline(&mut self) -> bool {
        if self.sort == Column::Baseline {
            self.sort = Column::Verdict;
        }
        self.baseline.take().is_some()
    }

    /// Selects the row that grows fastest. Returns whether any does.
    pub(super) fn select_fastest(&mut self, snapshot: &Snapshot, trails: &Trails) -> bool {
        self.complete(0..self.rows.len(), snapshot, trails);
        let speed = |row: &Row| row.per_hour.or(row.minute.map(|minute| minute * 60.0)).unwrap_or(0.0);
        let fastest = self.rows.iter().filter(|row| speed(row) > 0.0 && !row.suppressed);
        let Some(row) = fastest.max_by(|a, b| speed(a).total_cmp(&speed(b))) else { return false };
        self.browser.choose(&row.key);
        true
    }

    pub(super) fn reorder(&mut self, snapshot: &Snapshot, trails: &Trails) {
        let sites = &snapshot.sites;
        let old_enough = |site: &SiteSnapshot| site.oldest.is_some_and(|age| age >= self.min_age);
        let mut shown: Vec<usize> =
            (0..sites.len()).filter(|&index| self.min_age.is_zero() || old_enough(&sites[index])).collect();
        self.young = sites.len() - shown.len();
        let before = shown.len();
        if !self.filter.is_empty() {
            shown.retain(|&index| has_words(&sites[index].stack, &self.filter));
        }
        self.filtered = before - shown.len();
        let (sort, reversed) = (self.sort, self.reversed);
        self.rows = self.sources(snapshot, trails).rows(shown.into_iter(), self.grouping);
        if sort.takes_look_ups() {
            self.complete(0..self.rows.len(), snapshot, trails);
        }
        // The rows themselves are large, and stay where they are.
        let key = |row: &Row| sort.key(row).map(|part| if reversed { !part } else { part });
        let mut order: Vec<_> = self.rows.iter().enumerate().map(|(place, row)| (key(row), place)).collect();
        order.sort_unstable();
        self.browser.set_rows(order.into_iter().map(|(_, place)| (self.rows[place].key.clone(), place)).collect());
    }

    fn sources<'a>(&'a self, snapshot: &'a Snapshot, trails: &'a Trails) -> Sources<'a> {
        let baseline = self.baseline.as_ref().map(|baseline| &baseline.held);
        Sources { snapshot, trails, changes: &self.changes, baseline }
    }

    /// Completes the rows in these places.
    fn complete(&mut self, places: impl IntoIterator<Item = usize>, snapshot: &Snapshot, trails: &Trails) {
        let mut rows = std::mem::take(&mut self.rows);
        let sources = self.sources(snapshot, trails);
        places.into_iter().for_each(|place| sources.complete(&mut rows[place]));
        self.rows = rows;
    }

    /// Completes what is in sight.
    pub(in crate::tui) fn complete_visible(&mut self, snapshot: &Snapshot, trails: &Trails) {
        let places: Vec<usize> = self.browser.visible().map(|(_, (_, place))| place).collect();
        self.complete(places, snapshot, trails);
    }

    pub(in crate::tui) fn row(&self, place: usize) -> &Row {
        &self.rows[place]
    }

    /// The selected row.
    pub(in crate::tui) fn selected(&self) -> Option<&Row> {
        self.browser.selected().map(|(_, place)| &self.rows[place])
    }

    /// The selected row's site that holds the most.
    pub(in crate::tui) fn selected_site<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a SiteSnapshot> {
        self.selected().map(|row| &snapshot.sites[row.first()])
    }

    /// Those in sight, each row's largest first. Names are wanted of all when words are looked for.
    pub(super) fn visible_sites(&self, snapshot: &Snapshot) -> Vec<SiteId> {
        let id = |index: usize| snapshot.sites[index].id;
        let rows: Vec<&Row> = self.browser.in_view().map(|(_, place)| &self.rows[place]).collect();
        let largest = rows.iter().map(|row| id(row.first()));
        let others = rows.iter().take(1).flat_map(|row| row.sites().skip(1).take(64).map(id));
        let by_name = !self.filter.is_empty() || !matches!(self.grouping, Grouping::Site | Grouping::Process);
        let all = snapshot.sites.iter().filter(|_| by_name).take(4_096).map(|site| site.id);
        largest.chain(others).chain(all).collect()
    }

    /// `None` before there are two snapshots to compare.
    #[cfg(test)]
    fn change(&self, site: &SiteSnapshot) -> Option<Change> {
        self.changes.of(site)
    }
}
