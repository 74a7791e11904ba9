//! What a leaker says it did, site by site. A number left out is one that the program cannot know (how libc grows a
//! buffer), and is not compared; all others must be equal, byte for byte.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::report::{Counters, Report, Site};

/// One site's line. Numbers are in bytes and blocks since the release.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Function name, or `caller/function`.
    pub site: String,
    /// Outstanding bytes.
    pub inuse_bytes: Option<u64>,
    /// Outstanding blocks.
    pub inuse_objects: Option<u64>,
    /// Bytes allocated.
    pub alloc_bytes: Option<u64>,
    /// Blocks allocated.
    pub alloc_objects: Option<u64>,
    /// Bytes freed.
    pub free_bytes: Option<u64>,
    /// Blocks freed.
    pub free_objects: Option<u64>,
}

impl Entry {
    fn numbers(&self) -> [(&'static str, Option<u64>); 6] {
        let Self { site: _, inuse_bytes, inuse_objects, alloc_bytes, alloc_objects, free_bytes, free_objects } = self;
        [
            ("inuse_bytes", *inuse_bytes),
            ("inuse_objects", *inuse_objects),
            ("alloc_bytes", *alloc_bytes),
            ("alloc_objects", *alloc_objects),
            ("free_bytes", *free_bytes),
            ("free_objects", *free_objects),
        ]
    }
}

/// A statistic that the program knows: how many of its calls failed, and the like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatEntry {
    stat: String,
    count: u64,
}

/// Which frames of a site's stack a ledger name is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The innermost one: the function called the allocator itself.
    Innermost,
    /// Any: a language's or a library's functions lie between.
    AnyFrame,
}

/// Whether the ledger is all that the program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It is: the report's totals must equal the ledger's, so that nothing else may be in the report.
    Everything,
    /// Other code allocated too (pthread_create, the dynamic loader).
    ListedSites,
    /// As [`Scope::ListedSites`], and some of the memory came from the kernel itself.
    Ranges,
}

/// All that a leaker said about itself.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Its sites.
    pub entries: Vec<Entry>,
    /// Statistics it knows.
    pub stats: BTreeMap<String, u64>,
}

impl Ledger {
    /// Reads the lines between the release and `done`.
    pub fn parse(lines: &[String]) -> Result<Self> {
        let mut ledger = Self::default();
        for line in lines {
            if line.starts_with("{\"stat\"") {
                let StatEntry { stat, count } =
                    serde_json::from_str(line).with_context(|| format!("bad ledger line: {line}"))?;
                ledger.stats.insert(stat, count);
            } else {
                ledger.entries.push(serde_json::from_str(line).with_context(|| format!("bad ledger line: {line}"))?);
            }
        }
        ensure!(!ledger.entries.is_empty(), "the program printed no ledger");
        Ok(ledger)
    }

    /// The named site's entry.
    pub fn entry(&self, site: &str) -> Result<&Entry> {
        self.entries.iter().find(|e| e.site == site).with_context(|| format!("no site {site} in the ledger"))
    }

    /// Compares with `report`, and lists every difference. Also holds the report to its own arithmetic.
    pub fn check(&self, report: &Report, matching: Match, scope: Scope) -> Result<()> {
        let sites = match scope {
            Scope::Ranges => report.sites.iter().chain(&report.ranges).collect(),
            _ => report.sites.iter().collect::<Vec<_>>(),
        };
        let mut wrong = String::new();
        for entry in &self.entries {
            let sites: Vec<&Site> = sites.iter().copied().filter(|site| belongs(site, &entry.site, matching)).collect();
            let sum: Counters = sites.iter().map(|site| site.counters).sum();
            for (number, said) in entry.numbers() {
                let seen = sum.number(number);
                if said.is_some_and(|said| said != seen) {
                    writeln!(
                        wrong,
                        "{}: {number}: the program says {}, the report {seen} (in {} sites)",
                        entry.site,
                        said.unwrap_or_default(),
                        sites.len()
                    )?;
                }
            }
        }
        if scope == Scope::Everything {
            self.check_totals(report, &mut wrong)?;
        }
        for (stat, said) in &self.stats {
            let seen = report.stat(stat);
            if *said != seen {
                writeln!(wrong, "stats.{stat}: the program says {said}, the report {seen}")?;
            }
        }
        if let Err(error) = report.check_arithmetic() {
            writeln!(wrong, "{error}")?;
        }
        ensure!(wrong.is_empty(), "{wrong}\nThe report:\n{report}");
        Ok(())
    }

    fn check_totals(&self, report: &Report, wrong: &mut String) -> Result<()> {
        for index in 0..6 {
            let (number, _) = self.entries[0].numbers()[index];
            // A number that one site does not know is not known in sum.
            let said: Option<u64> = self.entries.iter().map(|entry| entry.numbers()[index].1).sum();
            let seen = report.totals.number(number);
            if said.is_some_and(|said| said != seen) {
                let said = said.unwrap_or_default();
                writeln!(wrong, "totals.{number}: the program says {said}, the report {seen}")?;
            }
        }
        Ok(())
    }
}

/// Whether `site` is the one that the ledger calls `name`.
fn belongs(site: &Site, name: &str, matching: Match) -> bool {
    match name.split_once('/') {
        Some((caller, function)) => site.frame_is(0, function) && site.frame_is(1, caller),
        None => match matching {
            Match::Innermost => site.frame_is(0, name),
            Match::AnyFrame => (0..site.frames.len()).any(|frame| site.frame_is(frame, name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::{Ledger, Match, Report, Scope};

    const NUMBERS: &str =
        r#""inuse_bytes":6,"inuse_objects":2,"alloc_bytes":15,"alloc_objects":5,"free_bytes":9,"free_objects":3"#;

    /// A report with one site: `inner` called by `outer`.
    fn report(numbers: &str, loss: &str) -> Result<Report> {
        let text = format!(
            r#"{{"schema":"leaktrace/1","target":{{"pid":7,"comm":"c","exe":"/c","cmdline":["c"]}},"state":"detached",
            "started":"2020-01-01T00:00:00Z","elapsed_s":1.5,"totals":{{{NUMBERS}}},"loss":{loss},"stats":{{"null_frees":3}},
            "probes":[{{"module":"/libc","symbol":"malloc","offset":4,"kind":"entry","hits":5}}],
            "sites":[{{"id":1,"kind":"heap","tgid":7,{numbers},"oldest_age_s":0.5,"stack":"complete","frames":[
                {{"function":"inner","module":"/c","file":"c.c","line":3,"inlined":false,"address":"0x1","reason":null}},
                {{"function":"outer","module":"/c","file":null,"line":null,"inlined":false,"address":"0x2"}}]}}]}}"#
        );
        Ok(serde_json::from_str(&text)?)
    }

    fn ledger(site: &str) -> Result<Ledger> {
        let lines = [format!(r#"{{"site":"{site}",{NUMBERS}}}"#), r#"{"stat":"null_frees","count":3}"#.to_owned()];
        Ledger::parse(&lines)
    }

    #[test]
    fn what_is_equal_passes() -> Result<()> {
        let report = report(NUMBERS, "{}")?;
        ledger("inner")?.check(&report, Match::Innermost, Scope::Everything)?;
        ledger("outer")?.check(&report, Match::AnyFrame, Scope::Everything)?;
        ledger("outer/inner")?.check(&report, Match::Innermost, Scope::Everything)
    }

    #[test]
    fn every_difference_is_found() -> Result<()> {
        let good = report(NUMBERS, "{}")?;
        assert!(ledger("outer")?.check(&good, Match::Innermost, Scope::ListedSites).is_err());
        assert!(ledger("other/inner")?.check(&good, Match::Innermost, Scope::ListedSites).is_err());
        for (name, wrong) in [("inner", r#""alloc_objects":6"#), ("other", r#""alloc_objects":5"#)] {
            let line = format!(r#"{{"site":"{name}",{wrong}}}"#);
            assert!(Ledger::parse(&[line])?.check(&good, Match::Innermost, Scope::ListedSites).is_err());
        }
        let out_of_balance = report(&NUMBERS.replace(":6", ":5"), "{}")?;
        assert!(out_of_balance.check_arithmetic().is_err());
        let lossy = report(NUMBERS, r#"{"live_table_full":1}"#)?;
        assert!(ledger("inner")?.check(&lossy, Match::Innermost, Scope::Everything).is_err());
        let mut more_nulls = ledger("inner")?;
        more_nulls.stats.insert("null_frees".to_owned(), 4);
        assert!(more_nulls.check(&good, Match::Innermost, Scope::Everything).is_err());
        Ok(())
    }
}
