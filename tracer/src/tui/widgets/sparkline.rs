//! A course in one line of characters.

use crate::tui::state::Trail;

/// From nothing to the most.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last `span` seconds of the sum of these trails, which end `now`, in `width` characters. What has no course yet is
/// left empty; the lowest character is the least that there was, or nothing when that is close.
pub(super) fn sparkline(trails: &[&Trail], now: f64, span: f64, width: usize) -> String {
    let begin = trails.iter().filter_map(|trail| trail.marks().first()).map(|mark| mark.at).fold(f64::MAX, f64::min);
    let span = span.min((now - begin).max(0.0));
    if width == 0 || span <= 0.0 {
        return String::new();
    }
    let value = |column: usize| {
        let at = now - span + span * (column as f64 + 1.0) / width as f64;
        trails.iter().filter_map(|trail| trail.at(at)).sum::<f64>()
    };
    let values: Vec<f64> = (0..width).map(value).collect();
    let (least, most) =
        values.iter().fold((f64::MAX, f64::MIN), |(low, high), &value| (low.min(value), high.max(value)));
    // A wiggle of a large amount is none.
    let least = if most - least < most * 0.05 { 0.0 } else { least };
    let height = |value: f64| bar(if most > least { (value - least) / (most - least) } else { 0.0 });
    values.into_iter().map(height).collect()
}

/// A bar of this share of a line's height.
pub(super) fn bar(share: f64) -> char {
    HEIGHTS[((share * HEIGHTS.len() as f64) as usize).min(HEIGHTS.len() - 1)]
}
