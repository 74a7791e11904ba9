//! The tab of sites that hold memory: which are shown, as which rows, in which order.

mod column;
mod rows;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use self::rows::{Sources, has_words};
pub(in crate::tui) use self::{
    column::Column,
    rows::{Grouping, Row, RowKey},
};
use super::{Trails, browser::Browser};
use crate::aggregate::{SiteId, SiteSnapshot, Snapshot};

/// A site's change since the snapshot before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tui) struct Change {
    pub(in crate::tui) inuse_bytes_per_s: f64,
    pub(in crate::tui) allocs_per_s: f64,
}

/// What was held at a moment that the user marked.
#[derive(Clone, Debug)]
pub(in crate::tui) struct Baseline {
    /// When, since attach.
    pub(in crate::tui) at: Duration,
    held: HashMap<SiteId, u64>,
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
    changes: HashMap<SiteId, Change>,
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
            changes: HashMap::new(),
        }
    }

    pub(super) fn update(&mut self, previous: Option<&Snapshot>, next: &Snapshot, trails: &Trails) {
        if let Some(previous) = previous
            && next.elapsed != previous.elapsed
        {
            self.changes = changes(previous, next);
        }
        self.reorder(next, trails);
    }

    /// The next Snapshot is none that follows.
    pub(super) fn forget_changes(&mut self) {
        self.changes.clear();
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
    pub(super) fn select_fastest(&mut self) -> bool {
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
        let baseline = self.baseline.as_ref().map(|baseline| &baseline.held);
        let sources = Sources { snapshot, trails, changes: &self.changes, baseline };
        self.rows = sources.rows(shown.into_iter(), self.grouping);
        let (sort, reversed) = (self.sort, self.reversed);
        self.rows.sort_by(|a, b| if reversed { sort.order(b, a) } else { sort.order(a, b) });
        self.browser.set_rows(self.rows.iter().enumerate().map(|(place, row)| (row.key.clone(), place)).collect());
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
        self.selected().map(|row| &snapshot.sites[row.sites[0]])
    }

    /// Those in sight, each row's largest first. Names are wanted of all when words are looked for.
    pub(super) fn visible_sites(&self, snapshot: &Snapshot) -> Vec<SiteId> {
        let id = |index: &usize| snapshot.sites[*index].id;
        let rows: Vec<&Row> = self.browser.in_view().map(|(_, place)| &self.rows[place]).collect();
        let largest = rows.iter().map(|row| id(&row.sites[0]));
        let others = rows.iter().take(1).flat_map(|row| row.sites[1..].iter().take(64).map(id));
        let by_name = !self.filter.is_empty() || !matches!(self.grouping, Grouping::Site | Grouping::Process);
        let all = snapshot.sites.iter().filter(|_| by_name).take(4_096).map(|site| site.id);
        largest.chain(others).chain(all).collect()
    }

    /// `None` before there are two snapshots to compare.
    #[cfg(test)]
    fn change(&self, site: SiteId) -> Option<Change> {
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
