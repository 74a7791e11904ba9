//! What a program says of its descriptors: who opened how many, and what is open. All of it must be equal in the report.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::report::{Corrections, FdReport, FdSite, OpenFd};

/// A site's line: numbers since the release.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteEntry {
    /// The function that opened them.
    pub fd_site: String,
    /// Descriptors opened.
    pub opened: u64,
    /// Those of them that were closed.
    pub closed: u64,
    /// Those of them that are open.
    pub open: u64,
}

/// An open descriptor's line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenEntry {
    /// Its number.
    pub fd: u32,
    /// What it is, by the report's names.
    pub kind: String,
    /// `site`, `before_attach` or `unseen`.
    pub origin: String,
    /// The function that opened it, if it is a site's.
    pub at: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Absent {
    absent: String,
    error: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Site(SiteEntry),
    Open(OpenEntry),
    Corrections(Corrections),
    Absent(Absent),
    Port(Port),
}

/// What is compared of what leaktrace had to put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correcting {
    /// It is what the program says, which is nothing unless it says so.
    AsTold,
    /// Anything: calls of several threads on one number, in an order that nobody knows.
    Anything,
}

/// All that a program said about its descriptors.
#[derive(Clone, Debug, Default)]
pub struct FdLedger {
    /// Its sites.
    pub sites: Vec<SiteEntry>,
    /// What it has open, in the order of numbers.
    pub open: Vec<OpenEntry>,
    /// What no system call told of.
    pub corrections: Corrections,
    /// What this kernel does not do for it, and why.
    pub absent: Vec<String>,
    /// The port it listens on, if it says so.
    pub port: Option<u16>,
}

impl FdLedger {
    /// Reads the lines between the release and `done`.
    pub fn parse(lines: &[String]) -> Result<Self> {
        let mut ledger = Self::default();
        let mut is_whole = false;
        for line in lines {
            match serde_json::from_str(line).with_context(|| format!("bad ledger line: {line}"))? {
                Line::Site(site) => ledger.sites.push(site),
                Line::Open(open) => ledger.open.push(open),
                Line::Corrections(corrections) => {
                    ledger.corrections = corrections;
                    is_whole = true;
                }
                Line::Absent(Absent { absent, error }) => ledger.absent.push(format!("{absent}: {error}")),
                Line::Port(Port { port }) => ledger.port = Some(port),
            }
        }
        ensure!(is_whole, "the program printed no ledger of descriptors");
        for SiteEntry { fd_site, opened, closed, open } in &ledger.sites {
            let listed = ledger.open.iter().filter(|entry| entry.at.as_ref() == Some(fd_site)).count();
            ensure!(opened.checked_sub(*closed) == Some(*open), "{fd_site}: {opened} - {closed} is not {open}");
            ensure!(u64::try_from(listed)? == *open, "{fd_site}: {open} open, and {listed} are listed");
        }
        Ok(ledger)
    }

    /// The named site's entry.
    pub fn site(&self, function: &str) -> Result<&SiteEntry> {
        self.sites.iter().find(|site| site.fd_site == function).with_context(|| format!("no {function} in the ledger"))
    }

    /// Compares with what the kernel has open, as [`super::proc::open`] gives it.
    pub fn check_open(&self, kernel: &BTreeMap<u32, String>) -> Result<()> {
        let said: BTreeMap<u32, &str> = self.open.iter().map(|entry| (entry.fd, entry.kind.as_str())).collect();
        let mut wrong = String::new();
        for (fd, kind) in kernel {
            match said.get(fd) {
                // A kind that only its maker knows, from before.
                Some(&said) if said == kind || said == "other" => {}
                said => writeln!(wrong, "descriptor {fd}: the kernel says {kind}, the program {said:?}")?,
            }
        }
        for (fd, kind) in said.iter().filter(|(fd, _)| !kernel.contains_key(fd)) {
            writeln!(wrong, "descriptor {fd}: the program says {kind}, the kernel has none")?;
        }
        ensure!(wrong.is_empty(), "{wrong}");
        Ok(())
    }

    /// Compares with `report`, which must be equal in everything, and lists every difference.
    pub fn check(&self, report: &FdReport) -> Result<()> {
        self.check_with(report, Correcting::AsTold)
    }

    /// [`Self::check`], where corrections may be anything.
    pub fn check_with(&self, report: &FdReport, correcting: Correcting) -> Result<()> {
        let mut wrong = String::new();
        self.compare_sites(report, &mut wrong)?;
        self.compare_open(report, &mut wrong)?;
        if correcting == Correcting::AsTold && !is_as_told(self.corrections, report.corrections) {
            let (said, seen) = (self.corrections, report.corrections);
            writeln!(wrong, "corrections: the program says {said:?}, the report {seen:?}")?;
        }
        if let Err(error) = report.check_arithmetic() {
            writeln!(wrong, "{error}")?;
        }
        ensure!(wrong.is_empty(), "{wrong}\nThe report:\n{report}");
        Ok(())
    }

    fn compare_sites(&self, report: &FdReport, wrong: &mut String) -> Result<()> {
        for SiteEntry { fd_site, opened, closed, open } in &self.sites {
            let sites: Vec<&FdSite> = report.sites.iter().filter(|site| site.has(fd_site)).collect();
            let sum = |number: fn(&FdSite) -> u64| sites.iter().map(|&site| number(site)).sum::<u64>();
            let numbers = [
                ("opened", opened, sum(|site| site.opened)),
                ("closed", closed, sum(|site| site.closed)),
                ("open", open, sum(|site| site.open)),
            ];
            for (name, said, seen) in numbers.into_iter().filter(|(_, said, seen)| *said != seen) {
                let count = sites.len();
                writeln!(wrong, "{fd_site}: {name}: the program says {said}, the report {seen} (in {count} sites)")?;
            }
        }
        // One that opened nothing is there because a connection refers to it.
        for site in report.sites.iter().filter(|site| site.opened > 0) {
            let owners = self.sites.iter().filter(|entry| site.has(&entry.fd_site)).count();
            if owners != 1 {
                let FdSite { id, opened, .. } = site;
                writeln!(wrong, "site {id} of the report, which opened {opened}, is {owners} of the program's")?;
            }
        }
        Ok(())
    }

    fn compare_open(&self, report: &FdReport, wrong: &mut String) -> Result<()> {
        let mut seen: BTreeMap<u32, &OpenFd> = report.fds.iter().map(|fd| (fd.fd, fd)).collect();
        for said in &self.open {
            let Some(seen) = seen.remove(&said.fd) else {
                writeln!(wrong, "descriptor {} is not in the report: {said:?}", said.fd)?;
                continue;
            };
            let at = report.site(seen.site);
            let is_at = match &said.at {
                Some(function) => at.is_some_and(|site| site.has(function)),
                None => seen.site.is_none(),
            };
            let is_kind = said.kind == seen.kind || said.kind == "other" && said.origin == "before_attach";
            if !(is_kind && is_at && said.origin == seen.origin) {
                let OpenFd { kind, origin, .. } = seen;
                let at = at.and_then(|site| site.frames.get(1)).and_then(|frame| frame.function.as_deref());
                writeln!(
                    wrong,
                    "descriptor {}: the program says {} {} {:?}, the report {kind} {origin} {at:?}",
                    said.fd, said.kind, said.origin, said.at
                )?;
            }
        }
        for fd in seen.values() {
            writeln!(wrong, "descriptor {} of the report is not open: {fd:?}", fd.fd)?;
        }
        Ok(())
    }
}

/// A number that was closed and given again unseen may be found as such, or as one of each.
fn is_as_told(said: Corrections, seen: Corrections) -> bool {
    let closes = |of: Corrections| of.unseen_closes + of.replaced;
    let opens = |of: Corrections| of.unseen_opens + of.replaced;
    if said.replaced == 0 { said == seen } else { closes(said) == closes(seen) && opens(said) == opens(seen) }
}
