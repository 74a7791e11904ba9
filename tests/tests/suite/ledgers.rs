//! The leakers do what their ledgers say: checked by the oracle, without leaktrace and without root. When one of these
//! fails, the test is wrong; when only its sibling under leaktrace fails, leaktrace is.

use std::process::Command;

use anyhow::{Context, Result};
use leaktrace_tests::{
    ledger::{
        Match::{AnyFrame, Innermost},
        Scope::{Everything, ListedSites},
    },
    oracle::{observe, observe_and_check},
    random::{self, Options},
};

#[test]
fn heap_functions() -> Result<()> {
    observe_and_check("heap_functions.c", Innermost, Everything)
}

#[test]
fn reallocs() -> Result<()> {
    observe_and_check("reallocs.c", Innermost, Everything)
}

#[test]
fn realloc_race() -> Result<()> {
    observe_and_check("realloc_race.c", Innermost, ListedSites)
}

#[test]
fn failures() -> Result<()> {
    observe_and_check("failures.c", Innermost, Everything)
}

#[test]
fn before_attach() -> Result<()> {
    observe_and_check("before_attach.c", Innermost, Everything)
}

#[test]
fn handover() -> Result<()> {
    observe_and_check("handover.c", Innermost, ListedSites)
}

#[test]
fn children() -> Result<()> {
    observe_and_check("children.c", Innermost, Everything)
}

#[test]
fn late_library() -> Result<()> {
    let (ledger, report) = observe(&mut super::languages::late_library()?)?;
    ledger.check(&report, Innermost, ListedSites)
}

#[test]
fn libc_calls() -> Result<()> {
    observe_and_check("libc_calls.c", AnyFrame, Everything)
}

#[test]
fn threads() -> Result<()> {
    observe_and_check("threads_many.c", Innermost, ListedSites)?;
    observe_and_check("threads_short.c", Innermost, ListedSites)
}

#[test]
fn languages() -> Result<()> {
    observe_and_check("cpp_heap.cpp", AnyFrame, ListedSites)?;
    observe_and_check("rust_heap.rs", AnyFrame, ListedSites)
}

#[test]
fn python() -> Result<()> {
    let (_, report) = observe(&mut super::servers::python())?;
    super::servers::expect_bytearrays(&report)
}

#[test]
fn random_programs() -> Result<()> {
    for seed in super::random_programs::seeds()? {
        for options in [Options::PLAIN, Options::AS_DISTRIBUTED] {
            let program = random::program(seed, options)?;
            let context = || format!("seed {seed}, {options:?}: {}", program.source.display());
            let (ledger, report) = observe(&mut Command::new(&program.path)).with_context(context)?;
            ledger.check(&report, Innermost, ListedSites).with_context(context)?;
        }
    }
    Ok(())
}
