//! Figures beside what was promised of them.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::table::number;

/// What a figure is to keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }
}

/// A line that says whether `figure` keeps to its bound. Not to keep to it is no failure of the benchmark: what a busy
/// machine says is no verdict.
pub(super) fn show(what: &str, figure: f64, unit: &str, bound: Bound) -> String {
    let (word, limit) = match bound {
        Bound::AtLeast(limit) => ("at least", limit),
        Bound::AtMost(limit) => ("at most", limit),
    };
    judge(bound.holds(figure), &format!("{what}: {}{unit} ({word} {}{unit})", precise(figure), precise(limit)))
}

/// A line that says whether something is as it was promised.
pub(super) fn judge(holds: bool, what: &str) -> String {
    format!("{}  {what}", if holds { "PASS" } else { "over" })
}

/// Nothing of a JSON report may be lost.
pub(super) fn no_loss(report: &Value) -> String {
    let loss = &report["loss"];
    judge(loss.as_object().is_some_and(serde_json::Map::is_empty), &format!("loss: {loss}"))
}

/// What a JSON report says of a site, beside what is so. An exact number has an interval of no width.
pub(super) fn estimate(site: &str, field: &str, truth: f64, report: &Value) -> Result<String> {
    let exact = || report[field].as_f64();
    let sample = &report["sample"][field];
    let bound = |name: &str| sample[name].as_f64().or_else(exact).with_context(|| format!("{site} has no {field}"));
    let (value, low, high) = (bound("value")?, bound("low")?, bound("high")?);
    let holds = (low..=high).contains(&truth);
    let [value, low, high, truth] = [value, low, high, truth].map(number);
    Ok(judge(holds, &format!("{site}, {field}: {value} ({low} to {high}, 95 %), is {truth}")))
}

/// Shares need more digits than counts.
fn precise(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.3}") } else { number(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_its_bound() {
        assert_eq!(show("growth", 0.991, "", Bound::AtLeast(0.98)), "PASS  growth: 0.991 (at least 0.980)");
        assert_eq!(show("over empty", 812.0, " ns", Bound::AtMost(700.0)), "over  over empty: 812 ns (at most 700 ns)");
    }

    #[test]
    fn what_is_no_number_keeps_to_nothing() {
        assert!(!Bound::AtLeast(0.0).holds(f64::NAN) && !Bound::AtMost(1.0).holds(f64::NAN));
    }

    #[test]
    fn an_estimate_is_held_to_its_interval() {
        let report = serde_json::json!({
            "inuse_bytes": 900,
            "sample": {"inuse_objects": {"value": 100.0, "low": 90.0, "high": 111.0}},
        });
        let line = estimate("kept", "inuse_objects", 93.0, &report).unwrap();
        assert_eq!(line, "PASS  kept, inuse_objects: 100 (90 to 111, 95 %), is 93");
        assert!(estimate("kept", "inuse_objects", 112.0, &report).unwrap().starts_with("over"));
        assert!(estimate("kept", "inuse_bytes", 900.0, &report).unwrap().starts_with("PASS"));
        assert!(estimate("kept", "inuse_bytes", 901.0, &report).unwrap().starts_with("over"));
        assert!(estimate("kept", "free_bytes", 1.0, &report).is_err());
    }
}
