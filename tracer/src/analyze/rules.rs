//! Rules that a run must not break: `leaking>0`, `growth>50MB/h`, `fds>80%`.
//!
//! ```text
//! rule   = name op number [unit]
//! op     = ">" | ">=" | "<" | "<="
//! name   = "leaking" | "growing"        sites with this verdict (suppressed ones are left out)
//!        | "inuse"                      bytes outstanding on the heap
//!        | "objects"                    blocks outstanding on the heap
//!        | "rss"                        resident bytes, of the largest process
//!        | "growth"                     bytes per time by which resident or outstanding memory certainly grows, the faster
//!        | "memory"                     share of the tightest limit of memory
//!        | "fds"                        open descriptors, or their share of the limit
//!        | "loss"                       events that could not be accounted for
//!        | "oom" | "fd_exhaustion"      time until the limit is reached, at the growth that was found
//! unit   = "%" | "B" | "kB" | "KB" | "MB" | "GB" | "TB" | "KiB" | "MiB" | "GiB" | "TiB", each also "/s", "/min", "/h", "/d"
//!        | "s" | "m" | "min" | "h" | "d"
//! ```
//!
//! What is not known breaks no rule: without a limit there is no share of it.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    ProcessAnalysis,
    process::ProcessSignal,
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

const SUBJECTS: [(&str, Subject); 11] = [
    ("leaking", Subject::Leaking),
    ("growing", Subject::Growing),
    ("inuse", Subject::Inuse),
    ("objects", Subject::Objects),
    ("rss", Subject::Rss),
    ("growth", Subject::Growth),
    ("memory", Subject::Memory),
    ("fds", Subject::Fds),
    ("loss", Subject::Loss),
    ("oom", Subject::Oom),
    ("fd_exhaustion", Subject::FdExhaustion),
];

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Percent,
    Bytes,
    BytesPerSecond,
    Seconds,
}

impl Unit {
    fn words(self) -> &'static str {
        match self {
            Self::Count => "a number",
            Self::Percent => "a share such as 80%",
            Self::Bytes => "a size such as 512MB",
            Self::BytesPerSecond => "a rate such as 50MB/h",
            Self::Seconds => "a time such as 30m",
        }
    }
}

impl Subject {
    fn units(self) -> &'static [Unit] {
        match self {
            Self::Leaking | Self::Growing | Self::Objects | Self::Loss => &[Unit::Count],
            Self::Inuse | Self::Rss => &[Unit::Bytes, Unit::Count],
            Self::Growth => &[Unit::BytesPerSecond],
            Self::Memory => &[Unit::Percent],
            Self::Fds => &[Unit::Percent, Unit::Count],
            Self::Oom | Self::FdExhaustion => &[Unit::Seconds],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    More,
    AtLeast,
    Less,
    AtMost,
}

impl Comparison {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::More => value > bound,
            Self::AtLeast => value >= bound,
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
        }
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    text: String,
    subject: Subject,
    comparison: Comparison,
    bound: f64,
    unit: Unit,
}

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
        f.write_str(&self.text)
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| {
            format!("\"{text}\" is no rule; write for example leaking>0, growth>50MB/h, fds>80% or oom<2h")
        })?;
        let (name, rest) = text.split_at(at);
        let (comparison, rest) = match (rest.strip_prefix(">="), rest.strip_prefix("<="), rest.strip_prefix('>')) {
            (Some(rest), ..) => (Comparison::AtLeast, rest),
            (_, Some(rest), _) => (Comparison::AtMost, rest),
            (.., Some(rest)) => (Comparison::More, rest),
            _ => (Comparison::Less, &rest[1..]),
        };
        let name = name.trim();
        let subject =
            SUBJECTS.iter().find(|(known, _)| *known == name).map(|(_, subject)| *subject).ok_or_else(|| {
                let names: Vec<&str> = SUBJECTS.iter().map(|(name, _)| *name).collect();
                format!("there is no \"{name}\" to make rules about; there are {}", names.join(", "))
            })?;
        let (bound, unit) =
            number(rest.trim()).ok_or_else(|| format!("\"{}\" is no number with a unit", rest.trim()))?;
        if !subject.units().contains(&unit) {
            let units: Vec<&str> = subject.units().iter().map(|unit| unit.words()).collect();
            return Err(format!("{name} is compared with {}, not with \"{}\"", units.join(" or "), rest.trim()));
        }
        Ok(Self { text: text.trim().to_owned(), subject, comparison, bound, unit })
    }
}

/// A number in its unit's base.
fn number(text: &str) -> Option<(f64, Unit)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let value: f64 = text[..end].parse().ok().filter(|value: &f64| value.is_finite())?;
    let unit = text[end..].trim();
    let (size, per) = match unit.split_once('/') {
        Some((size, per)) => (size, Some(seconds(per)?)),
        None => (unit, None),
    };
    match (size, per) {
        ("", None) => Some((value, Unit::Count)),
        ("%", None) => Some((value, Unit::Percent)),
        (size, None) => match bytes(size) {
            Some(factor) => Some((value * factor, Unit::Bytes)),
            None => Some((value * seconds(size)?, Unit::Seconds)),
        },
        (size, Some(per)) => Some((value * bytes(size)? / per, Unit::BytesPerSecond)),
    }
}

fn bytes(unit: &str) -> Option<f64> {
    Some(match unit {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024f64.powi(2),
        "GiB" => 1024f64.powi(3),
        "TiB" => 1024f64.powi(4),
        _ => return None,
    })
}

fn seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    })
}

impl Rule {
    /// Whether a Snapshot breaks it.
    pub fn check(&self, snapshot: &Snapshot) -> Option<Broken> {
        let (value, sites) = self.value(snapshot)?;
        self.comparison.holds(value, self.bound).then(|| Broken {
            rule: self.text.clone(),
            found: self.words(value),
            sites,
        })
    }

    fn value(&self, snapshot: &Snapshot) -> Option<(f64, Vec<SiteId>)> {
        let processes = || snapshot.analysis.iter().map(|(_, analysis)| analysis);
        let largest = |of: &dyn Fn(&ProcessAnalysis) -> Option<f64>| processes().filter_map(of).reduce(f64::max);
        let alone = |value: f64| (value, Vec::new());
        match self.subject {
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
                Some(alone(if self.unit == Unit::Percent { limits.share() * 100.0 } else { limits.open as f64 }))
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

    fn words(&self, value: f64) -> String {
        match self.unit {
            Unit::Count => format!("{value}"),
            Unit::Percent => format!("{value:.1} %"),
            Unit::Bytes => format!("{:.1} MB", value / 1e6),
            Unit::BytesPerSecond => format!("{:.1} MB/h", value * 3_600.0 / 1e6),
            Unit::Seconds => format!("{value:.0} s"),
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
    fn numbers_come_in_their_units() {
        assert_eq!(number("50MB/h"), Some((50e6 / 3_600.0, Unit::BytesPerSecond)));
        assert_eq!(number("1.5GiB"), Some((1.5 * 1_073_741_824.0, Unit::Bytes)));
        assert_eq!(number("80%"), Some((80.0, Unit::Percent)));
        assert_eq!(number("2h"), Some((7_200.0, Unit::Seconds)));
        assert_eq!(number("0"), Some((0.0, Unit::Count)));
        for bad in ["", "MB", "1XB", "-1", "5/h", "5%/h", "1e400", "inf"] {
            assert_eq!(number(bad), None, "{bad}");
        }
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
