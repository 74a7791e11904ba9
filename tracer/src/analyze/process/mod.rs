//! What the process as a whole is doing: how fast it grows, how near its limits it is, how long until it dies, and what its
//! memory is besides the blocks that are outstanding.
//!
//! In: points of a process ([`super::history::ProcessWindow`]), limits ([`crate::target::limits`]), and for the explanation
//! what the kernel says of its mappings. Out: [`Growth`], [`Pressure`], [`Eta`], [`ProcessSignal`]s and an [`Explanation`].

mod eta;
mod explain;
mod signals;
#[cfg(test)]
mod tests;

use super::{
    Estimate,
    history::{ProcessReading, ProcessWindow},
    trend::{Point, Trend, slope_in_steps, trend},
};

pub use eta::{Eta, eta};
pub use explain::{Explanation, Part, PartKind, ResidentMemory, Runtime, explain, runtime};
pub use signals::{GROWTH_MARKS, Pressure, ProcessSignal, SHARE_MARKS, signals};

/// Probability of an error with which growth is believed.
const ERROR: f64 = 0.01;

/// How a quantity of a process changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Change per second, with its 95 % interval.
    pub per_s: Estimate,
    /// Change per hour.
    pub per_hour: Estimate,
    /// It grows: its rise is more than noise.
    pub certain: bool,
    /// The newest value.
    pub now: u64,
}

/// The growth of a quantity over all of these windows. `None` when there are too few readings of it.
pub fn growth(windows: &[ProcessWindow], quantity: impl Fn(&ProcessReading) -> Option<u64>) -> Option<Growth> {
    let points: Vec<(Point, u64)> = windows
        .iter()
        .filter_map(|window| {
            let value = quantity(&window.last)?;
            Some((Point { at: window.at.as_secs_f64(), value: value as f64 }, value))
        })
        .collect();
    let now = points.last()?.1;
    let series: Vec<Point> = points.into_iter().map(|(point, _)| point).collect();
    let found: Trend = trend(&series, 0.95)?;
    let certain = found.rises(ERROR) && found.slope.is_positive();
    let per_s = slope_in_steps(&series, found.slope);
    Some(Growth { per_s, per_hour: per_s.scaled(3_600.0), certain, now })
}
