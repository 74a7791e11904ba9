//! The heap's part of the text report: its numbers, its call sites, and what of them is left out.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use tracer_common::event::SiteKind;

use super::{
    ReportOptions,
    estimates::{estimate_mark, with_errors},
    growth_words::faulted_words,
    listing::Listing,
    merged::{Merged, merge, owner_words, parts_words},
    text::write_stack,
    text_analysis::write_verdict,
    units::{amount, bytes, counted, duration, rate, signed_bytes},
    words::kind_words,
};
use crate::aggregate::{BlockCounters, Rates, Sampled, SiteSnapshot, Snapshot};

/// The lines of the header.
pub(super) fn write_heap_numbers(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let Snapshot { window, sites, totals, sample, rates, .. } = snapshot;
    let mark = estimate_mark(sample.is_some());
    let sampled = sample.as_ref().map(|sample| &sample.totals);
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes, free_objects } = *totals;
    let heap_sites = sites.iter().filter(|site| site.kind == SiteKind::Heap).count();
    let from = counted(heap_sites as u64, "call site", "call sites");
    writeln!(out, "outstanding  {} from {from}", inuse_words(SiteKind::Heap, totals, sampled))?;
    let allocated = sampled.map(|sampled| (sampled.alloc_bytes(), sampled.alloc_objects()));
    let freed = sampled.map(|sampled| (sampled.free_bytes(), sampled.free_objects()));
    writeln!(out, "allocated    {}", with_errors(amount(alloc_bytes, alloc_objects), allocated))?;
    writeln!(out, "freed        {}", with_errors(amount(free_bytes, free_objects), freed))?;
    write_mapped(sites, false, out)?;
    let Rates { allocs_per_s, frees_per_s, alloc_bytes_per_s, inuse_bytes_per_s } = *rates;
    writeln!(
        out,
        "rates        {mark}{} allocations/s, {mark}{} frees/s, {mark}{}/s allocated, {mark}{}/s outstanding, over the last {}",
        rate(allocs_per_s),
        rate(frees_per_s),
        signed_bytes(alloc_bytes_per_s).trim_start_matches('+'),
        signed_bytes(inuse_bytes_per_s),
        duration(*window),
    )
}

/// What is mapped, by kind: with what allocators map, or besides.
pub(super) fn write_mapped(sites: &[SiteSnapshot], with_allocators: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut kinds: BTreeMap<SiteKind, BlockCounters> = BTreeMap::new();
    for site in sites.iter().filter(|site| site.kind.is_range() && site.counters.inuse_objects() > 0) {
        *kinds.entry(site.kind).or_default() += site.counters;
    }
    for (index, (kind, counters)) in kinds.into_iter().enumerate() {
        let label = if index == 0 { "mapped" } else { "" };
        let what = if with_allocators && kind == SiteKind::Mmap { "anonymous memory" } else { kind_words(kind) };
        writeln!(out, "{label:<12} {}, {what}", amount_of(kind, &counters))?;
    }
    Ok(())
}

/// The sites, and what of them is not shown.
pub(super) fn write_heap_sites(snapshot: &Snapshot, options: &ReportOptions, out: &mut dyn Write) -> io::Result<()> {
    let processes = snapshot.processes.len();
    let merged = merge(snapshot.sites.iter().filter(|site| !site.kind.is_faulted()), processes);
    let listing = Listing::new(snapshot, &merged, options);
    for (rank, entry) in listing.shown.iter().enumerate() {
        writeln!(out)?;
        write_site(rank + 1, entry, processes, out)?;
    }
    writeln!(out)?;
    writeln!(out, "{}", listing.rest_words(options))
}

fn write_site(rank: usize, entry: &Merged<SiteSnapshot>, processes: usize, out: &mut dyn Write) -> io::Result<()> {
    let SiteSnapshot {
        id: _,
        tgid: _,
        kind,
        counters,
        faulted: _,
        sampled,
        oldest,
        stack,
        verdict,
        ages: _,
        sizes: _,
        suppressed,
    } = &entry.sum;
    let sampled = sampled.as_deref();
    let BlockCounters { alloc_bytes, alloc_objects, free_bytes: _, free_objects: _ } = *counters;
    let age = oldest.map_or_else(|| "unknown".to_owned(), duration);
    let allocated = sampled.map(|sampled| (sampled.alloc_bytes(), sampled.alloc_objects()));
    let amount_allocated = with_errors(amount_of_all(*kind, alloc_bytes, alloc_objects), allocated);
    let kind_words = if kind.is_range() { format!(", {}", kind.name()) } else { String::new() };
    writeln!(
        out,
        "#{rank} {} outstanding, oldest {age}, of {} allocated ({}{kind_words})",
        inuse_words(*kind, counters, sampled),
        amount_allocated,
        owner_words(entry, processes),
    )?;
    if let Some(words) = parts_words(entry, |size| format!("{}{}", estimate_mark(sampled.is_some()), bytes(size))) {
        writeln!(out, "    {words}")?;
    }
    match verdict {
        _ if *suppressed => writeln!(out, "    suppressed")?,
        Some(verdict) => write_verdict(verdict, out)?,
        None => {}
    }
    write_stack(stack, out)
}

/// A site as text, for those who tell others of it.
pub(crate) fn site_text(site: &SiteSnapshot) -> String {
    let mut text = Vec::new();
    let BlockCounters { alloc_bytes, alloc_objects, .. } = site.counters;
    let age = site.oldest.map_or_else(|| "unknown".to_owned(), duration);
    let held = amount_of(site.kind, &site.counters);
    let allocated = amount_of_all(site.kind, alloc_bytes, alloc_objects);
    let head = match site.faulted {
        Some(faulted) => format!("{} faulted in", faulted_words(faulted)),
        None => format!("{held} outstanding, oldest {age}, of {allocated} allocated"),
    };
    let written = writeln!(text, "{head} (process {})", site.tgid.0)
        .and_then(|()| site.verdict.as_ref().map_or(Ok(()), |verdict| write_verdict(verdict, &mut text)))
        .and_then(|()| write_stack(&site.stack, &mut text));
    written.expect("writes to memory");
    String::from_utf8_lossy(&text).into_owned()
}

/// What is outstanding, with its errors where it is estimated.
fn inuse_words(kind: SiteKind, counters: &BlockCounters, sampled: Option<&Sampled>) -> String {
    with_errors(amount_of(kind, counters), sampled.map(|sampled| (sampled.inuse_bytes(), sampled.inuse_objects())))
}

/// What a site holds.
fn amount_of(kind: SiteKind, counters: &BlockCounters) -> String {
    amount_of_all(kind, counters.inuse_bytes(), counters.inuse_objects())
}

fn amount_of_all(kind: SiteKind, size: u64, objects: u64) -> String {
    if kind.is_range() {
        return format!("{} in {}", bytes(size), counted(objects, "mapping", "mappings"));
    }
    amount(size, objects)
}
