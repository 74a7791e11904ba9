//! The arguments of the commands that read recordings.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::super::{Format, args::duration};
use crate::{
    analyze::Rule,
    report::{Sort, diff::DiffRule, export::By},
};

/// Which recording, and what of it to report.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The recording.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What to print.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// What the formats folded, svg, pprof and html show of each call stack [default: inuse].
    #[arg(long, value_enum)]
    pub by: Option<By>,
    /// Report how things stood then: so long after tracing began (90s, 1h5m), or a point in time such as
    /// 2026-03-01T09:30:00Z [default: the end].
    #[arg(long, value_name = "TIME", value_parser = at)]
    pub at: Option<At>,
    /// Write the report here instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Call sites shown in a text report.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Order of the call sites.
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
    /// Show only call sites whose oldest block was at least this old.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub min_age: Duration,
    /// End with exit code 1 when this is so, for example 'leaking>0' or 'growth>50MB/h', as in tracing; may be given more
    /// than once.
    #[arg(long, value_name = "RULE")]
    pub fail_on: Vec<Rule>,
    /// Call sites that are no leaks, in LeakSanitizer's format, instead of those that the run was given.
    #[arg(long, value_name = "FILE")]
    pub suppressions: Option<PathBuf>,
}

/// Which recording to look at.
#[derive(Debug, Args)]
pub struct ViewArguments {
    /// The recording.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Begin there: so long after tracing began, or a point in time [default: the end].
    #[arg(long, value_name = "TIME", value_parser = at)]
    pub at: Option<At>,
    /// Order of the call sites [default: the most urgent verdicts].
    #[arg(long, value_enum)]
    pub sort: Option<Sort>,
    /// Show only call sites whose oldest block was at least this old.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub min_age: Duration,
}

impl ReportArguments {
    /// Whether the options go together.
    ///
    /// # Errors
    /// Says which do not, and what to do.
    pub fn check(&self) -> Result<(), clap::Error> {
        self.format.check(self.by)
    }

    /// Whether the report shows how it came to be.
    pub(super) fn needs_history(&self) -> bool {
        self.format == Format::Html || self.by == Some(By::Growth)
    }
}

/// What `diff` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    Text,
    /// For programs: one object, schema "leaktrace-diff/1".
    Json,
}

/// What to compare.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The recording or JSON report from before.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The one from after.
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// What to print.
    #[arg(long, value_enum, default_value = "text")]
    pub format: DiffFormat,
    /// Write the comparison here instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Call sites shown in text.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// End with exit code 1 when this is so: of call sites new, grown, shrunk or gone, for example 'new>0', or by how much
    /// more is held, for example 'inuse>1MB', 'objects>100' or 'fds>10'; may be given more than once.
    #[arg(long, value_name = "RULE")]
    pub fail_on: Vec<DiffRule>,
}

/// A time in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Since tracing began.
    Elapsed(Duration),
    /// By the clock.
    Time(jiff::Timestamp),
}

fn at(text: &str) -> Result<At, String> {
    if let Ok(time) = text.parse() {
        return Ok(At::Time(time));
    }
    duration(text).map(At::Elapsed).map_err(|_| {
        format!("\"{text}\" is no time; write for example 90s or 1h5m after tracing began, or 2026-03-01T09:30:00Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_since_the_beginning_or_by_the_clock() {
        assert_eq!(at("1h5m"), Ok(At::Elapsed(Duration::from_secs(3_900))));
        let time = "2026-03-01T09:30:00Z".parse().expect("a time");
        assert_eq!(at("2026-03-01T09:30:00Z"), Ok(At::Time(time)));
        assert_eq!(at("2026-03-01T10:30:00+01:00"), Ok(At::Time(time)));
        assert!(at("yesterday").is_err_and(|error| error.contains("\"yesterday\"") && error.contains("90s")));
    }
}
