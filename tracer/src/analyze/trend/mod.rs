//! Whether a series rises or falls, how fast, and how sure that is.
//!
//! In: points of time and value, and the confidence asked for. Out: a [`Trend`]: the Theil-Sen slope with Sen's interval
//! and the Mann-Kendall test. Both assume independent errors, which outstanding bytes never have: what is allocated stays
//! for a while. So the variance of Kendall's S is enlarged by the series' autocorrelation (Hamed & Rao 1998), and a series whose
//! errors add up without end, as the count of a leak with random arrivals does, is judged by the differences of its blocks.
//!
//! Shifting, scaling or reversing a series shifts, scales or reverses its trend.

mod kendall;
mod serial;
mod slopes;
#[cfg(test)]
mod tests;

use statrs::distribution::{ContinuousCDF as _, Normal};

use super::Estimate;

/// Points that a trend is computed from; more are thinned out evenly. Keeps the pairs below 30,000.
pub const MOST_POINTS: usize = 240;
/// Fewer points have no trend.
pub const LEAST_POINTS: usize = 6;

/// A value at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Seconds from any origin.
    pub at: f64,
    /// In any unit.
    pub value: f64,
}

/// How dependence between neighbouring points was dealt with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// None was found.
    Independent,
    /// They are worth as much as so many independent ones.
    EffectiveSample(f64),
    /// Errors add up: the trend is that of so many blocks' differences.
    Differences(usize),
}

/// What a series does over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Change per second.
    pub slope: Estimate,
    /// Kendall's S over the number of pairs: 1 when every point is above all before it, -1 when below.
    pub tau: f64,
    /// Standard normal deviate of the test; positive when rising.
    pub z: f64,
    /// Two-sided probability of such a `z` without a trend.
    pub p: f64,
    /// Points used.
    pub points: usize,
    /// How dependence was dealt with.
    pub method: Method,
}

impl Trend {
    /// Whether it rises, with at most this probability of error.
    pub fn rises(&self, p: f64) -> bool {
        self.z > 0.0 && self.p < p
    }
}

/// The trend of a series in order of time. Points that are not later than the one before, or not numbers, are left out.
/// `confidence` of the slope's interval, between 0 and 1.
///
/// `None` with fewer than [`LEAST_POINTS`].
pub fn trend(points: &[Point], confidence: f64) -> Option<Trend> {
    let points = thinned(&ordered(points), MOST_POINTS);
    if points.len() < LEAST_POINTS {
        return None;
    }
    let test = kendall::test(&points);
    let mut slopes = slopes::all(&points);
    let slope = slopes::median(&mut slopes);
    let confidence = confidence.clamp(0.0, 1.0 - 1e-9);

    let dependence = serial::dependence(&points, slope);
    if let serial::Dependence::AddsUp = dependence {
        return Some(serial::of_differences(&points, confidence, test.tau));
    }
    let (inflation, method) = match dependence {
        serial::Dependence::Inflates(factor) => (factor, Method::EffectiveSample(points.len() as f64 / factor)),
        _ => (1.0, Method::Independent),
    };
    let deviation = (test.variance * inflation).sqrt();
    let z = kendall::deviate(test.s, deviation);
    let (low, high) = slopes::interval(&mut slopes, normal_quantile(0.5 + confidence / 2.0) * deviation);
    let slope = Estimate { value: slope, low: low.min(slope), high: high.max(slope) };
    Some(Trend { slope, tau: test.tau, z, p: two_sided(z), points: points.len(), method })
}

/// The slope of a quantity that rises in steps, with an interval that is wider by what readings at other times would have
/// seen: a step (a block, a burst, or what comes between two readings) more or less over the series.
pub fn slope_in_steps(points: &[Point], slope: Estimate) -> Estimate {
    let rises = points.windows(2).map(|pair| pair[1].value - pair[0].value).filter(|step| *step > 0.0);
    let (sum, count) = rises.fold((0.0, 0), |(sum, count), step| (sum + step, count + 1));
    let span = points.first().zip(points.last()).map_or(0.0, |(first, last)| last.at - first.at);
    let margin = if count > 0 && span > 0.0 { sum / f64::from(count) / span } else { 0.0 };
    let Estimate { value, low, high } = slope;
    Estimate { value, low: low - margin, high: high + margin }
}

/// The points that count, in strictly rising order of time.
fn ordered(points: &[Point]) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::with_capacity(points.len());
    for point in points.iter().filter(|point| point.at.is_finite() && point.value.is_finite()) {
        if kept.last().is_none_or(|last| last.at < point.at) {
            kept.push(*point);
        }
    }
    kept
}

/// At most `most` points, the first and the last among them.
pub(crate) fn thinned<T: Copy>(points: &[T], most: usize) -> Vec<T> {
    if points.len() <= most || most < 2 {
        return points.to_vec();
    }
    (0..most).map(|index| points[mirrored(index, most - 1, points.len() - 1)]).collect()
}

/// Where the `index`-th of `parts` equal parts of `0..=last` begins; for an odd number of parts, or as many as there are
/// steps, the same from both ends, so that a reversed series
/// is cut at the same points.
fn mirrored(index: usize, parts: usize, last: usize) -> usize {
    if 2 * index <= parts { index * last / parts } else { last - (parts - index) * last / parts }
}

/// The value that a standard normal variable is below with this probability.
pub(crate) fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// The probability that a standard normal variable is as far from zero as `z`, on either side.
fn two_sided(z: f64) -> f64 {
    (2.0 * Normal::standard().cdf(-z.abs())).min(1.0)
}
