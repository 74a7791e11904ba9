//! Memory: in all, and of the call sites that hold most.

use std::{collections::BTreeMap, fmt};

use tracer_common::event::SiteKind;

use super::writer::{Labelled, Writer};
use crate::{
    aggregate::{BlockCounters, SiteSnapshot, Snapshot},
    metrics::{LISTED, has_its_name, is_leaking, label, largest},
    report::fd_words::call_site_words,
};

pub(super) fn write(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    totals(snapshot, writer)?;
    sites(snapshot, writer)
}

/// By kind: the heap, and what is mapped besides.
fn totals(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let mut kinds: BTreeMap<SiteKind, BlockCounters> = BTreeMap::from([(SiteKind::Heap, snapshot.totals)]);
    for site in snapshot.sites.iter().filter(|site| site.kind.is_range()) {
        *kinds.entry(site.kind).or_default() += site.counters;
    }
    let of = |number: fn(&BlockCounters) -> u64| {
        kinds.iter().map(move |(kind, counters)| ([("kind", kind.name().into())], number(counters)))
    };
    let outstanding = "Bytes outstanding of what was allocated since attach.";
    writer.gauge("leaktrace_inuse_bytes", outstanding, of(BlockCounters::inuse_bytes))?;
    writer.gauge("leaktrace_inuse_objects", "Blocks outstanding.", of(BlockCounters::inuse_objects))?;
    writer.counter("leaktrace_alloc_bytes", "Bytes allocated since attach.", of(|counters| counters.alloc_bytes))?;
    writer.counter(
        "leaktrace_alloc_objects",
        "Blocks allocated since attach.",
        of(|counters| counters.alloc_objects),
    )?;
    writer.counter("leaktrace_free_bytes", "Bytes of those that were freed.", of(|counters| counters.free_bytes))?;
    writer.counter("leaktrace_free_objects", "Blocks of those that were freed.", of(|counters| counters.free_objects))
}

/// The labels of a call site.
pub(super) fn labels(site: &SiteSnapshot) -> [Labelled<'_>; 4] {
    [
        ("site", site.id.0.to_string().into()),
        ("call_site", label(&call_site_words(&site.stack)).into_owned().into()),
        ("kind", site.kind.name().into()),
        ("pid", site.tgid.0.to_string().into()),
    ]
}

fn sites(snapshot: &Snapshot, writer: &mut Writer<'_>) -> fmt::Result {
    let listed: Vec<&SiteSnapshot> = largest(snapshot).filter(|site| has_its_name(&site.stack)).collect();
    let of = |number: fn(&BlockCounters) -> u64| listed.iter().map(move |site| (labels(site), number(&site.counters)));
    let help = "Bytes outstanding of the call sites that hold most.";
    writer.gauge("leaktrace_site_inuse_bytes", help, of(BlockCounters::inuse_bytes))?;
    writer.gauge("leaktrace_site_inuse_objects", "Blocks outstanding of them.", of(BlockCounters::inuse_objects))?;
    writer.counter(
        "leaktrace_site_alloc_bytes",
        "Bytes allocated by them since attach.",
        of(|site| site.alloc_bytes),
    )?;
    writer.counter("leaktrace_site_free_bytes", "Bytes of those that were freed.", of(|site| site.free_bytes))?;
    let leaking = listed.iter().map(|site| (labels(site), u64::from(is_leaking(site))));
    writer.gauge("leaktrace_site_leaking", "Whether they are judged to leak.", leaking)?;

    let holding = snapshot.own_memory().filter(|site| site.counters.inuse_objects() > 0);
    let all = holding.clone().count() as u64;
    let rest: u64 = holding.map(|site| site.counters.inuse_bytes()).sum::<u64>()
        - listed.iter().map(|site| site.counters.inuse_bytes()).sum::<u64>();
    writer.gauge("leaktrace_sites", "Call sites that hold something.", [([], all)])?;
    debug_assert!(listed.len() <= LISTED);
    writer.gauge("leaktrace_unlisted_sites_inuse_bytes", "Bytes outstanding of those without series.", [([], rest)])
}
