//! Rules that a comparison must not break: `new>0`, `inuse>1MB`.
//!
//! ```text
//! rule = name op number [unit]
//! name = "new" | "grown" | "shrunk" | "gone"    call sites that changed so
//!      | "inuse"                                bytes by which the heap holds more than before
//!      | "objects"                              blocks by which it does
//!      | "fds"                                  descriptors by which more are open
//! ```
//!
//! What was not compared breaks no rule.

use std::{fmt, str::FromStr};

use tracer_common::event::SiteKind;

use super::{Change, Diff, Held};
use crate::analyze::threshold::{Threshold, Unit};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Sites(Change),
    Inuse,
    Objects,
    Fds,
}

const SUBJECTS: [(&str, Subject, &[Unit]); 7] = [
    ("new", Subject::Sites(Change::New), &[Unit::Count]),
    ("grown", Subject::Sites(Change::Grown), &[Unit::Count]),
    ("shrunk", Subject::Sites(Change::Shrunk), &[Unit::Count]),
    ("gone", Subject::Sites(Change::Gone), &[Unit::Count]),
    ("inuse", Subject::Inuse, &[Unit::Bytes, Unit::Count]),
    ("objects", Subject::Objects, &[Unit::Count]),
    ("fds", Subject::Fds, &[Unit::Count]),
];

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct DiffRule(Threshold<Subject>);

impl FromStr for DiffRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Threshold::parse(text, &SUBJECTS, "new>0, grown>0, inuse>1MB or fds>10").map(Self)
    }
}

impl fmt::Display for DiffRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl DiffRule {
    /// What was found, in words, if that breaks it.
    pub fn check(&self, diff: &Diff) -> Option<String> {
        let Self(threshold) = self;
        let change = |compared: bool, kind: SiteKind, of: fn(Held) -> u64| {
            let sums = diff.sums.get(&kind).copied().unwrap_or_default();
            compared.then(|| of(sums.after) as f64 - of(sums.before) as f64)
        };
        let value = match threshold.subject {
            Subject::Sites(change) => diff.count(change) as f64,
            Subject::Inuse => change(diff.heap, SiteKind::Heap, |held| held.bytes)?,
            Subject::Objects => change(diff.heap, SiteKind::Heap, |held| held.objects)?,
            Subject::Fds => change(diff.fds, SiteKind::Fd, |held| held.objects)?,
        };
        threshold.holds(value).then(|| threshold.words(value))
    }
}
