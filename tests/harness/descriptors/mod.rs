//! Descriptors: what leaktrace reports of them, what a program says of itself, and what the kernel says in /proc.

pub mod ledger;
pub mod proc;
pub mod report;

#[cfg(test)]
mod tests;

pub use ledger::FdLedger;
pub use report::FdReport;

use anyhow::{Context, Result, ensure};

use crate::{leaker::Leaker, tracer::Tracer};

/// What came of a traced run.
#[derive(Debug)]
pub struct Traced {
    /// What the program says.
    pub ledger: FdLedger,
    /// What leaktrace says.
    pub report: FdReport,
}

/// The options under which the heap is left alone, as these programs have nothing to say about it.
pub const ONLY_DESCRIPTORS: &[&str] = &["--fds", "--duration", "600s"];

/// Lets the program do its work, and checks its ledger against the kernel: without leaktrace, without root.
pub fn observe(leaker: &mut Leaker) -> Result<FdLedger> {
    let lines = leaker.release_lines()?;
    let ledger = FdLedger::parse(&lines)?;
    ledger.check_open(&proc::open(leaker.pid())?).context("the program's ledger is wrong")?;
    Ok(ledger)
}

/// Traces all that a program does between its release and `done`.
pub fn trace_with(mut leaker: Leaker, options: &[&str]) -> Result<Traced> {
    let tracer = Tracer::attach_with(leaker.pid(), &[ONLY_DESCRIPTORS, options].concat())?;
    let ledger = observe(&mut leaker)?;
    let report = tracer.stop_for_descriptors()?;
    ensure!(report.state == "detached", "state is {:?}", report.state);
    leaker.finish()?;
    Ok(Traced { ledger, report })
}

/// The same, and the comparison: they must be equal.
pub fn trace_and_check(leaker: Leaker) -> Result<Traced> {
    let traced = trace_with(leaker, &[])?;
    traced.ledger.check(&traced.report)?;
    Ok(traced)
}
