//! The columns of the table of sites: what each orders by.

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

    /// Whether rows must be complete to be ordered by it.
    pub(super) fn takes_look_ups(self) -> bool {
        matches!(self, Self::Change | Self::Minute | Self::TenMinutes | Self::Baseline | Self::AllocRate)
    }

    /// What a row is ordered by: the lower, the earlier, and more of what the column shows comes first. Equals are in the order of the
    /// Snapshot. A key is all that is looked at while thousands of rows are sorted.
    pub(super) fn key(self, row: &Row) -> [u64; 3] {
        let more = |value: u64| !value;
        let faster = |value: Option<f64>| more(ordered(value.unwrap_or(f64::NEG_INFINITY)));
        match self {
            Self::Verdict | Self::Trend => [urgency(row), faster(row.per_hour), more(row.inuse())],
            Self::Inuse => [more(row.inuse()), 0, 0],
            Self::Objects => [more(row.counters.inuse_objects()), 0, 0],
            Self::Change => [faster(row.change.map(|change| change.inuse_bytes_per_s)), 0, 0],
            Self::Minute => [faster(row.minute), 0, 0],
            Self::TenMinutes => [faster(row.ten_minutes), 0, 0],
            Self::Baseline => [faster(row.since_baseline), 0, 0],
            Self::PerHour => [faster(row.per_hour), 0, 0],
            Self::Allocs => [more(row.counters.alloc_objects), 0, 0],
            // Before there is a change to go by, the rate since attach orders like the count.
            Self::AllocRate => {
                [faster(row.change.map(|change| change.allocs_per_s)), more(row.counters.alloc_objects), 0]
            }
            Self::Oldest => {
                let age = row.oldest.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
                [u64::from(age.is_none()), more(age.unwrap_or(0)), 0]
            }
        }
    }
}

/// A number whose order is that of `f64::total_cmp`.
fn ordered(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
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
fn urgency(row: &Row) -> u64 {
    let label = row.verdict.as_ref().map_or(Label::Bounded, |verdict| verdict.label);
    let label = if label > Label::Growing && label <= Label::Steady { Label::Bounded } else { label };
    u64::from(row.suppressed) << 8 | label as u64
}

#[cfg(test)]
mod tests {
    use super::ordered;

    #[test]
    fn numbers_keep_their_order() {
        let mut values = [0.0, -0.0, 1.5, -1.5, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e-300];
        values.sort_by(f64::total_cmp);
        assert!(values.map(ordered).is_sorted());
    }
}
