//! Views add up what they are given. What leaktrace counted can be added up; what a damaged file says may not be.

use crate::{
    aggregate::{
        BlockCounters, Corrections, Descriptors, FdSite, IncompleteCount, LossCount, Peer, ProcessSnapshot, Sampled,
        SiteSnapshot, Snapshot, StatCount, Suppressed,
    },
    record::error::Malformed,
};

/// Whether all counts of a Snapshot together are a number that also fits with a sign.
pub(super) fn check(snapshot: &Snapshot) -> Result<(), Malformed> {
    let Snapshot {
        processes, suppressions, growth, sites, totals, sample, loss, incomplete, stats, descriptors, ..
    } = snapshot;
    let process = |process: &ProcessSnapshot| of_blocks(&process.totals) + process.fds.map_or(0, u128::from);
    let sum = of_blocks(totals)
        + processes.iter().map(process).sum::<u128>()
        + suppressions.iter().map(of_suppressed).sum::<u128>()
        + sites
            .iter()
            .map(|SiteSnapshot { counters, sampled, .. }| of_blocks(counters) + of_sampled(sampled.as_deref()))
            .sum::<u128>()
        + of_sampled(sample.as_ref().map(|sample| &sample.totals))
        + sum(loss.iter().map(|LossCount { cause: _, count }| *count))
        + sum(incomplete.iter().map(|IncompleteCount { end: _, objects }| *objects))
        + sum(stats.iter().map(|StatCount { stat: _, count }| *count))
        + growth.as_ref().map_or(0, super::growth::sum)
        + descriptors.as_ref().map_or(0, of_descriptors);
    if sum > i64::MAX as u128 { Err(Malformed("its numbers are larger than any count")) } else { Ok(()) }
}

fn sum(counts: impl IntoIterator<Item = u64>) -> u128 {
    counts.into_iter().map(u128::from).sum()
}

fn of_blocks(counters: &BlockCounters) -> u128 {
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = *counters;
    sum([alloc_bytes, alloc_objects, free_bytes, free_objects])
}

fn of_sampled(sampled: Option<&Sampled>) -> u128 {
    let of_one = |Sampled { objects, bytes, estimated, .. }: &Sampled| sum([*objects, *bytes]) + of_blocks(estimated);
    sampled.map_or(0, of_one)
}

fn of_suppressed(suppressed: &Suppressed) -> u128 {
    let Suppressed { pattern: _, sites, inuse_bytes, inuse_objects } = suppressed;
    sum([*sites, *inuse_bytes, *inuse_objects])
}

fn of_descriptors(descriptors: &Descriptors) -> u128 {
    let Descriptors { sites, peers, corrections, .. } = descriptors;
    let Corrections { unseen_closes, unseen_opens, replaced } = *corrections;
    let of_site = |FdSite { opened, closed, kinds, .. }: &FdSite| {
        sum([*opened, *closed]) + sum(kinds.iter().map(|(_, count)| *count))
    };
    let of_peer = |Peer { open, idle, close_wait, opened, closed, sites, connected_by, .. }: &Peer| {
        sum([*open, *idle, *close_wait, *opened, *closed])
            + sum(sites.iter().chain(connected_by).map(|(_, count)| *count))
    };
    sites.iter().map(of_site).sum::<u128>()
        + peers.iter().map(of_peer).sum::<u128>()
        + sum([unseen_closes, unseen_opens, replaced])
}
