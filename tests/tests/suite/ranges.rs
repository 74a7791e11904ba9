//! Memory from the kernel itself: mmap, munmap, mremap and brk, to the byte, by the function that mapped it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use leaktrace_tests::{
    ledger::{Match::AnyFrame, Scope::Ranges},
    report::Report,
    tracer::trace_and_check,
};

/// Bytes outstanding of sites with `function`, by kind.
fn kinds(report: &Report, function: &str) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for site in &report.ranges {
        if (0..site.frames.len()).any(|frame| site.frame_is(frame, function)) {
            *kinds.entry(site.kind.clone()).or_default() += site.counters.inuse_bytes;
        }
    }
    kinds
}

#[test]
fn what_is_mapped_cut_moved_and_resized() -> Result<()> {
    let report = trace_and_check("ranges.c", AnyFrame, Ranges)?;
    for (function, kind) in [
        ("map_leak", "mmap"),
        ("map_grown", "mmap"),
        ("map_shared", "mmap_shared"),
        ("map_file", "mmap_file"),
        ("map_stack", "mmap_stack"),
        ("map_reserved", "mmap_reserved"),
        ("move_break", "mmap"),
    ] {
        let kinds = kinds(&report, function);
        ensure!(kinds.keys().eq([kind]), "{function} is {kinds:?}, not {kind}");
    }
    let allocators: BTreeMap<_, _> = kinds(&report, "allocate_large");
    ensure!(allocators.is_empty(), "what malloc maps is its own: {allocators:?}");
    Ok(())
}

#[test]
fn threads_map_what_others_unmap() -> Result<()> {
    trace_and_check("ranges_threads.c", AnyFrame, Ranges)?;
    Ok(())
}
