//! Languages whose runtimes stand between a site and malloc, and libraries that come late.

use std::process::Command;

use anyhow::Result;
use leaktrace_tests::{
    leaker::{Build, Frames, Leaker, compile, leakers_dir},
    ledger::{
        Match::{AnyFrame, Innermost},
        Scope::ListedSites,
    },
    tracer::{trace, trace_and_check},
};

/// The program that opens a library once it is released.
pub(crate) fn late_library() -> Result<Command> {
    let library =
        Build::c(leakers_dir().join("late_library.c"), Frames::Pointers).shared().arg("-DLIBRARY").compile()?;
    let mut command = Command::new(compile("late_library.c")?);
    command.arg(library);
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
