//! The tab of descriptors: who opened what is open.

use std::{cmp::Reverse, collections::HashMap};

use super::browser::Browser;
use crate::{
    aggregate::{Descriptors, FdKind, FdSignal, FdSite, OpenFd, Origin, SiteId, TcpState},
    report::{Sort, fd_words::signal_words, untrusted::displayable},
};

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum FdSort {
    Open,
    Opened,
    Oldest,
}

impl FdSort {
    fn next(self) -> Self {
        match self {
            Self::Open => Self::Opened,
            Self::Opened => Self::Oldest,
            Self::Oldest => Self::Open,
        }
    }
}

impl From<Sort> for FdSort {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Inuse | Sort::Objects => Self::Open,
            Sort::Allocs => Self::Opened,
            Sort::Oldest => Self::Oldest,
        }
    }
}

/// Open descriptors of one origin.
#[derive(Debug, Default)]
pub(in crate::tui) struct Group {
    /// Indices into the Snapshot's open descriptors, the oldest first.
    pub(in crate::tui) fds: Vec<usize>,
    /// How many of which kind, the commonest first.
    pub(in crate::tui) kinds: Vec<(FdKind, u64)>,
    /// Columns of the longest name of a kind.
    pub(in crate::tui) kind_columns: usize,
    /// Columns of the longest name of a state; zero when none has one.
    pub(in crate::tui) state_columns: usize,
    /// Whether any is known to have been idle.
    pub(in crate::tui) idle: bool,
    /// Whether anything waits in a queue.
    pub(in crate::tui) queues: bool,
    /// Whether they belong to more than one process.
    pub(in crate::tui) processes: bool,
    /// The call stacks that connected them, where that is not this origin; the commonest first.
    pub(in crate::tui) connected_by: Vec<(SiteId, u64)>,
}

impl Group {
    /// Those of these origins.
    pub(super) fn of(open: &[OpenFd], is_theirs: impl Fn(Origin) -> bool) -> Self {
        let mut group = Self::default();
        let theirs = open.iter().enumerate().filter(|(_, fd)| is_theirs(fd.origin));
        theirs.for_each(|(index, _)| group.add(index, open));
        group.finish(open);
        group
    }

    fn add(&mut self, index: usize, open: &[OpenFd]) {
        let fd = &open[index];
        self.processes |= self.fds.first().is_some_and(|&first| open[first].tgid != fd.tgid);
        self.fds.push(index);
        tally(&mut self.kinds, fd.kind);
        self.kind_columns = self.kind_columns.max(fd.kind.name().len());
        if let Some(socket) = &fd.socket {
            self.state_columns = self.state_columns.max(socket.state.map_or(0, |state| state.name().len()));
            self.idle |= socket.idle.is_some();
            if let Some(site) = socket.connected_by {
                tally(&mut self.connected_by, site);
            }
            let waits = |queue: Option<u32>| queue.is_some_and(|bytes| bytes > 0);
            // What a listening socket queues are connections.
            self.queues |=
                socket.state != Some(TcpState::Listen) && (waits(socket.recv_queue) || waits(socket.send_queue));
        }
    }

    fn finish(&mut self, open: &[OpenFd]) {
        self.fds.sort_by_key(|&index| Reverse(open[index].age));
        self.kinds.sort_by_key(|&(_, count)| Reverse(count));
        self.connected_by.sort_by_key(|&(_, count)| Reverse(count));
    }
}

/// Counts one more. There are few to search.
fn tally<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += 1,
        None => counts.push((key, 1)),
    }
}

/// A line above the table, displayable.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tui) enum Notice {
    Signal(String),
    Limitation(String),
}

#[derive(Debug)]
pub(in crate::tui) struct Fds {
    pub(in crate::tui) sort: FdSort,
    pub(in crate::tui) notices: Vec<Notice>,
    /// Sites lead to the Snapshot's; the other origins come last and lead nowhere.
    pub(in crate::tui) browser: Browser<Origin>,
    groups: HashMap<Origin, Group>,
}

impl Fds {
    pub(super) fn new(sort: FdSort) -> Self {
        Self { sort, notices: Vec::new(), browser: Browser::default(), groups: HashMap::new() }
    }

    pub(super) fn update(&mut self, descriptors: Option<&Descriptors>) {
        self.groups.clear();
        self.notices.clear();
        let Some(descriptors) = descriptors else {
            self.browser.set_rows(Vec::new());
            return;
        };
        let open = &descriptors.open;
        for (index, fd) in open.iter().enumerate() {
            self.groups.entry(fd.origin).or_default().add(index, open);
        }
        self.groups.values_mut().for_each(|group| group.finish(open));
        // The header says how near the limit is.
        let signals = descriptors.signals.iter().filter(|signal| !matches!(signal, FdSignal::NearLimit { .. }));
        self.notices.extend(signals.map(|signal| Notice::Signal(signal_words(signal, descriptors))));
        let limitations = descriptors.limitations.iter();
        self.notices.extend(limitations.map(|words| Notice::Limitation(displayable(words).into_owned())));
        self.reorder(descriptors);
    }

    pub(super) fn next_sort(&mut self, descriptors: Option<&Descriptors>) {
        self.sort = self.sort.next();
        if let Some(descriptors) = descriptors {
            self.reorder(descriptors);
        }
    }

    fn reorder(&mut self, descriptors: &Descriptors) {
        let sites = &descriptors.sites;
        // Those that only connected are named where a connection is.
        let mut order: Vec<usize> = (0..sites.len()).filter(|&index| sites[index].opened > 0).collect();
        match self.sort {
            FdSort::Open => order.sort_by_key(|&index| Reverse(sites[index].open())),
            FdSort::Opened => order.sort_by_key(|&index| Reverse(sites[index].opened)),
            FdSort::Oldest => order.sort_by_key(|&index| Reverse(sites[index].oldest)),
        }
        let mut rows: Vec<_> = order.into_iter().map(|index| (Origin::Site(sites[index].id), index)).collect();
        let others = [Origin::BeforeAttach, Origin::Unseen];
        rows.extend(others.into_iter().filter(|origin| self.groups.contains_key(origin)).map(|origin| (origin, 0)));
        self.browser.set_rows(rows);
    }

    /// What is open of this origin.
    pub(in crate::tui) fn group(&self, origin: Origin) -> Option<&Group> {
        self.groups.get(&origin)
    }

    /// How many are open of this origin.
    pub(in crate::tui) fn open(&self, origin: Origin) -> u64 {
        self.group(origin).map_or(0, |group| group.fds.len() as u64)
    }

    pub(super) fn visible_sites(&self, descriptors: &Descriptors) -> Vec<SiteId> {
        let rows = self.browser.in_view().filter_map(|(origin, _)| match origin {
            Origin::Site(id) => Some(*id),
            Origin::BeforeAttach | Origin::Unseen => None,
        });
        let selected = self.browser.selected().and_then(|(origin, _)| self.group(*origin));
        let connecting = selected.into_iter().flat_map(|group| &group.connected_by).map(|(id, _)| *id);
        rows.chain(named_by_signals(descriptors)).chain(connecting).collect()
    }
}

/// The sites that signals name.
fn named_by_signals(descriptors: &Descriptors) -> impl Iterator<Item = SiteId> {
    descriptors.signals.iter().filter_map(|signal| match signal {
        FdSignal::CloseWait { site, .. } | FdSignal::Growth { site, .. } => *site,
        FdSignal::Unreleased { .. } | FdSignal::HalfOpen { .. } | FdSignal::NearLimit { .. } => None,
    })
}

/// The row's site; `None` for the other origins.
pub(in crate::tui) fn site<'a>(descriptors: &'a Descriptors, (origin, index): (&Origin, usize)) -> Option<&'a FdSite> {
    matches!(origin, Origin::Site(_)).then(|| &descriptors.sites[index])
}
