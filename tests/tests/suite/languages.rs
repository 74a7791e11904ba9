//! Languages whose runtimes stand between a site and malloc, and libraries that come late.

use std::process::Command;

use anyhow::{Result, ensure};
use leaktrace_tests::{
    leaker::{Leaker, compile},
    ledger::{
        Match::{AnyFrame, Innermost},
        Scope::ListedSites,
    },
    programs,
    tracer::{trace, trace_and_check, trace_with},
};

/// The program that opens a library once it is released.
pub(crate) fn late_library() -> Result<Command> {
    let mut command = Command::new(compile("late_library.c")?);
    command.arg(programs::late_library().compile()?);
    Ok(command)
}

#[test]
fn cpp() -> Result<()> {
    trace_and_check("cpp_heap.cpp", AnyFrame, ListedSites)?;
    Ok(())
}

#[test]
fn rust() -> Result<()> {
    trace_and_check("rust_heap.rs", AnyFrame, ListedSites)?;
    Ok(())
}

#[test]
fn a_library_opened_while_traced() -> Result<()> {
    let (ledger, report) = trace(Leaker::start_program(&mut late_library()?)?)?;
    ledger.check(&report, Innermost, ListedSites)
}

/// Frame pointers lead to `main`, and from there nowhere: the C library has none.
#[test]
fn frame_pointers_alone() -> Result<()> {
    let (ledger, report) = trace_with(Leaker::start("simple.c")?, &["--unwind", "fp"])?;
    ledger.check(&report, Innermost, ListedSites)?;
    for site in &report.sites {
        ensure!((0..site.frames.len()).any(|frame| site.frame_is(frame, "main")), "no main:\n{report}");
        ensure!(site.stack != "complete", "frame pointers cannot tell that a stack is complete:\n{report}");
    }
    Ok(())
}
