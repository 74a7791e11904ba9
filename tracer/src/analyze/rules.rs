//! Rules that a run must not break: `leaking>0`, `growth>50MB/h`, `fds>80%`.
//!
//! ```text
//! rule   = name op number [unit]         (`threshold`)
//! name   = "leaking" | "growing"        sites with this verdict (suppressed ones are left out)
//!        | "inuse"                      bytes outstanding on the heap
//!        | "objects"                    blocks outstanding on the heap
//!        | "rss"                        resident bytes, of the largest process
//!        | "growth"                     bytes per time by which resident or outstanding memory certainly grows, the faster
//!        | "memory"                     share of the tightest limit of memory
//!        | "fds"                        open descriptors, or their share of the limit
//!        | "loss"                       events that could not be accounted for
//!        | "oom" | "fd_exhaustion"      time until the limit is reached, at the growth that was found
//! ```
//!
//! What is not known breaks no rule: without a limit there is no share of it.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    ProcessAnalysis,
    process::ProcessSignal,
    threshold::{Threshold, Unit},
    verdict::{Label, Verdict},
};
use crate::aggregate::{SiteId, Snapshot};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Leaking,
    Growing,
    Inuse,
    Objects,
    Rss,
    Growth,
    Memory,
    Fds,
    Loss,
    Oom,
    FdExhaustion,
}

const SUBJECTS: [(&str, Subject, &[Unit]); 11] = [
    ("leaking", Subject::Leaking, &[Unit::Count]),
    ("growing", Subject::Growing, &[Unit::Count]),
    ("inuse", Subject::Inuse, &[Unit::Bytes, Unit::Count]),
    ("objects", Subject::Objects, &[Unit::Count]),
    ("rss", Subject::Rss, &[Unit::Bytes, Unit::Count]),
    ("growth", Subject::Growth, &[Unit::BytesPerSecond]),
    ("memory", Subject::Memory, &[Unit::Percent]),
    ("fds", Subject::Fds, &[Unit::Percent, Unit::Count]),
    ("loss", Subject::Loss, &[Unit::Count]),
    ("oom", Subject::Oom, &[Unit::Seconds]),
    ("fd_exhaustion", Subject::FdExhaustion, &[Unit::Seconds]),
];

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule(Threshold<Subject>);

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The rule, as it was given.
    pub rule: String,
    /// What was found, in words.
    pub found: String,
    /// The sites that broke it, those that hold most first.
    pub sites: Vec<SiteId>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Threshold::parse(text, &SUBJECTS, "leaking>0, growth>50MB/h, fds>80% or oom<2h").map(Self)
    }
}

impl Rule {
    /// Whether a Snapshot breaks it.
    pub fn check(&self, snapshot: &Snapshot) -> Option<Broken> {
        let (value, sites) = self.value(snapshot)?;
        let Self(threshold) = self;
        threshold.holds(value).then(|| Broken { rule: threshold.text.clone(), found: threshold.words(value), sites })
    }

    fn value(&self, snapshot: &Snapshot) -> Option<(f64, Vec<SiteId>)> {
        let processes = || snapshot.analysis.iter().map(|(_, analysis)| analysis);
        let largest = |of: &dyn Fn(&ProcessAnalysis) -> Option<f64>| processes().filter_map(of).reduce(f64::max);
        let alone = |value: f64| (value, Vec::new());
        match self.0.subject {
            Subject::Leaking => Some(labelled(snapshot, Label::Leaking)),
            Subject::Growing => Some(labelled(snapshot, Label::Growing)),
            Subject::Inuse => Some(alone(snapshot.totals.inuse_bytes() as f64)),
            Subject::Objects => Some(alone(snapshot.totals.inuse_objects() as f64)),
            Subject::Rss => largest(&|process| process.reading.rss.map(|rss| rss as f64)).map(alone),
            Subject::Growth => {
                let certain = |process: &ProcessAnalysis| {
                    let growths = [process.resident, process.outstanding].into_iter().flatten();
                    growths.filter(|growth| growth.certain).map(|growth| growth.per_s.value).reduce(f64::max)
                };
                largest(&certain).map(alone)
            }
            Subject::Memory => {
                let share = |process: &ProcessAnalysis| {
                    let limit = process.limits.iter().find(|limit| limit.kind.is_fatal())?;
                    Some(limit.pressure().share() * 100.0)
                };
                largest(&share).map(alone)
            }
            Subject::Fds => {
                let limits = snapshot.descriptors.as_ref()?.limits?;
                Some(alone(if self.0.unit == Unit::Percent { limits.share() * 100.0 } else { limits.open as f64 }))
            }
            Subject::Loss => Some(alone(snapshot.loss.iter().map(|loss| loss.count).sum::<u64>() as f64)),
            Subject::Oom => soonest(snapshot, |signal| match signal {
                ProcessSignal::OutOfMemory { eta, .. } => Some(eta.expected),
                _ => None,
            })
            .map(alone),
            Subject::FdExhaustion => soonest(snapshot, |signal| match signal {
                ProcessSignal::OutOfDescriptors { eta, .. } => Some(eta.expected),
                _ => None,
            })
            .map(alone),
        }
    }
}

/// Sites with this verdict that are not suppressed.
fn labelled(snapshot: &Snapshot, label: Label) -> (f64, Vec<SiteId>) {
    let is_so = |verdict: Option<&Verdict>| verdict.is_some_and(|verdict| verdict.label == label);
    let heap =
        snapshot.sites.iter().filter(|site| !site.suppressed && is_so(site.verdict.as_deref())).map(|site| site.id);
    let fds = snapshot.descriptors.iter().flat_map(|descriptors| &descriptors.sites);
    let fds = fds.filter(|site| is_so(site.verdict.as_deref())).map(|site| site.id);
    let sites: Vec<SiteId> = heap.chain(fds).collect();
    (sites.len() as f64, sites)
}

fn soonest(snapshot: &Snapshot, of: impl Fn(&ProcessSignal) -> Option<Duration>) -> Option<f64> {
    let signals = snapshot.analysis.iter().flat_map(|(_, analysis)| &analysis.signals);
    signals.filter_map(of).min().map(|time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::testing;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn error(text: &str) -> String {
        text.parse::<Rule>().expect_err(text)
    }

    #[test]
    fn what_is_no_rule_is_refused_with_an_example() {
        assert!(error("leaking").contains("leaking>0"));
        assert!(error("leeking>0").contains("there are leaking, growing"));
        assert!(error("growth>50MB").contains("50MB/h"));
        assert!(error("fds>80MB").contains("80%"));
        assert!(error("leaking>many").contains("many"));
    }

    #[test]
    fn sites_that_leak_are_counted_and_named_unless_suppressed() {
        let mut snapshot = testing::normal();
        let verdict = Verdict {
            label: Label::Leaking,
            confidence: 0.9,
            reason: String::new(),
            rate: None,
            since: Duration::ZERO,
        };
        assert_eq!(rule("leaking>0").check(&snapshot), None);
        snapshot.sites[2].verdict = Some(Arc::new(verdict));
        let id = snapshot.sites[2].id;
        let broken = rule("leaking>0").check(&snapshot).expect("one leaks");
        assert_eq!((broken.found.as_str(), broken.sites), ("1", vec![id]));
        assert_eq!(rule("leaking>1").check(&snapshot), None);
        snapshot.sites[2].suppressed = true;
        assert_eq!(rule("leaking>0").check(&snapshot), None);
    }

    #[test]
    fn what_is_not_known_breaks_nothing() {
        let mut snapshot = testing::empty();
        snapshot.descriptors = None;
        for text in ["rss>0", "growth>0MB/h", "memory>0%", "fds>0%", "oom<1000d", "fd_exhaustion<1000d"] {
            assert_eq!(rule(text).check(&snapshot), None, "{text}");
        }
        assert!(rule("inuse<=0").check(&snapshot).is_some());
    }
}
