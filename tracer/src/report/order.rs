//! In which order sites are shown.

use std::cmp::Reverse;

use crate::aggregate::SiteSnapshot;

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Most bytes outstanding.
    #[default]
    Inuse,
    /// Most blocks outstanding.
    Objects,
    /// Most allocations per second: since attach in a report, since the previous snapshot on the dashboard.
    Allocs,
    /// The oldest outstanding block.
    Oldest,
}

impl Sort {
    /// In words, after "sorted by".
    pub fn words(self) -> &'static str {
        match self {
            Self::Inuse => "bytes outstanding",
            Self::Objects => "objects outstanding",
            Self::Allocs => "allocation rate",
            Self::Oldest => "oldest block",
        }
    }
}

/// Sorts indices into `sites`, which the Snapshot has in order of outstanding bytes; equals stay in that order.
pub(crate) fn sort_indices(
    indices: &mut [usize],
    sites: &[SiteSnapshot],
    sort: Sort,
    alloc_rate: impl Fn(&SiteSnapshot) -> f64,
) {
    match sort {
        Sort::Inuse => indices.sort_by_key(|&index| Reverse(sites[index].counters.inuse_bytes())),
        Sort::Objects => indices.sort_by_key(|&index| Reverse(sites[index].counters.inuse_objects())),
        Sort::Allocs => indices.sort_by(|&a, &b| alloc_rate(&sites[b]).total_cmp(&alloc_rate(&sites[a]))),
        Sort::Oldest => indices.sort_by_key(|&index| Reverse(sites[index].oldest)),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::report::testing;

    #[test]
    fn each_order_puts_its_own_maximum_first() {
        let snapshot = testing::normal();
        for sort in Sort::value_variants().iter().copied() {
            let mut indices: Vec<usize> = (0..snapshot.sites.len()).collect();
            sort_indices(&mut indices, &snapshot.sites, sort, |site| site.counters.alloc_objects as f64);
            let first = &snapshot.sites[indices[0]];
            let last = &snapshot.sites[indices[indices.len() - 1]];
            assert!(match sort {
                Sort::Inuse => first.counters.inuse_bytes() > last.counters.inuse_bytes(),
                Sort::Objects => first.counters.inuse_objects() > last.counters.inuse_objects(),
                Sort::Allocs => first.counters.alloc_objects > last.counters.alloc_objects,
                Sort::Oldest => first.oldest > last.oldest && last.oldest.is_none(),
            });
        }
    }
}
