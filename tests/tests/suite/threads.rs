//! Many threads at once, and threads that come and go.

use anyhow::Result;
use leaktrace_tests::{
    ledger::{Match::Innermost, Scope::ListedSites},
    tracer::trace_and_check,
};

#[test]
fn many_threads_at_once() -> Result<()> {
    trace_and_check("threads_many.c", Innermost, ListedSites)?;
    Ok(())
}

#[test]
fn threads_that_come_and_go() -> Result<()> {
    trace_and_check("threads_short.c", Innermost, ListedSites)?;
    Ok(())
}
