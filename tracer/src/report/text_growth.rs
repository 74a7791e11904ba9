//! The part of the report that is about page faults.

use std::{
    cmp::Reverse,
    io::{self, Write},
};

use super::{
    growth_words::{NOTE, balance_words, faulted_words, share_words, since_words, total_words},
    merged::{Merged, merge, owner_words, parts_words},
    startup::is_startup,
    text::{ReportOptions, write_stack},
    text_analysis::write_verdict,
    units::{bytes, counted},
};
use crate::aggregate::{Faulted, PageFaults, SiteSnapshot, Snapshot};

/// The lines of the header.
pub(super) fn write_growth(snapshot: &Snapshot, faults: &PageFaults, out: &mut dyn Write) -> io::Result<()> {
    let sites = snapshot.sites.iter().filter(|site| site.kind.is_faulted()).count() as u64;
    let from = counted(sites, "call site", "call sites");
    writeln!(out, "faulted in   {}, from {from}{}", total_words(faults), since_words(faults))?;
    if let Some(words) = balance_words(faults) {
        writeln!(out, "growth       {words}")?;
    }
    writeln!(out, "note         {NOTE}")
}

/// The sites, those that faulted in most first.
pub(super) fn write_faulted_sites(
    snapshot: &Snapshot,
    faults: &PageFaults,
    options: &ReportOptions,
    out: &mut dyn Write,
) -> io::Result<()> {
    let processes = snapshot.processes.len();
    let mut merged = merge(snapshot.sites.iter().filter(|site| site.kind.is_faulted()), processes);
    merged.sort_by_key(|entry| Reverse(faulted_of(entry).samples));
    let (startup, others): (Vec<_>, Vec<_>) = merged.iter().partition(|entry| is_startup(snapshot, &entry.sum));
    let (shown, below) = others.split_at(others.len().min(options.top));
    for (rank, entry) in shown.iter().enumerate() {
        writeln!(out)?;
        write_site(rank + 1, entry, faults.faulted(), processes, out)?;
    }
    writeln!(out)?;
    let sum = |entries: &[&Merged<SiteSnapshot>]| {
        let mut sum = Faulted { samples: 0, period: faults.period };
        entries.iter().for_each(|entry| sum += faulted_of(entry));
        faulted_words(sum)
    };
    let sites = |entries: &[&Merged<SiteSnapshot>]| counted(entries.len() as u64, "site", "sites");
    let mut rest = Vec::new();
    if !below.is_empty() {
        rest.push(format!("{} that faulted in {} (--top {})", sites(below), sum(below), options.top));
    }
    if !startup.is_empty() {
        let whose = "of the loader and the libraries' start, before the program's own code";
        rest.push(format!("{} {whose}, that faulted in {}", sites(&startup), sum(&startup)));
    }
    match (shown.len(), rest.as_slice()) {
        (0, []) => writeln!(out, "No page fault was looked at: too few were there, or none."),
        (_, []) => writeln!(out, "Shown: all {}, by bytes faulted in.", sites(shown)),
        _ => writeln!(out, "Shown: {}, by bytes faulted in. Not shown: {}.", sites(shown), rest.join("; ")),
    }
}

fn faulted_of(entry: &Merged<SiteSnapshot>) -> Faulted {
    entry.sum.faulted.unwrap_or_default()
}

fn write_site(
    rank: usize,
    entry: &Merged<SiteSnapshot>,
    all: Faulted,
    processes: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let SiteSnapshot { stack, verdict, suppressed, .. } = &entry.sum;
    let faulted = faulted_of(entry);
    let share = share_words(faulted, all);
    writeln!(out, "#{rank} {} faulted in{share} ({})", faulted_words(faulted), owner_words(entry, processes))?;
    if let Some(words) = parts_words(entry, |size| format!("~{}", bytes(size))) {
        writeln!(out, "    {words}")?;
    }
    match verdict {
        _ if *suppressed => writeln!(out, "    suppressed")?,
        Some(verdict) => write_verdict(verdict, out)?,
        None => {}
    }
    write_stack(stack, out)
}
