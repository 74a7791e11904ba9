//! How numbers are marked that are estimates.

use crate::analyze::Estimate;

/// What stands before a number that is estimated.
pub(crate) fn estimate_mark(is_estimated: bool) -> &'static str {
    if is_estimated { "~" } else { "" }
}

/// An amount that may be an estimate.
pub(crate) fn marked(mark: &str, amount: &str) -> String {
    format!("{mark}{}", amount.replacen(" in ", &format!(" in {mark}"), 1))
}

/// An amount, with the errors of its bytes and objects where it is estimated. The larger side of an interval counts.
pub(crate) fn with_errors(amount: String, errors: Option<(Estimate, Estimate)>) -> String {
    let Some((bytes, objects)) = errors else { return amount };
    let error = |estimate: Estimate| match 100.0 * estimate.relative_error() {
        0.0 => String::new(),
        percent => format!(" ±{percent:.0} %"),
    };
    match amount.split_once(" in ") {
        Some((size, number)) => format!("~{size}{} in ~{number}{}", error(bytes), error(objects)),
        None => format!("~{amount}"),
    }
}
