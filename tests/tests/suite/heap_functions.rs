//! Every function of the allocator, with exact bytes and counts at the function that called it.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    leaker::Leaker,
    ledger::{Match::Innermost, Scope::Everything},
    tracer::{trace, trace_and_check},
};

#[test]
fn every_function_is_counted_at_its_caller() -> Result<()> {
    trace_and_check("heap_functions.c", Innermost, Everything)?;
    Ok(())
}

#[test]
fn the_report_says_what_was_traced() -> Result<()> {
    let leaker = Leaker::start("heap_functions.c")?;
    let pid = leaker.pid();
    let (_, report) = trace(leaker)?;
    ensure!(report.target.pid == pid, "another pid: {:?}", report.target);
    // The kernel keeps fifteen bytes of the name.
    ensure!(report.target.comm == "heap_functions-", "another comm: {:?}", report.target);
    ensure!(report.target.exe.contains("heap_functions-"), "another program: {:?}", report.target);
    ensure!(report.target.cmdline.len() == 1, "other arguments: {:?}", report.target);
    ensure!(report.elapsed_s > 0.0, "no time has passed: {}", report.elapsed_s);
    ensure!(report.sites.iter().all(|site| site.kind == "heap"), "a site that is not of the heap:\n{report}");
    Ok(())
}

#[test]
fn a_site_names_its_source_line() -> Result<()> {
    let (_, report) = trace(Leaker::start("heap_functions.c")?)?;
    let site = report.sites.iter().find(|site| site.frame_is(0, "site_malloc")).context("no site_malloc")?;
    let [frame, caller, ..] = site.frames.as_slice() else { anyhow::bail!("less than two frames:\n{report}") };
    let file = frame.file.as_deref().context("no file")?;
    ensure!(file.ends_with("heap_functions.c"), "another file: {file}");
    let source = include_str!("../../leakers/heap_functions.c");
    let line = source.lines().position(|line| line.contains("return malloc(n);")).context("no such line")?;
    ensure!(frame.line == u32::try_from(line + 1).ok(), "another line: {frame:?}");
    ensure!(caller.function.as_deref() == Some("main"), "another caller: {caller:?}");
    Ok(())
}

#[test]
fn every_probe_of_a_called_function_was_hit() -> Result<()> {
    let (_, report) = trace(Leaker::start("heap_functions.c")?)?;
    // memalign and aligned_alloc are one function in glibc, and may go by either name.
    for symbol in ["malloc", "calloc", "realloc", "posix_memalign", "valloc", "pvalloc", "free"] {
        let mut probes = report.probes.iter().filter(|probe| probe.symbol == symbol);
        ensure!(probes.any(|probe| probe.kind == "entry" && probe.hits > 0), "no hit at {symbol}: {:?}", report.probes);
    }
    Ok(())
}
