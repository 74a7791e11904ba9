//! Programs drawn from seeds: leaktrace's report equals the program's own ledger, caller by caller, site by site.
//!
//! LEAKTRACE_RANDOM_SEEDS=N runs N seeds instead of four; LEAKTRACE_RANDOM_BUILD=distributed builds them as
//! distributions do, as optimized libraries without frame pointers.

use std::process::Command;

use anyhow::{Context, Result, bail};
use leaktrace_tests::{
    leaker::Leaker,
    ledger::{Match::Innermost, Scope::ListedSites},
    random::{self, Options},
    tracer::trace,
};

/// The seeds to run.
pub(crate) fn seeds() -> Result<std::ops::Range<u64>> {
    let count = match std::env::var("LEAKTRACE_RANDOM_SEEDS") {
        Ok(count) => count.parse().context("LEAKTRACE_RANDOM_SEEDS is not a number")?,
        Err(_) => 4,
    };
    Ok(1..1 + count)
}

fn options() -> Result<Options> {
    match std::env::var("LEAKTRACE_RANDOM_BUILD").as_deref() {
        Ok("plain") | Err(_) => Ok(Options::PLAIN),
        Ok("distributed") => Ok(Options::AS_DISTRIBUTED),
        Ok(other) => bail!("LEAKTRACE_RANDOM_BUILD is plain or distributed, not {other}"),
    }
}

#[test]
fn reports_equal_ledgers() -> Result<()> {
    let options = options()?;
    for seed in seeds()? {
        let program = random::program(seed, options)?;
        let context = || format!("seed {seed}, {options:?}: {}", program.source.display());
        let leaker = Leaker::start_program(&mut Command::new(&program.path)).with_context(context)?;
        let (ledger, report) = trace(leaker).with_context(context)?;
        ledger.check(&report, Innermost, ListedSites).with_context(context)?;
    }
    Ok(())
}
