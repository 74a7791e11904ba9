//! Arithmetic where it is hard: nested calls, realloc, failures, blocks that change threads, blocks from before.
//! The leakers print their statistics too, and those are compared with the report's.

use anyhow::{Context as _, Result, ensure};
use leaktrace_tests::{
    leaker::Leaker,
    ledger::{
        Match::{AnyFrame, Innermost},
        Scope::{Everything, ListedSites},
    },
    tracer::{trace, trace_and_check, trace_with},
};

#[test]
fn realloc_in_all_its_ways() -> Result<()> {
    trace_and_check("reallocs.c", Innermost, Everything)?;
    Ok(())
}

#[test]
fn a_moving_realloc_races_with_those_who_take_its_old_place() -> Result<()> {
    trace_and_check("realloc_race.c", Innermost, ListedSites)?;
    Ok(())
}

#[test]
fn failed_and_empty_calls() -> Result<()> {
    trace_and_check("failures.c", Innermost, Everything)?;
    Ok(())
}

#[test]
fn blocks_from_before_the_attach_are_unknown_frees() -> Result<()> {
    trace_and_check("before_attach.c", Innermost, Everything)?;
    Ok(())
}

#[test]
fn blocks_freed_by_another_thread_are_freed_at_their_site() -> Result<()> {
    trace_and_check("handover.c", Innermost, ListedSites)?;
    Ok(())
}

#[test]
fn blocks_beyond_the_near_table_are_counted_as_well() -> Result<()> {
    let (ledger, report) = trace_with(Leaker::start("many_live.c")?, &["--max-live", "40009"])?;
    ledger.check(&report, Innermost, Everything)
}

/// Kernels without links over many probes, and those that need other programs as well.
#[test]
fn every_way_of_attaching_counts_the_same() -> Result<()> {
    for way in ["uprobe-session", "uprobe-multi", "perf-event", "perf-event-old"] {
        let (ledger, report) = trace_with(Leaker::start("reallocs.c")?, &["--attach", way])?;
        ledger.check(&report, Innermost, Everything).context(way)?;
    }
    Ok(())
}

/// What libc allocates for its caller, in sum: right however the stacks were walked.
#[test]
fn blocks_that_libc_allocates_are_counted_once() -> Result<()> {
    let (ledger, report) = trace(Leaker::start("libc_calls.c")?)?;
    let objects: u64 = ledger.entries.iter().filter_map(|entry| entry.inuse_objects).sum();
    ensure!(report.totals.inuse_objects == objects, "the program holds {objects} blocks:\n{report}");
    report.check_arithmetic()
}

#[test]
fn blocks_that_libc_allocates_are_found_at_its_caller() -> Result<()> {
    trace_and_check("libc_calls.c", AnyFrame, Everything)?;
    Ok(())
}

#[test]
fn blocks_of_children_are_not_counted() -> Result<()> {
    trace_and_check("children.c", Innermost, Everything)?;
    Ok(())
}
