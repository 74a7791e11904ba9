//! Figures beside what was promised of them.

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
    let verdict = if bound.holds(figure) { "PASS" } else { "over" };
    let (word, limit) = match bound {
        Bound::AtLeast(limit) => ("at least", limit),
        Bound::AtMost(limit) => ("at most", limit),
    };
    format!("{verdict}  {what}: {}{unit} ({word} {}{unit})", precise(figure), precise(limit))
}

/// Shares need more digits than counts.
fn precise(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.3}") } else { super::table::number(value) }
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
}
