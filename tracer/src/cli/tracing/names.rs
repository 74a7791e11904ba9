//! Names for call stacks: asked for, waited for, and put into Snapshots.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{SharedSnapshot, Tracing};
use crate::{
    aggregate::{SiteId, Snapshot},
    symbolize::{ExactFrames, Priority, Request, Symbolize as _},
};

/// How long the last report waits for names.
pub(super) const LAST_NAMES: Duration = Duration::from_secs(60);
/// How long a report in between waits for names; what has none by then has them in the next one.
const NAMES: Duration = Duration::from_secs(5);

impl Tracing {
    pub(super) fn take_names(&mut self) -> bool {
        let named = self.symbolizer.drain();
        let any = !named.is_empty();
        named.into_iter().for_each(|(site, stack)| self.aggregator.apply_stack(site, stack));
        any
    }

    /// The latest Snapshot with the names known now.
    pub(in crate::cli) fn renamed(&mut self) -> anyhow::Result<SharedSnapshot> {
        let Some(latest) = &self.latest else { return self.snapshot() };
        let renamed = Arc::new(self.aggregator.renamed(latest));
        self.latest = Some(Arc::clone(&renamed));
        Ok(renamed)
    }

    /// Asks for the names of these sites, if they have none.
    pub(in crate::cli) fn want(&mut self, sites: &[SiteId]) {
        self.request(sites, Priority::Visible);
    }

    /// Asks for the names of all sites, some time.
    pub(in crate::cli) fn want_all(&mut self, snapshot: &Snapshot) {
        self.request(&sites_of(snapshot), Priority::Background);
    }

    /// Returns how many of the sites have no name yet.
    fn request(&mut self, sites: &[SiteId], priority: Priority) -> usize {
        let mut waiting = 0;
        for site in sites {
            let Some(raw) = self.aggregator.unsymbolized(*site) else { continue };
            waiting += 1;
            let request = Request {
                site: raw.id,
                tgid: raw.tgid,
                image: raw.image,
                frames: Arc::clone(&raw.frames),
                exact: ExactFrames::from_bits(raw.exact),
                end: raw.end,
                priority,
            };
            if self.symbolizer.request(request).is_err() {
                // The queue is full: the rest is asked for once it has moved on.
                break;
            }
        }
        waiting
    }

    /// Names all sites of a Snapshot, for as long as that takes within bounds.
    pub(in crate::cli) fn name_all(&mut self, snapshot: &SharedSnapshot) -> SharedSnapshot {
        self.wait_for_names(snapshot, NAMES);
        Arc::new(self.aggregator.renamed(snapshot))
    }

    pub(super) fn wait_for_names(&mut self, snapshot: &Snapshot, patience: Duration) {
        let sites = sites_of(snapshot);
        let deadline = Instant::now() + patience;
        let mut pending = self.request(&sites, Priority::Background);
        while pending > 0 && Instant::now() < deadline {
            if !self.take_names() {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            pending = self.request(&sites, Priority::Background);
        }
        if pending > 0 {
            log::warn!(
                "{pending} call sites have no names yet after {patience:?}: their frames are shown as addresses"
            );
        }
    }
}

fn sites_of(snapshot: &Snapshot) -> Vec<SiteId> {
    let fd_sites = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites).map(|site| site.id);
    snapshot.sites.iter().map(|site| site.id).chain(fd_sites).collect()
}
