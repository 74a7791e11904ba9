//! The columns of the table of sites: what each orders by.

use std::cmp::Ordering;

use super::rows::Row;
use crate::{analyze::verdict::Label, report::Sort};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tui) enum Column {
    Verdict,
    Inuse,
    Objects,
    Change,
    Minute,
    TenMinutes,
    Baseline,
    PerHour,
    Allocs,
    AllocRate,
    Oldest,
    Trend,
}

impl Column {
    /// In the order on screen, which is the order in which the sort goes from one to the next.
    pub(in crate::tui) const ALL: [Self; 12] = [
        Self::Verdict,
        Self::Inuse,
        Self::Objects,
        Self::Change,
        Self::Minute,
        Self::TenMinutes,
        Self::Baseline,
        Self::PerHour,
        Self::Allocs,
        Self::AllocRate,
        Self::Oldest,
        Self::Trend,
    ];

    /// What can be sorted by next, or before.
    pub(super) fn beside(self, forward: bool, has_baseline: bool) -> Self {
        let sortable: Vec<Self> = Self::ALL
            .into_iter()
            .filter(|column| *column != Self::Trend && (has_baseline || *column != Self::Baseline))
            .collect();
        let at = sortable.iter().position(|column| *column == self).unwrap_or(0);
        sortable[(at + if forward { 1 } else { sortable.len() - 1 }) % sortable.len()]
    }

    /// Which of two rows comes first: the one with more. Equals are in the order of the Snapshot.
    pub(super) fn order(self, a: &Row, b: &Row) -> Ordering {
        let more = |of: fn(&Row) -> u64| of(b).cmp(&of(a));
        let faster = |of: fn(&Row) -> Option<f64>| {
            let value = |row| of(row).unwrap_or(f64::NEG_INFINITY);
            value(b).total_cmp(&value(a))
        };
        match self {
            Self::Verdict | Self::Trend => {
                urgency(a).cmp(&urgency(b)).then_with(|| faster(|row| row.per_hour)).then_with(|| more(Row::inuse))
            }
            Self::Inuse => more(Row::inuse),
            Self::Objects => more(|row| row.counters.inuse_objects()),
            Self::Change => faster(|row| row.change.map(|change| change.inuse_bytes_per_s)),
            Self::Minute => faster(|row| row.minute),
            Self::TenMinutes => faster(|row| row.ten_minutes),
            Self::Baseline => faster(|row| row.since_baseline),
            Self::PerHour => faster(|row| row.per_hour),
            Self::Allocs => more(|row| row.counters.alloc_objects),
            // Before there is a change to go by, the rate since attach orders like the count.
            Self::AllocRate => faster(|row| row.change.map(|change| change.allocs_per_s))
                .then_with(|| more(|row| row.counters.alloc_objects)),
            Self::Oldest => b.oldest.cmp(&a.oldest),
        }
    }
}

impl From<Sort> for Column {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Inuse => Self::Inuse,
            Sort::Objects => Self::Objects,
            Sort::Allocs => Self::AllocRate,
            Sort::Oldest => Self::Oldest,
        }
    }
}

/// The lower, the more urgent: labels are in that order. What is not judged yet is among what does not grow, of which the
/// largest come first.
fn urgency(row: &Row) -> impl Ord + use<> {
    let label = row.verdict.as_ref().map_or(Label::Bounded, |verdict| verdict.label);
    (row.suppressed, if label > Label::Growing && label <= Label::Steady { Label::Bounded } else { label })
}
