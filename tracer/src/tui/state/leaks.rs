//! The tab of heap sites.

use std::{collections::HashMap, time::Duration};

use super::browser::Browser;
use crate::{
    aggregate::{SiteId, SiteSnapshot, Snapshot},
    report::{Sort, sort_indices},
};

/// A site's change since the snapshot before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tui) struct Change {
    pub(in crate::tui) inuse_bytes_per_s: f64,
    pub(in crate::tui) allocs_per_s: f64,
}

#[derive(Debug)]
pub(in crate::tui) struct Leaks {
    pub(in crate::tui) sort: Sort,
    pub(in crate::tui) min_age: Duration,
    /// Sites left out by `min_age`.
    pub(in crate::tui) young: usize,
    /// Leads to the Snapshot's sites.
    pub(in crate::tui) browser: Browser<SiteId>,
    changes: HashMap<SiteId, Change>,
}

impl Leaks {
    pub(super) fn new(sort: Sort, min_age: Duration) -> Self {
        Self { sort, min_age, young: 0, browser: Browser::default(), changes: HashMap::new() }
    }

    pub(super) fn update(&mut self, previous: Option<&Snapshot>, next: &Snapshot) {
        if let Some(previous) = previous
            && next.elapsed != previous.elapsed
        {
            self.changes = changes(previous, next);
        }
        self.reorder(next);
    }

    /// Forgets what changed: what comes next has nothing to do with what was shown.
    pub(super) fn forget_changes(&mut self) {
        self.changes.clear();
    }

    pub(super) fn next_sort(&mut self, snapshot: Option<&Snapshot>) {
        self.sort = self.sort.next();
        if let Some(snapshot) = snapshot {
            self.reorder(snapshot);
        }
    }

    fn reorder(&mut self, snapshot: &Snapshot) {
        let sites = &snapshot.sites;
        let old_enough = |site: &SiteSnapshot| site.oldest.is_some_and(|age| age >= self.min_age);
        let mut order: Vec<usize> =
            (0..sites.len()).filter(|&index| self.min_age.is_zero() || old_enough(&sites[index])).collect();
        self.young = sites.len() - order.len();
        // Before there is a change to go by, the rate since attach orders like the count.
        let rate = |site: &SiteSnapshot| match self.changes.get(&site.id) {
            Some(change) => change.allocs_per_s,
            None if self.changes.is_empty() => site.counters.alloc_objects as f64,
            None => 0.0,
        };
        sort_indices(&mut order, sites, self.sort, rate);
        self.browser.set_rows(order.into_iter().map(|index| (sites[index].id, index)).collect());
    }

    pub(super) fn visible_sites(&self) -> Vec<SiteId> {
        self.browser.in_view().map(|(id, _)| *id).collect()
    }

    /// `None` before there are two snapshots to compare.
    pub(in crate::tui) fn change(&self, site: SiteId) -> Option<Change> {
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
#[path = "leaks_tests.rs"]
mod tests;
