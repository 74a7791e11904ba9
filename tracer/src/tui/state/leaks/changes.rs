//! What has changed since the Snapshot before: found out for the rows that show it.

use std::time::Duration;

use crate::aggregate::{BlockCounters, SiteMap, SiteSnapshot, Snapshot};

/// A site's change since the snapshot before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tui) struct Change {
    pub(in crate::tui) inuse_bytes_per_s: f64,
    pub(in crate::tui) allocs_per_s: f64,
}

/// What to compare a Snapshot with. Over the time between the two, which is more than the later one's window when snapshots in
/// between were not shown.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// `None` before there are two to compare.
    window: Option<Duration>,
    before: SiteMap<BlockCounters>,
}

impl Changes {
    pub(super) fn new(previous: &Snapshot, next: &Snapshot) -> Self {
        Self {
            window: next.elapsed.checked_sub(previous.elapsed),
            before: previous.sites.iter().map(|site| (site.id, site.counters)).collect(),
        }
    }

    /// That of a site of the later Snapshot.
    pub(super) fn of(&self, site: &SiteSnapshot) -> Option<Change> {
        let seconds = self.window?.as_secs_f64();
        let (now, before) = (site.counters, self.before.get(&site.id).copied().unwrap_or_default());
        Some(Change {
            inuse_bytes_per_s: (now.inuse_bytes() as f64 - before.inuse_bytes() as f64) / seconds,
            allocs_per_s: now.alloc_objects.saturating_sub(before.alloc_objects) as f64 / seconds,
        })
    }
}
