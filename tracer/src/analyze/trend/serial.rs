//! Dependence between neighbouring points.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{Method, Point, Trend, mirrored, normal_quantile};
use crate::analyze::Estimate;

/// Blocks whose differences are compared. Odd, so that a reversed series has the same.
const BLOCKS: usize = 15;

/// What neighbouring points have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dependence {
    /// Nothing.
    None,
    /// They are alike: the variance of S is this much larger.
    Inflates(f64),
    /// Each is the one before and a step.
    AddsUp,
}

/// Judges the residuals of a line with this slope.
///
/// The first autocorrelation of the residuals' ranks, as in Hamed & Rao 1998 (J. Hydrology 204:182), is too small in a short
/// series whose trend was taken out, by `(2 + 4r) / n` (Tjostheim & Paulsen 1983, Biometrika 70:389); that is put right
/// first. Errors count as adding up from `1 - 2/sqrt(n)` on: the idea is that of Perron & Yabu 2009 (J. Econometrics 151:56),
/// who take an autocorrelation within `1/sqrt(n)` of 1 for 1; twice as far leaves one in twenty of such series of 60 points
/// unrecognized instead of one in three.
pub(super) fn dependence(points: &[Point], slope: f64) -> Dependence {
    let n = points.len() as f64;
    let origin = points[0];
    let residuals: Vec<f64> =
        points.iter().map(|point| point.value - origin.value - slope * (point.at - origin.at)).collect();
    // The slope is that of two points, whose residuals differ by rounding alone. So do all those of a straight line.
    let rounding = points.iter().map(|point| (point.value - origin.value).abs()).fold(0.0, f64::max) * 1e-9;
    let Some(first) = autocorrelation(&ranks(&residuals, rounding)) else { return Dependence::None };
    let first = ((n * first + 2.0) / (n - 4.0)).min(1.0);
    if first > 1.0 - 2.0 / n.sqrt() {
        return Dependence::AddsUp;
    }
    // Within what independent points show, and never in the narrower direction.
    if first < normal_quantile(0.9) / n.sqrt() { Dependence::None } else { Dependence::Inflates(inflation(first, n)) }
}

/// How much larger the variance of S is when the autocorrelation fades as `first^lag`: equation 15 of Hamed & Rao 1998,
/// `1 + 2 / (n(n-1)(n-2)) sum (n-i)(n-i-1)(n-i-2) r(i)`. The autocorrelations at higher lags are those of an AR(1) process, because a
/// short series' own are noise.
fn inflation(first: f64, n: f64) -> f64 {
    let mut sum = 0.0;
    let mut fading = 1.0;
    let mut lag = 1.0;
    while lag < n - 2.0 && fading > 1e-6 {
        fading *= first;
        sum += (n - lag) * (n - lag - 1.0) * (n - lag - 2.0) * fading;
        lag += 1.0;
    }
    1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum
}

/// The trend as the mean step, which for errors that add up is the best there is, with Student's interval from the steps of
/// equal blocks (Ibragimov & Muller 2010, J. Bus. Econ. Stat. 28:453: it stays valid whatever happens within the blocks).
pub(super) fn of_differences(points: &[Point], confidence: f64, tau: f64) -> Trend {
    let last = points.len() - 1;
    let blocks = BLOCKS.min(last);
    let rate = |from: &Point, to: &Point| (to.value - from.value) / (to.at - from.at);
    let rates: Vec<f64> = (0..blocks)
        .map(|block| rate(&points[mirrored(block, blocks, last)], &points[mirrored(block + 1, blocks, last)]))
        .collect();
    let slope = rate(&points[0], &points[last]);
    let freedom = (blocks - 1) as f64;
    let squares: f64 = rates.iter().map(|rate| (rate - slope).powi(2)).sum();
    let error = (squares / freedom / blocks as f64).sqrt();
    let student = StudentsT::new(0.0, 1.0, freedom).expect("at least one degree of freedom");
    let p = if error > 0.0 { (2.0 * student.cdf(-(slope / error).abs())).min(1.0) } else { 1.0 };
    let margin = student.inverse_cdf(0.5 + confidence / 2.0) * error;
    // The same probability, as a normal deviate.
    let z = if slope == 0.0 { 0.0 } else { -normal_quantile((p / 2.0).max(f64::MIN_POSITIVE)) * slope.signum() };
    let slope = Estimate::around(slope, margin);
    Trend { slope, tau, z, p, points: points.len(), method: Method::Differences(blocks) }
}

/// Ranks from 1; values that are equal within the rounding share the mean of theirs.
fn ranks(values: &[f64], rounding: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for group in order.chunk_by(|&a, &b| values[b] - values[a] <= rounding) {
        let shared = before as f64 + (group.len() as f64 + 1.0) / 2.0;
        for &index in group {
            ranks[index] = shared;
        }
        before += group.len();
    }
    ranks
}

/// The autocorrelation at the first lag; `None` when all are equal.
fn autocorrelation(values: &[f64]) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let products: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    (squares > 0.0).then(|| products / squares)
}
