//! Mann-Kendall test: does the order of the values follow the order of time?
//!
//! Mann 1945, Econometrica 13; Kendall 1975, Rank Correlation Methods, 4th ed., for the variance with ties.

use super::Point;

/// Kendall's S and what it would be without a trend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Test {
    /// Pairs that rise minus pairs that fall.
    pub(super) s: f64,
    /// S over the number of pairs.
    pub(super) tau: f64,
    /// Variance of S for independent values in any order: `(n(n-1)(2n+5) - sum t(t-1)(2t+5)) / 18` over groups of `t`
    /// equal values.
    pub(super) variance: f64,
}

/// Tests points in order of time.
pub(super) fn test(points: &[Point]) -> Test {
    let n = points.len() as f64;
    let mut s = 0i64;
    for (index, later) in points.iter().enumerate() {
        for earlier in &points[..index] {
            s += i64::from(later.value > earlier.value) - i64::from(later.value < earlier.value);
        }
    }
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    values.sort_unstable_by(f64::total_cmp);
    let term = |t: f64| t * (t - 1.0) * (2.0 * t + 5.0);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|group| term(group.len() as f64)).sum();
    let s = s as f64;
    Test { s, tau: s / (n * (n - 1.0) / 2.0), variance: (term(n) - ties).max(0.0) / 18.0 }
}

/// The standard normal deviate of S, corrected for continuity.
pub(super) fn deviate(s: f64, deviation: f64) -> f64 {
    if s == 0.0 || deviation <= 0.0 { 0.0 } else { (s - s.signum()) / deviation }
}
