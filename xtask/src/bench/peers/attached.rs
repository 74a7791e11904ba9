//! Tools that attach to a running process: leaktrace, and bpftrace with a script that does the same.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::allocator;
use crate::{
    bench::{
        footprint,
        programs::Bench,
        tracers::{Started, Tracer, start_bpftrace, start_leaktrace},
    },
    shell,
};

/// A way to run leaktrace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Mode {
    Full,
    Sampled,
    Growth,
    Budget,
    /// The traps alone.
    EmptyProbes,
}

impl Mode {
    /// Those of users, if the leaktrace to measure has them.
    pub(super) fn known_to(leaktrace: &Path) -> Result<Vec<Self>> {
        let help = shell::capture(Command::new(leaktrace).arg("--help"))?;
        let modes = [Self::Full, Self::Sampled, Self::Growth, Self::Budget].into_iter();
        Ok(modes.filter(|mode| mode.options().first().is_none_or(|option| has_option(&help, option))).collect())
    }

    pub(in crate::bench) fn name(self) -> &'static str {
        match self {
            Self::Full => "leaktrace",
            Self::Sampled => "leaktrace --sample 64",
            Self::Growth => "leaktrace --growth",
            Self::Budget => "leaktrace --max-overhead 2",
            Self::EmptyProbes => "empty probes",
        }
    }

    pub(in crate::bench) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Full => &[],
            Self::Sampled => &["--sample", "64"],
            Self::Growth => &["--growth"],
            Self::Budget => &["--max-overhead", "2"],
            Self::EmptyProbes => &["--empty-probes"],
        }
    }

    /// How long it takes until it costs what it is going to cost: a budget is kept by measuring for a while.
    pub(in crate::bench) fn settles_within(self) -> Duration {
        if self == Self::Budget { Duration::from_secs(12) } else { Duration::ZERO }
    }
}

/// Whether a help text has an option, apart from what its descriptions speak of.
fn has_option(help: &str, option: &str) -> bool {
    let names = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = names.filter_map(|line| line.split("  ").next());
    names.flat_map(|names| names.split([' ', ',', '='])).any(|name| name == option)
}

/// A tracer whose probes are on.
#[derive(Debug)]
pub(in crate::bench) struct Attached {
    tracer: Tracer,
    /// Where it writes its report, if that is not its output.
    report: Option<PathBuf>,
}

impl Attached {
    pub(in crate::bench) fn leaktrace(bench: &Bench, mode: Mode, pid: u32, folder: &Path) -> Result<Self> {
        let report = folder.join("report.json");
        match start_leaktrace(&mut bench.leaktrace(pid, &report, mode.options()))? {
            Started::Tracing(tracer) => Ok(Self { tracer, report: Some(report) }),
            Started::Refused => bail!("{} does not know {:?}", bench.leaktrace.display(), mode.options()),
        }
    }

    pub(in crate::bench) fn bpftrace(bench: &Bench, pid: u32, folder: &Path) -> Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("the target has ended")?;
        let source = bench.sources.join("memleak.bt");
        let text = fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let script = folder.join("memleak.bt");
        fs::write(&script, text.replace("LIBRARY", &allocator(&maps).to_string_lossy()))?;
        Ok(Self { tracer: start_bpftrace(&mut bench.bpftrace(&script, pid))?, report: None })
    }

    /// The memory that it has taken at most, its BPF maps included.
    pub(in crate::bench) fn bytes(&self) -> Result<u64> {
        footprint::tracer_bytes(self.tracer.pid())
    }

    /// Ends it; what it has to report, if that is wanted.
    pub(in crate::bench) fn stop(self, wanted: bool) -> Result<Option<String>> {
        if !wanted && self.report.is_none() {
            self.tracer.kill();
            return Ok(None);
        }
        let printed = self.tracer.stop()?;
        let Some(report) = self.report else { return Ok(Some(printed)) };
        let text = fs::read_to_string(&report).with_context(|| format!("no report at {}", report.display()))?;
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_one_by_its_whole_name() {
        let help = "Options:\n  -p, --pid <PID>\n          Process, see --growth\n      --growth-rate <N>  as --growth\n      --sample <N>";
        assert!(has_option(help, "--sample") && has_option(help, "--pid"));
        assert!(!has_option(help, "--growth"));
        assert!(has_option("      --growth\n          Page faults", "--growth"));
    }
}
