//! What a quantity did: whether it rises, and whether it has levelled off.

use crate::analyze::trend::{Point, Trend, thinned, trend};

/// Points of a series that are looked at.
const MOST_POINTS: usize = 80;
/// The share of its level by which a quantity must rise over the window to be said to grow.
const LEAST_RISE: f64 = 0.05;
/// Probability of seeing a rise where there is none.
const ERROR: f64 = 0.002;
/// A level is reached at this share of what it is in the end.
const REACHED: f64 = 0.9;
/// Noise of this many deviations below a level is at it.
const NOISE: f64 = 2.0;
/// The second half of the window must rise at this share of the whole window's mean rate, or the rise is over.
const STILL: f64 = 0.15;

/// What a series did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    /// Over the window; `None` when it is too short.
    pub(super) trend: Option<Trend>,
    /// It rises, and has not stopped.
    pub(super) rises: bool,
    /// Seconds, on the points' clock, after which it was about what it was in the last third.
    pub(super) reached: f64,
    /// Median of the last third.
    pub(super) level: f64,
}

impl Level {
    /// Of the same series in another unit.
    pub(super) fn scaled(self, factor: f64) -> Self {
        let trend = self.trend.map(|trend| Trend { slope: trend.slope.scaled(factor), ..trend });
        Self { trend, level: self.level * factor, ..self }
    }
}

/// Judges a series in order of time, by [`MOST_POINTS`] of it: every site is judged again and again.
pub(super) fn level(points: &[Point]) -> Level {
    let points = &thinned(points, MOST_POINTS);
    let Some(first) = points.first() else {
        return Level { trend: None, rises: false, reached: 0.0, level: 0.0 };
    };
    let late = &points[points.len() - points.len().div_ceil(3)..];
    let level = median(late.iter().map(|point| point.value));
    // 1.48 times the median deviation is the standard one, of normal noise.
    let noise = 1.48 * median(late.iter().map(|point| (point.value - level).abs()));
    let near = level - (level * (1.0 - REACHED)).max(NOISE * noise);
    let at = points.iter().position(|point| point.value >= near).unwrap_or(points.len() - 1);
    // It was so at some time since the point before.
    let reached = points[at.saturating_sub(1)].at;
    let found = trend(points, 0.95);
    Level { trend: found, rises: found.is_some_and(|found| rises(points, first, &found, level)), reached, level }
}

fn rises(points: &[Point], first: &Point, found: &Trend, level: f64) -> bool {
    let span = points[points.len() - 1].at - first.at;
    let (slope, half) = (found.slope.value, &points[points.len() / 2..]);
    // What rose steeply and then hardly has a small slope, of which any other is a fair share.
    let mean = f64::max(slope, (level - first.value) / span);
    // Too few points to see it in a half: they are all there is to go by.
    let still = trend(half, 0.95).is_none_or(|late| late.rises(ERROR) && late.slope.value >= STILL * mean);
    // What comes and goes has been as high before.
    let before = points[..points.len() / 2].iter().map(|point| point.value).fold(f64::MIN, f64::max);
    found.rises(ERROR) && slope * span > LEAST_RISE * level && still && level > before
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    let middle = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(middle, f64::total_cmp).1 }
}
