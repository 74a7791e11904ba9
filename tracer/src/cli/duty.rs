//! What is on for some of the time and off for the rest, so that it costs no more than it may: for what share of the time, and for
//! how long in turn. Lengths of time come at random, because what is estimated rests on that (`aggregate::windows`).

use std::time::Duration;

use crate::aggregate::Duty;

/// What is planned for costs this share of what it may: measured costs are a little too low, and loads vary.
pub(super) const MARGIN: f64 = 0.8;
/// What is no burden, in seconds per second: a thousandth of a core.
pub(super) const NEGLIGIBLE: f64 = 1e-3;
/// How long it is on and off together, in the mean, where that gives windows of a useful length.
const CYCLE: f64 = 5.0;
/// The shortest and the longest mean length of a window.
const WINDOWS: [f64; 2] = [0.1, 2.0];
/// The smallest share of the time.
pub(super) const LEAST_SHARE: f64 = 1.0 / 1024.0;
/// A length of time that is drawn is at most this many times the mean.
const LONGEST: f64 = 8.0;

/// A length of time, exponentially distributed.
pub(super) fn draw(random: &mut fastrand::Rng, mean: f64) -> Duration {
    Duration::from_secs_f64(mean * (-(1.0 - random.f64()).ln()).min(LONGEST))
}

/// A power of two that is no larger, at most the double of all: shares that differ little are the same.
pub(super) fn quantized(share: f64) -> f64 {
    share.clamp(LEAST_SHARE, 2.0).log2().floor().exp2()
}

/// How long it is on and off for a share of the time, of which at most the half is windows.
pub(super) fn duty_of(affordable: f64) -> Duty {
    let share = quantized(affordable).min(0.5);
    let on = (CYCLE * share).clamp(WINDOWS[0], WINDOWS[1]);
    Duty { on: Duration::from_secs_f64(on), off: Duration::from_secs_f64(on / share - on) }
}
