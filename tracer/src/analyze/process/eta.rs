//! How long until a limit is reached.

use std::time::Duration;

use super::Growth;

/// Nothing is foretold for longer than ten years.
const FURTHEST: f64 = 10.0 * 365.0 * 86_400.0;

/// The time until a quantity that goes on growing as it does reaches a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eta {
    /// At the growth found.
    pub expected: Duration,
    /// At the fastest growth within its interval.
    pub earliest: Duration,
    /// At the slowest; `None` when that may be none at all.
    pub latest: Option<Duration>,
}

/// The time until the limit: the room over the slope, with the ends of the slope's interval. `None` when it does not certainly
/// grow, or not within ten years. Zero when the limit has been reached.
pub fn eta(growth: &Growth, limit: u64) -> Option<Eta> {
    let room = limit.saturating_sub(growth.now) as f64;
    let after = |per_s: f64| {
        let seconds = room / per_s;
        (per_s > 0.0 && seconds <= FURTHEST).then(|| Duration::from_secs_f64(seconds))
    };
    if !growth.certain {
        return None;
    }
    let expected = after(growth.per_s.value)?;
    Some(Eta { expected, earliest: after(growth.per_s.high)?, latest: after(growth.per_s.low) })
}
