//! The tab of peers: to whom connections lead.

use std::{cmp::Reverse, collections::HashMap};

use super::browser::Browser;
use crate::aggregate::{Descriptors, Direction, Endpoint, FdSignal, Peer, SiteId};

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::tui) enum PeerSort {
    #[default]
    Open,
    CloseWait,
    OpenedPerMin,
    Oldest,
}

impl PeerSort {
    fn next(self) -> Self {
        match self {
            Self::Open => Self::CloseWait,
            Self::CloseWait => Self::OpenedPerMin,
            Self::OpenedPerMin => Self::Oldest,
            Self::Oldest => Self::Open,
        }
    }
}

#[derive(Debug, Default)]
pub(in crate::tui) struct Peers {
    pub(in crate::tui) sort: PeerSort,
    /// Leads to the Snapshot's peers.
    pub(in crate::tui) browser: Browser<(Direction, Endpoint)>,
    /// Where the sites are in the Snapshot.
    sites: HashMap<SiteId, usize>,
}

impl Peers {
    pub(super) fn update(&mut self, descriptors: Option<&Descriptors>) {
        self.sites.clear();
        let Some(descriptors) = descriptors else {
            self.browser.set_rows(Vec::new());
            return;
        };
        self.sites.extend(descriptors.sites.iter().enumerate().map(|(index, site)| (site.id, index)));
        self.reorder(descriptors);
    }

    pub(super) fn next_sort(&mut self, descriptors: Option<&Descriptors>) {
        self.sort = self.sort.next();
        if let Some(descriptors) = descriptors {
            self.reorder(descriptors);
        }
    }

    fn reorder(&mut self, descriptors: &Descriptors) {
        let peers = &descriptors.peers;
        let mut order: Vec<usize> = (0..peers.len()).collect();
        match self.sort {
            PeerSort::Open => order.sort_by_key(|&index| Reverse(peers[index].open)),
            PeerSort::CloseWait => order.sort_by_key(|&index| Reverse(peers[index].close_wait)),
            PeerSort::OpenedPerMin => {
                order.sort_by(|&a, &b| peers[b].opened_per_min.total_cmp(&peers[a].opened_per_min));
            }
            PeerSort::Oldest => order.sort_by_key(|&index| Reverse(peers[index].oldest)),
        }
        let row = |index: usize| ((peers[index].direction, peers[index].endpoint.clone()), index);
        self.browser.set_rows(order.into_iter().map(row).collect());
    }

    /// Where a site is in the Snapshot's list; `None` for one that is not there.
    pub(in crate::tui) fn site(&self, id: SiteId) -> Option<usize> {
        self.sites.get(&id).copied()
    }

    /// Those that the lower pane names.
    pub(super) fn visible_sites(&self, descriptors: &Descriptors) -> Vec<SiteId> {
        let selected = self.browser.selected();
        let Some((_, index)) = selected else { return Vec::new() };
        let Peer { sites, connected_by, .. } = &descriptors.peers[index];
        sites.iter().chain(connected_by).map(|(id, _)| *id).collect()
    }
}

/// Whether a signal is about this peer, or about a call stack that connects to it.
pub(in crate::tui) fn is_about(signal: &FdSignal, peer: &Peer) -> bool {
    match signal {
        FdSignal::CloseWait { endpoint, .. } | FdSignal::HalfOpen { endpoint, .. } => {
            endpoint.as_ref() == Some(&peer.endpoint)
        }
        FdSignal::Unreleased { direction, endpoint, .. } => (*direction, endpoint) == (peer.direction, &peer.endpoint),
        FdSignal::Growth { site, .. } => site.is_some_and(|site| peer.sites.iter().any(|(id, _)| *id == site)),
        FdSignal::NearLimit { .. } => false,
    }
}
