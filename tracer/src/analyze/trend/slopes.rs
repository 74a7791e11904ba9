//! The slopes of all pairs of points: their median, and the interval that Kendall's test gives.
//!
//! Theil 1950, Proc. Kon. Ned. Akad. Wet. 53; Sen 1968, J. Am. Stat. Assoc. 63:1379.

use super::Point;

/// The slope of each pair.
pub(super) fn all(points: &[Point]) -> Vec<f64> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (index, later) in points.iter().enumerate() {
        slopes.extend(points[..index].iter().map(|earlier| (later.value - earlier.value) / (later.at - earlier.at)));
    }
    slopes
}

/// The median; reorders the slopes.
pub(super) fn median(slopes: &mut [f64]) -> f64 {
    let middle = slopes.len() / 2;
    if slopes.len() % 2 == 1 {
        return nth(slopes, middle);
    }
    let (low, high) = (nth(slopes, middle - 1), nth(slopes, middle));
    low + (high - low) / 2.0
}

/// Sen's interval: a slope is inside as long as S of the series without it is within `reach`, which is a quantile of the
/// normal distribution times the deviation of S. So as many pairs are below the interval as above it, `(pairs - reach) / 2`.
pub(super) fn interval(slopes: &mut [f64], reach: f64) -> (f64, f64) {
    let pairs = slopes.len();
    let outside = ((pairs as f64 - reach) / 2.0).floor().clamp(1.0, pairs as f64);
    let rank = (outside as usize).min(pairs.div_ceil(2));
    (nth(slopes, rank - 1), nth(slopes, pairs - rank))
}

fn nth(slopes: &mut [f64], index: usize) -> f64 {
    *slopes.select_nth_unstable_by(index, f64::total_cmp).1
}
